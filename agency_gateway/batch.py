"""Batch provision (一括提供): how the messages of one stream are worked on together and answered in their order.

Nothing of a batch is kept here: each message states its affair and is answered or refused as a whole, so a caller goes
on with the first message that was not answered, on another stream or at another gateway.

Source: Order art. 30-8 to 30-12 (provision by line from computer to computer).
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from typing import Any, Final, TypeVar

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet.mesh.errors import Refused

UNDER_WAY: Final = 2
"""Messages of one stream that are worked on at a time; the next one is read when the first of them is answered."""

_Request = TypeVar("_Request")
_Response = TypeVar("_Response")


async def in_order(
    requests: AsyncIterator[_Request],
    answer: Callable[[_Request], Coroutine[Any, Any, _Response]],
    *,
    stopping: asyncio.Event,
    under_way: int = UNDER_WAY,
) -> AsyncGenerator[_Response, None]:
    """Answers several requests at a time, and gives the answers in the order of the requests.

    Args:
        requests: of the caller.
        answer: works on one; what it raises ends the stream when it is its turn.
        stopping: set when the node stops; what was read is answered then, and no more is read.
        under_way: how many are worked on at a time.

    Raises:
        Refused: DRAINING, after the last answer of a node that stops.
    """
    free = asyncio.Semaphore(under_way)
    waiting: asyncio.Queue[asyncio.Task[_Response] | None] = asyncio.Queue()
    begun: set[asyncio.Task[_Response]] = set()

    async def read() -> None:
        stop = asyncio.create_task(stopping.wait())
        try:
            await free.acquire()
            while (request := await _next(requests, stop)) is not None:
                task = asyncio.create_task(answer(request))
                begun.add(task)
                waiting.put_nowait(task)
                await free.acquire()
        finally:
            stop.cancel()
            waiting.put_nowait(None)

    reading = asyncio.create_task(read())
    try:
        while (task := await waiting.get()) is not None:
            yield await task
            begun.discard(task)
            free.release()
        await reading
        if stopping.is_set():
            raise Refused(errors.ERROR_REASON_DRAINING)
    finally:
        for each in (reading, *begun):
            each.cancel()
        await asyncio.gather(reading, *begun, return_exceptions=True)


async def _next(requests: AsyncIterator[_Request], stop: "asyncio.Task[Any]") -> _Request | None:
    """The next request; None at the end, and when the node stops."""
    coming = asyncio.ensure_future(anext(requests, None))
    try:
        await asyncio.wait({coming, stop}, return_when=asyncio.FIRST_COMPLETED)
        return coming.result() if coming.done() else None
    finally:
        if not coming.done():
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)
