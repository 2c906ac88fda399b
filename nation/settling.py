"""How households come to be: who lives together, how old they are, what they are called and where they live.

The ages of heads are fitted so that the whole nation has the age pyramid of `rates.AGE_PYRAMID`.
"""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from itertools import pairwise
from random import Random

from nation import foreign_names
from nation.codes import CodePool
from nation.names import SPACE, NameStock, Spelling, Weighted
from nation.people import Address, Household, Person, Role
from nation.places import Municipality

_YEAR_DAYS = 365.25
# Households by kind; the census counts more singles than families.
KINDS = ("single", "couple", "couple_with_children", "lone_parent", "three_generations")
KIND_WEIGHTS = (0.385, 0.205, 0.265, 0.090, 0.055)
_FOREIGN_HOUSEHOLD_SHARE = 0.038
# Ages of the head (of the mother in a family) in groups of five years from 20-24 on, fitted by kind.
HEAD_AGES: Mapping[str, Sequence[float]] = {
    "single": (7.2, 7.1, 4.4, 2.9, 3.3, 4.0, 5.8, 5.4, 6.3, 7.0, 8.8, 10.0, 10.2, 9.8, 5.1, 2.5),
    "couple": (0.8, 3.1, 3.2, 2.1, 2.3, 3.1, 5.9, 7.5, 11.1, 13.0, 16.8, 14.3, 9.7, 5.1, 1.9, 0),
    "couple_with_children": (1.5, 6.0, 10.1, 11.7, 13.4, 15.2, 15.9, 10.8, 6.5, 3.3, 3.6, 2.1, 0, 0, 0, 0),
    "lone_parent": (1.5, 3.0, 3.9, 5.4, 8.2, 11.5, 13.3, 10.5, 8.8, 7.0, 7.6, 8.6, 5.8, 2.4, 2.6, 0),
    "three_generations": (0, 3.3, 9.1, 14.7, 19.0, 21.5, 18.4, 14.0, 0, 0, 0, 0, 0, 0, 0, 0),
}
_FOREIGN_AGES = (22, 20, 16, 12, 10, 8, 6, 3, 2, 1, 0, 0, 0, 0, 0, 0)
_BUILDINGS = ("コーポ", "ハイツ", "メゾン", "グランド", "サンライズ", "パーク", "シャトー", "ヴィラ")
_BUILDING_WORDS = ("青葉", "さくら", "ひまわり", "けやき", "もみじ", "みどり", "つばき", "すみれ", "あおぞら", "白樺")


def new_address(rng: Random, towns: Sequence[str], *, flat_share: float) -> Address:
    """Draw an address in one of the towns."""
    town = rng.choice(towns)
    if rng.random() < 0.6 and not town.endswith(("町", "字")):
        block = f"{rng.randint(1, 6)}丁目{rng.randint(1, 40)}番{rng.randint(1, 30)}号"
    else:
        number = rng.randint(1, 2999)
        block = f"{number}番地{rng.randint(1, 20)}" if rng.random() < 0.6 else f"{number}番地"
    if rng.random() >= flat_share:
        return Address(town, block, "")
    building = rng.choice(_BUILDINGS) + rng.choice(_BUILDING_WORDS)
    return Address(town, block, f"{building}{rng.randint(1, 12)}{rng.randint(1, 12):02d}号室")


class Settling:
    """Founds households in one municipality, from one stream of random numbers."""

    def __init__(
        self,
        *,
        municipality: Municipality,
        towns: Sequence[str],
        names: NameStock,
        pool: CodePool,
        rng: Random,
        on: date,
    ) -> None:
        self._municipality = municipality
        self._towns = towns
        self._names = names
        self._pool = pool
        self._rng = rng
        self._on = on

    def household(self, *, largest: int, foreign_share: float = _FOREIGN_HOUSEHOLD_SHARE) -> Household:
        """Found a household of at most `largest` people."""
        while True:
            foreign = self._rng.random() < foreign_share
            home = self._foreign() if foreign else self._japanese(_KIND.draw(self._rng) if largest > 1 else "single")
            if len(home.members) <= largest:
                for person in home.members:
                    person.resident_code = self._pool.draw_resident_code()
                    person.individual_number = self._pool.draw_individual_number()
                return home

    def _japanese(self, kind: str) -> Household:
        rng = self._rng
        flat_share = 0.6 if kind == "single" else 0.25
        home = Household(self._municipality, new_address(rng, self._towns, flat_share=flat_share))
        surname = self._names.surname(rng)
        age = self._age(_AGES[kind])
        if kind == "single":
            self._add(home, surname, male=rng.random() < _male_share(age), age=age, role=Role.HEAD)
            return home
        if kind == "lone_parent":
            parent = self._add(home, surname, male=rng.random() < 0.15, age=age, role=Role.HEAD)
            self._add_children(home, surname, parent)
            return home
        husband = self._add(home, surname, male=True, age=max(18.5, age + rng.gauss(1.8, 3.2)), role=Role.HEAD)
        wife = self._add(home, surname, male=False, age=age, role=Role.SPOUSE)
        self._marry(husband, wife)
        if kind != "couple":
            self._add_children(home, surname, wife)
        if kind == "three_generations":
            self._add_grandparents(home, surname, husband)
        return home

    def _marry(self, husband: Person, wife: Person) -> None:
        """Let one of the two, mostly the wife, have had another surname; a few keep it beside the new one (旧氏)."""
        changed = wife if self._rng.random() < 0.95 else husband
        changed.maiden_name = self._names.surname(self._rng)
        if self._rng.random() < 0.01:
            changed.former_surname = changed.maiden_name

    def _add_children(self, home: Household, surname: Spelling, mother: Person) -> None:
        rng = self._rng
        at = min(42.0, max(19.0, rng.gauss(30.0, 4.5)))
        for _ in range(rng.choices((1, 2, 3), (0.42, 0.44, 0.14))[0]):
            born = mother.born + timedelta(days=at * _YEAR_DAYS)
            at += rng.uniform(1.2, 4.5)
            age = (self._on - born).days / _YEAR_DAYS
            if age >= 0 and at < 50 and rng.random() < _stays_home(age):
                self._add(home, surname, male=rng.random() < 0.513, age=age, role=Role.CHILD, origin=mother.origin)

    def _add_grandparents(self, home: Household, surname: Spelling, husband: Person) -> None:
        age = (self._on - husband.born).days / _YEAR_DAYS + min(40.0, max(19.0, self._rng.gauss(27, 4)))
        if age < 95:
            self._add(home, surname, male=False, age=age, role=Role.PARENT)
        if age < 80 and self._rng.random() < 0.6:
            self._add(home, surname, male=True, age=age + abs(self._rng.gauss(2, 2)), role=Role.PARENT)

    def _foreign(self) -> Household:
        rng = self._rng
        home = Household(self._municipality, new_address(rng, self._towns, flat_share=0.8))
        origin = foreign_names.draw_origin(rng)
        surname = foreign_names.draw_surname(rng, origin)
        age = self._age(_FOREIGN)
        head = self._add(home, surname, male=rng.random() < 0.5, age=age, role=Role.HEAD, origin=origin)
        if rng.random() < 0.4:
            other = foreign_names.draw_surname(rng, origin)
            near = max(18.5, age + rng.gauss(0, 3))
            spouse = self._add(home, other, male=not head.male, age=near, role=Role.SPOUSE, origin=origin)
            if rng.random() < 0.5:
                self._add_children(home, surname, spouse if head.male else head)
        return home

    def _age(self, groups: Weighted[int]) -> float:
        return groups.draw(self._rng) + self._rng.random() * 5

    def _add(
        self, home: Household, surname: Spelling, *, male: bool, age: float, role: Role, origin: str | None = None
    ) -> Person:
        born = self._on - timedelta(days=age * _YEAR_DAYS)
        if origin is None:
            given = self._names.given(self._rng, male=male, born=born.year)
        else:
            given = foreign_names.draw_given(self._rng, origin, male=male)
        person = Person(
            surname=surname, given=given, male=male, born=born, role=role, household=home, resident_code="",
            individual_number="", last_event=self._on, birth_text=self._partly_unknown(born, age), origin=origin,
        )  # fmt: skip
        if origin is not None and self._rng.random() < foreign_names.alias_share(origin):
            person.alias = self._alias(person)
        home.members.append(person)
        return person

    def _alias(self, person: Person) -> Spelling:
        surname = self._names.surname(self._rng)
        given = self._names.given(self._rng, male=person.male, born=person.born.year)
        return Spelling(f"{surname.text}{SPACE}{given.text}", f"{surname.kana}{SPACE}{given.kana}")

    def _partly_unknown(self, born: date, age: float) -> str:
        """Some very old people were recorded with an unknown day or month of birth."""
        if age < 88 or self._rng.random() >= 0.04:
            return ""
        return f"{born.year}-00-00" if self._rng.random() < 0.5 else f"{born.year}-{born.month:02d}-00"


def apportion(count: int, weights: Sequence[float]) -> list[int]:
    """Divide a count in proportion to weights, so that the parts add up to it."""
    total = sum(weights)
    sums = [0.0]
    for weight in weights:
        sums.append(sums[-1] + weight)
    return [round(count * high / total) - round(count * low / total) for low, high in pairwise(sums)]


def _male_share(age: float) -> float:
    return 0.56 if age < 60 else 0.48 if age < 75 else 0.25


def _stays_home(age: float) -> float:
    return 1.0 if age < 18 else 0.7 if age < 23 else 0.4 if age < 30 else 0.2


def _by_age(weights: Sequence[float]) -> Weighted[int]:
    return Weighted([20 + 5 * group for group in range(len(weights))], weights)


_KIND = Weighted(KINDS, KIND_WEIGHTS)
_AGES = {kind: _by_age(weights) for kind, weights in HEAD_AGES.items()}
_FOREIGN = _by_age(_FOREIGN_AGES)
