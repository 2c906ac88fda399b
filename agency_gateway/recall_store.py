"""What a gateway keeps to have corrected values recalled (旧値の回収): in its ledger's database, beside the tree.

Rule 1: each answer that provided something has a row with its recall mark (`provided`), written with its entry. No
person stands in it, and nobody but the center can tell whose mark it is.
Rule 2: one recall for one answer and one correction: the key of the table says so, whatever is looked for again.
Rule 3: rows are added and never removed; of a recall only the moment of its acknowledgement is filled in.

Each function works within the caller's transaction.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from typing import Final, NamedTuple

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    UniqueConstraint,
    func,
    insert,
    literal,
    select,
    text,
    update,
)

from agency_gateway.provided import ITEMS, metadata, provided, under
from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2 as ledger
from jukinet._pb.jukinet.provision.v1.correction_pb2 import CorrectedMark, Correction
from jukinet.ledger.schema import entries

_ROW_ID = BigInteger().with_variant(Integer, "sqlite")

corrected = Table(
    "corrected",
    metadata,
    Column("mark", LargeBinary, primary_key=True, comment="under which an answer may have been under way"),
    Column("correction", LargeBinary, primary_key=True, comment="id at the center"),
    Column("corrected_on", String(10), nullable=False, comment="YYYY-MM-DD in Japan"),
    Column("item_bits", Integer, nullable=False, comment=ITEMS),
)

recalls = Table(
    "recalls",
    metadata,
    Column("position", _ROW_ID, primary_key=True, autoincrement=True),
    Column("leaf_index", BigInteger, nullable=False, comment="of the answer's entry"),
    Column("correction", LargeBinary, nullable=False, comment="id at the center"),
    Column("agency", String(255), nullable=False, comment="SPIFFE ID"),
    Column("purpose", String(32), nullable=False, comment="row and item of the statute table"),
    Column("corrected_on", String(10), nullable=False, comment="YYYY-MM-DD in Japan"),
    Column("item_bits", Integer, nullable=False, comment=ITEMS),
    Column("noted_at", BigInteger, nullable=False, comment="microseconds since 1970, UTC"),
    Column("acknowledged_at", BigInteger, comment="the same; NULL until then"),
    UniqueConstraint("leaf_index", "correction", name="recalls_once"),
    # Of what is not acknowledged alone, so that what was, over years, slows neither the telling nor the counting.
    Index(
        "recalls_open",
        *("agency", "purpose", "position", "noted_at"),
        sqlite_where=text("acknowledged_at IS NULL"),
        postgresql_where=text("acknowledged_at IS NULL"),
    ),
    # Without it SQLite gives the position of a removed last row again.
    sqlite_autoincrement=True,
)

recall_place = Table(
    "recall_place",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False, comment="always 1"),
    Column("position", BigInteger, nullable=False, comment="of the center, up to which all is known"),
    Column("place", LargeBinary, nullable=False, comment="what the center said of that position"),
    Column("leaves", BigInteger, nullable=False, comment="entries that were held against them"),
)

_COMPARED: Final = 16
"""From this bit on stand the items of which an answer told no more than a search compares. A yes that was kept before
they did has the bits of what is provided, and is recalled with it."""
_FOUR_ITEMS: Final = (
    inquiry.IDENTITY_FIELD_NAME,
    inquiry.IDENTITY_FIELD_BIRTH_DATE,
    inquiry.IDENTITY_FIELD_SEX,
    inquiry.IDENTITY_FIELD_ADDRESS,
)


class Place(NamedTuple):
    """How far the gateway is."""

    position: int = 0
    place: bytes = b""
    leaves: int = 0


class Due(NamedTuple):
    """An answer that held what was wrong, and the correction."""

    leaf_index: int
    correction: bytes
    corrected_on: str
    item_bits: int


class Recalled(NamedTuple):
    """A recall as it is told."""

    position: int
    leaf_index: int
    corrected_on: str
    item_bits: int
    entry: bytes


class Open(NamedTuple):
    """What an agency did not acknowledge for a purpose."""

    agency: str
    purpose: str
    recalls: int
    since_us: int


class Standing(NamedTuple):
    """How many recalls no agency acknowledged yet, and since when the oldest can be had; None: there is none."""

    recalls: int
    since_us: int | None


def items_in(entry: ledger.Entry) -> int:
    """The items that an answer told, as bits: those provided; a yes says of the four items what a search compares."""
    if entry.action == ledger.ACTION_VERIFY_IDENTITY:
        return bits_of(compared=_FOUR_ITEMS)
    return bits_of(entry.fields)


def bits_of(items: Iterable[int] = (), *, compared: Iterable[int] = ()) -> int:
    """Items as bits: as they are provided, and as far as a search compares them."""
    return sum(1 << item for item in items) + sum(1 << item + _COMPARED for item in compared)


def items_of(bits: int) -> "list[inquiry.IdentityField.ValueType]":
    """Items out of their bits, by rising numbers; whether as provided or as compared."""
    return [item for item in inquiry.IdentityField.values() if (bits | bits >> _COMPARED) >> item & 1]


def read_place(connection: Connection) -> Place:
    """How far the gateway is; at the beginning nowhere."""
    columns = (recall_place.c.position, recall_place.c.place, recall_place.c.leaves)
    row = connection.execute(select(*columns)).first()
    return Place(row.position, bytes(row.place), row.leaves) if row else Place()


def write_place(connection: Connection, place: Place) -> None:
    """Notes how far the gateway is."""
    if not connection.execute(update(recall_place).values(place._asdict())).rowcount:
        connection.execute(insert(recall_place).values(id=1, **place._asdict()))


def add_corrected(connection: Connection, corrections: Sequence[Correction]) -> None:
    """Keeps the marks by which answers may be under way; those that are known already change nothing."""
    for each in corrections:
        for mark in each.marks:
            if mark.recent:
                row = _corrected_row(each, mark.mark, _wrong_in(mark))
                same = (corrected.c.mark == mark.mark, corrected.c.correction == each.correction_id)
                _add_once(connection, corrected, row, *same)


def due_of(connection: Connection, corrections: Sequence[Correction]) -> list[Due]:
    """The answers on record that corrections concern."""
    return [due for each in corrections for due in _due_of_one(connection, each)]


def due_since(connection: Connection, first: int) -> list[Due]:
    """The answers from an entry on that were under way while a correction came which concerns them."""
    both = provided.c.item_bits.op("&")(corrected.c.item_bits)
    rows = connection.execute(
        select(provided.c.leaf_index, corrected.c.correction, corrected.c.corrected_on, both)
        .join(corrected, corrected.c.mark == provided.c.mark)
        .where(provided.c.leaf_index >= first, both != 0)
        .order_by(provided.c.leaf_index)
    )
    return [Due(leaf_index, bytes(correction), day, items) for leaf_index, correction, day, items in rows]


def note(connection: Connection, due: Due, entry: ledger.Entry, *, now_us: int) -> bool:
    """Notes a recall of an answer, whose entry is given; tells whether it is a new one."""
    row = {**due._asdict(), "agency": entry.agency, "purpose": entry.purpose, "noted_at": now_us}
    return _add_once(
        connection, recalls, row, recalls.c.leaf_index == due.leaf_index, recalls.c.correction == due.correction
    )


def is_position(connection: Connection, agency: str, purpose: str, position: int) -> bool:
    """Whether a recall of an agency and purpose has this position."""
    row = select(recalls.c.position).where(*_of(agency, purpose), recalls.c.position == position)
    return connection.execute(row).first() is not None


def unacknowledged(
    connection: Connection, agency: str, purpose: str, *, limit: int, until: int | None = None
) -> list[Recalled]:
    """The recalls of an agency and purpose that it did not acknowledge, by position; up to one position if given."""
    columns = (recalls.c.position, recalls.c.leaf_index, recalls.c.corrected_on, recalls.c.item_bits, entries.c.entry)
    query = (
        select(*columns)
        .join(entries, entries.c.leaf_index == recalls.c.leaf_index)
        .where(*_of(agency, purpose), recalls.c.acknowledged_at.is_(None))
        .order_by(recalls.c.position)
        .limit(limit)
    )
    if until is not None:
        query = query.where(recalls.c.position <= until)
    return [Recalled(*row) for row in connection.execute(query)]


def acknowledge(connection: Connection, position: int, *, now_us: int) -> bool:
    """Notes that an agency acknowledged a recall; tells whether it is news."""
    open_one = update(recalls).where(recalls.c.position == position, recalls.c.acknowledged_at.is_(None))
    return connection.execute(open_one.values(acknowledged_at=now_us)).rowcount > 0


def open_recalls(connection: Connection) -> list[Open]:
    """What stands unacknowledged, by agency and purpose."""
    by = (recalls.c.agency, recalls.c.purpose)
    rows = connection.execute(
        select(*by, func.count(), func.min(recalls.c.noted_at))
        .where(recalls.c.acknowledged_at.is_(None))
        .group_by(*by)
        .order_by(*by)
    )
    return [Open(*row) for row in rows]


def standing(connection: Connection) -> Standing:
    """What stands unacknowledged, of all agencies together."""
    query = select(func.count(), func.min(recalls.c.noted_at)).where(recalls.c.acknowledged_at.is_(None))
    return Standing(*connection.execute(query).one())


def read_entry(connection: Connection, leaf_index: int) -> bytes:
    """The entry of an answer."""
    row = connection.execute(select(entries.c.entry).where(entries.c.leaf_index == leaf_index)).scalar_one()
    return bytes(row)


def _of(agency: str, purpose: str) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return recalls.c.agency == agency, recalls.c.purpose == purpose


def _due_of_one(connection: Connection, correction: Correction) -> Iterator[Due]:
    wrong, day = {mark.mark: _wrong_in(mark) for mark in correction.marks}, _day(correction)
    for leaf_index, mark, items in under(connection, wrong):
        if both := items & wrong[mark]:
            yield Due(leaf_index, correction.correction_id, day, both)


def _wrong_in(mark: CorrectedMark) -> int:
    return bits_of(mark.items, compared=mark.compared)


def _add_once(connection: Connection, table: Table, row: dict[str, object], *same: ColumnElement[bool]) -> bool:
    """Adds a row unless the same one is there; tells whether it did. One thread alone writes."""
    if connection.execute(select(literal(1)).select_from(table).where(*same).limit(1)).first():
        return False
    connection.execute(insert(table).values(row))
    return True


def _corrected_row(correction: Correction, mark: bytes, items: int) -> dict[str, object]:
    return {"mark": mark, "correction": correction.correction_id, "corrected_on": _day(correction), "item_bits": items}


def _day(correction: Correction) -> str:
    on = correction.corrected_on
    return date(on.year, on.month, on.day).isoformat()
