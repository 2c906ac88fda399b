"""docs/threat-model.md says of each threat where it comes, where it is stopped and which tests hold it to that.

That the named tests exist is looked at for every page (`test_pages`).
"""

import re
from pathlib import Path

import pytest

TEXT = (Path(__file__).parents[2] / "docs" / "threat-model.md").read_text("utf-8")
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in TEXT.splitlines() if re.match(r"\| \d", line)]


def test_threats_are_numbered_without_a_gap() -> None:
    assert [row[0] for row in ROWS] == [str(number) for number in range(1, len(ROWS) + 1)]
    assert len(ROWS) >= 40


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_every_threat_says_where_it_comes_where_it_is_stopped_and_by_which_tests(row: list[str]) -> None:
    _, where, tried, stopped, tests = row
    assert re.fullmatch(r"B[1-8](( to|,) B[1-8])* · [STRIDE](, [STRIDE])*", where)
    assert tried
    assert stopped
    named = r"`tests/[\w/]+\.py::test_\w+`"
    assert re.fullmatch(f"{named}(, {named})*", tests)
