"""Rows of the history, looked at before anybody is told of them or judged by them.

A row carries a checksum of what stands in it, but for its position, which the database gives. As that of a current row
(`jukinet.store.checksum`) it finds accidents; a row of an earlier version has none and counts as sound.
"""

from typing import Any, Final, NamedTuple

from jukinet.store.checksum import RecordDamaged
from jukinet.store.rows import checksum_of_kept
from jukinet.store.schema import history


class KeptChange(NamedTuple):
    """A change that was applied."""

    position: int
    resident_code: str
    version: int
    municipality: str
    epoch: int
    sequence: int
    change: bytes
    """As it was sealed."""
    applied_at: int
    """When it was here, microseconds since 1970."""


KEPT: Final = (*(history.c[name] for name in KeptChange._fields), history.c.checksum)
"""Columns that a row is read by."""


def read_kept(row: Any) -> KeptChange:
    """What stands in a row of `KEPT`. Raises RecordDamaged: it is not what was written."""
    kept, sound = look_at_kept(row)
    if not sound:
        raise RecordDamaged
    return kept


def look_at_kept(row: Any) -> tuple[KeptChange, bool]:
    """What stands in a row of `KEPT`, and whether it is what was written: for those who look for damage."""
    *columns, checksum = row
    kept = KeptChange(*columns)
    return kept, checksum is None or checksum == checksum_of_kept(kept[1:-1], kept.applied_at)
