"""Submission of changes by a municipal system (既存住基システム) to its communication server.

Rule: nothing is lost and nothing is doubled. A line is settled only by the answer of the communication server or by its
own refusal here, and lines are settled in the order of the file. When the connection breaks, all that was sent and not
answered is sent again under the same message ids, which the communication server knows; and when the deadline passes,
the whole file may be submitted again for the same reason.

At most `window` lines are open at a time, so a file of any length needs the same memory.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from jukinet._pb.jukinet.intake.v1.intake_pb2 import (
    BrokenRule,
    ChangeAnswer,
    Refusal,
    Submission,
    SubmitChangeResponse,
    SubmitChangesRequest,
)
from jukinet._pb.jukinet.intake.v1.intake_pb2_grpc import IntakeServiceStub
from jukinet.cli.change_columns import column_at
from jukinet.cli.change_file import ChangeFile, ChangeLine, LineProblem, open_change_file
from jukinet.cli.reject_file import RejectFile
from jukinet.cli.retry import DeadlinePassed, Interrupted, keep_trying, name_of, passes, text_of
from jukinet.mesh.client import streaming
from jukinet.mesh.errors import code_of


@dataclass(frozen=True, slots=True)
class Report:
    """What became of a change file.

    `lines` counts settled records; `accepted` those registered by this run, `repeated` those that had been accepted
    before it; `refused` counts per error reason. Sequences are of the municipality's stream, 0 when nothing was
    accepted. `rejects` is the reject file, None when nothing was refused.
    """

    lines: int
    accepted: int
    repeated: int
    refused: dict[str, int]
    first_sequence: int
    last_sequence: int
    rejects: Path | None = None


class AnswerOutOfOrder(Exception):
    """The communication server answered something else than was asked next: it is not the server this program knows."""


async def submit(
    path: Path,
    channel: grpc.aio.Channel,
    *,
    rejects_path: Path,
    timeout_seconds: float = 3600.0,
    traceparent_for: Callable[[Submission], str] | None = None,
    progress: Callable[[int], None] | None = None,
    on_refused: Callable[[int, str, str], None] | None = None,
    answered: Callable[[str, SubmitChangeResponse], None] | None = None,
    window: int = 512,
) -> Report:
    """Submit a change file, line by line and in its order.

    Args:
        path: CSV or JSON lines, see `docs/intake.md`.
        channel: to the communication server of the municipality.
        rejects_path: where refused lines go; must not exist, and stays absent when nothing is refused.
        timeout_seconds: how long to go on trying, for the whole file.
        traceparent_for: gives the W3C trace context of one change, or an empty text.
        progress: is told how many lines are settled, after each one.
        on_refused: is told of each refused line: its number in the file, the column (or empty), the reason.
        answered: is told of each accepted line, when its answer has come and in the order of the file: its message id
            and its answer, whose `repeated` counts as in the report.
        window: most lines that are open at a time.

    Returns:
        What became of the lines.

    Raises:
        ChangeFileRefused: the file as a whole cannot be read; nothing was sent.
        RejectFileExists: `rejects_path` is taken; nothing was sent.
        DeadlinePassed: not all lines are settled; there is no reject file then.
        CallRefused: the communication server does not talk to this caller.
        AnswerOutOfOrder: the communication server breaks the contract.
        OSError: a file cannot be read or written.
    """
    source = await asyncio.to_thread(open_change_file, path)
    rejects = RejectFile(rejects_path, source)
    run = _Run(
        source,
        rejects,
        window,
        traceparent_for or (lambda _: ""),
        progress or (lambda _: None),
        on_refused or (lambda *_: None),
        answered or (lambda *_: None),
    )
    stub = IntakeServiceStub(channel)
    try:
        await keep_trying(lambda left: run.stream(stub.SubmitChanges(timeout=left)), timeout_seconds, run.settled)
        return run.report(await asyncio.to_thread(rejects.publish))
    except DeadlinePassed as late:
        late.report = run.report(None)
        raise
    finally:
        run.close()


@dataclass
class _Run:
    """The state of one submission of a file, over however many streams it takes."""

    source: ChangeFile
    rejects: RejectFile
    window: int
    traceparent_for: Callable[[Submission], str]
    progress: Callable[[int], None]
    on_refused: Callable[[int, str, str], None]
    answered: Callable[[str, SubmitChangeResponse], None]
    # Read and not settled, in the order of the file.
    open_lines: deque[ChangeLine] = field(default_factory=deque)
    at_end: bool = False
    # Lines up to here were sent on an earlier stream, so an answer "repeated" may be this run's own doing.
    sent_before: int = 0
    last_sent: int = 0
    accepted: int = 0
    repeated: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    first_sequence: int = 0
    last_sequence: int = 0

    def __post_init__(self) -> None:
        self._lines = self.source.lines()
        self._room = asyncio.Semaphore(self.window)
        self._heard = asyncio.Event()

    def settled(self) -> int:
        return self.accepted + self.repeated + self.refused.total()

    def report(self, rejects: Path | None) -> Report:
        counts = dict(sorted(self.refused.items()))
        return Report(
            self.settled(),
            self.accepted,
            self.repeated,
            counts,
            self.first_sequence,
            self.last_sequence,
            rejects,
        )

    def close(self) -> None:
        self._lines.close()
        self.rejects.discard()

    async def stream(self, call: Any) -> None:
        """Send and settle on one stream until the file is done, or raise what ended the stream."""
        self.sent_before = self.last_sent
        self._heard.clear()
        async with streaming(call):
            tasks = [asyncio.create_task(self._send(call)), asyncio.create_task(self._receive(call))]
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
                for task in tasks:
                    if task.done():
                        task.result()
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _send(self, call: Any) -> None:
        try:
            for line in tuple(self.open_lines):
                await self._write(call, line)
            while not self.at_end:
                await self._room.acquire()
                line_or_end = next(self._lines, None)
                if line_or_end is None:
                    self.at_end = True
                    break
                self.open_lines.append(line_or_end)
                self._settle_problems()
                await self._write(call, line_or_end)
            await call.done_writing()
        except (grpc.RpcError, asyncio.InvalidStateError):
            # The stream is gone; the receiving side learns why.
            return

    async def _write(self, call: Any, line: ChangeLine) -> None:
        if isinstance(line.content, Submission):
            self.last_sent = max(self.last_sent, line.number)
            traceparent = self.traceparent_for(line.content)
            await call.write(SubmitChangesRequest(submission=line.content, traceparent=traceparent))
            # The first line of a stream goes alone: a loaded server is not flooded again.
            await self._heard.wait()

    async def _receive(self, call: Any) -> None:
        while (response := await call.read()) is not grpc.aio.EOF:
            self._heard.set()
            for answer in response.answers:
                self._settle(answer)
                self._settle_problems()
        if self.open_lines or not self.at_end:
            raise Interrupted("the communication server ended the stream early")

    def _settle(self, answer: ChangeAnswer) -> None:
        line = self.open_lines[0] if self.open_lines else None
        asked = line.content if line else None
        kind = answer.WhichOneof("result")
        # A communication server with newer rules may find the message id itself wrong; it then names none.
        named = answer.message_id or kind != "refused"
        if line is None or not isinstance(asked, Submission) or (named and asked.message_id != answer.message_id):
            raise AnswerOutOfOrder("the answer is not to the next open message")
        if kind == "accepted":
            accepted = answer.accepted
            # A repetition of what this run itself sent before the connection broke is none.
            accepted.repeated = accepted.repeated and line.number > self.sent_before
            self._count(accepted)
            self.answered(asked.message_id, accepted)
        elif kind == "refused":
            self._refuse(line, answer.refused)
        else:
            raise AnswerOutOfOrder("the answer neither accepts nor refuses")
        self._done()

    def _count(self, accepted: SubmitChangeResponse) -> None:
        if accepted.repeated:
            self.repeated += 1
        else:
            self.accepted += 1
        self.first_sequence = min(self.first_sequence or accepted.sequence, accepted.sequence)
        self.last_sequence = max(self.last_sequence, accepted.sequence)

    def _refuse(self, line: ChangeLine, refusal: Refusal) -> None:
        name = name_of(refusal.reason)
        if name and passes(code_of(refusal.reason), refusal.reason):
            raise Interrupted(name)
        message = " ".join(refusal.message.split()) or text_of(refusal.reason)
        # A rule of one field says more than one of the whole submission, which is named after the field it is about.
        broken = min(refusal.broken_rules, key=lambda each: not each.field, default=BrokenRule())
        column = self.source.header_called(column_at(broken.field or refusal.field) or column_at(broken.rule))
        text = f"{message} ({broken.rule})" if broken.rule else message
        self._reject(line, name or f"REASON_{refusal.reason}", column, text)

    def _settle_problems(self) -> None:
        """Refuse the lines that were never sent, as soon as all lines before them are settled."""
        while self.open_lines and isinstance(problem := self.open_lines[0].content, LineProblem):
            self._reject(self.open_lines[0], name_of(problem.reason), problem.column, problem.message)
            self._done()

    def _reject(self, line: ChangeLine, reason: str, column: str, message: str) -> None:
        self.rejects.add(line, reason=reason, message=f"{column}: {message}" if column else message)
        self.refused[reason] += 1
        self.on_refused(line.number, column, reason)

    def _done(self) -> None:
        self.open_lines.popleft()
        self._room.release()
        self.progress(self.settled())
