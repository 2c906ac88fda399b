"""Persons and households (世帯) of the synthetic nation: what they are in truth, beside what registers say of them.

The register never sees a household: it is what makes people move together, share a surname and have children.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from enum import Enum
from typing import NamedTuple

from nation.names import SPACE, Spelling
from nation.places import Municipality


class Role(Enum):
    """The place of a person in the household; head and spouse are the couple."""

    HEAD = "head"
    SPOUSE = "spouse"
    CHILD = "child"
    PARENT = "parent"


class Presence(Enum):
    """Where a person is: recorded in a municipality, under way between two, or gone from this nation."""

    RECORDED = "recorded"
    UNDER_WAY = "under way"
    GONE = "gone"


class Address(NamedTuple):
    """An address inside a municipality; the building is empty for most houses."""

    town: str
    block: str
    building: str


@dataclass(slots=True, eq=False)
class Household:
    """People who live together."""

    municipality: Municipality
    address: Address
    members: list["Person"] = field(default_factory=list)

    def couple(self) -> list["Person"]:
        """List head and spouse, or the head alone."""
        return [p for p in self.members if p.role in (Role.HEAD, Role.SPOUSE)]

    def minors(self, on: date) -> list["Person"]:
        """List the children under 18."""
        return [p for p in self.members if p.role is Role.CHILD and p.age(on) < 18]


@dataclass(slots=True, eq=False)
class Person:
    """One resident: identity, place in a household, and how often the network has heard of a change."""

    surname: Spelling
    given: Spelling
    male: bool
    born: date
    role: Role
    household: Household
    resident_code: str
    individual_number: str
    last_event: date
    birth_text: str = ""
    origin: str | None = None
    """ISO 3166 code of where a foreign resident comes from; None for Japanese."""
    maiden_name: Spelling | None = None
    former_surname: Spelling | None = None
    alias: Spelling | None = None
    version: int = 0
    presence: Presence = Presence.RECORDED

    def age(self, on: date) -> int:
        """Completed years on a day."""
        return on.year - self.born.year - ((on.month, on.day) < (self.born.month, self.born.day))

    def has_partner(self) -> bool:
        """Tell whether the person is one of a couple that lives together."""
        return self.role in (Role.HEAD, Role.SPOUSE) and len(self.household.couple()) == 2

    def leave_household(self) -> None:
        """Leave the others behind; the oldest of them becomes the head where the head has left."""
        home = self.household
        home.members.remove(self)
        heads = home.couple()
        if heads:
            heads[0].role = Role.HEAD
        elif home.members:
            min(home.members, key=lambda p: p.born).role = Role.HEAD

    def lives_free(self) -> bool:
        """Tell whether the person can leave without leaving anyone behind who depends on the household."""
        return self.role is Role.CHILD or len(self.household.members) == 1

    def identity(self) -> dict[str, str]:
        """Write the identity record (本人確認情報) in the columns of the intake CSV, leaving out what is absent."""
        return {column: value for column, value in self._columns() if value}

    def _columns(self) -> Iterator[tuple[str, str]]:
        between = SPACE if self.origin is None else " "
        home = self.household
        yield "resident_code", self.resident_code
        yield "name", f"{self.surname.text}{between}{self.given.text}"
        yield "furigana", f"{self.surname.kana}{SPACE}{self.given.kana}"
        if self.former_surname:
            yield "former_surname", self.former_surname.text
            yield "former_surname_furigana", self.former_surname.kana
        if self.alias:
            yield "alias", self.alias.text
            yield "alias_furigana", self.alias.kana
        yield "birth_date", self.birth_text or self.born.isoformat()
        yield "sex", "male" if self.male else "female"
        yield "local_government_code", home.municipality.code
        yield "town", home.address.town
        yield "block", home.address.block
        yield "building", home.address.building
        yield "individual_number", self.individual_number
