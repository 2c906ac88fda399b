"""The commands of `jukinet`, put together.

Each module holds the commands of one subject and imports what is heavy when a command runs, so that `--help` is quick.
"""

import os
from typing import Annotated, Final

import typer

from jukinet import __version__
from jukinet.cli import (
    admin,
    batch_job,
    bench,
    bodies,
    demo_command,
    disclosure,
    disclosure_requests,
    drift,
    frozen,
    inquire,
    inquire_batch,
    ledger,
    mesh,
    nation,
    node,
    operator,
    recalls,
    release,
    simulate,
    statute_acts,
    statutes,
    submit_command,
    traces,
    verify_usage,
    watch,
    yearly_report,
)
from jukinet.cli.output import show

_EXIT_CODES: Final = (
    "Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 no answer from the node, 4 not allowed to this "
    "identity, 5 a configuration, certificate or key file cannot be used, 6 the database cannot be used, 7 "
    "the disk did not keep what was written, 8 a witness contradicts the ledger."
)

app = typer.Typer(
    name="jukinet",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help=f"The resident registry network (住民基本台帳ネットワークシステム) as a mesh of gRPC nodes.\n\n{_EXIT_CODES}",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        show(__version__)
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and stop.", callback=_show_version, is_eager=True)
    ] = False,
) -> None: ...


app.command()(demo_command.demo)
app.add_typer(mesh.app, name="mesh")
app.add_typer(node.app, name="node")
app.add_typer(nation.app, name="nation")
app.command()(submit_command.submit)
app.command()(inquire.inquire)
app.command("verify-identity")(inquire.verify_identity)
app.command()(inquire_batch.inquire_batch)
app.add_typer(batch_job.app, name="batch-job")
app.add_typer(operator.app, name="operator")
app.add_typer(watch.app, name="watch")
app.command()(recalls.recalls)
app.add_typer(admin.app, name="admin")
admin.app.command()(release.release)
admin.app.command()(bodies.destroy_key)
admin.app.command()(frozen.frozen)
admin.app.command()(frozen.release_operator)
admin.app.command("recalls")(recalls.unacknowledged)
admin.app.command()(drift.digest)
admin.app.command()(drift.drift)
admin.app.add_typer(drift.certificate, name="certificate")
app.add_typer(ledger.app, name="ledger")
ledger.app.command()(yearly_report.report)
ledger.app.command("verify-usage")(verify_usage.verify_usage)
app.add_typer(disclosure.app, name="disclosure")
disclosure.app.command()(disclosure_requests.request)
disclosure.app.command()(disclosure_requests.extend)
disclosure.app.command()(disclosure_requests.answer)
disclosure.app.command()(disclosure_requests.correct)
disclosure.app.command()(disclosure_requests.investigate)
disclosure.app.command("answer-correction")(disclosure_requests.answer_correction)
disclosure.app.command()(disclosure_requests.requests)
ledger.app.command()(bodies.open_body)
app.add_typer(statutes.app, name="statutes")
statutes.app.command()(statute_acts.propose)
statutes.app.command()(statute_acts.approve)
statutes.app.command()(statute_acts.editions)
app.add_typer(traces.app, name="traces")
app.command()(traces.trace)
app.command()(simulate.simulate)
app.add_typer(bench.app, name="bench")


def main() -> None:
    """Entry point of the command."""
    # gRPC itself tells of every connection that ends, on standard error and in the logs of nodes, unless it is told not
    # to before it is imported.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    app()
