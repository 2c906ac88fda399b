"""The agency's end of a batch (一括提供): messages go out ahead of their answers, and go on where a stream broke.

Rule: what is answered is kept before more is asked for. On an interruption (Ctrl-C, SIGTERM) no more is asked, and what
was asked is waited for, so that nobody is asked about again who needs not be; a second one ends at once. It is the same
where the questions cannot be read on.
"""

import asyncio
import signal
import uuid
from collections import deque
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from itertools import chain
from typing import Any, Final, NamedTuple

from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2 import InquireBatchRequest, InquireBatchResponse
from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2_grpc import InquiryServiceStub
from jukinet.cli.answer_check import require_agreement
from jukinet.cli.connect import Target, channel_to, traced
from jukinet.cli.operator_key import Signing
from jukinet.cli.output import Exit, Failure
from jukinet.cli.retry import CallRefused, DeadlinePassed, Interrupted, fail_refused, keep_trying
from jukinet.cli.source_check import SourceCheck, now_us
from jukinet.ledger.verify.batch_job import Person, put_persons
from jukinet.ledger.verify.freshness import demand_of
from jukinet.mesh.client import streaming
from jukinet.mesh.limits import GATEWAY_MESSAGE_BYTES

TOGETHER: Final = 256
"""Persons in one message; the contract allows no more."""
_PERSONS_BYTES: Final = GATEWAY_MESSAGE_BYTES - 8192
"""Of a message; the rest is for what is asked of everybody, whose longest texts take 1 KiB."""
_PERSON_BYTES: Final = 48
"""Of a message that a person takes beside the way of naming: mark of what is held, and framing."""
_AHEAD: Final = 4
"""Messages that are sent before the first of them is answered."""
GOES_ON: Final = (
    "The same command goes on. Persons whose answers were lost on the way are asked about again and have two ledger "
    "entries."
)
_ENDS: Final = (signal.SIGINT, signal.SIGTERM)


class Message(NamedTuple):
    """Records that travel together, each with its line: whom it names, or what is wrong with it."""

    records: list[tuple[int, Person | Failure]]

    @property
    def persons(self) -> list[Person]:
        """Whom the sound ones name; without any, nothing is sent."""
        return [who for _, who in self.records if isinstance(who, Person)]


def messages_of(records: Iterable[tuple[int, Person | Failure]]) -> Generator[Message, None, None]:
    """Puts records together into messages that a gateway takes: of long names and addresses fewer fit."""
    together: list[tuple[int, Person | Failure]] = []
    size = 0
    for number, who in records:
        more = who.subject.ByteSize() + _PERSON_BYTES if isinstance(who, Person) else 0
        if len(together) == TOGETHER or size + more > _PERSONS_BYTES:
            yield Message(together)
            together, size = [], 0
        together.append((number, who))
        size += more
    if together:
        yield Message(together)


class BatchStream:
    """Asks a gateway about all that is not answered yet.

    Args:
        asked: what is asked of everybody: a message without id and persons.
        signing: puts the operator's proof into each message.
        check: of how fresh the answers are said to be; a message of which one does not hold is not kept.
        messages: gives those that are not answered yet; called anew for each stream, when those before are closed. What
            it raises is raised by `ask`.
        keep: takes a message with the response to it, in order, and returns when both are on disk; the response is None
            for a message that names nobody.
        kept: how much is kept; it grows.
    """

    def __init__(
        self,
        asked: InquireBatchRequest,
        signing: Signing,
        check: SourceCheck,
        *,
        messages: Callable[[], Generator[Message, None, None]],
        keep: Callable[[Message, InquireBatchResponse | None], None],
        kept: Callable[[], int],
    ) -> None:
        self._asked = asked
        self._signing = signing
        self._check = check
        self._messages = messages
        self._keep = keep
        self._kept = kept
        self._interrupted = False
        self._left_out = False

    async def ask(self, target: Target, seconds: float, *, late: str = GOES_ON) -> None:
        """Asks until everything is answered.

        Args:
            target: the gateway.
            seconds: how long that may take.
            late: what is to be done where it took longer.

        Raises:
            Failure: refused for good, no answer in time, or interrupted before the end.
        """
        loop = asyncio.get_running_loop()
        for each in _ENDS:
            loop.add_signal_handler(each, self._interrupt)
        with traced("agency") as interceptors:
            async with channel_to(target, interceptors) as channel:
                try:
                    await keep_trying(lambda left: self._attempt(channel, left), seconds, self._kept)
                except CallRefused as refused:
                    fail_refused(refused, target.address)
                except DeadlinePassed as passed:
                    raise Failure(
                        f"No answer from {target.address}: {passed}. What came is kept. {late}", Exit.UNREACHABLE
                    ) from None
        if self._left_out:
            raise Failure("Interrupted. What came is kept; the same command goes on.", Exit.UNREACHABLE)

    def _interrupt(self) -> None:
        self._interrupted = True
        for each in _ENDS:
            asyncio.get_running_loop().remove_signal_handler(each)

    async def _attempt(self, channel: Any, seconds: float) -> None:
        """One stream, from behind the last answer on; none where there is nothing to ask."""
        with closing(self._messages()) as messages:
            first = await self._first_that_asks(messages)
            if first is not None:
                await self._stream(channel, seconds, chain([first], messages))

    async def _stream(self, channel: Any, seconds: float, messages: Iterator[Message]) -> None:
        """Asks about messages of which the first one names somebody."""
        sent: deque[tuple[Message, int]] = deque()  # each with when it was, microseconds since 1970
        room = asyncio.Semaphore(_AHEAD)
        failures: list[Exception] = []

        async def requests() -> AsyncIterator[InquireBatchRequest]:
            try:
                for number, message in enumerate(messages):
                    persons = message.persons
                    if persons:
                        await room.acquire()
                    # The first one goes out all the same: gRPC has no status for a stream in which nothing was asked.
                    if self._interrupted and number:
                        self._left_out = True
                        return
                    sent.append((message, now_us()))
                    if persons:
                        yield self._request(persons)
            # gRPC would cancel the call, tell nobody why, and what is under way would be lost.
            except Exception as error:
                failures.append(error)

        call: Any = InquiryServiceStub(channel).InquireBatch(requests(), timeout=seconds)
        with _cancelled_by_grpc_told(failures):
            async with streaming(call):
                async for response in call:
                    await asyncio.to_thread(self._keep_first, sent, response)
                    room.release()
        await asyncio.to_thread(self._keep_first, sent, None)
        if failures:
            raise failures[0]

    async def _first_that_asks(self, messages: Iterator[Message]) -> Message | None:
        """Keeps what stands before it. None: no message asks any more, or this was interrupted."""
        for message in messages:
            if self._interrupted:
                self._left_out = True
                return None
            if message.persons:
                return message
            await asyncio.to_thread(self._keep, message, None)
        return None

    def _request(self, persons: list[Person]) -> InquireBatchRequest:
        request = InquireBatchRequest()
        request.CopyFrom(self._asked)
        request.context.request_id = str(uuid.uuid4())
        put_persons(request, persons)
        return self._signing(request)

    def _keep_first(self, sent: deque[tuple[Message, int]], response: InquireBatchResponse | None) -> None:
        """Keeps the response with the first message that asks; before it, those that ask nothing. Raises Failure."""
        while sent and not sent[0][0].persons:
            self._keep(sent.popleft()[0], None)
        if response is not None:
            message, asked_us = sent.popleft()
            oldest = self._asked.context.maximum_age_seconds
            for person, answer in zip(message.persons, response.answers, strict=True):
                require_agreement(answer)
                if not answer.refusal:  # who was refused was not looked up
                    demand = demand_of(person.subject, answer.outcome, maximum_age_seconds=oldest)
                    self._check.require(answer.freshness, demand, asked_us=asked_us)
            self._keep(message, response)


@contextmanager
def _cancelled_by_grpc_told(failures: list[Exception]) -> Iterator[None]:
    """Raises the first failure, or Interrupted, where gRPC says "cancelled" of a stream and nobody cancelled the task.

    It does where the questions end before there is a connection.
    """
    try:
        yield
    except asyncio.CancelledError:
        if (task := asyncio.current_task()) and task.cancelling():
            raise
        raise (failures[0] if failures else Interrupted("the stream was cancelled")) from None
