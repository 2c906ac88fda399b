"""Groups what waits: while one group is being made durable, the next one gathers, and shares its commit.

An item that finds nothing under way is committed at once; a loaded node commits as many together as arrived during
the last commit, up to the limit. Where a commit costs more than its disk, a pause between two makes groups larger. It
lasts no longer than the commit did: on a busy node commits take longer, groups grow, and each item costs less. Who asks
rarely does not wait for it: one item alone is worth little of it.

A group that is full gains nothing by waiting. Where another process commits, it may be handed over while the one before
is under way, so that this process makes the next items meanwhile.
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
_Group = list[tuple[T, asyncio.Future[R]]]


class Grouping(Generic[T, R]):
    """Hands items over in groups and gives each its own result.

    `commit(items)` returns one result an item, in order; a result that is an exception is raised to whoever handed the
    item in. If `commit` itself raises, every item of the group gets that. No item is added to a group whose sizes have
    reached `limit`: it is full. One that is not begins when none is under way, no sooner after the last one's begin
    than the least of three: `SPACING` times what that one took, `PAUSE_EACH` for each of its items, `pause` seconds. A
    full one begins when at most `ahead` is under way, by sizes; `commit` is then called again before it returned.
    """

    def __init__(
        self,
        commit: Callable[[list[T]], Awaitable[Sequence[R | Exception]]],
        *,
        limit: int = 256,
        ahead: int = 0,
        pause: float = 0.0,
        size: Callable[[T], int] = lambda _: 1,
    ) -> None:
        self._commit = commit
        self._limit = limit
        self._ahead = ahead
        self._pause = pause
        self._size = size
        self._waiting: deque[tuple[T, asyncio.Future[R]]] = deque()
        self._waiting_size = 0
        self._under_way: list[_Group[T, R]] = []
        self._due = 0.0
        """When a group may begin that is not full; of the event loop's clock."""
        self._changed = asyncio.Event()
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
            self._waiting_size += self._size(item)
            if len(self._waiting) == 1 or self._waiting_size >= self._limit:
                self._changed.set()
        return future

    async def run(self) -> None:
        """Works the queue off until it is cancelled; whoever waits then hears of it."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.TaskGroup() as commits:
                while True:
                    await self._changed.wait()
                    self._changed.clear()
                    while self._may_begin(loop.time()):
                        if group := self._group():
                            self._under_way.append(group)
                            commits.create_task(self._work_off(group))
                    if self._waiting and not self._under_way:
                        loop.call_at(self._due, self._changed.set)
        finally:
            self._ended = True
            for left in (*self._under_way, [*self._waiting]):
                _settle(left, [WriterClosed() for _ in left])

    def _may_begin(self, now: float) -> bool:
        if self._waiting_size >= self._limit:
            return sum(self._size(item) for group in self._under_way for item, _ in group) <= self._ahead
        return bool(self._waiting) and not self._under_way and now >= self._due

    def _group(self) -> _Group[T, R]:
        group: _Group[T, R] = []
        size = 0
        while size < self._limit and self._waiting:
            group.append(self._waiting.popleft())
            size += self._size(group[-1][0])
        self._waiting_size -= size
        return [entry for entry in group if not entry[1].done()]

    async def _work_off(self, group: _Group[T, R]) -> None:
        clock = asyncio.get_running_loop().time
        began = clock()
        _settle(group, await self._results([item for item, _ in group]))
        self._under_way.remove(group)
        self._due = began + min(self._pause, len(group) * PAUSE_EACH, SPACING * (clock() - began))
        self._changed.set()

    async def _results(self, items: list[T]) -> Sequence[R | Exception]:
        try:
            results = await self._commit(items)
            if len(results) != len(items):
                raise ValueError(f"{len(results)} results for {len(items)} items")
        except Exception as failure:  # Every one that waits must hear of it.
            return [failure] * len(items)
        return results


def _settle(group: _Group[T, R], results: Sequence[R | Exception]) -> None:
    for (_, future), result in zip(group, results, strict=True):
        if future.done():
            continue
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)
