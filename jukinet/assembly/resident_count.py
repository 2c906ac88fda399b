"""How many residents a register has, counted beside whoever asks.

Rule: nobody waits for a count longer than a moment. It takes 14 ms for 100,000 rows, 0.17 s for a million, and so some
20 s for the whole nation; who has to find out why a node is slow would not hear of its links by then. Where it takes
longer the last one is told, with its moment.
"""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Final, NamedTuple

from sqlalchemy import Engine

from jukinet.assembly.reading import read_for_caller
from jukinet.mesh.clock import now
from jukinet.mesh.errors import Refused
from jukinet.store.current_rows import counts_by_status

WAIT_SECONDS: Final = 2.0
"""Of the ten that a status has."""


class Counted(NamedTuple):
    """A count."""

    residents: Mapping[str, int]
    """Current rows by the name of their status."""
    at: datetime
    """When it began, UTC."""


class ResidentCount:
    """The count of one register; `register` is an engine of `open_reader`."""

    def __init__(self, register: Engine) -> None:
        self._register = register
        self._counting: asyncio.Task[Counted | Refused] | None = None
        self._last: Counted | None = None

    async def told(self) -> Counted | None:
        """The number of now, or of the last count while another one takes its time; None while the first one does.

        Raises Refused: DEPENDENCY_UNAVAILABLE, STORAGE_FULL.
        """
        if self._counting is None or self._counting.done():
            self._counting = asyncio.create_task(self._count())
        counting = self._counting
        await asyncio.wait({counting}, timeout=WAIT_SECONDS)
        if counting.done() and isinstance(failed := counting.result(), Refused):
            raise failed
        return self._last

    async def _count(self) -> Counted | Refused:
        began = now()
        try:
            self._last = Counted(await read_for_caller(self._register, counts_by_status), began)
        except Refused as refused:  # perhaps nobody waits for it any more
            return refused
        return self._last
