"""Reads the whole ledger again, slowly and without end, and ends the process when it is not what was signed.

One pass takes as long as it takes at a bounded rate; the next begins a week after the one before did. It works beside
questions: a part is a short transaction of its own in a thread.
"""

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Engine

from jukinet._pb.jukinet.admin.v1 import admin_pb2 as admin
from jukinet.ledger import scrub, store
from jukinet.ledger.note import VerifierKey
from jukinet.mesh.clock import now
from jukinet.store.errors import StoreError
from jukinet.store.reading import read

log = logging.getLogger(__name__)

EVERY: Final = timedelta(days=7)
PART: Final = 200
"""Entries of one transaction."""
PAUSE_SECONDS: Final = 0.1
"""Between two parts: 2,000 entries a second at most, for some hundredths of a core; a week is a billion of them."""


class Scrub:
    """The gateway's way to know that its ledger did not rot.

    Args:
        reader: engine of the ledger database.
        verifier: the ledger's key.
        clock: gives the time, with a zone.
        pause: seconds between two parts.
    """

    def __init__(
        self,
        *,
        reader: Engine,
        verifier: VerifierKey,
        clock: Callable[[], datetime] = now,
        pause: float = PAUSE_SECONDS,
    ) -> None:
        self._reader = reader
        self._verifier = verifier
        self._clock = clock
        self._pause = pause
        self.whole_at: datetime | None = None
        """When the last whole pass ended."""
        self.size = 0
        """Entries that it covered."""

    async def run(self) -> None:
        """Reads until cancelled. A part of the node. Raises LedgerCorrupt: the ledger is closed for good."""
        while True:
            began = self._clock()
            try:
                self.size = await self._pass()
                self.whole_at = self._clock()
                log.info("the whole ledger was read again and is what was signed", extra={"count": self.size})
            except StoreError as failure:
                log.warning("the ledger could not be read again", extra={"error_type": type(failure).__name__})
            await asyncio.sleep((began + EVERY - self._clock()).total_seconds())

    def describe(self, status: admin.GetStatusResponse) -> None:
        """Fills in when the ledger was last read as a whole; nothing before that."""
        if self.whole_at is not None:
            status.ledger_scrubbed_at.FromDatetime(self.whole_at)

    async def _pass(self) -> int:
        end = await asyncio.to_thread(read, self._reader, store.covered_size)
        derived = scrub.START
        while derived.size < end:
            derived = await asyncio.to_thread(self._part, derived, min(derived.size + PART, end))
            await asyncio.sleep(self._pause)
        return end

    def _part(self, before: scrub.Derived, end: int) -> scrub.Derived:
        return read(self._reader, lambda connection: scrub.derive(connection, before, end, self._verifier))
