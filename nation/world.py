"""The living nation between two days: its people, its places, its calendar of things to come, one stream of chance."""

import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from random import Random

from nation.codes import CodePool
from nation.names import NameStock, Weighted
from nation.offices import Offices
from nation.people import Address, Household, Person, Presence, Role
from nation.places import Municipality, municipalities
from nation.rates import INTER_PREFECTURE_SHARE
from nation.settling import Settling, new_address

_TRIES = 3000

Weight = Callable[[Person], float]


@dataclass(slots=True)
class World:
    """All that a life event needs to choose whom it befalls and to let it happen."""

    places: Sequence[Municipality]
    sizes: Mapping[str, float]
    towns: Mapping[str, Sequence[str]]
    names: NameStock
    pool: CodePool
    rng: Random
    people: list[Person] = field(default_factory=list)
    offices: Offices = field(default_factory=Offices)
    outside_share: float = 0.0
    abroad: list[Person] = field(default_factory=list)
    lost: list[Person] = field(default_factory=list)
    _by_place: dict[str, list[Person]] = field(default_factory=dict)
    _agenda: list[tuple[date, int, Callable[[date], None]]] = field(default_factory=list)
    _planned: int = 0
    _outside: list[Municipality] = field(default_factory=list)
    _near: dict[tuple[str, bool], Weighted[Municipality] | None] = field(default_factory=dict)

    def begin(self, outside_share: float) -> int:
        """Make ready for a period and count the residents at its beginning."""
        self.outside_share = outside_share
        self.people = [p for p in self.people if p.presence is not Presence.GONE]
        self._by_place = {place.code: [] for place in self.places}
        for person in self.people:
            self._by_place[person.household.municipality.code].append(person)
        return sum(p.presence is Presence.RECORDED for p in self.people)

    def plan(self, on: date, act: Callable[[date], None]) -> None:
        """Let something happen on a day to come."""
        self._planned += 1
        heapq.heappush(self._agenda, (on, self._planned, act))

    def run(self, until: date) -> None:
        """Let everything happen that is planned up to and including a day, in order."""
        while self._agenda and self._agenda[0][0] <= until:
            today, _, act = heapq.heappop(self._agenda)
            act(today)

    def find(self, weight: Weight, at: Municipality | None = None) -> Person | None:
        """Choose a recorded person in proportion to a weight between 0 and 1, or nobody where hardly any is above 0."""
        crowd = self.people if at is None else self._by_place[at.code]
        for _ in range(_TRIES if crowd else 0):
            person = crowd[int(self.rng.random() * len(crowd))]
            here = person.presence is Presence.RECORDED and (at is None or person.household.municipality is at)
            if here and self.rng.random() < weight(person):
                return person
        return None

    def welcome(self, household: Household) -> None:
        """Count the members of a household among the residents of its municipality."""
        for person in household.members:
            person.presence = Presence.RECORDED
            self._by_place[household.municipality.code].append(person)

    def add(self, person: Person) -> None:
        """Count a new person among the residents."""
        self.people.append(person)
        self._by_place[person.household.municipality.code].append(person)

    def lately(self, today: date, days: int, *persons: Person) -> date:
        """Choose a day up to so many days ago, but not before anything that already happened to these persons."""
        day = today - timedelta(days=self.rng.randint(0, days))
        return max(day, *(person.last_event for person in persons))

    def move_out(self, group: Sequence[Person]) -> Household:
        """Take people out of their household into one of their own, still at the old address."""
        old = group[0].household
        if len(group) == len(old.members):
            return old
        new = Household(old.municipality, old.address)
        for person in group:
            person.leave_household()
            person.household = new
            new.members.append(person)
        if not new.couple():
            group[0].role = Role.HEAD
        return new

    def address(self, at: Municipality, size: int) -> Address:
        """Draw an address for a household of this size."""
        return new_address(self.rng, self.towns[at.code], flat_share=0.7 if size == 1 else 0.3)

    def destination(self, origin: Municipality) -> Municipality | None:
        """Choose where somebody moves to by the size of places; None stands for a place outside this nation."""
        if self.rng.random() < self.outside_share:
            return None
        far = self.rng.random() < INTER_PREFECTURE_SHARE
        near = self._neighbours(origin, far) or self._neighbours(origin, not far)
        return near.draw(self.rng) if near else None

    def outside(self) -> Municipality:
        """Choose a municipality of Japan that is not part of this nation; one of its own where all are."""
        if not self._outside:
            codes = {place.code for place in self.places}
            self._outside = [m for m in municipalities().values() if m.code not in codes] or list(self.places)
        return self.rng.choice(self._outside)

    def place(self) -> Municipality:
        """Choose a municipality by size."""
        return self.rng.choices(self.places, [self.sizes[place.code] for place in self.places])[0]

    def settling(self, at: Municipality, on: date) -> Settling:
        """Found new households in a municipality."""
        return Settling(
            municipality=at, towns=self.towns[at.code], names=self.names, pool=self.pool, rng=self.rng, on=on
        )

    def _neighbours(self, origin: Municipality, far: bool) -> Weighted[Municipality] | None:
        key = (origin.code, far)
        if key not in self._near:
            others = [m for m in self.places if m is not origin and (m.prefecture != origin.prefecture) is far]
            self._near[key] = Weighted(others, [self.sizes[m.code] for m in others]) if others else None
        return self._near[key]
