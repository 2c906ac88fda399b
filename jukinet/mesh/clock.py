"""The one place where the product asks what time it is."""

import time
from datetime import UTC, date, datetime, timedelta, timezone

JAPAN = timezone(timedelta(hours=9), "JST")


def now_us() -> int:
    """Microseconds since 1970, UTC."""
    return time.time_ns() // 1000


def now() -> datetime:
    """The present moment, UTC."""
    return datetime.now(UTC)


def today_in_japan() -> date:
    """Today's date in Japan, by which the register counts days."""
    return datetime.now(JAPAN).date()


def end_of_day_in_japan(moment: datetime) -> datetime:
    """When the day in Japan that a moment (timezone-aware) lies in is over."""
    return moment.astimezone(JAPAN).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
