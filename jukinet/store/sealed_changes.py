"""A municipality's changes in the order of its stream, as a node holds them: applied, parked or set aside.

Nothing that was sealed is ever dropped, so wherever a municipality is known up to a change, all changes before it are
in one of three tables. Read page by page along their keys: any page can be read again at any time, for none of it
changes.
"""

from operator import itemgetter
from typing import Any

from sqlalchemy import Column, Connection, Table, bindparam, func, select

from jukinet.store.kept_changes import KEPT, read_kept
from jukinet.store.schema import history, parked, set_aside
from jukinet.store.statement import Prepared

Row = tuple[int, int, bytes]
"""Sequence number, epoch, and the change as sealed."""


def next_changes(
    connection: Connection, municipality: str, *, epoch: int, after: int, until: int, limit: int
) -> list[Row]:
    """The next changes of a municipality after its change `after`, which was of incarnation `epoch`; `until` at most.

    There are fewer than `limit` only at the end, and none but in order without a gap.

    Raises RecordDamaged: one of them is not what was written. A manifest would have it signed as true.
    """
    found: list[Row] = []
    of_epoch: int | None = epoch
    while of_epoch is not None and len(found) < limit:
        last = found[-1][0] if found else after
        values = {"m": municipality, "epoch": of_epoch, "after": last, "until": until, "most": limit - len(found)}
        kept = map(read_kept, _KEPT_OF_EPOCH.rows(connection, values))
        rows: list[Row] = [(each.sequence, each.epoch, each.change) for each in kept]
        others: list[list[Row]] = [query.rows(connection, values) for query in _OTHERS_OF_EPOCH]
        if any(others):
            rows = sorted((row for part in (rows, *others) for row in part), key=itemgetter(0))[: limit - len(found)]
        found += rows
        if len(found) < limit:
            of_epoch = _next_epoch(connection, municipality, of_epoch)
    return found


def last_change(connection: Connection, municipality: str) -> tuple[int, int] | None:
    """Epoch and sequence number of the last change of a municipality that is here; None where none is."""
    lasts = [row for query in _LAST if (row := query.row(connection, {"m": municipality}))]
    return max(((epoch, sequence) for epoch, sequence in lasts), default=None)


def _next_epoch(connection: Connection, municipality: str, epoch: int) -> int | None:
    later = [query.row(connection, {"m": municipality, "epoch": epoch}) for query in _LATER]
    return min((row[0] for row in later if row and row[0] is not None), default=None)


def _of_epoch(table: Table, *columns: Column[Any]) -> Prepared:
    return Prepared(
        select(*columns)
        .where(
            table.c.municipality == bindparam("m"),
            table.c.epoch == bindparam("epoch"),
            table.c.sequence > bindparam("after"),
            table.c.sequence <= bindparam("until"),
        )
        .order_by(table.c.sequence)
        .limit(bindparam("most"))
    )


_KEPT_OF_EPOCH = _of_epoch(history, *KEPT)
_OTHERS_OF_EPOCH = [_of_epoch(table, table.c.sequence, table.c.epoch, table.c.change) for table in (parked, set_aside)]
_LAST = [
    Prepared(
        select(table.c.epoch, table.c.sequence)
        .where(table.c.municipality == bindparam("m"))
        .order_by(table.c.epoch.desc(), table.c.sequence.desc())
        .limit(1)
    )
    for table in (history, parked, set_aside)
]
_LATER = [
    Prepared(
        select(func.min(table.c.epoch)).where(
            table.c.municipality == bindparam("m"), table.c.epoch > bindparam("epoch")
        )
    )
    for table in (history, parked, set_aside)
]
