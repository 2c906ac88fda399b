"""One nation that the tests of this folder look at: six municipalities in four prefectures, a year in haste."""

from collections import defaultdict
from datetime import date

import pytest

from nation import Nation, Submission

WEIGHTS = {"131016": 3.0, "131024": 3.0, "141003": 6.0, "141305": 1.0, "271004": 4.0, "473821": 1.0}
INTENSITY = 4.0


@pytest.fixture(scope="package")
def lived() -> tuple[Nation, list[Submission]]:
    """A nation of 6,000 after a year in which things happened at four times the rate of Japan, and what was filed."""
    nation = Nation(list(WEIGHTS), count=6000, seed=7, on=date(2026, 3, 31), weights=WEIGHTS)
    changes = nation.changes(date(2026, 4, 1), date(2027, 3, 31), intensity=INTENSITY, at_least_once=True)
    return nation, list(changes)


@pytest.fixture(scope="package")
def nation(lived: tuple[Nation, list[Submission]]) -> Nation:
    """That nation, at the end of its year."""
    return lived[0]


@pytest.fixture(scope="package")
def loaded(nation: Nation) -> list[Submission]:
    """Its first load."""
    return list(nation.residents())


@pytest.fixture(scope="package")
def changes(lived: tuple[Nation, list[Submission]]) -> list[Submission]:
    """What was filed after the first load."""
    return lived[1]


@pytest.fixture(scope="package")
def histories(loaded: list[Submission], changes: list[Submission]) -> list[list[Submission]]:
    """All that was filed about each person, whatever the code, in the order of filing."""
    first: dict[str, str] = {}
    found: dict[str, list[Submission]] = defaultdict(list)
    for submission in [*loaded, *changes]:
        code = submission.row["resident_code"]
        old = submission.row.get("previous_resident_code", code)
        first[code] = first.get(old, old)
        found[first[code]].append(submission)
    return list(found.values())
