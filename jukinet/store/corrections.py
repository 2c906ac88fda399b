"""Corrections of errors (誤記の修正) out of the history: which versions of whose record were wrong.

Rule 1: nothing is kept of corrections. They are read out of the history by position, which is append-only and in order.
Rule 2: of who is protected (支援措置) nothing is told, not even that something was wrong.
Rule 3: a correction of a person whose row is damaged, so that nobody knows whether that is protected, is put off, and
so is one that a damaged row of the history hides: it stops no other one, and who reads is told from where to read
again.

Each function works within the caller's transaction.
"""

import logging
from collections.abc import Iterator
from typing import Final, NamedTuple

from sqlalchemy import Connection, select

from jukinet._pb.jukinet.register.v1.change_pb2 import Change
from jukinet.domain.correction import may_correct, wrong_versions
from jukinet.store.checksum import RecordDamaged
from jukinet.store.kept_changes import KEPT, KeptChange, read_kept
from jukinet.store.present import is_kept_back, present_code
from jukinet.store.rows import compared_of
from jukinet.store.schema import history

log = logging.getLogger(__name__)

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
    compared: frozenset[str]
    """Names of the items of which what a search compares was wrong."""
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


class Listed(NamedTuple):
    """The next corrections by position."""

    found: list[Corrected]
    through: int
    """Up to which position these are all, but for what was put off."""
    more: bool
    """Whether the history goes on there."""
    put_off: int
    """Position of the first correction that was put off, 0 without one."""


def read_corrections(connection: Connection, *, after: int) -> Listed:
    """The next corrections behind a position."""
    rows = connection.execute(
        select(*KEPT).where(history.c.position > after).order_by(history.c.position).limit(READ_THROUGH)
    ).all()
    found: list[Corrected] = []
    put_off = 0
    for row in rows:
        after = row.position
        try:
            corrected = _corrected(connection, read_kept(row))
        except RecordDamaged:
            log.critical("a damaged record puts a correction off", extra={"position": after})
            put_off = put_off or after
            continue
        if corrected is not None:
            found.append(corrected)
        if sum(len(each.wrong) for each in found) >= MOST_VERSIONS:
            return Listed(found, after, True, put_off)
    return Listed(found, after, len(rows) == READ_THROUGH, put_off)


def is_readable(connection: Connection, position: int) -> bool:
    """Whether the correction at a position need no longer be put off."""
    row = connection.execute(select(*KEPT).where(history.c.position == position)).one()
    try:
        _corrected(connection, read_kept(row))
    except RecordDamaged:
        return False
    return True


def _corrected(connection: Connection, row: KeptChange) -> Corrected | None:
    change = Change.FromString(row.change)
    if not may_correct(change) or is_kept_back(connection, present_code(connection, row.resident_code)):
        return None
    versions: dict[int, tuple[KeptChange, int]] = {}

    def back() -> Iterator[Change]:
        replaced_at = row.applied_at
        for each in _back_from(connection, change):
            versions[each.version] = each, replaced_at
            replaced_at = each.applied_at
            yield Change.FromString(each.change)

    wrong = tuple(
        WrongVersion(
            kept.resident_code, kept.version, each.items, each.compared, each.change, kept.applied_at, replaced_at
        )
        for each in wrong_versions(back(), compared_of)
        for kept, replaced_at in (versions[each.change.version],)
    )
    return Corrected(row.resident_code, row.change, row.applied_at, wrong) if wrong else None


def _back_from(connection: Connection, change: Change) -> Iterator[KeptChange]:
    """The person's changes from this one back, latest first, under whatever resident code."""
    code, below = change.record.resident_code, change.version + 1
    while code:
        of_code = select(*KEPT).where(history.c.resident_code == code, history.c.version < below)
        code = ""
        for row in connection.execute(of_code.order_by(history.c.version.desc())):
            kept = read_kept(row)
            yield kept
            code, below = Change.FromString(kept.change).previous_resident_code, kept.version
            if code:
                break
