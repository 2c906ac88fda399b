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
LAWS = ("Number Use Act", "Act", "Order", "Rules", "ordinance", "notice")
ACT = [f"30-{number}" for number in range(2, 41) if number not in (5, 21)]
EXPECTED = {
    *(("Act", article) for article in ACT),
    *(("Act", article) for article in ("7", "9", "12-4", "12-5", "19", "22", "23", "24", "24-2", "30-9-2", "35", "37")),
    *(("Act", str(article)) for article in range(42, 53)),
    *(("Order", f"30-{number}") for number in (2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 16)),
    *(("Order", article) for article in ("8-2", "13", "24-2", "24-3", "34")),
    *(("Rules", article) for article in ("1", "4", "9", "9-2", "10", "11", "22", "23", "24", "44")),
    *(("Number Use Act", "9"), ("ordinance", "13"), ("notice", "334")),
}
"""Law and article of all that the network rests on: register, codes, notices, provision, disclosure, duties."""


def articles_of(cell: str) -> set[tuple[str, str]]:
    """Law and article, without paragraphs, that the first cell of a row is about; ranges in full."""
    found, law = set[tuple[str, str]](), ""
    plain = re.sub(r"\([^)]*\)|tables? [\d, ]+", "", cell)
    for part in re.split(r"[;,]", plain):
        text = part.strip()
        law = next((each for each in LAWS if text.startswith(each + " ")), law)
        numbers = re.findall(r"\d+(?:-\d+)*", text.removeprefix(law).split(" of ")[0])
        if " to " in text and len(numbers) == 2:
            stem, _, first = numbers[0].rpartition("-")
            last = numbers[1].rpartition("-")[2]
            numbers = [f"{stem}-{each}" if stem else str(each) for each in range(int(first), int(last) + 1)]
        if law:
            found |= {(law, number) for number in numbers}
    return found


NAMED = set().union(*(articles_of(row[0]) for row in ROWS))


def test_every_article_of_the_network_has_a_row() -> None:
    assert set() == EXPECTED - NAMED


def test_no_row_is_about_an_article_that_this_list_lacks() -> None:
    assert set() == NAMED - EXPECTED


def test_a_cell_says_its_articles_law_by_law() -> None:
    assert articles_of("Act 30-6(4), 30-7(4) (text of 2024); Order 30-8 to 30-10") == {
        *(("Act", "30-6"), ("Act", "30-7"), ("Order", "30-8"), ("Order", "30-9"), ("Order", "30-10")),
    }
    assert articles_of("Act 30-9; tables 2, 3") == {("Act", "30-9")}
    assert articles_of("ordinance 13 of 2002") == {("ordinance", "13")}


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
        assert ("Act", article.article.split("(")[0]) in NAMED
