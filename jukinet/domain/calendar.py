"""Dates of the register: Japanese eras (元号), unknown parts of a birth date.

A date is written `2026-04-01`, `2026年4月1日` or `令和8年4月1日`; the first year of an era is 元年 or 1年. Of a birth
date the day, month or year may be unknown: `1948-00-00`, `昭和23年`, `昭和23年5月日不詳`, `年月日不詳`. Digits may be
full width.

Source: Order art. 30-5 (dates of changes); Era Act and the ordinances on the eras from Meiji to Reiwa. A day on which
two eras meet belongs to the newer one, but the older name is read too where both stand in the registers (1912, 1926).
"""

import datetime
import re
import unicodedata
from typing import NamedTuple

from jukinet._pb.jukinet.register.v1 import identity_pb2

_Day = tuple[int, int, int]


class Era(NamedTuple):
    """One era; its years count from the year of `first`, and `last` is the last day that is read under its name."""

    name: str
    letter: str
    first: _Day
    last: _Day


ERAS = (
    Era("明治", "M", (1868, 1, 25), (1912, 7, 30)),
    Era("大正", "T", (1912, 7, 30), (1926, 12, 25)),
    Era("昭和", "S", (1926, 12, 25), (1989, 1, 7)),
    Era("平成", "H", (1989, 1, 8), (2019, 4, 30)),
    Era("令和", "R", (2019, 5, 1), (9999, 12, 31)),
)
_ERA_OF = {key: era for era in ERAS for key in (era.name, era.letter)}

_NUMERIC = re.compile(r"(\d{4})-(\d{2})-(\d{2})")
_WRITTEN = re.compile(
    r"(?P<era>明治|大正|昭和|平成|令和|[MTSHR])?(?P<year>元|\d{1,4})年"
    r"(?:(?P<month>\d{1,2})月(?:(?P<day>\d{1,2})日)?)?(?P<unknown>月日不詳|日不詳)?"
)
_ALL_UNKNOWN = frozenset({"年月日不詳", "不詳", "不明"})


class UnreadableDateError(ValueError):
    """The text is no date: write it as 2026-04-01 or 令和8年4月1日, unknown parts of a birth date as 1948-00-00."""

    def __init__(self) -> None:
        super().__init__(type(self).__doc__)


def parse_date(text: str) -> identity_pb2.CalendarDate:
    """Read a date of which all parts are known.

    Args:
        text: such as `2026-04-01` or `令和8年4月1日`.

    Returns:
        A day that exists, from 1868 on.

    Raises:
        UnreadableDateError: when it is none.
    """
    year, month, day = _read(text)
    if not day:
        raise UnreadableDateError
    return identity_pb2.CalendarDate(year=year, month=month, day=day)


def parse_birth_date(text: str) -> identity_pb2.BirthDate:
    """Read a birth date (生年月日), possibly with unknown parts.

    Args:
        text: such as `1948-00-00`, `昭和23年5月1日` or `昭和23年5月日不詳`.

    Returns:
        A date whose unknown parts are 0.

    Raises:
        UnreadableDateError: when it is none.
    """
    year, month, day = _read(text)
    return identity_pb2.BirthDate(year=year, month=month, day=day)


def format_date(date: identity_pb2.CalendarDate | identity_pb2.BirthDate) -> str:
    """Write a date as `2026-04-01`, unknown parts as zeros."""
    return f"{date.year:04}-{date.month:02}-{date.day:02}"


def year_in_japan(day: datetime.date) -> str:
    """The year of a day as Japan writes it, such as `令和8年`; the first one of an era is `元年`.

    Raises ValueError for a day before Meiji.
    """
    for era in reversed(ERAS):
        if era.first <= (day.year, day.month, day.day):
            count = day.year - era.first[0] + 1
            return f"{era.name}{'元' if count == 1 else count}年"
    raise ValueError("no era of the registers reaches so far back")


def day_in_japan(day: datetime.date) -> str:
    """A day as Japan writes it, such as `令和8年4月1日`. Raises ValueError for one before Meiji."""
    return f"{year_in_japan(day)}{day.month}月{day.day}日"


def _read(text: str) -> _Day:
    plain = unicodedata.normalize("NFKC", text).strip()
    if plain in _ALL_UNKNOWN:
        return 0, 0, 0
    if match := _NUMERIC.fullmatch(plain):
        year, month, day = (int(part) for part in match.groups())
    elif match := _WRITTEN.fullmatch(plain):
        year, month, day = _read_written(match)
    else:
        raise UnreadableDateError
    if not _exists(year, month, day):
        raise UnreadableDateError
    return year, month, day


def _read_written(match: re.Match[str]) -> _Day:
    era = _ERA_OF.get(match["era"] or "")
    count = 1 if match["year"] == "元" else int(match["year"])
    month, day = int(match["month"] or 0), int(match["day"] or 0)
    says_unknown = {"月日不詳": not month, "日不詳": bool(month) and not day}.get(match["unknown"] or "", True)
    if not says_unknown or not count or (era is None and match["year"] == "元"):
        raise UnreadableDateError
    if era is None:
        return count, month, day
    year = era.first[0] + count - 1
    # An unknown part may lie anywhere in its year or month: the era needs only to touch it.
    if (year, month or 12, day or 31) < era.first or (year, month or 1, day or 1) > era.last:
        raise UnreadableDateError
    return year, month, day


def _exists(year: int, month: int, day: int) -> bool:
    """The same rule as the protos': a known day needs a known month, a known month a known year; 1868 to 9999."""
    if not year:
        return not month and not day
    if not 1868 <= year <= 9999 or (day and not month):
        return False
    try:
        # 31 January and a leap year's February take every day and month that an unknown part leaves possible.
        datetime.date(year, month or 1, day or 1)
    except ValueError:
        return False
    return True
