"""Up to when the center holds all that a municipality reported, and up to when all of that has taken effect.

Rules:

1. A municipality that is not heard of, that its change brake holds, or of which nothing whole is here is complete up to
   no time at all.
2. What a municipality reported may wait for a change that another one made earlier: a move-in for the move-out. Until
   that other one is complete, nobody can know whether the person lives here. Whom it waits for is read from the
   municipality that holds the person's record now; where there is none, any municipality may have the missing change.

Times are microseconds since 1970; 0 where none is known.
"""

from collections.abc import Callable, Collection
from typing import Final

from sqlalchemy import Connection, and_, bindparam, literal_column, select

from jukinet._pb.jukinet.errors.v1.errors_pb2 import ERROR_REASON_WAITING_FOR_EARLIER_CHANGE
from jukinet._pb.jukinet.register.v1.identity_pb2 import RESIDENT_STATUS_ACTIVE
from jukinet.store.brakes import is_held, read_held
from jukinet.store.schema import origins, parked, residents
from jukinet.store.statement import Prepared

_ANEW_US: Final = 1_000_000
_AHEAD_US: Final = 1_000_000
"""A claim that lies further ahead was heard before the clock was put back, and says nothing of what came since."""
_JOINED = Prepared(select(origins.c.municipality))
_AWAITED = Prepared(
    select(residents.c.holder, residents.c.status)
    .select_from(parked.outerjoin(residents, parked.c.resident_code == residents.c.resident_code))
    .where(
        and_(
            parked.c.municipality == bindparam("code"),
            parked.c.reason == literal_column(str(int(ERROR_REASON_WAITING_FOR_EARLIER_CHANGE))),
        )
    )
    .distinct()
)


def is_recent(at: int, now: int) -> bool:
    """Whether what was read at a moment need not be read again yet; after the clock was put back it must."""
    return 0 <= now - at < _ANEW_US


class Completeness:
    """What is known of the municipalities of the network; all together are read at most once a second.

    Args:
        expected: codes of all municipalities of the network, joined or not.
        complete_as_of: up to when all of a municipality is here by its signs of life; None when that is not known.
    """

    def __init__(self, *, expected: Collection[str], complete_as_of: Callable[[str], int | None]) -> None:
        self._expected = frozenset(expected)
        self._complete_as_of = complete_as_of
        self._all: dict[str, int] = {}
        self.read_at = 0
        """When all together were read; 0 = not yet."""

    def of_joined(self, connection: Connection, municipality: str, now: int) -> int:
        """Up to when all that a municipality reported is here at this moment, of one that has joined."""
        return 0 if is_held(connection, municipality) else self._claimed(municipality, now)

    def in_effect(self, connection: Connection, municipality: str, complete_us: int, now: int) -> int:
        """Up to when all that a municipality reported has taken effect, as far as that is up to others.

        Args:
            connection: to the register.
            municipality: one that has joined.
            complete_us: up to when all of it is here.
            now: the present moment.
        """
        awaited = _AWAITED.rows(connection, {"code": municipality}) if complete_us else []
        if not awaited:
            return complete_us
        self._read(connection, now)
        others = (
            self._all.get(holder, 0) if status == RESIDENT_STATUS_ACTIVE else self._oldest for holder, status in awaited
        )
        return min(complete_us, *others)

    def of_nation(self, connection: Connection, now: int) -> int:
        """Up to when all of every municipality of the network is here."""
        self._read(connection, now)
        return self._oldest

    def _read(self, connection: Connection, now: int) -> None:
        if self.read_at and is_recent(self.read_at, now):
            return
        joined = {code for (code,) in _JOINED.rows(connection)} - read_held(connection).keys()
        self._all = {code: self._claimed(code, now) for code in joined & self._expected}
        self._oldest = min((self._all.get(code, 0) for code in self._expected), default=0)
        self.read_at = now

    def _claimed(self, municipality: str, now: int) -> int:
        claimed = self._complete_as_of(municipality) or 0
        return min(claimed, now) if claimed <= now + _AHEAD_US else 0
