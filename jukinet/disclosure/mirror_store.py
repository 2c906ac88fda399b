"""A mirrored ledger in the database: what was verified of it, and proofs out of that."""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import NamedTuple

from sqlalchemy import Connection, func, select

from jukinet._pb.jukinet.ledger.v1.ledger_pb2 import Entry
from jukinet.disclosure import schema
from jukinet.ledger import merkle
from jukinet.ledger.errors import LedgerCorrupt
from jukinet.mesh.clock import JAPAN
from jukinet.store.statement import add

_ADD = {
    table: add(table)
    for table in (schema.entries, schema.seals, schema.subtrees, schema.checkpoints, schema.contradictions)
}


class Verified(NamedTuple):
    """The last checkpoint of a ledger whose entries are all here, and when it was verified."""

    size: int
    note: str
    verified_at: int
    """Microseconds since 1970."""


class Found(NamedTuple):
    """An entry that carries a token that was asked for."""

    origin: str
    place: int
    entry: bytes


def frontier(connection: Connection, origin: str) -> merkle.Frontier:
    """The frontier over all entries of a ledger that are here. Raises LedgerCorrupt."""
    last = connection.execute(
        select(func.max(schema.entries.c.leaf_index)).where(schema.entries.c.origin == origin)
    ).scalar()
    size = 0 if last is None else last + 1
    read = node_reader(connection, origin)
    levels = [level for level in range(size.bit_length()) if size >> level & 1]
    return merkle.Frontier(size, tuple(read(level, (size >> level) - 1) for level in levels))


def keep_entries(
    connection: Connection, origin: str, first: int, entries: Sequence[tuple[bytes, Entry]], growth: merkle.Growth
) -> None:
    """Adds verified entries from index `first` on, each with what stands in it, and the subtrees that they complete."""
    rows = [
        {"origin": origin, "leaf_index": index, "entry": leaf, "leaf_hash": merkle.leaf_hash(leaf), "token": token}
        for index, leaf, token in ((first + i, leaf, entry.person_token) for i, (leaf, entry) in enumerate(entries))
    ]
    _ADD[schema.entries].write(connection, rows)
    sealed = [
        {"origin": origin, "leaf_index": first + i, "day": f"{entry.time.ToDatetime(tzinfo=JAPAN):%Y-%m-%d}"}
        for i, (_, entry) in enumerate(entries)
        if entry.sealed_until and entry.person_token  # a recall of what was sealed has none, and is open
    ]
    _ADD[schema.seals].write(connection, sealed)
    _ADD[schema.subtrees].write(connection, [{"origin": origin, **node._asdict()} for node in growth.subtrees])


def keep_checkpoint(connection: Connection, origin: str, verified: Verified) -> None:
    """Adds a checkpoint whose entries are all here; one of that size that is here already stays."""
    last = latest(connection, origin)
    if last is None or last.size < verified.size:
        _ADD[schema.checkpoints].write(connection, [{"origin": origin, **verified._asdict()}])


def keep_contradiction(connection: Connection, origin: str, *, shown_at: int, size: int, note: str, why: str) -> None:
    """Keeps what a ledger showed that did not verify."""
    row = {"origin": origin, "shown_at": shown_at, "size": size, "note": note, "why": why}
    _ADD[schema.contradictions].write(connection, [row])


def is_contradicted_after(connection: Connection, origin: str, moment: int) -> bool:
    """Whether a ledger showed what did not verify after a moment, microseconds since 1970."""
    table = schema.contradictions
    shown = select(table.c.shown_at).where(table.c.origin == origin, table.c.shown_at > moment).limit(1)
    return connection.execute(shown).first() is not None


def latest(connection: Connection, origin: str) -> Verified | None:
    """The last checkpoint whose entries are all here; None before the first one."""
    table = schema.checkpoints
    row = connection.execute(
        select(table.c.size, table.c.note, table.c.verified_at)
        .where(table.c.origin == origin)
        .order_by(table.c.size.desc())
        .limit(1)
    ).first()
    return Verified(*row) if row else None


def of_size(connection: Connection, origin: str, size: int) -> Verified:
    """The checkpoint of a size that was kept. Raises LedgerCorrupt when it is not there."""
    table = schema.checkpoints
    row = connection.execute(
        select(table.c.size, table.c.note, table.c.verified_at).where(table.c.origin == origin, table.c.size == size)
    ).first()
    if row is None:
        raise LedgerCorrupt(f"The mirrored checkpoint of {size} entries is missing.")
    return Verified(*row)


def find(connection: Connection, tokens: Sequence[bytes]) -> list[Found]:
    """All entries here that carry one of the tokens."""
    table = schema.entries
    rows = connection.execute(
        select(table.c.origin, table.c.leaf_index, table.c.entry)
        .where(table.c.token.in_(tokens))
        .order_by(table.c.origin, table.c.leaf_index)
    )
    return [Found(*row) for row in rows]


def find_sealed(connection: Connection, first: date, last: date) -> list[Found]:
    """All sealed entries here of a period of days in Japan, opened or not."""
    table, sealed = schema.entries, schema.seals
    rows = connection.execute(
        select(table.c.origin, table.c.leaf_index, table.c.entry)
        .join(sealed, (sealed.c.origin == table.c.origin) & (sealed.c.leaf_index == table.c.leaf_index))
        .where(sealed.c.day.between(first.isoformat(), last.isoformat()))
        .order_by(table.c.origin, table.c.leaf_index)
    )
    return [Found(*row) for row in rows]


def first_moment(connection: Connection) -> datetime | None:
    """Time of the earliest first entry of all ledgers; None while there is none."""
    table = schema.entries
    firsts = connection.execute(select(table.c.entry).where(table.c.leaf_index == 0)).scalars()
    return min((Entry.FromString(leaf).time.ToDatetime(tzinfo=UTC) for leaf in firsts), default=None)


def node_reader(connection: Connection, origin: str) -> merkle.ReadNode:
    """Gives the stored hashes of complete subtrees, leaves included; raises LedgerCorrupt for one that is missing."""
    leaf, node = schema.entries, schema.subtrees

    def read(level: int, position: int) -> bytes:
        if level == 0:
            wanted = select(leaf.c.leaf_hash).where(leaf.c.origin == origin, leaf.c.leaf_index == position)
        else:
            wanted = select(node.c.hash).where(
                node.c.origin == origin, node.c.level == level, node.c.position == position
            )
        stored = connection.execute(wanted).scalar_one_or_none()
        if stored is None:
            raise LedgerCorrupt(f"The mirrored subtree at level {level}, position {position} is missing.")
        return bytes(stored)

    return read
