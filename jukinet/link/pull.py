"""What a sender that lost data gets back: its own sealed segments, as far as they are kept here.

Source: reliability protocol, restore.
"""

from collections.abc import AsyncIterator, Iterator, Sequence

from sqlalchemy import Connection, Engine

from jukinet._pb.jukinet.link.v1.link_pb2 import Batch, SealedSegment
from jukinet.link.receiver import BATCH_CHANGES
from jukinet.link.sender import BATCH_BYTES
from jukinet.store import journal
from jukinet.store.reading import read_soon


async def pulled(reader: Engine, source: str, first: int, last: int) -> AsyncIterator[Batch]:
    """The segments with the changes `first` to `last` of a sender's stream, in order, as far as they are kept.

    Raises StoreError.
    """
    while True:

        def find(connection: Connection, after: int = first) -> list[journal.OutboxRow]:
            return journal.fetch_source(connection, source, after, last)

        rows = await read_soon(reader, find)
        if not rows:
            return
        for batch in given_back(rows):
            yield batch
        first = rows[-1].source_sequence + 1


def given_back(rows: Sequence[journal.OutboxRow]) -> Iterator[Batch]:
    """Segments as batches of the stream in which their sender once sent them."""
    batch, changes, size = Batch(), 0, 0
    for row in rows:
        count, length = row.last_sequence - row.first_sequence + 1, len(row.segment) + len(row.seal)
        if batch.segments and (changes + count > BATCH_CHANGES or size + length > BATCH_BYTES):
            yield batch
            batch, changes, size = Batch(), 0, 0
        batch.first_sequence = batch.first_sequence or row.source_sequence - count + 1
        batch.segments.append(SealedSegment(segment=row.segment, seal=row.seal))
        changes, size = changes + count, size + length
    yield batch
