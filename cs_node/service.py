"""The intake as a gRPC service: one change a call, or a stream answered in order."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack
from enum import Enum, auto

import grpc

from cs_node.intake import Intake, Item
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.intake.v1 import intake_pb2 as intake
from jukinet._pb.jukinet.intake.v1.intake_pb2_grpc import IntakeServiceServicer
from jukinet._pb.jukinet.register.v1.change_pb2 import ChangeReason
from jukinet.mesh import tracing
from jukinet.mesh.errors import Refused, facts_of
from jukinet.store.errors import StoreError, as_refusal

_UNDER_WAY = 1024  # changes of one stream that may wait for their commit


class _End(Enum):
    """Why a stream ends after the answers before it."""

    ASKED_ALL = auto()
    DRAINING = auto()


_Answers = asyncio.Queue["tuple[str, asyncio.Future[intake.SubmitChangeResponse]] | _End"]


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
        with tracing.span("register.apply", **_attributes(request.submission)):
            item = Item(request.submission, tracing.traceparent())
            try:
                return await self._intake.grouping.hand_in(item)
            except StoreError as failure:
                raise as_refusal(failure) from None

    async def SubmitChanges(  # gRPC names its methods so
        self,
        request_iterator: AsyncIterator[intake.SubmitChangesRequest],
        context: "grpc.aio.ServicerContext[intake.SubmitChangesRequest, intake.SubmitChangesResponse]",
    ) -> AsyncIterator[intake.SubmitChangesResponse]:
        """Registers many changes; answers in order, each when it is on disk."""
        answers: _Answers = asyncio.Queue(_UNDER_WAY)
        self._open.add(answers)
        reading = asyncio.create_task(self._read(request_iterator, answers))
        try:
            while (waiting := await answers.get()) is not _End.ASKED_ALL:
                if waiting is _End.DRAINING:
                    raise Refused(errors.ERROR_REASON_DRAINING)
                message_id, answer = waiting
                yield await _answered(message_id, answer)
            await reading
        finally:
            self._open.discard(answers)
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def _read(
        self,
        requests: AsyncIterator[intake.SubmitChangesRequest],
        answers: _Answers,
    ) -> None:
        try:
            async for request in requests:
                await answers.put((request.submission.message_id, self._hand_in(request)))
        finally:
            await answers.put(_End.ASKED_ALL)

    def _hand_in(self, request: intake.SubmitChangesRequest) -> "asyncio.Future[intake.SubmitChangeResponse]":
        if not request.traceparent:
            return self._intake.grouping.hand_in(Item(request.submission, ""))
        stack = ExitStack()
        attributes = _attributes(request.submission)
        change = tracing.start_span(stack, "intake.change", parent=request.traceparent, attributes=attributes)
        applying = tracing.start_span(stack, "register.apply", parent=change, attributes=attributes)
        answer = self._intake.grouping.hand_in(Item(request.submission, applying))
        answer.add_done_callback(lambda _done: stack.close())
        return answer


async def _answered(
    message_id: str, answer: "asyncio.Future[intake.SubmitChangeResponse]"
) -> intake.SubmitChangesResponse:
    try:
        return intake.SubmitChangesResponse(message_id=message_id, accepted=await answer)
    except Refused as refused:
        refusal = refused
    except StoreError as failure:
        refusal = as_refusal(failure)
    return intake.SubmitChangesResponse(
        message_id=message_id,
        refused=intake.Refusal(reason=refusal.reason, message=facts_of(refusal.reason).message, field=refusal.field),
    )


def _attributes(submission: intake.Submission) -> dict[str, str]:
    return {"jukinet.reason": ChangeReason.Name(submission.reason).removeprefix("CHANGE_REASON_")}
