"""`jukinet submit`: a municipal system (既存住基システム) hands its changes to its communication server (CS)."""

import asyncio
import secrets
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jukinet.cli.connect import Target, TlsOptions, by_files, channel_to, in_mesh
from jukinet.cli.layout import Mesh
from jukinet.cli.lines_settled import LinesSettled
from jukinet.cli.options import Certificate, Key, MeshDirectory, NodesCa, Server, To
from jukinet.cli.output import JSON_HELP, Exit, Failure, failures_told, show, show_json, tell

if TYPE_CHECKING:
    from jukinet.cli.answers_file import AnswersFile
    from jukinet.cli.submit import Report


def submit(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV (UTF-8 or CP932) or JSON lines.")],
    mesh: MeshDirectory = None,
    municipality: Annotated[
        str | None, typer.Option(metavar="CODE", help="Whose changes these are, with --mesh.")
    ] = None,
    to: To = None,
    server: Server = None,
    certificate: Certificate = None,
    key: Key = None,
    nodes_ca: NodesCa = None,
    rejects: Annotated[
        Path | None, typer.Option(help="Where refused lines go; FILE with .rejects before its ending by default.")
    ] = None,
    answers: Annotated[
        Path | None,
        typer.Option(help="Where the version and the sequence of every accepted line go, as they come in; a CSV file."),
    ] = None,
    seconds: Annotated[float, typer.Option(help="How long to go on trying.", metavar="N")] = 3600.0,
    trace: Annotated[bool, typer.Option("--trace", help="Trace every change; the summary names one trace.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    """Send a municipality's changes to its communication server, in the order of the file.

    Lines that are refused go to a reject file, which can be corrected and submitted again. With --answers, a file gets
    the version of every accepted line: a move-out's has to stand on the move-out certificate. No file is overwritten.
    After any interruption submit the same file again, and name another --answers file, which gets all answers: what
    was accepted before counts as repeated, and nothing is doubled.

    Exit codes: 0 every line accepted, 1 lines were refused, 2 the file cannot be read, or the reject file or the
    answers file exists, 3 the server did not answer in time, 4 the server does not take changes from this certificate.

    Example: jukinet submit load/131016.csv --mesh mesh --municipality 131016 --answers load/131016.answers.csv
    """
    with failures_told():
        options = TlsOptions(to, server, certificate, key, nodes_ca)
        target = _target(mesh, municipality, options)
        traces = _Traces() if trace else None
        rejects = rejects or _rejects_beside(file)
        if answers == rejects:
            raise Failure(f"{answers} cannot be both the reject file and the answers file.", Exit.USAGE)
        report = asyncio.run(_submit(file, target, rejects, answers, seconds, traces))
        _show(report, answers if report.accepted + report.repeated else None, traces, as_json)
        if report.refused:
            raise typer.Exit(Exit.REFUSED)


class _Traces:
    """Starts a trace for each change and remembers the first."""

    def __init__(self) -> None:
        self.first = ""

    def start(self, _: Any) -> str:
        """Gives the W3C traceparent of a new trace."""
        trace = secrets.token_hex(16)
        self.first = self.first or trace
        return f"00-{trace}-{secrets.token_hex(8)}-01"


def _target(mesh: Path | None, municipality: str | None, options: TlsOptions) -> Target:
    if mesh is None:
        return by_files(options)
    from jukinet.mesh.identity import Identity, IdentityError

    if municipality is None:
        raise Failure("With --mesh say --municipality CODE as well: whose changes these are.", Exit.USAGE)
    try:
        system = Identity("municipal-system", municipality)
    except IdentityError:
        raise Failure(f"{municipality} is not the six-digit code of a municipality.", Exit.USAGE) from None
    return in_mesh(Mesh.open(mesh), f"municipality-{municipality}", system)


def _rejects_beside(file: Path) -> Path:
    return file.with_suffix(f".rejects{file.suffix}")


def _kept_in(answers: Path | None, file: Path) -> "AbstractContextManager[AnswersFile | None]":
    from jukinet.cli.answers_file import AnswersFile
    from jukinet.cli.change_file import open_change_file

    return AnswersFile(answers, open_change_file(file)) if answers else nullcontext()


async def _submit(
    file: Path, target: Target, rejects: Path, answers: Path | None, seconds: float, traces: _Traces | None
) -> "Report":
    from jukinet.cli import submit as submission
    from jukinet.cli.answers_file import AnswersFileExists
    from jukinet.cli.change_file import ChangeFileRefused
    from jukinet.cli.reject_file import RejectFileExists
    from jukinet.cli.retry import CallRefused, DeadlinePassed

    progress = LinesSettled()
    async with channel_to(target) as channel:
        try:
            with progress, _kept_in(answers, file) as kept:
                return await submission.submit(
                    file,
                    channel,
                    rejects_path=rejects,
                    timeout_seconds=seconds,
                    traceparent_for=traces.start if traces else None,
                    progress=progress.settled,
                    on_refused=progress.refused,
                    answered=kept.add if kept else None,
                )
        except (ChangeFileRefused, RejectFileExists, AnswersFileExists) as error:
            raise Failure(f"{file}: {error}", Exit.USAGE) from None
        except DeadlinePassed as error:
            settled = error.report.lines if error.report else 0
            again = f"Submit the same again, nothing is doubled. {settled} lines were settled."
            raise Failure(f"{target.address}: {error}. {again}", Exit.UNREACHABLE) from None
        except CallRefused as error:
            raise Failure(str(error), Exit.FORBIDDEN) from None
        except submission.AnswerOutOfOrder as error:
            raise Failure(f"{target.address} breaks the contract: {error}") from None
        except OSError as error:
            raise Failure(f"{error.filename or file}: {error.strerror or error}", Exit.USAGE) from None


def _show(report: "Report", answers: Path | None, traces: _Traces | None, as_json: bool) -> None:
    if as_json:
        shown = {
            "lines": report.lines,
            "accepted": report.accepted,
            "repeated": report.repeated,
            "refused": report.refused,
            "first_sequence": report.first_sequence,
            "last_sequence": report.last_sequence,
            "rejects": str(report.rejects) if report.rejects else None,
            "answers": str(answers) if answers else None,
        }
        show_json({**shown, "trace": traces.first} if traces else shown)
        return
    show(f"{report.lines} lines: {report.accepted} accepted, {report.repeated} repeated")
    if report.last_sequence:
        show(f"sequences {report.first_sequence} to {report.last_sequence} of the municipality's stream")
    for reason, count in report.refused.items():
        show(f"refused, {reason}: {count}")
    if report.rejects:
        tell(f"Refused lines are in {report.rejects}: correct them there and submit that file.")
    if answers:
        tell(f"The versions of the accepted lines are in {answers}.")
    if traces and traces.first:
        show(f"trace {traces.first}")
