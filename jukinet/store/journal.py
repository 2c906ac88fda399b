"""Where a node stands in the streams: its own outbox, the marks of its senders, the origins of what they bring.

All of it moves in the transaction that holds the effect. Sequence numbers come from the single `stream` row under the
writer's lock, so there are no gaps and no number is visible before its change.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection, bindparam, func, select, update

from jukinet.store.schema import marks, origins, outbox, outbox_start, stream
from jukinet.store.statement import Prepared, add, keep, one_of


@dataclass(frozen=True, slots=True)
class Stream:
    """This node's own stream towards its upstream neighbour."""

    epoch: int
    last_sequence: int
    chain: bytes
    neighbour_mark: int
    center_mark: int
    moved_at: int


@dataclass(frozen=True, slots=True)
class Mark:
    """How far one sender's stream is on disk here."""

    epoch: int
    mark: int
    chain: bytes
    center_mark: int
    moved_at: int


@dataclass(frozen=True, slots=True)
class Origin:
    """How far one municipality's sealed changes are on disk here, over whichever hop they came."""

    epoch: int
    sequence: int
    segment_hash: bytes
    as_of: int


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """One sealed segment in this node's own stream."""

    first_sequence: int
    last_sequence: int
    chain: bytes
    segment: bytes
    seal: bytes
    traceparents: str
    source: str
    source_sequence: int


def read_stream(connection: Connection) -> Stream:
    """The node's own stream; a new node begins with epoch 1 and no change."""
    row = _STREAM.row(connection)
    return Stream(*row) if row else Stream(1, 0, b"", 0, 0, 0)


def write_stream(connection: Connection, state: Stream) -> None:
    """Keeps the node's own stream."""
    values = {
        "id": 1,
        "epoch": state.epoch,
        "last_sequence": state.last_sequence,
        "chain": state.chain,
        "neighbour_mark": state.neighbour_mark,
        "center_mark": state.center_mark,
        "moved_at": state.moved_at,
    }
    _KEEP_STREAM.write(connection, [values])


def append_outbox(connection: Connection, rows: Sequence[OutboxRow]) -> None:
    """Adds sealed segments to the outbox; their sequence numbers follow the stream's."""
    _ADD_SEGMENT.write(
        connection,
        [
            {
                "first_sequence": row.first_sequence,
                "last_sequence": row.last_sequence,
                "chain": row.chain,
                "segment": row.segment,
                "seal": row.seal,
                "traceparents": row.traceparents,
                "source": row.source,
                "source_sequence": row.source_sequence,
            }
            for row in rows
        ],
    )


def fetch_outbox(connection: Connection, after: int, *, max_changes: int, max_bytes: int) -> list[OutboxRow]:
    """Segments after sequence `after`, in order: at most so many changes and bytes, but at least one segment.

    Sequence numbers have no gaps, so the number of changes is a difference of two of them.
    """
    found = _SEGMENTS_UNTIL.rows(connection, {"after": after, "until": after + max_changes})
    if not found:
        found = _NEXT_SEGMENT.rows(connection, {"after": after})
    rows: list[OutboxRow] = []
    size = 0
    for row in found:
        entry = OutboxRow(*row)
        size += len(entry.segment) + len(entry.traceparents)
        if rows and size > max_bytes:
            break
        rows.append(entry)
    return rows


def fetch_source(connection: Connection, source: str, first: int, last: int) -> list[OutboxRow]:
    """The oldest segments that came from `source` between these sequence numbers of its own stream; 16 at most."""
    return [OutboxRow(*row) for row in _FROM_SOURCE.rows(connection, {"of": source, "first": first, "last": last})]


def chain_at(connection: Connection, sequence: int) -> bytes | None:
    """Link chain hash at the end of a segment; b"" at 0; None when no segment that is known ends there."""
    if sequence == 0:
        return b""
    row = _CHAIN_AT.row(connection, {"sequence": sequence})
    start, chain = (0, row[0]) if row else outbox_start_of(connection)
    return chain if row or start == sequence else None


def first_kept(connection: Connection) -> int:
    """Sequence number of the oldest change in the outbox; 0 when it is empty."""
    row = _FIRST_KEPT.row(connection)
    return (row[0] if row else None) or 0


def outbox_start_of(connection: Connection) -> tuple[int, bytes]:
    """Sequence number and link chain hash before the oldest change that the outbox holds, or would hold."""
    row = _START.row(connection)
    return (row[0], bytes(row[1])) if row else (0, b"")


def record_progress(connection: Connection, *, neighbour_mark: int, center_mark: int, now_us: int) -> dict[str, int]:
    """Keeps how far this node's stream is on disk above, and returns the center marks that moved, by source.

    Marks never go back. `now_us` is microseconds since 1970; it is kept when a mark moved.
    """
    state = read_stream(connection)
    moved = replace(
        state,
        neighbour_mark=max(state.neighbour_mark, neighbour_mark),
        center_mark=max(state.center_mark, center_mark),
    )
    if moved == state:
        return {}
    write_stream(connection, replace(moved, moved_at=now_us))
    if moved.center_mark == state.center_mark:
        return {}
    by_source: dict[str, int] = dict(
        _REACHED.rows(connection, {"after": state.center_mark, "until": moved.center_mark})
    )
    _MOVE_CENTER_MARK.write(connection, [{"key": source, "reached": last} for source, last in by_source.items()])
    return by_source


def read_mark(connection: Connection, source: str) -> Mark | None:
    """How far the sender's stream is on disk here; None for a sender that was never seen."""
    row = _MARK.row(connection, {"of": source})
    return Mark(*row) if row else None


def read_marks(connection: Connection) -> dict[str, Mark]:
    """The marks of all senders, by SPIFFE ID."""
    query = select(
        marks.c.source, marks.c.epoch, marks.c.mark, marks.c.chain, marks.c.center_mark, marks.c.moved_at
    ).order_by(marks.c.source)
    return {source: Mark(*rest) for source, *rest in connection.execute(query)}


def write_mark(connection: Connection, source: str, mark: Mark) -> None:
    """Keeps how far a sender's stream is on disk here."""
    values = {
        "source": source,
        "epoch": mark.epoch,
        "mark": mark.mark,
        "chain": mark.chain,
        "center_mark": mark.center_mark,
        "moved_at": mark.moved_at,
    }
    _KEEP_MARK.write(connection, [values])


def read_origins(connection: Connection, municipalities: Sequence[str] | None = None) -> dict[str, Origin]:
    """How far each municipality's changes are on disk here; all of them without a list."""
    if municipalities is None:
        found = _ORIGINS.rows(connection)
    elif len(municipalities) == 1:  # what a CS sends; a list takes SQLite twice as long
        found = _ORIGIN_OF.rows(connection, {"code": municipalities[0]})
    else:
        found = _ORIGINS_OF.rows(connection, {"codes": list(municipalities)})
    return {code: Origin(*rest) for code, *rest in found}


def write_origin(connection: Connection, municipality: str, origin: Origin) -> None:
    """Keeps how far a municipality's changes are on disk here."""
    values = {
        "municipality": municipality,
        "epoch": origin.epoch,
        "sequence": origin.sequence,
        "segment_hash": origin.segment_hash,
        "as_of": origin.as_of,
    }
    _KEEP_ORIGIN.write(connection, [values])


_KEEP_STREAM = keep(stream, "id")
_START = Prepared(select(outbox_start.c.sequence, outbox_start.c.chain))
_KEEP_MARK = keep(marks, "source")
_KEEP_ORIGIN = keep(origins, "municipality")
_ADD_SEGMENT = add(outbox)
_STREAM = Prepared(
    select(
        stream.c.epoch,
        stream.c.last_sequence,
        stream.c.chain,
        stream.c.neighbour_mark,
        stream.c.center_mark,
        stream.c.moved_at,
    )
)
_SEGMENT = select(
    outbox.c.first_sequence,
    outbox.c.last_sequence,
    outbox.c.chain,
    outbox.c.segment,
    outbox.c.seal,
    outbox.c.traceparents,
    outbox.c.source,
    outbox.c.source_sequence,
)
_SEGMENTS = _SEGMENT.where(outbox.c.last_sequence > bindparam("after")).order_by(outbox.c.last_sequence)
_FROM_SOURCE = Prepared(
    _SEGMENT.where(
        outbox.c.source == bindparam("of"),
        outbox.c.source_sequence >= bindparam("first"),
        outbox.c.source_sequence <= bindparam("last"),
    )
    .order_by(outbox.c.source_sequence)
    .limit(16)
)
_FIRST_KEPT = Prepared(select(func.min(outbox.c.first_sequence)))
_REACHED = Prepared(
    select(outbox.c.source, func.max(outbox.c.source_sequence))
    .where(outbox.c.last_sequence > bindparam("after"), outbox.c.last_sequence <= bindparam("until"))
    .where(outbox.c.source != "")
    .group_by(outbox.c.source)
)
_MOVE_CENTER_MARK = Prepared(
    update(marks).where(marks.c.source == bindparam("key")).values(center_mark=bindparam("reached"))
)
_SEGMENTS_UNTIL = Prepared(_SEGMENTS.where(outbox.c.last_sequence <= bindparam("until")))
_NEXT_SEGMENT = Prepared(_SEGMENTS.limit(1))
_CHAIN_AT = Prepared(select(outbox.c.chain).where(outbox.c.last_sequence == bindparam("sequence")))
_MARK = Prepared(
    select(marks.c.epoch, marks.c.mark, marks.c.chain, marks.c.center_mark, marks.c.moved_at).where(
        marks.c.source == bindparam("of")
    )
)
_ALL_ORIGINS = select(
    origins.c.municipality, origins.c.epoch, origins.c.sequence, origins.c.segment_hash, origins.c.as_of
).order_by(origins.c.municipality)
_ORIGINS = Prepared(_ALL_ORIGINS)
_ORIGIN_OF = Prepared(_ALL_ORIGINS.where(origins.c.municipality == bindparam("code")))
_ORIGINS_OF = one_of(_ALL_ORIGINS, codes=origins.c.municipality)
