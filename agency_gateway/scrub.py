"""Reads the whole ledger again, slowly and without end, and ends the process when it is not what was signed.

One pass takes as long as it takes at a bounded rate; the next begins a week after the one before did. It works beside
questions: a part is a short transaction of its own in a thread.
"""

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from sqlalchemy import Connection, Engine

from jukinet._pb.jukinet.admin.v1 import admin_pb2 as admin
from jukinet.assembly.rounds import read_in_rounds
from jukinet.ledger import scrub, store
from jukinet.ledger.note import VerifierKey
from jukinet.mesh.clock import now
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
        self._covered = 0

    async def run(self) -> None:
        """Reads until cancelled. A part of the node. Raises LedgerCorrupt: the ledger is closed for good."""
        await read_in_rounds(self._part, _START, ended=self._ended, every=EVERY, pause=self._pause, clock=self._clock)

    def describe(self, status: admin.GetStatusResponse) -> None:
        """Fills in when the ledger was last read as a whole; nothing before that."""
        if self.whole_at is not None:
            status.ledger_scrubbed_at.FromDatetime(self.whole_at)

    def _part(self, place: "_Place") -> "_Place | None":
        return read(self._reader, lambda connection: self._derive(connection, place))

    def _derive(self, connection: Connection, place: "_Place") -> "_Place | None":
        end = place.end or store.covered_size(connection)
        derived = scrub.derive(connection, place.derived, min(place.derived.size + PART, end), self._verifier)
        if derived.size < end:
            return _Place(derived, end)
        self._covered = end
        return None

    def _ended(self) -> None:
        self.size, self.whole_at = self._covered, self._clock()
        log.info("the whole ledger was read again and is what was signed", extra={"count": self.size})


class _Place(NamedTuple):
    """How far a pass is, and how many entries it covers; 0 = not known before its first part."""

    derived: scrub.Derived
    end: int


_START: Final = _Place(scrub.START, 0)
