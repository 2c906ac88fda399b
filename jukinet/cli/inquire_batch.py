"""`jukinet inquire-batch`: an agency's client for many persons (一括提供)."""

import asyncio
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
    numbers_of,
    signer_of,
    target_of,
)
from jukinet.cli.lines_settled import LinesSettled
from jukinet.cli.options import Certificate, Key, MeshDirectory, NodesCa, Server, To
from jukinet.cli.output import JSON_HELP, Exit, Failure, failures_told, show, show_json, tell
from jukinet.cli.source_check import FreshnessKey, SourceCheck

if TYPE_CHECKING:
    from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2 import InquireBatchResponse
    from jukinet.cli.batch_answers import BatchAnswers
    from jukinet.cli.batch_stream import Message


def inquire_batch(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="Who is asked about: JSON lines as for `inquire --subject`, or CSV in UTF-8 with the same columns.",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            metavar="FILE",
            help="Answers, a JSON line each, readable for you alone. If it was begun by the same batch, that goes on.",
        ),
    ],
    purpose: Purpose,
    case: Case,
    operator: Operator,
    field: Fields,
    mesh: MeshDirectory = None,
    agency: AgencyId = None,
    gateway: Gateway = None,
    to: To = None,
    server: Server = None,
    certificate: Certificate = None,
    key: Key = None,
    nodes_ca: NodesCa = None,
    operator_key: OperatorKey = None,
    max_age: MaxAge = 0,
    seconds: Annotated[float, typer.Option(metavar="N", help="How long the batch may take.")] = 3600.0,
    for_watch: ForWatch = False,
    held: HeldAnswers = None,
    seal_until: SealUntil = "",
    freshness_key: FreshnessKey = None,
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    """Ask for items of the identity records (本人確認情報) of many persons in one affair (一括提供).

    Each person is one question with one ledger entry and one receipt. Answers come in the order of the file and are on
    disk before more is asked for. Interrupt it at any time: the same command goes on behind the last answer,
    at another gateway or by another operator too. With another file, row, case, item, --max-age, --for-watch or
    --seal-until, or for another agency, it does not.

    A wrong line has a problem in the place of its answer and stops no other. Mend such lines in a file of their own,
    and ask about those persons with another --out.

    With --held, an agency that asks about the same persons again, as every month, gets only what changed since; whoever
    did not change is on record all the same, and the values stand in the earlier file.

    Exit codes: 0 every record is answered, 1 some records are malformed or were refused (their lines say why), or an
    answer contradicts itself or is not as fresh as it has to be by the center's word, 2 a file is not what it should
    be, 3 not complete yet (no answer, interrupted, or to be logged on again), 4 not allowed by law.

    Example: jukinet inquire-batch people.jsonl --out answers.jsonl --mesh mesh --agency pension-service --purpose B1-77
    --case 2026-0042 --operator op-7 --field address
    """
    with failures_told():
        target = target_of(mesh, agency, gateway, TlsOptions(to, server, certificate, key, nodes_ca))
        signing = signer_of(target, mesh, agency, operator, operator_key)
        check = SourceCheck(mesh, freshness_key)
        from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2 import InquireBatchRequest, InquiryContext
        from jukinet.cli.batch_answers import BatchAnswers
        from jukinet.cli.batch_stream import BatchStream
        from jukinet.cli.held_marks import read_marks
        from jukinet.cli.subject import check_subjects

        # With another of these the rest would be answered otherwise (older, without handles, shown at once) or be on
        # record under an affair that the file does not tell. Another gateway or operator changes nothing of it.
        batch = {
            "agency": signing.agency,
            "questions_sha256": check_subjects(file),
            "purpose": purpose,
            "case": case,
            "fields": sorted({each.value for each in field}),
            "max_age": max_age,
            "for_watch": for_watch,
            "sealed_until": seal_until,
        }
        marks = read_marks(held)
        with BatchAnswers(out, batch) as answers:
            progress = LinesSettled()
            run = _Run(file, marks, answers, progress)
            asked = InquireBatchRequest(
                context=InquiryContext(
                    purpose=purpose, case_reference=case, operator=operator, maximum_age_seconds=max_age
                ),
                fields=numbers_of(field),
                for_watch=for_watch,
                sealed_until=seal_until,
            )
            stream = BatchStream(
                asked, signing, check, messages=run.messages, keep=run.keep, kept=lambda: answers.answered
            )
            with progress:
                asyncio.run(stream.ask(target, seconds))
        if as_json:
            told = {"matches": run.matches, "unchanged": run.unchanged, "faulty": answers.faulty}
            show_json({"answered": answers.answered, **told})
        else:
            matches = f"{run.matches} matches, {run.unchanged} of them unchanged"
            show(f"{answers.answered} records are answered in {out}, {answers.faulty} of them faulty; now {matches}")
        if answers.faulty:
            tell("Mend lines with a problem in a file of their own, and ask about them with another --out.")
            raise typer.Exit(Exit.REFUSED)


class _Run:
    """One run of the command: it keeps the answers to what was not answered yet."""

    def __init__(
        self, file: Path, marks: Mapping[bytes, bytes], answers: "BatchAnswers", progress: LinesSettled
    ) -> None:
        self._file = file
        self._marks = marks
        self._answers = answers
        self._progress = progress
        self.matches = 0
        self.unchanged = 0

    def messages(self) -> "Generator[Message, None, None]":
        """What is not answered yet."""
        from jukinet.cli.batch_stream import messages_of
        from jukinet.cli.held_marks import with_marks
        from jukinet.cli.subject import read_subjects

        after = self._answers.last_line
        left = ((number, who) for number, who in read_subjects(self._file) if number > after)
        return messages_of(with_marks(left, self._marks))

    def keep(self, message: "Message", response: "InquireBatchResponse | None") -> None:
        """Keeps what was answered about each record of a message, or what is wrong with it."""
        from jukinet.cli.batch_answers import answer_line, shown

        given = iter(response.answers if response else ())
        lines = [
            {"line": number, "problem": str(who)}
            if isinstance(who, Failure)
            else answer_line(number, who, shown(next(given)))
            for number, who in message.records
        ]
        self.unchanged += sum("unchanged" in line for line in lines)
        self.matches += sum(line.get("outcome") == "INQUIRY_OUTCOME_MATCH" for line in lines)
        self._answers.keep(lines)
        self._progress.settled(self._answers.answered)
