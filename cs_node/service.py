"""The intake as a gRPC service: one change a call, or a stream answered in order.

An element of a stream that breaks the contract is answered like one that the register refuses: in its place, and the
stream goes on. The gate keeps the element itself back; what is known of it is which rules it breaks, and its message id
(電文番号) if that is sound.
"""

import asyncio
from collections.abc import AsyncIterator
from enum import Enum, auto

import grpc
from opentelemetry.trace import Span

from cs_node.intake import Intake, Item, Stream
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.intake.v1 import intake_pb2 as intake
from jukinet._pb.jukinet.intake.v1.intake_pb2_grpc import IntakeServiceServicer
from jukinet._pb.jukinet.register.v1.change_pb2 import ChangeReason
from jukinet.mesh import metrics, tracing
from jukinet.mesh.errors import BrokenMessage, Refused, facts_of
from jukinet.store.errors import StoreError, as_refusal

_UNDER_WAY = 1024  # changes of one stream that may wait for their commit
_TOGETHER = 256  # answers in one message at most, as the contract says


class _End(Enum):
    """Why a stream ends after the answers before it."""

    ASKED_ALL = auto()
    DRAINING = auto()


_Waiting = tuple[str, "asyncio.Future[intake.SubmitChangeResponse]"]
_Answers = asyncio.Queue[_Waiting | intake.ChangeAnswer | _End]
"""What is to be said next: an answer that waits for its commit, one that waits for nothing, or the end."""


class IntakeService(IntakeServiceServicer):
    """Takes the municipal system's changes."""

    def __init__(self, intake_queue: Intake) -> None:
        self._intake = intake_queue
        self._open: set[_Answers] = set()

    async def end_streams(self) -> None:
        """Ends every stream with DRAINING once it has answered what was handed in; a stopping node waits for none."""
        for answers in tuple(self._open):
            await answers.put(_End.DRAINING)

    async def SubmitChange(  # gRPC names its methods so
        self,
        request: intake.SubmitChangeRequest,
        context: "grpc.aio.ServicerContext[intake.SubmitChangeRequest, intake.SubmitChangeResponse]",
    ) -> intake.SubmitChangeResponse:
        """Registers one change. Raises Refused with the reason of the rule that it breaks."""
        with tracing.span("register.apply", **_attributes(request.submission)) as applying:
            item = Item(request.submission, tracing.traceparent())
            try:
                answer = await self._intake.grouping.hand_in(item)
            except (Refused, StoreError) as failure:
                _tell(applying, _refused(failure))
                raise _refused(failure) from None
            _tell(applying, answer)
            return answer

    async def SubmitChanges(  # gRPC names its methods so
        self,
        request_iterator: AsyncIterator[intake.SubmitChangesRequest],
        context: "grpc.aio.ServicerContext[intake.SubmitChangesRequest, intake.SubmitChangesResponse]",
    ) -> AsyncIterator[intake.SubmitChangesResponse]:
        """Registers many changes; answers in order, each when it is on disk."""
        answers: _Answers = asyncio.Queue(_UNDER_WAY)
        self._open.add(answers)
        reading = asyncio.create_task(self._read(request_iterator, answers, Stream()))
        try:
            async for together in _known_together(answers):
                yield intake.SubmitChangesResponse(answers=together)
            await reading
        finally:
            self._open.discard(answers)
            reading.cancel()
            while not answers.empty():  # the reader ends with a word, for which there must be room
                answers.get_nowait()
            await asyncio.gather(reading, return_exceptions=True)

    async def _read(
        self,
        requests: AsyncIterator[intake.SubmitChangesRequest],
        answers: _Answers,
        stream: Stream,
    ) -> None:
        try:
            while (request := await _next(requests)) is not None:
                if isinstance(request, BrokenMessage):
                    await answers.put(_broken(request))
                else:
                    await answers.put((request.submission.message_id, self._hand_in(request, stream)))
        finally:
            await answers.put(_End.ASKED_ALL)

    def _hand_in(
        self, request: intake.SubmitChangesRequest, stream: Stream
    ) -> "asyncio.Future[intake.SubmitChangeResponse]":
        if not request.traceparent:
            answer = self._intake.grouping.hand_in(Item(request.submission, "", stream))
            answer.add_done_callback(_heard)
            return answer
        attributes = _attributes(request.submission)
        change = tracing.begin("intake.change", parent=request.traceparent, attributes=attributes)
        applying = tracing.begin("register.apply", parent=tracing.context_of(change), attributes=attributes)
        answer = self._intake.grouping.hand_in(Item(request.submission, tracing.context_of(applying), stream))
        answer.add_done_callback(_heard)
        if applying.is_recording():
            answer.add_done_callback(lambda answer: _end(change, applying, answer))
        return answer


def _heard(answer: "asyncio.Future[intake.SubmitChangeResponse]") -> None:
    """Takes note of a failure: where the stream ended before, nobody else does, and that is no error of the node's."""
    if not answer.cancelled():
        answer.exception()


def _end(change: Span, applying: Span, answer: "asyncio.Future[intake.SubmitChangeResponse]") -> None:
    """Ends the spans of one element of a stream."""
    if not answer.cancelled():
        failure = answer.exception()
        if isinstance(failure, StoreError):
            failure = as_refusal(failure)
        if failure:
            tracing.fail(applying, failure)
            tracing.fail(change, failure)
        _tell(applying, failure or answer.result())
    applying.end()
    change.end()


def _tell(applying: Span, became: intake.SubmitChangeResponse | BaseException) -> None:
    """Notes in a span what became of its change."""
    if isinstance(became, BaseException):
        applying.set_attribute("jukinet.outcome", tracing.reason_in(became)[1])
    else:
        applying.set_attribute("jukinet.outcome", "repeated" if became.repeated else "applied")
        applying.set_attribute("jukinet.sequence", became.sequence)


async def _next(
    requests: AsyncIterator[intake.SubmitChangesRequest],
) -> intake.SubmitChangesRequest | BrokenMessage | None:
    """The next element, or what is wrong with it; None at the end. Raises Refused for what is no element at all."""
    try:
        return await anext(requests, None)
    except BrokenMessage as broken:
        return broken


def _broken(element: BrokenMessage) -> intake.ChangeAnswer:
    metrics.change_refused(element.reason)
    change = tracing.begin("intake.change", parent=element.sound_text("traceparent"))
    tracing.fail(change, element)
    change.end()
    return _refusal_of(element.sound_text("submission.message_id"), element)


async def _known_together(answers: _Answers) -> AsyncIterator[list[intake.ChangeAnswer]]:
    """The answers in order, those of one commit together. Raises Refused when the node stops."""
    together: list[intake.ChangeAnswer] = []
    while True:
        if together and answers.empty():
            yield together
            together = []
        next_one = await answers.get()
        known = isinstance(next_one, intake.ChangeAnswer) or (isinstance(next_one, tuple) and next_one[1].done())
        if together and (not known or len(together) == _TOGETHER):
            yield together
            together = []
        match next_one:
            case _End.DRAINING:
                raise Refused(errors.ERROR_REASON_DRAINING)
            case _End.ASKED_ALL:
                return
            case intake.ChangeAnswer():
                together.append(next_one)
            case message_id, answer:
                together.append(await _answered(message_id, answer))


async def _answered(message_id: str, answer: "asyncio.Future[intake.SubmitChangeResponse]") -> intake.ChangeAnswer:
    try:
        return intake.ChangeAnswer(message_id=message_id, accepted=await answer)
    except (Refused, StoreError) as failure:
        return _refusal_of(message_id, _refused(failure))


def _refusal_of(message_id: str, refused: Refused) -> intake.ChangeAnswer:
    refusal = intake.Refusal(
        reason=refused.reason,
        message=facts_of(refused.reason).message,
        field=_in_submission(refused.field),
        broken_rules=[
            intake.BrokenRule(field=_in_submission(each.field), rule=each.rule) for each in refused.violations
        ],
    )
    return intake.ChangeAnswer(message_id=message_id, refused=refusal)


def _in_submission(path: str) -> str:
    """A path within the submission, in which the register's rules name fields too."""
    return path.removeprefix("submission").removeprefix(".")


def _refused(failure: Refused | StoreError) -> Refused:
    """What the municipal system is told of a failure."""
    return as_refusal(failure) if isinstance(failure, StoreError) else failure


def _attributes(submission: intake.Submission) -> dict[str, str]:
    return {"jukinet.reason": ChangeReason.Name(submission.reason).removeprefix("CHANGE_REASON_")}
