"""The change brake: what a municipality may change in an hour before two people must have looked.

Rule: more changes in an hour than a share of the municipality's residents, or more deaths and deletions ex officio than
a number, hold the municipality. From then on nothing of it takes effect until two operators release it; the release
lifts the brake for an hour. Others are not touched.
Source: reliability protocol, invariant A14. In 2003 an examination of the network in three municipalities of Nagano
showed that who takes one office's machines can alter its residents' records, and that the network carries them on.
Without it one breached office, or one broken program, would rewrite a town in every register above within minutes,
under a seal that holds.

The first entry of a person (version 1) does not count: a municipality that joins sends its whole register, and nobody's
record is altered by it. A small number of changes is always free, for 2 % of a hamlet is one person.

Counted in slots of five minutes by the clock of the node that judges. What is summed up covers at least the last 60
minutes and at most the last 65. A clock that goes back forgets nothing.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from jukinet._pb.jukinet.register.v1.change_pb2 import Change
from jukinet.domain.change import REASONS, Act

HOUR_US = 3_600_000_000
SLOT_US = 300_000_000
SLOTS = HOUR_US // SLOT_US + 1
"""Slots that are kept: those that the last hour touches."""

_MOVE_OUTS = (7, 8)
_ENTRIES = frozenset(number for number, facts in REASONS.items() if facts.act is Act.ENTRY)
_DELETIONS = frozenset(
    number for number, facts in REASONS.items() if facts.act is Act.DELETION and number not in _MOVE_OUTS
)
"""Death (死亡) and deletion ex officio (職権消除等); who moves out is entered elsewhere."""


@dataclass(frozen=True, slots=True)
class Brake:
    """How much of one municipality a node takes in an hour."""

    percent: float = 2.0
    """Of the municipality's active residents here."""
    deletions: int = 200
    """Deaths and deletions ex officio."""
    floor: int = 50
    """Changes that are free however few residents there are."""

    def most(self, residents: int) -> float:
        """Changes an hour of a municipality of so many residents."""
        return max(self.floor, residents * self.percent / 100)


class Count(NamedTuple):
    """Changes that count, and how many of them are deaths or deletions ex officio."""

    changes: int = 0
    deletions: int = 0


class Tally(NamedTuple):
    """What came of one municipality lately, and whether it is held. Moments are microseconds since 1970."""

    slot: int = 0
    """Number of the newest slot since 1970."""
    changes: tuple[int, ...] = (0,) * SLOTS
    """By slot, the newest first; so are `deletions`."""
    deletions: tuple[int, ...] = (0,) * SLOTS
    residents: int = 0
    """Active residents when they were last counted, at `counted_at`."""
    counted_at: int = 0
    held_at: int = 0
    """Since when it is held; 0 = it is not."""
    lifted_until: int = 0
    """Until when two operators lifted the brake."""

    @property
    def total(self) -> Count:
        """What is counted of the last hour."""
        return Count(sum(self.changes), sum(self.deletions))

    def is_lifted(self, now_us: int) -> bool:
        """Whether nothing is counted now, because two operators released the municipality."""
        return now_us < self.lifted_until


def count(changes: Iterable[Change]) -> Count:
    """Counts what the brake counts. A change that could not be read, and is empty therefore, counts as one."""
    found = deleted = 0
    for change in changes:
        if change.version != 1 or change.reason not in _ENTRIES:
            found += 1
            deleted += change.reason in _DELETIONS
    return Count(found, deleted)


def judge(tally: Tally, arrived: Count, *, brake: Brake, now_us: int, count_residents: Callable[[], int]) -> Tally:
    """Counts what arrived, and holds the municipality where it is too much; the same tally where nothing changes.

    Args:
        tally: what is known of the municipality.
        arrived: what it brings now.
        brake: how much is allowed.
        now_us: microseconds since 1970.
        count_residents: counts the active residents; asked at most once an hour, and before the municipality is held.
    """
    if tally.held_at or not arrived.changes or tally.is_lifted(now_us):
        return tally
    tally = _with(tally, arrived, now_us)
    changes, deletions = tally.total
    if changes > brake.floor and (changes > brake.most(tally.residents) or now_us - tally.counted_at >= HOUR_US):
        tally = tally._replace(residents=count_residents(), counted_at=now_us)
    if deletions > brake.deletions or changes > brake.most(tally.residents):
        tally = tally._replace(held_at=now_us)
    return tally


def lift(tally: Tally, *, now_us: int) -> Tally:
    """Releases a held municipality: nothing of it counts for an hour, and then it begins anew.

    What waits of it must be taken up first. Until then it is held by a hold that begins now, so that the operators'
    word for the one that they looked at does not serve for another.
    """
    return Tally(
        slot=now_us // SLOT_US,
        residents=tally.residents,
        counted_at=tally.counted_at,
        held_at=now_us,
        lifted_until=now_us + HOUR_US,
    )


def taken_up(tally: Tally) -> Tally:
    """The same municipality, of which nothing waits any more."""
    return tally._replace(held_at=0)


def _with(tally: Tally, arrived: Count, now_us: int) -> Tally:
    slot = max(tally.slot, now_us // SLOT_US)
    changes, deletions = tally.changes, tally.deletions
    if slot > tally.slot:
        empty = (0,) * min(slot - tally.slot, SLOTS)
        changes, deletions = (empty + changes)[:SLOTS], (empty + deletions)[:SLOTS]
    return Tally(
        slot,
        (changes[0] + arrived.changes, *changes[1:]),
        (deletions[0] + arrived.deletions, *deletions[1:]),
        tally.residents,
        tally.counted_at,
        lifted_until=tally.lifted_until,
    )
