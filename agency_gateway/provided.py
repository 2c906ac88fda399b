"""Which answers stand under a recall mark (旧値の回収), found without an index over every mark.

Marks come in no order: an index of them writes a page of its own for nearly each answer, a fifth of all that the
writing thread does for one. So rows are kept by their entries alone, and every `RUN` entries are gathered into a *run*:
a row for each first byte of a mark, in which the beginnings of the marks and their entries follow each other. Whoever
looks for a mark reads one row of each run, and of the entries that are in no run yet all rows.

Rule 1: an entry below `gathered` has its mark in a run; each one from there on is looked at itself. A run is written in
one transaction, when no entry of it can come any more, and never changed.
Rule 2: a run says where to look, the row says what is there: a beginning that two marks share, or that is found across
two records, misleads nobody.

Each function works within the caller's transaction.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, TypeVar

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    bindparam,
    func,
    select,
)

from jukinet.store.statement import Prepared, Rows

ITEMS: Final = "items of the record, a bit for each by the number of its IdentityField"
RUN: Final = 65_536
"""Entries of a run, on disk too: with another number all runs are to be made anew. So many rows are looked through in
some 10 ms."""
_BUCKETS: Final = 256
_BEGINNING: Final = 8
"""Bytes of a mark in a run."""
_RECORD: Final = _BEGINNING + 4
"""Bytes of a mark's beginning and of its entry, counted from the run's first one."""
_AT_ONCE: Final = 500
"""Values of one query: databases limit them."""
_ROW_ID = BigInteger().with_variant(Integer, "sqlite")

_T = TypeVar("_T")

metadata = MetaData()

provided = Table(
    "provided",
    metadata,
    Column("leaf_index", _ROW_ID, primary_key=True, autoincrement=False, comment="of the answer's entry"),
    Column("mark", LargeBinary, nullable=False, comment="recall mark of the record"),
    Column("item_bits", Integer, nullable=False, comment=ITEMS),
)

mark_runs = Table(
    "mark_runs",
    metadata,
    Column("bucket", SmallInteger, primary_key=True, autoincrement=False, comment="first byte of the marks"),
    Column("first", BigInteger, primary_key=True, autoincrement=False, comment="leaf index of the run's first entry"),
    Column("records", LargeBinary, nullable=False, comment="beginning of a mark, entry's place in the run; and so on"),
)

_ADD_PROVIDED = Rows(provided, ["leaf_index", "mark", "item_bits"])
_MARKS = Prepared(
    select(provided.c.leaf_index, provided.c.mark).where(
        provided.c.leaf_index >= bindparam("first"), provided.c.leaf_index < bindparam("end")
    )
)
_ADD_RUN = Rows(mark_runs, ["bucket", "first", "records"])


def add_provided(connection: Connection, rows: Sequence[tuple[int, bytes, int]]) -> None:
    """Keeps what was provided: leaf index of the answer's entry, recall mark, items as bits."""
    _ADD_PROVIDED.write(connection, rows)


def gathered(connection: Connection) -> int:
    """How many of the first entries are in runs."""
    last = connection.execute(select(func.max(mark_runs.c.first)).where(mark_runs.c.bucket == 0)).scalar()
    return 0 if last is None else last + RUN


def gather(connection: Connection, first: int) -> list[tuple[int, int, bytes]]:
    """The rows of the run that begins with an entry, for `add_run`; all its entries are on disk."""
    buckets = [bytearray() for _ in range(_BUCKETS)]
    for leaf_index, mark in _MARKS.rows(connection, {"first": first, "end": first + RUN}):
        beginning = _beginning(mark)
        buckets[beginning[0]] += beginning + (leaf_index - first).to_bytes(_RECORD - _BEGINNING, "big")
    return [(number, first, bytes(records)) for number, records in enumerate(buckets)]


def add_run(connection: Connection, rows: Sequence[tuple[int, int, bytes]]) -> None:
    """Keeps a run, unless it is there; one thread alone writes."""
    _ADD_RUN.write_new(connection, rows)


def under(connection: Connection, marks: Iterable[bytes]) -> list[tuple[int, bytes, int]]:
    """The answers under any of these marks, by their entries: leaf index, mark, items as bits."""
    wanted = list(dict.fromkeys(marks))
    # Asked first: a run that is added meanwhile is read for entries that are looked at themselves too.
    end = gathered(connection)
    leaves = sorted({leaf_index for mark in wanted for leaf_index in _in_runs(connection, mark)})
    found: dict[int, tuple[int, bytes, int]] = {}
    for some_marks in _parts(wanted):
        found |= _rows(connection, provided.c.leaf_index >= end, provided.c.mark.in_(some_marks))
    for some_leaves in _parts(leaves):
        found |= _rows(connection, provided.c.leaf_index.in_(some_leaves))
    sought = frozenset(wanted)
    return sorted(row for row in found.values() if row[1] in sought)


def _rows(connection: Connection, *where: ColumnElement[bool]) -> dict[int, tuple[int, bytes, int]]:
    rows = connection.execute(select(provided.c.leaf_index, provided.c.mark, provided.c.item_bits).where(*where))
    return {leaf_index: (leaf_index, bytes(mark), items) for leaf_index, mark, items in rows}


def _in_runs(connection: Connection, mark: bytes) -> Iterator[int]:
    """The entries that may stand under a mark, by the runs."""
    beginning = _beginning(mark)
    runs = select(mark_runs.c.first, mark_runs.c.records).where(mark_runs.c.bucket == beginning[0])
    for first, records in connection.execute(runs):
        at = records.find(beginning)
        while at >= 0:
            yield first + int.from_bytes(records[at + _BEGINNING : at + _RECORD], "big")
            at = records.find(beginning, at + 1)


def _beginning(mark: bytes) -> bytes:
    return mark[:_BEGINNING].ljust(_BEGINNING, b"\0")


def _parts(values: Sequence[_T]) -> Iterator[Sequence[_T]]:
    return (values[first : first + _AT_ONCE] for first in range(0, len(values), _AT_ONCE))
