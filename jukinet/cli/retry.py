"""Calls to a node that are made again until one gets through.

Rule: only what passes by itself is tried again, under a deadline of the caller's. Whether what is sent twice counts
twice is the caller's to know: a change bears the same message id and does not, a question of a batch does.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, NoReturn, TypeVar

import grpc

from jukinet._pb.jukinet.errors.v1 import errors_pb2
from jukinet.cli.output import Exit, fail_call
from jukinet.mesh.errors import reason_of

if TYPE_CHECKING:
    from jukinet.cli.submit import Report

_FIRST_PAUSE: Final = 0.1  # seconds
_LONGEST_PAUSE: Final = 10.0  # seconds
# What passes by itself: no connection, a stopping or loaded server. DEADLINE_EXCEEDED ends on our own deadline.
_PASSING: Final = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
    }
)
# RESOURCE_EXHAUSTED too, but no waiting makes a message smaller, and a budget, or what a resident was told, lasts
# until the next day.
_LASTING: Final = frozenset(
    {
        errors_pb2.ERROR_REASON_MESSAGE_TOO_LARGE,
        errors_pb2.ERROR_REASON_BUDGET_EXCEEDED,
        errors_pb2.ERROR_REASON_USAGE_ASKED_TODAY,
    }
)
_T = TypeVar("_T")


class CallRefused(Exception):
    """The node does not take such calls from this caller, or not in this form; `error` is what gRPC raised."""

    def __init__(self, error: grpc.aio.AioRpcError) -> None:
        reason = reason_of(error)
        super().__init__(f"the node refused the call: {error.code().name} {name_of(reason) if reason else ''}".rstrip())
        self.error = error


class DeadlinePassed(Exception):
    """The node could not be reached, or not finish, in time; `report` says how far a file of changes got."""

    def __init__(self, cause: str, report: "Report | None" = None) -> None:
        super().__init__(f"not finished in time ({cause})")
        self.report = report


class Interrupted(Exception):
    """An attempt ended before everything was settled; the text names the cause."""


async def keep_trying(
    attempt: Callable[[float], Awaitable[_T]], timeout_seconds: float, progress: Callable[[], int]
) -> _T:
    """Call until it succeeds; between attempts wait with full jitter, shorter again after one that got on.

    Args:
        attempt: makes the call, in so many seconds.
        timeout_seconds: how long to go on trying.
        progress: a number that grows when an attempt got on before it failed.

    Raises:
        CallRefused: the node refused for good.
        DeadlinePassed: it did not succeed in time.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_seconds
    longest, before = _FIRST_PAUSE, progress()
    while True:
        try:
            return await attempt(max(deadline - loop.time(), 0.001))
        except grpc.aio.AioRpcError as error:
            if not passes(error.code(), reason_of(error)):
                raise CallRefused(error) from error
            cause = error.code().name
        except Interrupted as error:
            cause = str(error)
        longest = _FIRST_PAUSE if progress() > before else min(longest * 2, _LONGEST_PAUSE)
        before = progress()
        pause = random.uniform(0, longest)  # noqa: S311 - jitter, not a secret
        if loop.time() + pause >= deadline:
            raise DeadlinePassed(cause)
        await asyncio.sleep(pause)


def fail_refused(refused: CallRefused, target: str) -> NoReturn:
    """Ends a command that keeps what it was told, and goes on when it is given again.

    Args:
        refused: for good, but for an operator who is to log on.
        target: host:port that was called.

    Raises:
        Failure: with the node's reason.
    """
    then = "What came is kept."
    if reason_of(refused.error) == errors_pb2.ERROR_REASON_OPERATOR_PROOF_EXPIRED:
        # A gateway that was started again knows of no session, and the log-on of a long run is old by then.
        then += " Log on again: the same command goes on. If that is refused too, set this clock right."
    fail_call(refused.error, target, then=then, otherwise=Exit.USAGE)


def passes(code: grpc.StatusCode, reason: errors_pb2.ErrorReason.ValueType | None) -> bool:
    """Whether a failure passes by itself, so that the same may be tried again."""
    # gRPC reports INTERNAL, and forgets the status of the call, when a write meets a stream that has just ended. The
    # next stream learns it, see `submit`. Waiting for it (`mesh.client.streaming`) is in vain here: while answers that
    # came before it are unread, it does not arrive, and a stream that ended well has none to tell.
    broken_write = code is grpc.StatusCode.INTERNAL and reason is None
    return broken_write or (code in _PASSING and reason not in _LASTING)


def name_of(reason: int) -> str:
    """Name a reason without its prefix; empty for one that this program does not know."""
    value = errors_pb2.ErrorReason.DESCRIPTOR.values_by_number.get(reason)
    return value.name.removeprefix("ERROR_REASON_") if value else ""


def text_of(reason: int) -> str:
    """What a reason means and what to do; empty for one that this program does not know."""
    value = errors_pb2.ErrorReason.DESCRIPTOR.values_by_number.get(reason)
    return value.GetOptions().Extensions[errors_pb2.facts].message if value else ""
