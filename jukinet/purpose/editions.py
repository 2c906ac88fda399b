"""Which edition (版) of the statute table decides on which day.

Rule: a question is decided by the edition in force on its day, in Japan: the one whose first day came last, and of two
with the same first day the one that was approved later, which corrects the other. Before the first edition's day
nothing is open. Without this rule an amendment would change what was lawful yesterday, or need a restart to become law.

Source: Act art. 30-25 (the list is closed; on each day it is that day's list).
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from datetime import date
from functools import cached_property

from jukinet.purpose.statute import NO_EDITION, StatuteTable, StatuteTableError


class Editions:
    """Editions side by side; never changed.

    Args:
        tables: in the order in which they were approved, that of the program first. The same one may come again.

    Raises:
        StatuteTableError: two different editions have one name.
    """

    def __init__(self, tables: Iterable[StatuteTable]) -> None:
        by_name: dict[str, StatuteTable] = {}
        for table in tables:
            if by_name.setdefault(table.edition, table).digest != table.digest:
                raise StatuteTableError(f"two different editions are called {table.edition}")
        self._all = tuple(by_name.values())
        # Stable: of one day's editions the one approved last comes last.
        self._in_order = sorted(self._all, key=lambda table: table.in_force_from)
        self._days = [table.in_force_from for table in self._in_order]

    def on(self, day: date) -> StatuteTable:
        """The edition in force on a day in Japan; `NO_EDITION` before the first one's."""
        place = bisect_right(self._days, day)
        return self._in_order[place - 1] if place else NO_EDITION

    def __iter__(self) -> Iterator[StatuteTable]:
        return iter(self._all)

    def named(self, edition: str) -> StatuteTable | None:
        """The edition of this name."""
        return next((table for table in self._all if table.edition == edition), None)

    def __add__(self, table: StatuteTable) -> "Editions":
        """These and one more, approved after them. Raises StatuteTableError when its name is taken."""
        return Editions((*self._all, table))

    @cached_property
    def rows(self) -> frozenset[str]:
        """Keys of the rows of all editions."""
        return frozenset().union(*(table.rows for table in self._all))

    @cached_property
    def single_bodies(self) -> frozenset[str]:
        """Those that one organisation only can be, as any edition says."""
        return frozenset(key for table in self._all for key, body in table.bodies.items() if body.is_single)

    @cached_property
    def bodies(self) -> frozenset[str]:
        """Bodies of all editions."""
        return frozenset().union(*(table.bodies for table in self._all))
