"""Dates are read in both calendars, and what is unknown stays unknown."""

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jukinet._pb.jukinet.register.v1 import identity_pb2
from jukinet.domain import calendar

Day = tuple[int, int, int]
DAYS = st.dates(min_value=datetime.date(1868, 1, 25), max_value=datetime.date(9999, 12, 31))


def parts(date: identity_pb2.CalendarDate | identity_pb2.BirthDate) -> Day:
    return date.year, date.month, date.day


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("明治元年1月25日", (1868, 1, 25)),
        ("明治45年7月29日", (1912, 7, 29)),
        ("大正元年7月30日", (1912, 7, 30)),
        ("大正15年12月24日", (1926, 12, 24)),
        ("昭和元年12月25日", (1926, 12, 25)),
        ("昭和64年1月7日", (1989, 1, 7)),
        ("平成元年1月8日", (1989, 1, 8)),
        ("平成31年4月30日", (2019, 4, 30)),
        ("令和元年5月1日", (2019, 5, 1)),
        ("令和8年4月1日", (2026, 4, 1)),
    ],
)
def test_first_and_last_days_of_the_eras_are_read_and_written(text: str, day: Day) -> None:
    date = calendar.parse_date(text)
    assert parts(date) == day
    assert calendar.parse_date(calendar.format_date(date)) == date
    assert calendar.day_in_japan(datetime.date(*day)) == text


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("2026-04-01", (2026, 4, 1)),
        (" 2026-04-01 ", (2026, 4, 1)),
        ("２０２６－０４－０１", (2026, 4, 1)),
        ("2026年4月1日", (2026, 4, 1)),
        ("令和８年０４月０１日", (2026, 4, 1)),
        ("令和1年5月1日", (2019, 5, 1)),
        ("R8年4月1日", (2026, 4, 1)),
        # A day on which two eras meet stands in the registers under both names.
        ("明治45年7月30日", (1912, 7, 30)),
        ("大正15年12月25日", (1926, 12, 25)),
    ],
)
def test_other_ways_of_writing_are_read(text: str, day: Day) -> None:
    assert parts(calendar.parse_date(text)) == day


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tomorrow",
        "2026/04/01",
        "2026-4-1",
        "20260401",
        "2026-02-29",
        "2026-13-01",
        "2026-00-00",
        "1867-12-31",
        "令和8年4月31日",
        "令和8年4月",
        "令和8年",
        "令和0年4月1日",
        "元年4月1日",
        "8年4月1日",
        "平成31年5月1日",
        "令和元年4月30日",
        "昭和64年1月8日",
        "平成元年1月7日",
        "慶応3年1月1日",
        "年月日不詳",
        "令和8年4月1日日不詳",
    ],
)
def test_what_is_no_day_is_refused_with_the_forms_that_are_read(text: str) -> None:
    with pytest.raises(calendar.UnreadableDateError, match="2026-04-01") as refused:
        calendar.parse_date(text)
    # The text is the same whatever was written: a birth date reaches no log through it.
    assert str(refused.value) == calendar.UnreadableDateError.__doc__


@given(day=DAYS)
def test_every_day_survives_its_writing_and_is_read_under_the_name_of_each_era_that_it_lies_in(
    day: datetime.date,
) -> None:
    date = identity_pb2.CalendarDate(year=day.year, month=day.month, day=day.day)
    assert calendar.parse_date(calendar.format_date(date)) == date
    eras = [era for era in calendar.ERAS if era.first <= parts(date) <= era.last]
    assert eras
    for era in eras:
        count = day.year - era.first[0] + 1
        for year in (f"{era.name}{count}", f"{era.letter}{count}", f"{era.name}元" if count == 1 else f"{day.year}"):
            assert calendar.parse_date(f"{year}年{day.month}月{day.day}日") == date


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("1948-00-00", (1948, 0, 0)),
        ("1948-05-00", (1948, 5, 0)),
        ("0000-00-00", (0, 0, 0)),
        ("不詳", (0, 0, 0)),
        ("昭和23年", (1948, 0, 0)),
        ("昭和23年月日不詳", (1948, 0, 0)),
        ("昭和23年5月", (1948, 5, 0)),
        ("昭和23年5月日不詳", (1948, 5, 0)),
        ("昭和23年5月1日", (1948, 5, 1)),
        # Some time in 1989, 1868: the era is open.
        ("昭和64年", (1989, 0, 0)),
        ("平成元年", (1989, 0, 0)),
        ("平成元年1月", (1989, 1, 0)),
        ("平成元年2月", (1989, 2, 0)),
        ("2019-04-00", (2019, 4, 0)),
        ("2019-05-00", (2019, 5, 0)),
        ("1868-00-00", (1868, 0, 0)),
        ("1989年月日不詳", (1989, 0, 0)),
        ("1989年1月日不詳", (1989, 1, 0)),
    ],
)
def test_unknown_parts_of_a_birth_date_stay_unknown(text: str, day: Day) -> None:
    date = calendar.parse_birth_date(text)
    assert parts(date) == day
    assert calendar.parse_birth_date(calendar.format_date(date)) == date


@pytest.mark.parametrize(
    "text",
    [
        "1948-00-01",
        "0000-05-00",
        "0000-00-01",
        "1948-02-30",
        "昭和23年日不詳",
        "昭和23年5月月日不詳",
        "令和元年4月",
        "昭和65年",
    ],
)
def test_a_known_day_needs_a_known_month_and_a_known_month_a_known_year(text: str) -> None:
    with pytest.raises(calendar.UnreadableDateError):
        calendar.parse_birth_date(text)


@given(DAYS)
def test_every_day_is_read_as_it_is_written_in_its_era(day: datetime.date) -> None:
    assert parts(calendar.parse_date(calendar.day_in_japan(day))) == (day.year, day.month, day.day)


def test_no_era_is_made_up_for_a_day_before_meiji() -> None:
    with pytest.raises(ValueError, match="no era"):
        calendar.day_in_japan(datetime.date(1868, 1, 24))


@given(day=DAYS, known=st.integers(0, 3))
def test_every_birth_date_survives_its_writing(day: datetime.date, known: int) -> None:
    date = identity_pb2.BirthDate(
        year=day.year if known > 0 else 0, month=day.month if known > 1 else 0, day=day.day if known > 2 else 0
    )
    assert calendar.parse_birth_date(calendar.format_date(date)) == date
