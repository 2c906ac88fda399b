"""Two ways to put load on a server: so many calls in flight, or so many calls a second whatever the server does."""

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import grpc

from bench.results import WorkDiffers
from jukinet.mesh.errors import name_of, reason_of


@dataclass(frozen=True, slots=True)
class Load:
    """What came of it: seconds in all, and of each call the nanosecond at which it was due and its latency in ms."""

    seconds: float
    due: list[int]
    latencies: list[float]

    @property
    def rate(self) -> float:
        """Calls a second."""
        return len(self.latencies) / self.seconds


async def closed_loop(call: Callable[[int], Awaitable[object]], *, in_flight: int, seconds: float) -> Load:
    """Keeps `in_flight` calls under way for so many seconds. `call` is given a number from 0 on."""
    due: list[int] = []
    latencies: list[float] = []
    began = time.monotonic_ns()
    end = began + int(seconds * 1e9)
    numbers = itertools.count()

    async def work() -> None:
        while (start := time.monotonic_ns()) < end:
            await call(next(numbers))
            due.append(start)
            latencies.append((time.monotonic_ns() - start) / 1e6)

    async with _together() as group:
        for _ in range(in_flight):
            group.create_task(work())
    return Load((time.monotonic_ns() - began) / 1e9, due, latencies)


async def open_loop(
    call: Callable[[int], Awaitable[object]], *, rate: float, count: int, in_order: bool = False
) -> Load:
    """Makes `count` calls, one every 1/`rate` seconds, whether or not the earlier ones are answered.

    `in_order` is for writes on one stream, of which none may begin before the last one has ended.

    Latency counts from when a call was due, so that a client which could not keep up does not hide a slow server.
    """
    began = time.monotonic_ns()
    due = [began + int(number / rate * 1e9) for number in range(count)]
    latencies = [0.0] * count

    async def work(number: int) -> None:
        await call(number)
        latencies[number] = (time.monotonic_ns() - due[number]) / 1e6

    async with _together() as group:
        for number in range(count):
            await asyncio.sleep(max(0.0, (due[number] - time.monotonic_ns()) / 1e9))
            if in_order:
                await work(number)
            else:
                group.create_task(work(number))
    return Load((time.monotonic_ns() - began) / 1e9, due, latencies)


@asynccontextmanager
async def _together() -> AsyncIterator[asyncio.TaskGroup]:
    """Tasks that end together. Raises WorkDiffers when calls were refused: what is left is another load."""
    try:
        async with asyncio.TaskGroup() as group:
            yield group
    except BaseExceptionGroup as failed:
        refused, others = failed.split(grpc.aio.AioRpcError)
        if others or not refused:
            raise
        why = Counter(_cause(error) for error in refused.exceptions if isinstance(error, grpc.aio.AioRpcError))
        told = ", ".join(f"{cause} {count}" for cause, count in why.most_common())
        raise WorkDiffers(f"calls were not answered ({told}): the machine is too busy") from None


def _cause(error: grpc.aio.AioRpcError) -> str:
    """The reason that a node gave, or the status of a call that reached none, with what gRPC says of it."""
    reason = reason_of(error)
    return f"{error.code().name}: {error.details()}" if reason is None else name_of(reason)
