"""Snapshots that are being brought: the signed manifest of each, and how far it is in the register.

Rule 1: a chunk is noted in the transaction that takes it into the register (`jukinet.store.chunk`). So what is noted is
the beginning of the snapshot, and a sender that was cut off goes on with the next chunk.
Rule 2: from its first chunk to its end a municipality is *half in*. Its stream brings nothing meanwhile, for it begins
behind the snapshot; and where nothing of it was here before, its residents are provided to nobody: what is here of them
may be years old (`jukinet.store.search`). Only the whole snapshot ends that, this one or a later one.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import Column, ColumnElement, Connection, bindparam, delete, exists, literal_column, select, update

from jukinet.store.schema import origins, snapshot_chunks, snapshots
from jukinet.store.statement import Prepared, add, keep


@dataclass(frozen=True, slots=True)
class Offer:
    """The snapshot of a municipality that is being brought."""

    source: str
    """SPIFFE ID of the sender that offered it."""
    manifest: bytes
    seal: bytes
    begun: bool
    """Whether something of it, or of an earlier offer, is in the register."""
    digests: Sequence[bytes]
    """Of the chunks that are in the register."""
    last_sequence: int
    """Of the last change of these chunks."""


def read_offer(connection: Connection, municipality: str) -> Offer | None:
    """The snapshot of a municipality that is being brought; None where none is."""
    row = _OFFER.row(connection, {"m": municipality})
    if row is None:
        return None
    chunks = _CHUNKS.rows(connection, {"m": municipality})
    source, manifest, seal, begun = row
    digests = [bytes(digest) for digest, _ in chunks]
    return Offer(source, bytes(manifest), bytes(seal), bool(begun), digests, chunks[-1][1] if chunks else 0)


def write_offer(
    connection: Connection, municipality: str, *, source: str, manifest: bytes, seal: bytes, digests: Sequence[bytes]
) -> int:
    """Keeps a snapshot as the one that is being brought; `digests` are those of its chunks.

    Returns how many of its chunks are in the register by an earlier offer. The others are forgotten.
    """
    before = read_offer(connection, municipality)
    same = 0
    if before is not None:
        while same < min(len(before.digests), len(digests)) and before.digests[same] == digests[same]:
            same += 1
        of_it = snapshot_chunks.c.municipality == municipality
        connection.execute(delete(snapshot_chunks).where(of_it, snapshot_chunks.c.number >= same))
    begun = int(before is not None and before.begun)
    values = {"municipality": municipality, "source": source, "manifest": manifest, "seal": seal, "begun": begun}
    _KEEP_OFFER.write(connection, [values])
    return same


def note_chunk(connection: Connection, municipality: str, *, number: int, digest: bytes, last_sequence: int) -> None:
    """Notes that a chunk of the snapshot is in the register."""
    if number == 0:
        _BEGIN.write(connection, [{"m": municipality}])
    values = {"municipality": municipality, "number": number, "digest": digest, "last_sequence": last_sequence}
    _ADD_CHUNK.write(connection, [values])


def end_offer(connection: Connection, municipality: str) -> None:
    """Ends a snapshot that is in the register as a whole."""
    for table in (snapshot_chunks, snapshots):
        connection.execute(delete(table).where(table.c.municipality == municipality))


def half_in(connection: Connection, municipalities: Collection[str]) -> set[str]:
    """Those of the municipalities that are half in."""
    return {name for (name,) in _BEGUN.rows(connection) if name in municipalities}


def unprovided(connection: Connection) -> list[str]:
    """The municipalities that are half in for the first time."""
    return [name for (name,) in _UNPROVIDED.rows(connection)]


def is_provided(holder: Column[str]) -> ColumnElement[bool]:
    """The condition of a query that the municipality which holds a row is not half in for the first time."""
    return ~exists().where(snapshots.c.municipality == holder, *_IS_UNPROVIDED)


_IS_BEGUN = snapshots.c.begun == literal_column("1")
_IS_UNPROVIDED = (_IS_BEGUN, ~exists().where(origins.c.municipality == snapshots.c.municipality))
_OFFER = Prepared(
    select(snapshots.c.source, snapshots.c.manifest, snapshots.c.seal, snapshots.c.begun).where(
        snapshots.c.municipality == bindparam("m")
    )
)
_KEEP_OFFER = keep(snapshots, "municipality")
_BEGIN = Prepared(update(snapshots).where(snapshots.c.municipality == bindparam("m")).values(begun=1))
_BEGUN = Prepared(select(snapshots.c.municipality).where(_IS_BEGUN))
_UNPROVIDED = Prepared(select(snapshots.c.municipality).where(*_IS_UNPROVIDED))
_CHUNKS = Prepared(
    select(snapshot_chunks.c.digest, snapshot_chunks.c.last_sequence)
    .where(snapshot_chunks.c.municipality == bindparam("m"))
    .order_by(snapshot_chunks.c.number)
)
_ADD_CHUNK = add(snapshot_chunks)
