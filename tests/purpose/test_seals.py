"""Only an edition of the law says which questions may be sealed, and for how long; one that says nothing lets none."""

from datetime import date
from typing import Any

import pytest

from jukinet.purpose.decision import PurposePolicy
from jukinet.purpose.edition import format_edition, load_statute, program_edition, read_parts
from jukinet.purpose.editions import Editions
from jukinet.purpose.statute import StatuteTableError
from tests.purpose.drafts import draft, draft_text

TODAY = date(2026, 4, 30)


def test_no_row_of_the_programs_own_edition_may_be_sealed() -> None:
    assert load_statute().seals == {}
    assert b"seals" not in program_edition()
    policy = PurposePolicy(Editions([load_statute()]), {})
    assert not any(policy.may_seal(row, "2026-05-01", TODAY) for row in load_statute().rows)


def test_an_edition_is_written_and_read_back_with_its_seals() -> None:
    text = draft_text(seals={"B1-77": 12})
    assert format_edition(read_parts(text)) == text
    assert draft(seals={"B1-77": 12}).seals == {"B1-77": 12}
    assert format_edition(read_parts(draft_text())) == draft_text()


@pytest.mark.parametrize(
    ("seals", "why"),
    [
        ({"B1-999": 12}, "no such row"),
        ({"B1-77": 0}, "1 to 60 months"),
        ({"B1-77": 61}, "1 to 60 months"),
        ({"B1-77": "-1"}, "1 to 60 months"),
        ({"B1-77": "１"}, "1 to 60 months"),
    ],
)
def test_an_edition_with_a_seal_that_cannot_be_is_refused(seals: Any, why: str) -> None:
    with pytest.raises(StatuteTableError, match=why):
        draft(seals=seals)


@pytest.mark.parametrize(("blank", "why"), [("", "no ground"), ("  ", "no ground"), ("\u3000", "not printable")])
def test_a_seal_without_a_ground_is_refused(blank: str, why: str) -> None:
    text = draft_text(seals={"B1-77": 12})
    with pytest.raises(StatuteTableError, match=why):
        Editions([parse(text.replace(b"B1-77,12,a test", f"B1-77,12,{blank}".encode()))])


def test_a_row_that_is_sealed_twice_is_refused() -> None:
    text = draft_text(seals={"B1-77": 12})
    with pytest.raises(StatuteTableError, match="twice"):
        Editions([parse(text.replace(b"B1-77,12,a test\n", b"B1-77,12,a test\nB1-77,13,a test\n"))])


def parse(text: bytes) -> Any:
    from jukinet.purpose.edition import parse_edition

    return parse_edition(text)


def test_a_question_is_sealed_by_the_edition_of_its_day_for_its_row_and_no_longer() -> None:
    policy = PurposePolicy(Editions([load_statute(), draft(seals={"B1-77": 12})]), {})
    assert policy.may_seal("B1-77", "2027-04-01", TODAY)
    assert policy.may_seal("B1-77.12", "2026-05-01", TODAY)
    assert not policy.may_seal("B1-77", "2027-05-01", TODAY)
    assert not policy.may_seal("B1-77", "2026-04-01", TODAY)
    assert not policy.may_seal("B1-72", "2026-05-01", TODAY)
    assert not policy.may_seal("B9-1", "2026-05-01", TODAY)
    assert not policy.may_seal("B1-77", "2026-05-01", date(2026, 3, 31))
