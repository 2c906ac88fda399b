"""Reads the whole register again, slowly and without end: what is damaged is known before somebody asks for it.

Rule: damage is not the end of the node. Whoever reads a damaged row refuses it (decisions 0041 and 0087), all others
go on; here it is only told, in the log, a metric and the status, without a name.

The rate: 500 rows every tenth of a second, 5,000 a second at most, for some hundredths of a core. The 125 million
current rows of Japan and the 500 million changes of twenty-five years are read in a day and a half.
"""

import asyncio
import logging
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Engine

from jukinet._pb.jukinet.admin.v1.admin_pb2 import GetStatusResponse
from jukinet.assembly.rounds import read_in_rounds
from jukinet.mesh.clock import now
from jukinet.store import scrub
from jukinet.store.errors import StoreError
from jukinet.store.scrub import TABLES, Damaged, Table

log = logging.getLogger(__name__)

EVERY: Final = timedelta(days=1)
PART: Final = 500
"""Rows of one transaction: two milliseconds."""
PAUSE_SECONDS: Final = 0.1
MOST: Final = 1000
"""Damaged rows that are kept in mind: beyond that a register is to be made again, not searched."""
_LOOK_AGAIN_SECONDS: Final = 60.0

_Place = tuple[int, int]
"""Which of the tables, and from where on in it."""


class Scrub:
    """A register node's way to know that its rows did not rot.

    Args:
        reader: engine of the register, of `open_reader`.
        clock: gives the time, with a zone.
        pause: seconds between two parts.
    """

    def __init__(
        self,
        reader: Engine,
        *,
        clock: Callable[[], datetime] = now,
        pause: float = PAUSE_SECONDS,
    ) -> None:
        self._reader = reader
        self._clock = clock
        self._pause = pause
        self._lock = threading.Lock()
        self._known: set[Damaged] = set()
        self.rows = 0
        """That the pass under way has read, or the last one."""
        self.whole_at: datetime | None = None
        """When the last whole pass ended."""

    async def run(self) -> None:
        """Reads until cancelled. A part of the node."""
        await read_in_rounds(self._part, (0, 0), ended=self._ended, every=EVERY, pause=self._pause, clock=self._clock)

    async def watch(self) -> None:
        """Looks at what is known to be damaged once more, every minute. A part of the node."""
        while True:
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)
            try:
                await asyncio.to_thread(self.look_again)
            except StoreError as failure:
                log.warning("damaged rows cannot be looked at now", extra={"error_type": type(failure).__name__})

    def look_again(self) -> list[Damaged]:
        """What is damaged among all that was read so far, each row looked at now. Raises StoreError."""
        with self._lock:
            known = set(self._known)
        mended = known - scrub.still_damaged(self._reader, known)
        with self._lock:
            self._known -= mended
            return sorted(self._known)

    def describe(self, status: GetStatusResponse) -> None:
        """Fills in what came of it."""
        with self._lock:
            tables = [each.table for each in self._known]
        found = status.register_scrub
        found.damaged_records, found.damaged_changes = tables.count("residents"), tables.count("history")
        found.rows = self.rows
        if self.whole_at is not None:
            found.whole_at.FromDatetime(self.whole_at)

    def _part(self, place: _Place) -> _Place | None:
        number, first = place
        part = scrub.part_after(self._reader, TABLES[number], first, PART)
        if part is None:
            return (number + 1, 0) if number + 1 < len(TABLES) else None
        rows, damaged = scrub.look(self._reader, part)
        self.rows = rows + (self.rows if place != (0, 0) else 0)
        self._tell(damaged)
        return number, part.end

    def _tell(self, damaged: list[Damaged]) -> None:
        with self._lock:
            new = [each for each in damaged if each not in self._known][: MOST - len(self._known)]
            self._known.update(new)
        for each in new:
            log.critical(_SAID[each.table], extra={"municipality": each.municipality, "position": each.position})

    def _ended(self) -> None:
        self.whole_at = self._clock()
        log.info("all rows of the register were read again", extra={"count": self.rows})


_SAID: Final[dict[Table, str]] = {
    "residents": "the stored record of a person is damaged; `admin drift` names it",
    "history": "a stored change is damaged; `admin drift` names it",
}
