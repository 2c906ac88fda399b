"""How long those who wait for the disk may wait: one timer for all, since one for each costs as much as its row."""

import asyncio
from collections import deque
from typing import Any


class TooLate(Exception):
    """What was waited for did not happen in time."""


class Patience:
    """Ends the waiting of whoever waited too long. All are to be given the same time, so the first ends first."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[float, asyncio.Future[Any]]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def give(self, waiting: "asyncio.Future[Any]", within: float) -> None:
        """Has a future of the running loop raise TooLate unless it is done within so many seconds."""
        loop = asyncio.get_running_loop()
        while self._waiting and self._waiting[0][1].done():
            self._waiting.popleft()
        self._waiting.append((loop.time() + within, waiting))
        if len(self._waiting) == 1:
            self._set()

    def _set(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(self._waiting[0][0], self._end_first)

    def _end_first(self) -> None:
        now = asyncio.get_running_loop().time()
        while self._waiting and (self._waiting[0][0] <= now or self._waiting[0][1].done()):
            _, waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_exception(TooLate())
        if self._waiting:
            self._set()
