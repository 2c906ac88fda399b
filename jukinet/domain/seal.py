"""How long a provision may be kept from the person concerned (封印の期間).

Rule: an entry opens on the first day of a month, at most `MOST_MONTHS` after the month of the question. A day of its
own would mark a case; what is never shown is not sealed but hidden. Provisions stay on record for longer than that.

Source: docs/decisions/0061-sealed-entries.md.
"""

import re
from datetime import date
from typing import Final

MOST_MONTHS: Final = 60
"""Longest sealing, whatever an edition of the statute table says."""
_DAY: Final = re.compile(r"([0-9]{4})-(0[1-9]|1[0-2])-01")


def is_within(until: str, day: date, *, months: int = MOST_MONTHS) -> bool:
    """Whether what is asked on a day may be sealed until another one.

    Args:
        until: such as `2027-04-01`; anything else than the first day of a month is not.
        day: of the question, in Japan.
        months: the most, counted from the month of `day`.
    """
    found = _DAY.fullmatch(until)
    return found is not None and 1 <= int(found[1]) * 12 + int(found[2]) - _month(day) <= months


def has_come(until: str, day: date) -> bool:
    """Whether what was sealed until a day is open on another one.

    Args:
        until: such as `2027-04-01`; anything else than the first day of a month never comes.
        day: in Japan.
    """
    found = _DAY.fullmatch(until)
    return found is not None and int(found[1]) * 12 + int(found[2]) <= _month(day)


def opening_days(first: date, last: date, today: date) -> list[str]:
    """The days up to today on which an entry of a period can have been opened, rising.

    Args:
        first: day of the period, in Japan.
        last: the same.
        today: in Japan.
    """
    months = range(_month(first) + 1, min(_month(last) + MOST_MONTHS, _month(today)) + 1)
    return [f"{(month - 1) // 12:04}-{(month - 1) % 12 + 1:02}-01" for month in months]


def _month(day: date) -> int:
    return day.year * 12 + day.month
