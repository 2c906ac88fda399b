"""A communication server's intake without a register behind it, and small change files for it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TypeAlias

import grpc

from jukinet._pb.jukinet.errors.v1 import errors_pb2
from jukinet._pb.jukinet.intake.v1 import intake_pb2_grpc
from jukinet._pb.jukinet.intake.v1.intake_pb2 import (
    ChangeAnswer,
    Refusal,
    Submission,
    SubmitChangeRequest,
    SubmitChangeResponse,
    SubmitChangesRequest,
    SubmitChangesResponse,
)
from jukinet.mesh.errors import Refused, abort

HEADER = "message_id,reason,event_date,resident_code,birth_date"
Fault: TypeAlias = str | Refused | ChangeAnswer | errors_pb2.ErrorReason.ValueType


def deaths(count: int, first: int = 0) -> list[str]:
    return [f"K-{number},死亡,2026-04-01,00000000000," for number in range(first, first + count)]


def write(path: Path, lines: list[str], header: str = HEADER) -> Path:
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


def names_in(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


class Intake(intake_pb2_grpc.IntakeServiceServicer):
    """A register of message ids that answers as a communication server does, with faults on request.

    `faults` maps a message id to what happens, once, when it is asked: an answer, a refusal by its reason, a refused
    call, or "cut" (the stream breaks before the change is on disk), "lose" (after it), "end" (the stream ends well, too
    early), "hang" (never an answer).
    """

    def __init__(self) -> None:
        self.registered: dict[str, int] = {}
        self.asked: list[str] = []
        self.traceparents: list[str] = []
        self.faults: dict[str, Fault] = {}
        self.refusal_text = "wrong\ntext"

    def register(self, submission: Submission) -> SubmitChangeResponse:
        known = submission.message_id in self.registered
        sequence = self.registered.setdefault(submission.message_id, len(self.registered) + 1)
        return SubmitChangeResponse(version=1, sequence=sequence, epoch=1, repeated=known)

    async def SubmitChange(
        self, request: SubmitChangeRequest, context: grpc.aio.ServicerContext[SubmitChangeRequest, SubmitChangeResponse]
    ) -> SubmitChangeResponse:
        fault = self.faults.pop(request.submission.message_id, None)
        if isinstance(fault, Refused):
            await abort(context, fault, "id")
        if fault == "hang":
            await asyncio.Event().wait()
        if fault == "cut":
            await context.abort(grpc.StatusCode.UNAVAILABLE)
        if fault == "lose":
            self.register(request.submission)
            await context.abort(grpc.StatusCode.UNAVAILABLE)
        if fault == "foreign":
            await context.abort(grpc.StatusCode.UNIMPLEMENTED)
        return self.register(request.submission)

    async def SubmitChanges(
        self,
        request_iterator: AsyncIterator[SubmitChangesRequest],
        context: grpc.aio.ServicerContext[SubmitChangesRequest, SubmitChangesResponse],
    ) -> AsyncIterator[SubmitChangesResponse]:
        async for request in request_iterator:
            submission = request.submission
            self.asked.append(submission.message_id)
            self.traceparents.append(request.traceparent)
            fault = self.faults.pop(submission.message_id, None)
            match fault:
                case Refused():
                    await abort(context, fault, "id")
                case "cut":
                    await context.abort(grpc.StatusCode.UNAVAILABLE)
                case "lose":
                    self.register(submission)
                    await context.abort(grpc.StatusCode.UNAVAILABLE)
                case "end":
                    return
                case "hang":
                    await asyncio.Event().wait()
                case ChangeAnswer():
                    yield SubmitChangesResponse(answers=[fault])
                    continue
                case int():
                    refusal = Refusal(reason=fault, message=self.refusal_text, field="record.birth_date")
                    answer = ChangeAnswer(message_id=submission.message_id, refused=refusal)
                    yield SubmitChangesResponse(answers=[answer])
                    continue
            answer = ChangeAnswer(message_id=submission.message_id, accepted=self.register(submission))
            yield SubmitChangesResponse(answers=[answer])


@contextlib.asynccontextmanager
async def serving(intake: Intake) -> AsyncIterator[int]:
    server = grpc.aio.server()
    intake_pb2_grpc.add_IntakeServiceServicer_to_server(intake, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


def dial(port: int) -> grpc.aio.Channel:
    backoff = [(f"grpc.{name}_reconnect_backoff_ms", 50) for name in ("initial", "min", "max")]
    options = [*backoff, ("grpc.use_local_subchannel_pool", 1)]
    return grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options)
