"""The synthetic nation: residents on a day, the changes of a period, and the registers that must follow from them.

Everything is drawn from streams that begin with the seed, so the same arguments give the same bytes on any machine.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from functools import partial
from math import exp
from random import Random

from nation import corrections, family, moves
from nation.codes import CodePool
from nation.names import NameStock
from nation.people import Household
from nation.places import Municipality, UnknownMunicipalityError, find_municipalities, postal_rows, towns
from nation.rates import PERSONS_A_YEAR, RESIDENTS
from nation.register import TrueRegisters
from nation.settling import Settling, apportion
from nation.submissions import Submission
from nation.world import World

Event = Callable[[World, date], int]
"""Lets something happen on a day and tells how many of its kind that were (persons, or couples)."""

EVENTS: Mapping[str, Event] = {
    "birth": family.birth,
    "death": family.death,
    "move_between": moves.move_between,
    "move_within": moves.move_within,
    "from_abroad": moves.come_from_abroad,
    "to_abroad": moves.leave_japan,
    "marriage": family.marriage,
    "divorce": family.divorce,
    "minor_correction": corrections.minor_correction,
    "reading_correction": corrections.reading_correction,
    "code_request": corrections.code_request,
    "code_ex_officio": corrections.code_ex_officio,
    "number_request": corrections.number_request,
    "number_ex_officio": corrections.number_ex_officio,
    "naturalization": corrections.naturalization,
    "loss_of_nationality": corrections.loss_of_nationality,
    "entry_ex_officio": corrections.entry_ex_officio,
    "deletion_ex_officio": corrections.deletion_ex_officio,
}
"""The life events by the names of `rates.PERSONS_A_YEAR`."""


class PeriodOrderError(ValueError):
    """Periods follow each other: begin after the end of the last one, and do not end before the beginning."""


class Nation:
    """People in the given municipalities, living from the day of the first load on.

    Args:
        codes: six-digit codes of the municipalities.
        count: residents in all, divided by `weights`.
        seed: the same seed gives the same nation.
        on: day of the first load.
        encoding: every name and address can be written in it: `utf-8` or `cp932`.
        weights: size of each municipality by code; by default its number of postal codes.

    Raises: UnknownMunicipalityError.
    """

    def __init__(
        self,
        codes: Sequence[str],
        *,
        count: int,
        seed: int,
        on: date,
        encoding: str = "utf-8",
        weights: Mapping[str, float] | None = None,
    ) -> None:
        places = find_municipalities(codes)
        names = NameStock(encoding)
        self._world = World(
            places=places,
            sizes=_sizes(places, weights),
            towns=_towns(places, names),
            names=names,
            pool=CodePool(Random(f"{seed}/codes")),
            rng=Random(f"{seed}/changes"),
        )
        self._lived_until = on
        for household in _settle(self._world, count=count, seed=seed, on=on):
            for person in household.members:
                self._world.people.append(person)
                self._world.offices.record(person, "ENTRY_EX_OFFICIO", event_date=on, filed=on)
        self._first_load = len(self._world.offices.filed)

    @property
    def municipalities(self) -> Sequence[Municipality]:
        """The municipalities of this nation."""
        return self._world.places

    @property
    def registers(self) -> TrueRegisters:
        """What every node must hold now, once all submissions so far have arrived."""
        return self._world.offices.registers

    def residents(self) -> Sequence[Submission]:
        """List the first load: one ex officio entry for each resident."""
        return self._world.offices.filed[: self._first_load]

    def changes(
        self,
        start: date,
        end: date,
        *,
        intensity: float = 1.0,
        outside_share: float = 0.02,
        at_least_once: bool = False,
    ) -> Sequence[Submission]:
        """Let the nation live from one day to another, both included, and list what its municipalities file.

        A move that begins near the end arrives in the next period.

        Args:
            intensity: how many times faster than in Japan things happen.
            outside_share: part of the moves that go to municipalities outside this nation, for good.
            at_least_once: let each kind of event happen at least once, early in the period.

        Raises: PeriodOrderError.
        """
        if start <= self._lived_until or end < start:
            raise PeriodOrderError(f"the nation has lived until {self._lived_until}; {start} to {end} does not follow")
        world = self._world
        residents = world.begin(outside_share)
        before = len(world.offices.filed)
        days = (end - start).days + 1
        done: Counter[str] = Counter()
        for kind, event in EVENTS.items():
            expected = PERSONS_A_YEAR[kind] / RESIDENTS * residents * days / 365.25 * intensity
            times = sorted(world.rng.randrange(days) for _ in range(_poisson(world.rng, expected)))
            if at_least_once:
                world.plan(start + timedelta(days=world.rng.randrange(days // 2 + 1)), partial(_happen, world, event))
                times = times[1:]
            for ordinal, day in enumerate(times):
                # A household moves at once, so its later members' turns are already used up when they come.
                world.plan(start + timedelta(days=day), partial(_take_turn, world, kind, event, done, ordinal))
        world.run(end)
        self._lived_until = end
        return world.offices.filed[before:]


def residents(
    codes: Sequence[str],
    *,
    count: int,
    seed: int,
    on: date,
    encoding: str = "utf-8",
    weights: Mapping[str, float] | None = None,
) -> Sequence[Submission]:
    """List the first load of a nation; the arguments are those of `Nation`."""
    return Nation(codes, count=count, seed=seed, on=on, encoding=encoding, weights=weights).residents()


def _happen(world: World, event: Event, today: date) -> None:
    event(world, today)


def _take_turn(world: World, kind: str, event: Event, done: Counter[str], ordinal: int, today: date) -> None:
    if done[kind] <= ordinal:
        done[kind] += event(world, today)


def _sizes(places: Sequence[Municipality], weights: Mapping[str, float] | None) -> dict[str, float]:
    if weights is None:
        return {m.code: float(postal_rows(m)) for m in places}
    missing = [m.code for m in places if m.code not in weights]
    if missing:
        raise UnknownMunicipalityError(f"the weights name no size for {', '.join(missing)}")
    return {m.code: weights[m.code] for m in places}


def _towns(places: Sequence[Municipality], names: NameStock) -> Mapping[str, Sequence[str]]:
    """Keep the towns that the encoding can write; KEN_ALL itself is a Shift_JIS file, so these are all but a few."""
    return {code: [town for town in found if names.encodable(town)] for code, found in towns(places).items()}


def _settle(world: World, *, count: int, seed: int, on: date) -> Iterator[Household]:
    """Found the households of all municipalities, each municipality from its own stream."""
    shares = apportion(count, [world.sizes[place.code] for place in world.places])
    for place, room in zip(world.places, shares, strict=True):
        settling = Settling(
            municipality=place,
            towns=world.towns[place.code],
            names=world.names,
            pool=world.pool,
            rng=Random(f"{seed}/residents/{place.code}"),
            on=on,
        )
        while room > 0:
            household = settling.household(largest=room)
            room -= len(household.members)
            yield household


def _poisson(rng: Random, expected: float) -> int:
    """Draw how often something happens that is expected so many times."""
    if expected > 50:
        return max(0, round(rng.gauss(expected, expected**0.5)))
    limit, product, count = exp(-expected), rng.random(), 0
    while product > limit:
        product *= rng.random()
        count += 1
    return count
