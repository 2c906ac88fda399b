"""`jukinet inquire-batch`: an agency's client for many persons (一括提供)."""

import asyncio
import hashlib
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from jukinet.cli.connect import Target, TlsOptions, channel_to, traced
from jukinet.cli.inquire import (
    AgencyId,
    Case,
    Field,
    Fields,
    ForWatch,
    Gateway,
    MaxAge,
    Operator,
    OperatorKey,
    Purpose,
    context_of,
    numbers_of,
    signer_of,
    target_of,
)
from jukinet.cli.lines_settled import LinesSettled
from jukinet.cli.options import Certificate, Key, MeshDirectory, NodesCa, Server, To
from jukinet.cli.output import JSON_HELP, Exit, Failure, failures_told, show, show_json

if TYPE_CHECKING:
    from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2 import BatchAnswer, InquireBatchRequest, Subject
    from jukinet.cli.batch_answers import BatchAnswers
    from jukinet.cli.operator_key import Signing

TOGETHER: Final = 64
"""Persons in one message; the contract allows no more."""
_AHEAD: Final = 8
"""Messages that are sent before the first of them is answered."""


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
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    """Ask for items of the identity records (本人確認情報) of many persons in one affair (一括提供).

    Each person is one question with one ledger entry and one receipt. Answers come in the order of the file and are on
    disk before more is asked for. Interrupt it at any time: the same command goes on behind the last answer.

    Exit codes: 0 every record is answered, 1 some records are malformed or were refused (their lines say why), 2 a file
    is not what it should be, 3 no answer, 4 not allowed by law.

    Example: jukinet inquire-batch people.jsonl --out answers.jsonl --mesh mesh --agency pension-service --purpose B1-77
    --case 2026-0042 --operator op-7 --field address
    """
    with failures_told():
        target = target_of(mesh, agency, gateway, TlsOptions(to, server, certificate, key, nodes_ca))
        signing = signer_of(target, mesh, agency, operator, operator_key)
        from jukinet.cli.batch_answers import BatchAnswers

        batch = {
            "questions_sha256": _digest(file),
            "purpose": purpose,
            "fields": sorted({each.value for each in field}),
        }
        with BatchAnswers(out, batch) as answers:
            progress = LinesSettled()
            affair = (purpose, case, operator, max_age)
            run = _Run(file, answers, field, affair, signing, progress, for_watch=for_watch)
            with progress:
                asyncio.run(run.ask(target, seconds))
        if as_json:
            show_json({"answered": answers.answered, "matches": run.matches, "faulty": run.faulty})
        else:
            show(f"{answers.answered} records are answered in {out}; now {run.matches} matches, {run.faulty} faulty")
        if run.faulty:
            raise typer.Exit(Exit.REFUSED)


class _Run:
    """One run of the command: it asks about what is not answered yet."""

    def __init__(
        self,
        file: Path,
        answers: "BatchAnswers",
        fields: list[Field],
        affair: tuple[str, str, str, int],
        signing: "Signing",
        progress: LinesSettled,
        *,
        for_watch: bool,
    ) -> None:
        self._file = file
        self._answers = answers
        self._affair = affair
        self._signing = signing
        self._progress = progress
        self._for_watch = for_watch
        self._fields = numbers_of(fields)
        self.matches = 0
        self.faulty = 0

    async def ask(self, target: Target, seconds: float) -> None:
        """Asks until every record is answered.

        Raises:
            Failure: refused for good, or no answer in time.
        """
        from jukinet.cli.retry import CallRefused, DeadlinePassed, keep_trying

        with traced("agency") as interceptors:
            async with channel_to(target, interceptors) as channel:
                try:
                    await keep_trying(
                        lambda left: self._attempt(channel, left), seconds, lambda: self._answers.answered
                    )
                except CallRefused as refused:
                    _fail(refused)
                except DeadlinePassed as passed:
                    raise Failure(
                        f"No answer from {target.address}: {passed}. What came is kept; the same command goes on.",
                        Exit.UNREACHABLE,
                    ) from None

    async def _attempt(self, channel: Any, seconds: float) -> None:
        """One stream, from behind the last answer on."""
        from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2_grpc import InquiryServiceStub
        from jukinet.mesh.client import streaming

        messages = _messages(self._file, after=self._answers.last_line)
        sent: deque[_Message] = deque()
        room = asyncio.Semaphore(_AHEAD)

        async def requests() -> "AsyncIterator[InquireBatchRequest]":
            for message in messages:
                sent.append(message)
                if message.subjects:
                    await room.acquire()
                    yield self._request(message)

        call: Any = InquiryServiceStub(channel).InquireBatch(requests(), timeout=seconds)
        async with streaming(call):
            async for response in call:
                await asyncio.to_thread(self._keep, sent, response.answers)
                room.release()
        await asyncio.to_thread(self._keep_faulty, sent)

    def _request(self, message: "_Message") -> "InquireBatchRequest":
        from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2 import InquireBatchRequest

        request = InquireBatchRequest(
            context=context_of(*self._affair, None),
            subjects=message.subjects,
            fields=self._fields,
            for_watch=self._for_watch,
        )
        return self._signing(request)

    def _keep(self, sent: "deque[_Message]", answers: "Iterable[BatchAnswer]") -> None:
        """Keeps the answers to the first message that holds a question, and what is wrong with those before it."""
        self._keep_faulty(sent)
        self._keep_message(sent.popleft(), answers)

    def _keep_faulty(self, sent: "deque[_Message]") -> None:
        while sent and not sent[0].subjects:
            self._keep_message(sent.popleft(), ())

    def _keep_message(self, message: "_Message", answers: "Iterable[BatchAnswer]") -> None:
        shown = iter(answers)
        lines = [
            {"line": number, **(_shown(next(shown)) if problem is None else {"problem": problem})}
            for number, problem in message.records
        ]
        self.matches += sum(line.get("outcome") == "INQUIRY_OUTCOME_MATCH" for line in lines)
        self.faulty += sum("problem" in line or "refusal" in line for line in lines)
        self._answers.keep(lines)
        self._progress.settled(self._answers.answered)


class _Message:
    """Records that travel together, and whom the sound ones among them name."""

    def __init__(self, records: "list[tuple[int, Subject | Failure]]") -> None:
        self.records = [(number, str(who) if isinstance(who, Failure) else None) for number, who in records]
        self.subjects = [who for _, who in records if not isinstance(who, Failure)]


def _messages(file: Path, *, after: int) -> Iterator[_Message]:
    from jukinet.cli.subject import read_subjects

    left = ((number, who) for number, who in read_subjects(file) if number > after)
    while records := [*islice(left, TOGETHER)]:
        yield _Message(records)


def _shown(answer: "BatchAnswer") -> dict[str, Any]:
    from google.protobuf import json_format

    return json_format.MessageToDict(answer, preserving_proto_field_name=True)


def _digest(file: Path) -> str:
    try:
        with file.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()
    except OSError as error:
        raise Failure(f"{file}: {error.strerror}.", Exit.USAGE) from None


def _fail(refused: Any) -> None:
    import grpc

    forbidden = refused.code in (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED)
    code = Exit.FORBIDDEN if forbidden else Exit.USAGE
    raise Failure(f"{refused.reason or refused.code.name}: {refused}. What came is kept.", code) from None
