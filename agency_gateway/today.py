"""The entries of today, out of the ledger: what a gateway has to know when it starts.

Of a sealed entry (封印) that is its tag too, which stands beside it with the body.
"""

from collections.abc import Iterator
from datetime import datetime, time
from typing import Final

from sqlalchemy import Connection, select

from agency_gateway.detectors import Seen
from jukinet._pb.jukinet.body.v1.body_pb2 import SealedBody
from jukinet._pb.jukinet.ledger.v1.ledger_pb2 import Entry
from jukinet.ledger import schema, store
from jukinet.mesh.clock import JAPAN

_CHUNK: Final = 4096


def todays_entries(connection: Connection, now: datetime) -> Iterator[Seen]:
    """The entries of the day in Japan that `now` lies in, in the order of the ledger.

    Entries are in the order of their commits, which is that of their times but for seconds: where a whole run of them
    is of an earlier day, so is everything before it.
    """
    begin = datetime.combine(now.astimezone(JAPAN).date(), time(), JAPAN).timestamp()
    first = end = store.covered_size(connection)
    while first > 0:
        run = _run(connection, max(0, first - _CHUNK), first)
        if all(seen.entry.time.seconds < begin for seen in run):
            break
        first = max(0, first - _CHUNK)
    for start in range(first, end, _CHUNK):
        run = _run(connection, start, min(start + _CHUNK, end))
        yield from (seen for seen in run if seen.entry.time.seconds >= begin)


def _run(connection: Connection, first: int, end: int) -> list[Seen]:
    entries = [Entry.FromString(leaf) for leaf in store.read_entries(connection, first, end)]
    sealed = [index for index, entry in enumerate(entries, first) if entry.sealed_until]
    tags = dict(_tags(connection, sealed))
    return [
        Seen(entry, crowd_tag=tags.get(index, b""), known_under_seal=bool(entry.sealed_until))
        for index, entry in enumerate(entries, first)
    ]


def _tags(connection: Connection, indexes: list[int]) -> Iterator[tuple[int, bytes]]:
    table = schema.bodies.c
    for index in indexes:
        row = connection.execute(select(table.sealed).where(table.leaf_index == index)).first()
        if row is not None:
            yield index, SealedBody.FromString(bytes(row.sealed)).crowd_tag
