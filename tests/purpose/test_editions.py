"""The edition in force on the day of the question decides, and no other."""

from dataclasses import replace
from datetime import date, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet.purpose.agencies import SPIFFE_PREFIX, Agency
from jukinet.purpose.decision import PurposePolicy, Question
from jukinet.purpose.edition import load_statute
from jukinet.purpose.editions import Editions
from jukinet.purpose.statute import NO_EDITION, StatuteTable, StatuteTableError
from tests.purpose.drafts import draft

OWN = load_statute()
FIRST = date(2019, 1, 7)
PENSION = Agency(
    "p", SPIFFE_PREFIX + "p", "p", "p", "public", frozenset({"japan-pension-service"}), frozenset({"B1-77"}), FIRST
)
DAYS = st.dates(date(2018, 1, 1), date(2031, 1, 1))


def edition(number: int, first_day: date) -> StatuteTable:
    """A small one: what it costs to adopt it grows with its rows."""
    rows, name = {"B1-77": OWN.rows["B1-77"]}, f"20{number:02}-01"
    return replace(OWN, rows=rows, edition=name, in_force_from=first_day, digest=bytes([number]) * 32)


def asked(day: date, purpose: str = "B1-77") -> Question:
    return Question(PENSION.spiffe_id, purpose, day, inquiry.INQUIRY_METHOD_FOUR_ITEMS)


@given(st.lists(DAYS, max_size=8), DAYS)
def test_the_edition_of_the_day_decides(first_days: list[date], day: date) -> None:
    tables = [edition(number, first) for number, first in enumerate(first_days)]
    expected = NO_EDITION
    for table in tables:
        if expected.in_force_from <= table.in_force_from <= day:
            expected = table
    assert Editions(tables).on(day) is expected


@given(st.lists(DAYS, min_size=1, max_size=4, unique=True), st.lists(DAYS, max_size=4))
@settings(max_examples=25)
def test_what_is_remembered_never_outlives_a_new_edition(first_days: list[date], days: list[date]) -> None:
    editions = Editions([edition(0, FIRST)])
    policy = PurposePolicy(editions, {PENSION.spiffe_id: PENSION})
    for number, first in enumerate(first_days, 1):
        table = edition(number, first)
        policy.adopt(table)
        editions = editions + table
        for day in [*days, first, first - timedelta(days=1)]:
            decision = policy.decide(asked(day))
            assert decision.edition == editions.on(day).edition
            assert decision.digest == policy.digest_on(day)


def test_before_the_first_edition_nothing_is_open() -> None:
    policy = PurposePolicy(Editions([OWN]), {PENSION.spiffe_id: replace(PENSION, valid_from=date.min)})
    early, first = policy.decide(asked(FIRST - timedelta(days=1))), policy.decide(asked(FIRST))
    assert (early.refusal, early.edition) == (errors.ERROR_REASON_PURPOSE_UNKNOWN, "")
    assert first.allowed
    assert PurposePolicy(Editions([]), {PENSION.spiffe_id: PENSION}).decide(asked(FIRST)).basis is None


def test_a_decision_cites_row_article_and_edition() -> None:
    later = draft("2026-04", date(2026, 4, 1), rows={"B1-77": {"label_ja": "新しい名"}})
    policy = PurposePolicy(Editions([OWN, later]), {PENSION.spiffe_id: PENSION})
    cited = [policy.decide(asked(day)).basis for day in (date(2026, 3, 31), date(2026, 4, 1))]
    assert [(basis.purpose, basis.article, basis.edition) for basis in cited if basis] == [
        ("B1-77", "30-9", "2019-01"),
        ("B1-77", "30-9", "2026-04"),
    ]
    assert cited[1] is not None
    assert cited[1].label_ja == "新しい名"


def test_the_digest_covers_the_edition_that_decides_and_the_directory() -> None:
    later = draft()
    policy = PurposePolicy(Editions([OWN, later]), {PENSION.spiffe_id: PENSION})
    other = PurposePolicy(Editions([OWN, later]), {PENSION.spiffe_id: replace(PENSION, rows=frozenset({"B1-72"}))})
    alone = PurposePolicy(Editions([OWN]), {PENSION.spiffe_id: PENSION})
    before, after = date(2026, 3, 31), date(2026, 4, 1)
    assert len({policy.digest_on(before), policy.digest_on(after), other.digest_on(after)}) == 3
    assert alone.digest_on(after) == policy.digest_on(before)
    assert policy.decide(asked(after)).digest == policy.digest_on(after)


def test_of_two_editions_of_one_day_the_one_approved_later_decides() -> None:
    wrong, corrected = edition(1, date(2026, 4, 1)), edition(2, date(2026, 4, 1))
    assert Editions([OWN, wrong, corrected]).on(date(2026, 4, 1)) is corrected
    assert Editions([OWN, corrected, wrong]).on(date(2026, 4, 1)) is wrong


def test_one_name_stands_for_one_edition() -> None:
    table = edition(1, date(2026, 4, 1))
    assert list(Editions([OWN, table, table])) == [OWN, table]
    with pytest.raises(StatuteTableError, match="two different editions are called 2001-01"):
        Editions([OWN, table, replace(table, digest=b"x" * 32)])


def test_a_directory_may_name_rows_and_bodies_of_any_edition() -> None:
    later = draft(rows={"B1-72": None})
    editions = Editions([later, OWN])
    assert "B1-72" in editions.rows - later.rows.keys()
    assert editions.bodies >= OWN.bodies.keys()
