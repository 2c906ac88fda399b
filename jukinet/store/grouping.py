"""Groups what waits: while one group is being made durable, the next one gathers, and shares its commit.

An item that finds nothing under way is committed at once; a loaded node commits as many together as arrived during
the last commit, up to the limit. Where a commit costs more than its disk, a pause between two makes groups larger. It
lasts no longer than the commit did: on a busy node commits take longer, groups grow, and each item costs less. Who asks
rarely does not wait for it: one item alone is worth little of it.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, TypeVar

from jukinet.store.writer import WriterClosed

PAUSE_EACH: Final = 0.005
"""Seconds from one commit's begin to the next one's that each item of the first is worth."""
SPACING: Final = 2
"""From one commit's begin to the next one's pass so many times the first one's time."""

T = TypeVar("T")
R = TypeVar("R")


class Grouping(Generic[T, R]):
    """Hands items over in groups and gives each its own result.

    `commit(items)` returns one result an item, in order; a result that is an exception is raised to whoever handed the
    item in. If `commit` itself raises, every item of the group gets that. No item is added to a group whose sizes have
    reached `limit`. A commit begins no sooner after the last one's begin than the least of three: `SPACING` times what
    that one took, `PAUSE_EACH` for each of its items, `pause` seconds.
    """

    def __init__(
        self,
        commit: Callable[[list[T]], Awaitable[Sequence[R | Exception]]],
        *,
        limit: int = 256,
        pause: float = 0.0,
        size: Callable[[T], int] = lambda _: 1,
    ) -> None:
        self._commit = commit
        self._limit = limit
        self._pause = pause
        self._size = size
        self._waiting: deque[tuple[T, asyncio.Future[R]]] = deque()
        self._arrived = asyncio.Event()
        self._ended = False

    def hand_in(self, item: T) -> "asyncio.Future[R]":
        """Queues one item, in order; the future has its result once the group is on disk.

        It raises WriterClosed when `run` ends before that. An item whose future is cancelled before is left out.
        """
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        if self._ended:
            future.set_exception(WriterClosed())
        else:
            self._waiting.append((item, future))
            self._arrived.set()
        return future

    async def run(self) -> None:
        """Works the queue off until it is cancelled; whoever waits then hears of it."""
        group: list[tuple[T, asyncio.Future[R]]] = []
        clock, due = asyncio.get_running_loop().time, 0.0
        try:
            while True:
                await self._arrived.wait()
                if clock() < due:
                    await asyncio.sleep(due - clock())
                group = self._group()
                began, worth = clock(), len(group) * PAUSE_EACH
                if group:
                    _settle(group, await self._results([item for item, _ in group]))
                due = began + min(self._pause, worth, SPACING * (clock() - began))
                group = []
        finally:
            self._ended = True
            group += self._waiting
            _settle(group, [WriterClosed() for _ in group])

    def _group(self) -> list[tuple[T, "asyncio.Future[R]"]]:
        group: list[tuple[T, asyncio.Future[R]]] = []
        size = 0
        while size < self._limit and self._waiting:
            group.append(self._waiting.popleft())
            size += self._size(group[-1][0])
        if not self._waiting:
            self._arrived.clear()
        return [entry for entry in group if not entry[1].done()]

    async def _results(self, items: list[T]) -> Sequence[R | Exception]:
        try:
            results = await self._commit(items)
            if len(results) != len(items):
                raise ValueError(f"{len(results)} results for {len(items)} items")
        except Exception as failure:  # Every one that waits must hear of it.
            return [failure] * len(items)
        return results


def _settle(group: Sequence[tuple[T, "asyncio.Future[R]"]], results: Sequence[R | Exception]) -> None:
    for (_, future), result in zip(group, results, strict=True):
        if future.done():
            continue
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)
