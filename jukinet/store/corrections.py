"""Corrections of errors (誤記の修正) out of the history: which versions of whose record were wrong.

Rule 1: nothing is kept of corrections. They are read out of the history by position, which is append-only and in order.
Rule 2: of who is protected (支援措置) nothing is told, not even that something was wrong.

Each function works within the caller's transaction.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

from sqlalchemy import Connection, select

from jukinet._pb.jukinet.register.v1.change_pb2 import Change
from jukinet.domain.correction import may_correct, wrong_versions
from jukinet.store.schema import history
from jukinet.store.watches import is_kept_back, present_code

READ_THROUGH: Final = 500
"""Changes of the history that are read at a time."""
MOST_VERSIONS: Final = 48
"""Versions at a time, about: each has marks of up to seven years, and they go into one message."""


class WrongVersion(NamedTuple):
    """A version of a person's record that held what was wrong."""

    resident_code: str
    version: int
    items: frozenset[str]
    """Names of what was wrong in it."""
    change: Change
    """By which it came about."""
    applied_at: int
    """When it did here, microseconds since 1970."""
    replaced_at: int
    """When the next version came here, the same; of the deletion of a record that was entered in error, when it did."""


class Corrected(NamedTuple):
    """One correction."""

    resident_code: str
    change: bytes
    """As it was sealed."""
    applied_at: int
    wrong: tuple[WrongVersion, ...]


class Place(NamedTuple):
    """A place in the history, such as no other row has had: another database has another one at this position."""

    position: int
    municipality: str
    epoch: int
    sequence: int
    applied_at: int


def read_place(connection: Connection, position: int) -> Place | None:
    """The place at a position; None where there is none."""
    columns = (history.c.position, history.c.municipality, history.c.epoch, history.c.sequence, history.c.applied_at)
    row = connection.execute(select(*columns).where(history.c.position == position)).first()
    return Place(*row) if row else None


def read_corrections(connection: Connection, *, after: int) -> tuple[list[Corrected], int, bool]:
    """The next corrections by position, up to which position these are all, and whether the history goes on there."""
    rows = connection.execute(
        select(*_COLUMNS).where(history.c.position > after).order_by(history.c.position).limit(READ_THROUGH)
    ).all()
    found: list[Corrected] = []
    for row in rows:
        after = row.position
        corrected = _corrected(connection, _Applied(*row))
        if corrected is not None:
            found.append(corrected)
        if sum(len(each.wrong) for each in found) >= MOST_VERSIONS:
            return found, after, True
    return found, after, len(rows) == READ_THROUGH


_COLUMNS = (history.c.position, history.c.resident_code, history.c.version, history.c.change, history.c.applied_at)


class _Applied(NamedTuple):
    position: int
    resident_code: str
    version: int
    change: bytes
    applied_at: int


def _corrected(connection: Connection, row: _Applied) -> Corrected | None:
    change = Change.FromString(row.change)
    if not may_correct(change) or is_kept_back(connection, present_code(connection, row.resident_code)):
        return None
    versions: dict[int, tuple[_Applied, int]] = {}

    def back() -> Iterator[Change]:
        replaced_at = row.applied_at
        for each in _back_from(connection, change):
            versions[each.version] = each, replaced_at
            replaced_at = each.applied_at
            yield Change.FromString(each.change)

    wrong = tuple(
        WrongVersion(each.resident_code, each.version, items, made_by, each.applied_at, replaced_at)
        for made_by, items in wrong_versions(back())
        for each, replaced_at in (versions[made_by.version],)
    )
    return Corrected(row.resident_code, row.change, row.applied_at, wrong) if wrong else None


def _back_from(connection: Connection, change: Change) -> Iterator[_Applied]:
    """The person's changes from this one back, latest first, under whatever resident code."""
    code, below = change.record.resident_code, change.version + 1
    while code:
        of_code = select(*_COLUMNS).where(history.c.resident_code == code, history.c.version < below)
        code = ""
        for row in connection.execute(of_code.order_by(history.c.version.desc())):
            yield _Applied(*row)
            code, below = Change.FromString(row.change).previous_resident_code, row.version
            if code:
                break
