"""What goes on to its end whoever waits for it: a caller may leave, and the node waits for it when it stops.

Rule: what was begun for a caller and costs him something, or tells of him, is on record although he hangs up.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class GoingOn:
    """What was begun and has not ended."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def begin(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """Begins what nobody need wait for."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        return task

    async def to_its_end(self, work: Coroutine[Any, Any, T]) -> T:
        """Returns what it returns, and raises what it raises; it goes on if whoever waits here is cancelled."""
        return await asyncio.shield(self.begin(work))

    async def settle(self) -> None:
        """Returns when all that goes on has ended: the node stops."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _forget(self, ended: "asyncio.Task[Any]") -> None:
        self._tasks.discard(ended)
        # Looked at here, since nobody does whose caller gave up; the record has logged it.
        _ = ended.cancelled() or ended.exception()
