"""docs/law.md says of every article that the network rests on what carries it out, or that it is outside."""

import re
from pathlib import Path

import pytest

from jukinet.purpose.decision import _PERMITS, _REFUSALS
from jukinet.purpose.edition import load_statute

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "law.md").read_text("utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in TEXT.splitlines()
    if line.startswith("|") and not line.startswith(("|---", "| article"))
]
ACT = [
    *(f"30-{number}" for number in range(2, 21)),
    *("7", "35", "30-9-2", "30-22(2)", "30-23", "30-24", "30-25", "30-26", "30-27", "30-28", "30-29", "30-30", "30-31"),
    *("30-32", "30-33", "30-34", "30-35", "30-36", "30-37", "30-38", "30-39", "30-40", "37(2)", "42", "52"),
]


def articles_named() -> set[str]:
    named = set(re.findall(r"30-22\(2\)|30-\d+(?:-\d+)?|37\(2\)|\b(?:42|52)\b|(?<=Act )(?:7|35)\b", TEXT))
    for first, last in re.findall(r"30-(\d+) to 30-(\d+)", TEXT):
        named |= {f"30-{number}" for number in range(int(first), int(last) + 1)}
    return named


def test_every_article_of_the_network_has_a_row() -> None:
    assert [article for article in ACT if article not in articles_named()] == []


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_every_row_names_what_carries_it_out_or_says_that_it_is_outside(row: list[str]) -> None:
    article, about, carried_out_by = row
    assert article
    assert about
    named = re.findall(r"`([\w./]+\.(?:py|csv|cedar))`", carried_out_by)
    assert named or "outside" in carried_out_by or "](" in carried_out_by
    for path in named:
        assert (ROOT / path).exists(), path


def test_every_policy_that_is_named_is_one() -> None:
    named = set(re.findall(r"`((?:juki|number-act)-[a-z0-9-]+)`", TEXT))
    assert named
    assert named <= _PERMITS | _REFUSALS.keys()


def test_every_article_that_opens_a_table_is_on_the_page() -> None:
    for article in load_statute().articles.values():
        assert article.article.split("(")[0] in articles_named()
