"""The latest time of a ledger's entries, against which the next one is held (docs/decisions/0098).

One entry whose time lies further before an earlier one's than the verifier allows would leave the ledger unsound for
ever.
"""

import logging
import math
from typing import Final

from sqlalchemy import Connection

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.ledger.v1.ledger_pb2 import Entry
from jukinet.ledger import store
from jukinet.ledger.verify.check import SKEW_TOLERANCE_SECONDS
from jukinet.mesh.errors import Refused

log = logging.getLogger(__name__)

_CHUNK: Final = 4096
_TOLERANCE_US: Final = SKEW_TOLERANCE_SECONDS * 1_000_000


class Newest:
    """The latest time of an entry that is on disk or was handed in.

    Args:
        time_us: what `newest_us` gave.
    """

    def __init__(self, time_us: int) -> None:
        self._time_us = time_us
        self._told_behind = False

    def is_too_early(self, time_us: int) -> bool:
        """Whether an entry of a time, in microseconds since 1970, would leave the ledger unsound."""
        return time_us < self._time_us - _TOLERANCE_US

    def require(self, time_us: int) -> None:
        """Tells the log once when the ledger closes and when it opens. Raises Refused: LEDGER_UNAVAILABLE."""
        too_early = self.is_too_early(time_us)
        if too_early != self._told_behind:
            self._told_behind = too_early
            if too_early:
                behind = {"seconds": (self._time_us - time_us) / 1e6}
                log.error("the clock is behind the newest entry of the ledger: nothing is put on record", extra=behind)
            else:
                log.info("the clock has caught up with the newest entry of the ledger: it is open")
        if too_early:
            raise Refused(errors.ERROR_REASON_LEDGER_UNAVAILABLE, detail="its clock is behind its newest entry")

    def take(self, *times_us: int) -> None:
        """Takes in the times of entries in their order. Raises Refused: LEDGER_UNAVAILABLE."""
        for time_us in times_us:
            self.require(time_us)
            self._time_us = max(self._time_us, time_us)


def newest_us(connection: Connection) -> int:
    """The latest time of all entries, in microseconds since 1970; 0 where there are none.

    No entry lies further before an earlier one than the verifier allows, so nothing earlier is later than a run at the
    end that spans as much.
    """
    end, oldest, newest = store.covered_size(connection), math.inf, 0
    while end > 0 and newest - oldest <= _TOLERANCE_US:
        first = max(0, end - _CHUNK)
        times = [Entry.FromString(leaf).time.ToMicroseconds() for leaf in store.read_entries(connection, first, end)]
        oldest, newest, end = min(oldest, *times), max(newest, *times), first
    return newest
