"""`jukinet batch-job`: a batch (一括提供) as a signed file, ordered here, asked there, checked by a third."""

import asyncio
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from jukinet.cli.connect import TlsOptions
from jukinet.cli.inquire import (
    AgencyId,
    Case,
    Fields,
    ForWatch,
    Gateway,
    HeldAnswers,
    MaxAge,
    Operator,
    OperatorKey,
    Purpose,
    SealUntil,
    operator_key_in,
    signer_of,
    target_of,
)
from jukinet.cli.layout import Mesh
from jukinet.cli.lines_settled import LinesSettled
from jukinet.cli.options import Certificate, Key, MeshDirectory, NodesCa, Server, To
from jukinet.cli.output import JSON_HELP, Exit, Failure, failures_told, show, show_json
from jukinet.cli.source_check import FreshnessKey, SourceCheck

if TYPE_CHECKING:
    from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2 import InquireBatchResponse
    from jukinet.cli.batch_answers import BatchAnswers
    from jukinet.cli.batch_stream import Message

app = typer.Typer(no_args_is_help=True, help="A batch (一括提供) as a signed file, for any number of persons.")

JobFile = Annotated[Path, typer.Argument(metavar="JOB", help="File that `batch-job sign` wrote.")]
OrderedBy = Annotated[
    Path | None,
    typer.Option(
        "--ordered-by",
        metavar="FILE",
        help="Public key (PEM) of the operator who ordered the job; with --mesh the one made there.",
    ),
]
_RUN_OUT = "The order runs out and nothing is asked under it any more: order those who are left in a job of their own."
AsJson = Annotated[bool, typer.Option("--json", help=JSON_HELP)]


@app.command()
def sign(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Who is asked about, as for `inquire-batch`.")],
    out: Annotated[Path, typer.Option("--out", metavar="JOB", help="The job, a new file, readable for you alone.")],
    agency: AgencyId,
    purpose: Purpose,
    case: Case,
    operator: Operator,
    field: Fields,
    mesh: MeshDirectory = None,
    operator_key: OperatorKey = None,
    max_age: MaxAge = 0,
    for_watch: ForWatch = False,
    held: HeldAnswers = None,
    seal_until: SealUntil = "",
    as_json: AsJson = False,
) -> None:
    """Order a batch: puts the persons and the affair into one file, which the operator who orders signs.

    No network is needed. The order holds for 31 days. If one line names nobody in a way of the contract, there is no
    job. What is held already (--held) is part of the order, so whoever checks the result sees of whom nothing changed.

    Exit codes: 0 signed, 1 some lines are wrong, 2 a file is not what it should be.

    Example: jukinet batch-job sign people.jsonl --out job --mesh mesh --agency pension-service --purpose B1-77
    --case 2026-0042 --operator op-7 --field address
    """
    with failures_told():
        from jukinet.cli.held_marks import read_marks, with_marks
        from jukinet.cli.job_file import write_job
        from jukinet.cli.subject import read_subjects
        from jukinet.ledger.verify.batch_job import Order, format_time
        from jukinet.mesh.clock import now
        from jukinet.mesh.identity import Identity, IdentityError
        from jukinet.mesh.pki import PkiError, load_signing_key

        try:
            key = load_signing_key(operator_key or operator_key_in(mesh, agency, operator))
            ordering = Mesh.open(mesh).agency(agency or "") if mesh else Identity("agency", agency or "")
            order = Order(
                agency=ordering.uri,
                purpose=purpose,
                case=case,
                ordered_by=operator,
                ordered_at=format_time(now()),
                fields=[each.name for each in dict.fromkeys(field)],
                max_age=max_age,
                for_watch=for_watch,
                sealed_until=seal_until,
                persons=0,
                persons_sha256="",
            )
        except PkiError as error:
            raise Failure(str(error), Exit.CONFIGURATION) from None
        except IdentityError as error:
            raise Failure(f"--agency: {error}", Exit.USAGE) from None
        order = write_job(out, order, with_marks(read_subjects(file), read_marks(held)), key)
        if as_json:
            show_json({"persons": order.persons, "ordered_at": order.ordered_at})
        else:
            show(f"{order.persons} persons are in {out}, signed")


@app.command()
def run(
    job: JobFile,
    out: Annotated[
        Path,
        typer.Option("--out", metavar="RESULT", help="The result, readable for you alone; one that was begun goes on."),
    ],
    operator: Operator,
    ordered_by: OrderedBy = None,
    mesh: MeshDirectory = None,
    gateway: Gateway = None,
    to: To = None,
    server: Server = None,
    certificate: Certificate = None,
    key: Key = None,
    nodes_ca: NodesCa = None,
    operator_key: OperatorKey = None,
    seconds: Annotated[float, typer.Option(metavar="N", help="How long this may take.")] = 86400.0,
    freshness_key: FreshnessKey = None,
    as_json: AsJson = False,
) -> None:
    """Ask a gateway about the persons of a job; --operator is the one who does, and his key signs each message.

    First the job is checked: who ordered it, and that nothing in it was changed. Answers come in the order of the job,
    each with its receipt, signed by the gateway. Interrupt it (Ctrl-C, SIGTERM) or kill it at any time: the same
    command goes on behind the last answer.

    Exit codes: 0 every person is answered, 1 some persons were refused (their lines say why), the job does not hold, or
    an answer contradicts itself or is not as fresh as it has to be by the center's word, 2 a file is not what it should
    be, 3 not complete yet (no answer, interrupted, or to be logged on again), 4 not allowed by law.

    Example: jukinet batch-job run job --out result --mesh mesh --operator op-8
    """
    from jukinet.cli.job_check import checked, copy_of

    with failures_told(), copy_of(job, out) as copy:
        head = checked(job, copy, mesh, ordered_by)
        agency = head.order.agency.rpartition("/")[2]
        target = target_of(mesh, agency, gateway, TlsOptions(to, server, certificate, key, nodes_ca))
        signing = signer_of(target, mesh, agency, operator, operator_key)
        check = SourceCheck(mesh, freshness_key)
        if signing.agency != head.order.agency:
            raise Failure(f"The job was ordered by {head.order.agency}, the certificate is that of {signing.agency}.")
        from jukinet.cli.batch_answers import BatchAnswers
        from jukinet.cli.batch_stream import GOES_ON, BatchStream
        from jukinet.ledger.verify.batch_result import FORMAT
        from jukinet.mesh.clock import now

        left = (head.order.ends - now()).total_seconds()
        asked = head.order.question()
        asked.context.operator, asked.job = operator, head.digest
        with BatchAnswers(out, {"job": head.digest.hex()}, kind=FORMAT, closed_by="message") as answers:
            progress = LinesSettled(head.order.persons)
            work = _Work(job, copy, answers, operator, progress)
            stream = BatchStream(
                asked, signing, check, messages=work.messages, keep=work.keep, kept=lambda: answers.answered
            )
            with progress:
                asyncio.run(stream.ask(target, min(seconds, left), late=_RUN_OUT if left < seconds else GOES_ON))
        if as_json:
            told = {"matches": work.matches, "unchanged": work.unchanged, "refused": answers.faulty}
            show_json({"answered": answers.answered, **told})
        else:
            matches = f"{work.matches} matches, {work.unchanged} of them unchanged"
            show(f"{answers.answered} persons are answered, {answers.faulty} of them refused; now {matches}")
        if answers.faulty:
            raise typer.Exit(Exit.REFUSED)


@app.command()
def verify(
    job: JobFile,
    result: Annotated[Path, typer.Argument(metavar="RESULT", help="File that `batch-job run` wrote.")],
    ordered_by: Annotated[
        Path, typer.Option("--ordered-by", metavar="FILE", help="Public key (PEM) of the operator who ordered the job.")
    ],
    ledger_key: Annotated[
        list[Path],
        typer.Option("--ledger-key", metavar="FILE", help="Public key of the gateway's ledger; repeat for more."),
    ],
    freshness_key: Annotated[
        Path | None,
        typer.Option("--freshness-key", metavar="FILE", help="The center's public key (PEM); by default unchecked."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check a result offline: every person of the job is answered in his place, by a gateway, on record, unchanged.

    With --freshness-key it is checked too that the center said how fresh each answer is, and that this is as ordered.

    Exit codes: 0 sound and complete, 1 not so (the report says what), 2 a file cannot be read as what it should be.

    Example: jukinet batch-job verify job result --ordered-by op-7.pub --ledger-key mesh/ledger-gateway-1.vkey
    """
    from jukinet.ledger.verify.batch_result import verify_batch

    report = verify_batch(job, result, ordered_by, ledger_key, freshness_key)
    show(report.to_json() if as_json else report.to_text().rstrip("\n"))
    raise typer.Exit(report.findings.exit_code)


class _Work:
    """One run of a job, of which a copy was checked: it keeps the answers to what was not answered yet."""

    def __init__(
        self, job: Path, copy: BinaryIO, answers: "BatchAnswers", operator: str, progress: LinesSettled
    ) -> None:
        self._job = job
        self._copy = copy
        self._answers = answers
        self._operator = operator
        self._progress = progress
        self.matches = 0
        self.unchanged = 0

    def messages(self) -> "Generator[Message, None, None]":
        """What is not answered yet; one of these reads at a time. Raises Failure."""
        from jukinet.cli.batch_stream import messages_of
        from jukinet.ledger.verify.batch_job import person_lines, read_head, read_person
        from jukinet.ledger.verify.findings import Unsound

        after = self._answers.last_line
        try:
            self._copy.seek(0)
            read_head(self._copy)
            people = ((number, read_person(line)) for number, line in person_lines(self._copy) if number > after)
            yield from messages_of(people)
        except Unsound as error:
            raise Failure(f"{self._job} is no job that may be carried out: {error}.") from None
        except OSError as error:
            raise Failure(f"{self._job}: {error.strerror}.", Exit.USAGE) from None

    def keep(self, message: "Message", response: "InquireBatchResponse | None") -> None:
        """Keeps the answers about the persons of a message, and the gateway's signature on them.

        Raises:
            Failure: a receiver could not verify them.
        """
        if response is None:
            return
        _require_verifiable(response)
        from jukinet.cli.batch_answers import answer_line, shown

        told = shown(response)
        given = zip(message.records, message.persons, told.pop("answers"), strict=True)
        lines = [answer_line(number, person, each) for (number, _), person, each in given]
        self.unchanged += sum("unchanged" in line for line in lines)
        self.matches += sum(line.get("outcome") == "INQUIRY_OUTCOME_MATCH" for line in lines)
        self._answers.keep([*lines, {"line": lines[-1]["line"], "operator": self._operator, "message": told}])
        self._progress.settled(self._answers.answered)


def _require_verifiable(response: "InquireBatchResponse") -> None:
    known = type(response)()
    known.CopyFrom(response)
    known.DiscardUnknownFields()
    if not response.signature:
        raise Failure("The gateway signs no answers of jobs; it is older than this program.", Exit.CONFIGURATION)
    if known.ByteSize() != response.ByteSize():
        raise Failure("The gateway's answers hold what this program does not know; it is too old.", Exit.CONFIGURATION)
