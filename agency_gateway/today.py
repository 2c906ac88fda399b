"""The entries of today, out of the ledger: what a gateway has to know again when it starts."""

from collections.abc import Iterator
from datetime import datetime, time
from typing import Final

from sqlalchemy import Connection

from jukinet._pb.jukinet.ledger.v1.ledger_pb2 import Entry
from jukinet.ledger import store
from jukinet.mesh.clock import JAPAN

_CHUNK: Final = 4096


def todays_entries(connection: Connection, now: datetime) -> Iterator[Entry]:
    """The entries of the day in Japan that `now` lies in, the newest run of them first.

    Reads from the end of the ledger until a whole run is of another day: entries are in the order of their commits,
    which is that of their times but for seconds.
    """
    begin = datetime.combine(now.astimezone(JAPAN).date(), time(), JAPAN).timestamp()
    end = store.covered_size(connection)
    while end > 0:
        first = max(0, end - _CHUNK)
        run = map(Entry.FromString, store.read_entries(connection, first, end))
        of_today = [entry for entry in run if entry.time.seconds >= begin]
        yield from of_today
        if not of_today:
            return
        end = first
