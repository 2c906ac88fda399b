"""Refusals that a loop of questions runs into again and again (上限超過, 停止): they wait, and go on record together.

Rule 1: whoever is stopped asks his next question a second later, and hears of nothing that is not on record.
Rule 2: all that were stopped in one half of a second share one commit. A scraper who runs into a limit fifty times
in a second costs the disk two commits, so lawful questions hardly ever meet one of his.
Rule 3: each leaves a second after it came, not all at once: their next questions would come at once too.
Rule 4: whoever gives up meanwhile is on record all the same.

A node that is killed loses what waits: of that nobody was told anything.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from agency_gateway.going_on import GoingOn

_TICK_SECONDS: Final = 0.5


async def _next_but_one_tick() -> None:
    passed = asyncio.get_running_loop().time() % _TICK_SECONDS
    await asyncio.sleep(2 * _TICK_SECONDS - passed)


class DeferredRefusals:
    """Those that wait.

    Args:
        due: returns when a refusal that comes now is to go on record; for all of one tick at the same moment.
    """

    def __init__(self, due: Callable[[], Awaitable[object]] = _next_but_one_tick) -> None:
        self._due = due
        self._going_on = GoingOn()

    async def keep(self, put_on_record: Callable[[], Awaitable[object]]) -> None:
        """Returns a second later, and not before a refusal is on record; raises what that raised."""
        clock = asyncio.get_running_loop().time
        leaves_at = clock() + 2 * _TICK_SECONDS
        await self._going_on.to_its_end(self._keep_when_due(put_on_record))
        await asyncio.sleep(leaves_at - clock())

    async def settle(self) -> None:
        """Returns when those that wait now are on record, or cannot be: the node stops."""
        await self._going_on.settle()

    async def _keep_when_due(self, put_on_record: Callable[[], Awaitable[object]]) -> None:
        await self._due()
        await put_on_record()
