"""How the command line speaks: exit codes, plain sentences for people, one JSON object for programs.

Rule: standard output carries the result and nothing else; progress and errors go to standard error. No traceback and no
personal data stands in an error: refusals are told by reason, fixed text and error id, as the node told them.
"""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import Any, Final, NoReturn

import typer


class Exit(IntEnum):
    """Exit codes of every command; `docs/operations.md` lists them."""

    OK = 0
    """Done; all held."""
    REFUSED = 1
    """Refused or failed: the text says which rule or check did not hold."""
    USAGE = 2
    """The command line, or a file that it names, is not what it should be."""
    UNREACHABLE = 3
    """No answer from the node: not running, stopping, full, or not the one expected; or the operator has to log on.
    Trying again may help."""
    FORBIDDEN = 4
    """The law, or the table of callers, does not let this identity do that. Trying again does not help."""
    CONFIGURATION = 5
    """A configuration, certificate, key, policy or directory file cannot be used; the node did not start."""
    DATABASE = 6
    """The database cannot be used: held by another process, of another schema, full or corrupt."""
    STORAGE = 7
    """The disk did not keep what it was given (a failed fsync). Look at the disk, then start the node again."""
    CONTRADICTED = 8
    """A witness contradicts the node's ledger, or a witness's key and database do not fit together: people decide."""


JSON_HELP: Final = "Print one JSON object instead of text."


class Failure(Exception):
    """Ends a command: the text is for people, the code for programs."""

    def __init__(self, text: str, code: Exit = Exit.REFUSED) -> None:
        super().__init__(text)
        self.code = code


@contextmanager
def failures_told() -> Iterator[None]:
    """Turns a Failure into its sentence on standard error and its exit code.

    Raises:
        typer.Exit: instead of Failure.
    """
    try:
        yield
    except Failure as failure:
        tell(str(failure))
        raise typer.Exit(failure.code) from None


def tell(text: str) -> None:
    """Writes a line for people to standard error."""
    print(text, file=sys.stderr, flush=True)


def show(text: str) -> None:
    """Writes a line of the result to standard output."""
    print(text, flush=True)


def show_json(result: Any) -> None:
    """Writes the result as one JSON object, Japanese text as it is."""
    show(json.dumps(result, ensure_ascii=False, indent=2))


def show_table(headers: list[str], rows: list[list[str]]) -> None:
    """Writes a table with columns as wide as they need to be; wide when nobody's terminal narrows it."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*headers, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console = Console(soft_wrap=True)
    if not console.is_terminal:
        console = Console(width=240)
    console.print(table)


def require_new_file(path: Path) -> None:
    """Makes sure that a result can be written to a file without taking the place of another.

    Raises:
        Failure: it exists, or its folder does not.
    """
    if os.path.lexists(path):
        raise Failure(f"{path} exists already and is left alone; name another file.", Exit.USAGE)
    if not path.absolute().parent.is_dir():
        raise Failure(f"{path.parent} is no folder; name a file in one that exists.", Exit.USAGE)


def fail_call(error: BaseException, target: str, *, then: str = "", otherwise: Exit = Exit.REFUSED) -> NoReturn:
    """Ends a command whose call failed.

    Args:
        error: what gRPC raised.
        target: host:port that was called.
        then: a last line, such as what came of the call before.
        otherwise: the exit code of a refusal for which `exit_of` has none of its own.

    Raises:
        Failure: with the node's reason, or with what kept the call from the node.
    """
    from jukinet.mesh.errors import error_id_of, facts_of, limit_of, name_of, reason_of, violations_of

    reason = reason_of(error)
    if reason is None:
        status = getattr(error, "code", lambda: None)()
        text = _no_answer(target, status.name if status else type(error).__name__)
        raise Failure("\n".join(filter(None, (text, then))), Exit.UNREACHABLE) from None
    lines = [f"{name_of(reason)}: {facts_of(reason).message}"]
    lines += [f"  {violation.field}: {violation.rule}" for violation in violations_of(error)]
    if limit := limit_of(error):
        lines.append(f"  {limit}: {'wait a minute' if limit.endswith('_minute') else 'wait until midnight in Japan'}")
    if error_id := error_id_of(error):
        lines.append(f"  error id {error_id}")
    if then:
        lines.append(then)
    raise Failure("\n".join(lines), exit_of(error, otherwise)) from None


def exit_of(error: Any, otherwise: Exit = Exit.REFUSED) -> Exit:
    """Tells which exit code a refusal by a node stands for; `otherwise` where its status has none of its own."""
    import grpc

    from jukinet._pb.jukinet.errors.v1.errors_pb2 import ERROR_REASON_OPERATOR_PROOF_EXPIRED
    from jukinet.mesh.errors import reason_of

    if reason_of(error) == ERROR_REASON_OPERATOR_PROOF_EXPIRED:  # who logs on again is answered
        return Exit.UNREACHABLE
    match error.code():
        case grpc.StatusCode.PERMISSION_DENIED | grpc.StatusCode.UNAUTHENTICATED:
            return Exit.FORBIDDEN
        case grpc.StatusCode.UNAVAILABLE | grpc.StatusCode.RESOURCE_EXHAUSTED:
            return Exit.UNREACHABLE
        case grpc.StatusCode.INVALID_ARGUMENT:
            return Exit.USAGE
        case _:
            return otherwise


def _no_answer(target: str, code: str) -> str:
    return (
        f"No answer from {target} ({code}). Check that the node runs there, that its certificate is the one of the "
        "node that you mean to call, and that both sides trust the same CAs."
    )
