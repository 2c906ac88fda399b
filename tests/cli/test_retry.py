"""What passes by itself is tried again, and nothing else."""

import grpc
import pytest

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet.cli.retry import passes

FULL = grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("reason", [errors.ERROR_REASON_BUDGET_EXCEEDED, errors.ERROR_REASON_MESSAGE_TOO_LARGE])
def test_what_no_waiting_mends_is_not_asked_again_and_again(reason: "errors.ErrorReason.ValueType") -> None:
    assert not passes(FULL, reason)


@pytest.mark.parametrize("reason", [None, errors.ERROR_REASON_OVERLOADED])
def test_a_server_that_is_full_is_asked_again(reason: "errors.ErrorReason.ValueType | None") -> None:
    assert passes(FULL, reason)
