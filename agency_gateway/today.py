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
    """The entries of the day in Japan that `now` lies in, in the order of the ledger.

    Entries are in the order of their commits, which is that of their times but for seconds: where a whole run of them
    is of an earlier day, so is everything before it.
    """
    begin = datetime.combine(now.astimezone(JAPAN).date(), time(), JAPAN).timestamp()
    first = end = store.covered_size(connection)
    while first > 0:
        run = _run(connection, max(0, first - _CHUNK), first)
        if all(entry.time.seconds < begin for entry in run):
            break
        first = max(0, first - _CHUNK)
    for start in range(first, end, _CHUNK):
        yield from (entry for entry in _run(connection, start, min(start + _CHUNK, end)) if entry.time.seconds >= begin)


def _run(connection: Connection, first: int, end: int) -> list[Entry]:
    return [Entry.FromString(leaf) for leaf in store.read_entries(connection, first, end)]
