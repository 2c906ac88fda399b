"""The commands of `jukinet`, put together.

Rule: a start costs what its own command needs. Of the modules, each of which holds the commands of one subject, only
those behind the first word are imported and built; what is heavy they import when a command runs.
"""

import os
import sys
from importlib import import_module
from typing import Annotated, Final

import typer

from jukinet import __version__
from jukinet.cli.output import show

_HELP: Final = (
    "The resident registry network (住民基本台帳ネットワークシステム) as a mesh of gRPC nodes.\n\n"
    "Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 no answer from the node, 4 not allowed to this "
    "identity, 5 a configuration, certificate or key file cannot be used, 6 the database cannot be used, 7 "
    "the disk did not keep what was written, 8 a witness contradicts the ledger."
)

_PLACES: Final = {
    "demo": "demo_command.demo",
    "mesh": "mesh.app",
    "node": "node.app",
    "nation": "nation.app",
    "submit": "submit_command.submit",
    "inquire": "inquire.inquire",
    "verify-identity": "inquire.verify_identity",
    "inquire-batch": "inquire_batch.inquire_batch",
    "batch-job": "batch_job.app",
    "operator": "operator.app",
    "agencies": "agencies.app",
    "watch": "watch.app",
    "recalls": "recalls.recalls",
    "admin": "admin.app",
    "admin release": "release.release",
    "admin destroy-key": "bodies.destroy_key",
    "admin frozen": "frozen.frozen",
    "admin release-operator": "frozen.release_operator",
    "admin forget-frozen": "frozen.forget_frozen",
    "admin recalls": "recalls.unacknowledged",
    "admin digest": "drift.digest",
    "admin drift": "drift.drift",
    "admin certificate": "drift.certificate",
    "ledger": "ledger.app",
    "ledger report": "yearly_report.report",
    "ledger verify-usage": "verify_usage.verify_usage",
    "disclosure": "disclosure.app",
    "disclosure request": "disclosure_requests.request",
    "disclosure extend": "disclosure_requests.extend",
    "disclosure answer": "disclosure_requests.answer",
    "disclosure correct": "disclosure_requests.correct",
    "disclosure investigate": "disclosure_requests.investigate",
    "disclosure answer-correction": "disclosure_requests.answer_correction",
    "disclosure close": "disclosure_requests.close",
    "disclosure requests": "disclosure_requests.requests",
    "ledger open-body": "bodies.open_body",
    "statutes": "statutes.app",
    "statutes replay": "statute_replay.replay",
    "statutes propose": "statute_acts.propose",
    "statutes approve": "statute_acts.approve",
    "statutes editions": "statute_acts.editions",
    "traces": "traces.app",
    "trace": "traces.trace",
    "simulate": "simulate.simulate",
    "bench": "bench.app",
}
"""Where a command or a group of commands is, below `jukinet.cli`, by its words; a group stands above what joins it."""


def _show_version(wanted: bool) -> None:
    if wanted:
        show(__version__)
        raise typer.Exit


def _top(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and stop.", callback=_show_version, is_eager=True)
    ] = False,
) -> None: ...


def build(first: str | None = None) -> typer.Typer:
    """The command line.

    Args:
        first: the first word of what was called. If it is a command or a group, nothing else is built; if not,
            everything is, since help and errors name all commands.
    """
    top = typer.Typer(
        name="jukinet",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="markdown",
        help=_HELP,
    )
    top.callback()(_top)
    names = [words.split()[0] for words in _PLACES]
    groups = {"": top}
    for words, place in _PLACES.items():
        if first in names and words.split()[0] != first:
            continue
        module, attribute = place.split(".")
        found = getattr(import_module(f"jukinet.cli.{module}"), attribute)
        group, _, name = words.rpartition(" ")
        if isinstance(found, typer.Typer):
            groups[words] = found
            groups[group].add_typer(found, name=name)
        else:
            groups[group].command(name)(found)
    return top


def main() -> None:
    """Entry point of the command."""
    # gRPC itself tells of every connection that ends, on standard error and in the logs of nodes, unless it is told not
    # to before it is imported.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    build(sys.argv[1] if len(sys.argv) > 1 else None)()
