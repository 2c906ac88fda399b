"""Groups what waits: while one group is being made durable, the next one gathers, and shares its commit.

There is no timer. An unloaded node commits each item at once; a loaded one commits as many together as arrived during
the last commit, up to the limit.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Grouping(Generic[T, R]):
    """Hands items over in groups and gives each its own result.

    `commit(items)` returns one result an item, in order; a result that is an exception is raised to whoever handed the
    item in. If `commit` itself raises, every item of the group gets that.
    """

    def __init__(self, commit: Callable[[list[T]], Awaitable[Sequence[R | Exception]]], *, limit: int = 256) -> None:
        self._commit = commit
        self._limit = limit
        self._waiting: asyncio.Queue[tuple[T, asyncio.Future[R]]] = asyncio.Queue()

    def hand_in(self, item: T) -> "asyncio.Future[R]":
        """Queues one item, in order; the future has its result once the group is on disk."""
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.put_nowait((item, future))
        return future

    async def run(self) -> None:
        """Works the queue off until it is cancelled."""
        while True:
            group = [await self._waiting.get()]
            while len(group) < self._limit and not self._waiting.empty():
                group.append(self._waiting.get_nowait())
            try:
                results = await self._commit([item for item, _ in group])
            except Exception as failure:  # every one that waits must hear of it
                results = [failure] * len(group)
            for (_, future), result in zip(group, results, strict=True):
                if future.cancelled():
                    continue
                if isinstance(result, Exception):
                    future.set_exception(result)
                else:
                    future.set_result(result)
