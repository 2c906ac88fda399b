"""A seal ends on the first day of a month, within its term, and every day on which one can end is known beforehand."""

from datetime import date

from hypothesis import given
from hypothesis import strategies as st

from jukinet.domain.seal import MOST_MONTHS, has_come, is_within, opening_days
from jukinet.ledger.verify.usage import _opening_days

days = st.dates(date(2019, 1, 1), date(2040, 12, 31))
firsts = st.builds(lambda year, month: f"{year}-{month:02}-01", st.integers(2018, 2050), st.integers(1, 12))


@given(days, firsts, st.integers(0, MOST_MONTHS))
def test_a_seal_ends_after_the_question_and_within_its_months(day: date, until: str, months: int) -> None:
    end = date.fromisoformat(until)
    later = (end.year - day.year) * 12 + end.month - day.month
    assert is_within(until, day, months=months) == (day < end and later <= months)


def test_a_seal_ends_on_the_first_day_of_a_month_and_on_no_other() -> None:
    day = date(2026, 4, 30)
    assert is_within("2026-05-01", day)
    for other in ("2026-05-02", "2026-5-01", "2026-13-01", "2026-00-01", "2026-05-01 ", "２０２６-05-01", "", "never"):
        assert not is_within(other, day)
    assert not is_within("2026-05-01", date(2026, 5, 1))
    assert is_within("2031-04-01", day)
    assert not is_within("2031-05-01", day)
    assert not is_within("2026-05-01", day, months=0)


@given(days, firsts)
def test_a_seal_is_open_from_its_day_on_and_what_is_no_day_of_one_never(day: date, until: str) -> None:
    assert has_come(until, date.fromisoformat(until))
    assert has_come(until, day) == (day >= date.fromisoformat(until)) != is_within(until, day, months=10**6)
    assert not any(has_come(other, day) for other in (until[:-1] + "2", until[:-3], "", "never"))


@given(days, days, days, firsts, days)
def test_node_and_verifier_agree_on_the_days_on_which_entries_of_a_period_open(
    one: date, other: date, asked: date, until: str, today: date
) -> None:
    first, last = min(one, other), max(one, other)
    opened = opening_days(first, last, today)
    assert opened == _opening_days(first, last, today) == sorted(set(opened))
    assert all(date.fromisoformat(each) <= today for each in opened)
    if first <= asked <= last and is_within(until, asked):
        assert (until in opened) == (date.fromisoformat(until) <= today)
