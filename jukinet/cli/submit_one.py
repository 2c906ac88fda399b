"""Submission of a single change to a communication server (CS)."""

import grpc

from jukinet._pb.jukinet.errors.v1 import errors_pb2
from jukinet._pb.jukinet.intake.v1.intake_pb2 import Submission, SubmitChangeRequest, SubmitChangeResponse
from jukinet._pb.jukinet.intake.v1.intake_pb2_grpc import IntakeServiceStub
from jukinet.cli.retry import CallRefused, keep_trying, text_of
from jukinet.mesh.errors import reason_of, violations_of


class SubmissionRefused(Exception):
    """The communication server refused this one change; the text says what to do."""

    def __init__(self, reason: errors_pb2.ErrorReason.ValueType, message: str, field: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.field = field


async def submit_one(submission: Submission, channel: grpc.aio.Channel, timeout_seconds: float) -> SubmitChangeResponse:
    """Submit one change and wait until it is on the communication server's disk.

    Args:
        submission: the change.
        channel: to the communication server of the municipality.
        timeout_seconds: how long to go on trying.

    Returns:
        Version and sequence of the change.

    Raises:
        SubmissionRefused: the change was refused.
        DeadlinePassed: there was no answer in time; submit the same again.
    """
    stub = IntakeServiceStub(channel)

    async def call(left: float) -> SubmitChangeResponse:
        return await stub.SubmitChange(SubmitChangeRequest(submission=submission), timeout=left)

    try:
        return await keep_trying(call, timeout_seconds, lambda: 0)
    except CallRefused as refused:
        reason = reason_of(refused.error)
        if reason is None:
            raise
        fields = [violation.field for violation in violations_of(refused.error)]
        raise SubmissionRefused(reason, text_of(reason), fields[0] if fields else "") from None
