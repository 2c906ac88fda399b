"""Handlers of the four kinds of RPC that a test puts behind the gate."""

from typing import Any

import pytest

from jukinet._pb.jukinet.intake.v1 import intake_pb2
from jukinet.mesh.interceptors import current_caller

KINDS = ("UnaryUnary", "UnaryStream", "StreamUnary", "StreamStream")

SECRET = "山田太郎 00000000019"

every_kind = pytest.mark.parametrize("kind", KINDS)


async def answer_caller(request: Any, context: Any) -> Any:
    """Tells the caller's municipality."""
    return intake_pb2.SubmitChangeResponse(version=1, sequence=int(current_caller().name))


def raising(error: BaseException) -> Any:
    """A handler that raises."""

    async def answer(request: Any, context: Any) -> Any:
        raise error

    return answer
