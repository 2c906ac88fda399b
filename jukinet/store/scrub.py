"""All rows of the register looked at again, part by part (再検査): is what lies on the disk what was written?

Rule 1: rows are read in the order in which they lie on the disk, not by their keys. A register larger than memory is
then read as a file is read; by keys each row would be a page from somewhere else.
Rule 2: whatever cannot be read at all is damage too: a text that is none, a page that is none. It is narrowed down to
the row, so that all others are still looked at. Only a database that does not answer is no finding.
Rule 3: a row and its checksum are read in one statement, so a row that is changed meanwhile is no finding either.
"""

from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

from sqlalchemy import Connection, Engine, bindparam, func, select, text

from jukinet.store.checksum import is_sound
from jukinet.store.errors import StoreError
from jukinet.store.kept_changes import KEPT, look_at_kept
from jukinet.store.reading import read
from jukinet.store.schema import history
from jukinet.store.statement import Prepared

Table = Literal["residents", "history"]
TABLES: tuple[Table, ...] = ("residents", "history")
"""In the order in which a pass reads them."""


class Part(NamedTuple):
    """A stretch of a table, from `first` to before `end`.

    They number rows of `history` by their positions, and rows of `residents` as they lie: rows in SQLite, in PostgreSQL
    pages of some twenty.
    """

    table: Table
    first: int
    end: int


class Damaged(NamedTuple):
    """A row that is not what was written, by what still stands in it."""

    table: Table
    place: int
    """Where it lies: a part of one, as `Part` numbers them."""
    position: int
    """In `history`: its own, or that of the change that made the current row; 0 = not to be found."""
    municipality: str
    """That sealed the change, or that holds the person; empty where the row cannot be read."""
    resident_code: str
    """Personal: for operators who compare the tiers, and for nobody else. Empty where the row cannot be read."""


def part_after(engine: Engine, table: Table, first: int, rows: int) -> Part | None:
    """The next part from `first` on, of about so many rows; None behind the last row. Raises StoreError."""
    found = read(engine, _LAST[table].row)
    end = (found[0] or 0) + 1 if found else 0
    by_page = table == "residents" and engine.dialect.name == "postgresql"
    size = max(1, rows // _ROWS_A_PAGE) if by_page else rows
    return Part(table, first, first + size) if first < end else None


def look(engine: Engine, part: Part) -> tuple[int, list[Damaged]]:
    """How many rows a part has, and those of them that are damaged, each looked at in a transaction of a few rows.

    Raises StoreError: the database does not answer.
    """
    try:
        return read(engine, lambda connection: _look(connection, part))
    except StoreError:
        read(engine, lambda connection: connection.execute(select(1)))
    if part.end - part.first == 1:
        return 1, [Damaged(part.table, part.first, part.first if part.table == "history" else 0, "", "")]
    middle = (part.first + part.end) // 2
    (rows, damaged), (more, others) = (
        look(engine, part._replace(end=middle)),
        look(engine, part._replace(first=middle)),
    )
    return rows + more, damaged + others


def still_damaged(engine: Engine, known: Iterable[Damaged]) -> set[Damaged]:
    """Those that are not what was written when they are looked at once more. Raises StoreError."""
    known = set(known)
    found: set[Damaged] = set()
    for table, place in {(each.table, each.place) for each in known}:
        found.update(look(engine, Part(table, place, place + 1))[1])
    return found & known


def _look(connection: Connection, part: Part) -> tuple[int, list[Damaged]]:
    values: dict[str, Any] = {"first": part.first, "end": part.end}
    rows = _ROWS[part.table].rows(connection, values)
    return len(rows), list(_DAMAGED[part.table](connection, rows))


def _damaged_residents(connection: Connection, rows: Iterable[Any]) -> Iterable[Damaged]:
    for place, message, checksum, holder, code, version in rows:
        if not is_sound(message, checksum):
            made_by = _MADE_BY.row(connection, {"code": code, "version": version})
            yield Damaged("residents", place, made_by[0] if made_by else 0, holder, code)


def _damaged_changes(_connection: Connection, rows: Iterable[Any]) -> Iterable[Damaged]:
    for row in rows:
        kept, sound = look_at_kept(row)
        if not sound:
            yield Damaged("history", kept.position, kept.position, kept.municipality, kept.resident_code)


_ROWS_A_PAGE = 20
"""A current row takes some 300 to 400 bytes, and a page of PostgreSQL has 8,192."""
_DAMAGED = {"residents": _damaged_residents, "history": _damaged_changes}
_LAST: dict[Table, Prepared] = {
    "residents": Prepared(
        {
            "sqlite": text("SELECT max(rowid) FROM residents"),
            "postgresql": text("SELECT pg_relation_size('residents') / current_setting('block_size')::int - 1"),
        }
    ),
    "history": Prepared(select(func.max(history.c.position))),
}
_ROWS: dict[Table, Prepared] = {
    "residents": Prepared(
        {
            "sqlite": text(
                "SELECT rowid, resident, checksum, holder, resident_code, version FROM residents "
                "WHERE rowid >= :first AND rowid < :end"
            ),
            "postgresql": text(
                "SELECT (ctid::text::point)[0]::bigint, resident, checksum, holder, resident_code, version "
                "FROM residents WHERE ctid >= format('(%s,0)', :first)::tid AND ctid < format('(%s,0)', :end)::tid"
            ),
        }
    ),
    "history": Prepared(
        select(*KEPT).where(history.c.position >= bindparam("first"), history.c.position < bindparam("end"))
    ),
}
_MADE_BY = Prepared(
    select(history.c.position).where(
        history.c.resident_code == bindparam("code"), history.c.version == bindparam("version")
    )
)
