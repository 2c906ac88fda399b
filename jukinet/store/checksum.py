"""Whether a stored row is still what was written: a bit that flips on a disk or in memory is not an answer.

A row of `residents` carries a checksum of its message. Where it does not hold, nobody is told anything of that person,
and no change of that person takes effect here, until the row was made again; all others are not touched. It finds
accidents; who can write to the database can write the checksum as well, and is found by the consistency check.
"""

from zlib import crc32

from jukinet.store.errors import StoreError


class RecordDamaged(StoreError):
    """A row is not what was written. `admin drift` names it; make the register again from a backup."""

    def __init__(self) -> None:
        super().__init__("a stored record is damaged")


def is_sound(message: bytes, checksum: int | None) -> bool:
    """Whether the message is what was written; a row of an earlier version has no checksum and counts as sound."""
    return checksum is None or checksum == crc32(message)
