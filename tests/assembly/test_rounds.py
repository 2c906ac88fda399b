"""What is read again is read part by part, to the end and from the beginning again, whatever fails meanwhile."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest

from jukinet.assembly.rounds import read_in_rounds
from jukinet.store.errors import StoreError

DAY = datetime(2026, 11, 28, tzinfo=UTC)
EVERY = timedelta(hours=1)


class Clock:
    """Stands still; asked for a sleep, it goes on by as much at once, and ends the reading after so many of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, sleeps: int) -> None:
        self.time = DAY
        self.slept: list[float] = []
        self._left = sleeps
        monkeypatch.setattr(asyncio, "sleep", self._sleep)

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += timedelta(seconds=max(seconds, 0))
        self._left -= 1
        if not self._left:
            raise asyncio.CancelledError

    async def read(self, part: Callable[[int], int | None], ended: Callable[[], None] = lambda: None) -> None:
        reading = read_in_rounds(part, 0, ended=ended, every=EVERY, pause=0.5, clock=lambda: self.time, again=9.0)
        with suppress(asyncio.CancelledError):
            await reading


async def test_each_pass_begins_at_the_start_and_as_long_after_the_one_before_began(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, places, ended = Clock(monkeypatch, 7), list[int](), list[datetime]()

    def part(place: int) -> int | None:
        places.append(place)
        return place + 1 if place < 2 else None

    await clock.read(part, lambda: ended.append(clock.time))
    assert places == [0, 1, 2, 0, 1, 2]
    assert clock.slept == [0.5, 0.5, 0.5, 3600 - 1.5, 0.5, 0.5, 0.5]
    assert ended == [DAY + timedelta(seconds=1.5)]


async def test_a_pass_that_takes_longer_is_followed_by_the_next_one_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, 3)

    def part(_place: int) -> int | None:
        clock.time += 2 * EVERY
        return None

    await clock.read(part)
    assert clock.slept[0] == 0.5
    assert clock.slept[1] < 0


async def test_a_part_that_cannot_be_read_is_asked_for_again_until_it_can(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock, places = Clock(monkeypatch, 5), list[int]()

    def part(place: int) -> int | None:
        places.append(place)
        if len(places) in (2, 3):
            raise StoreError("away")
        return place + 1

    await clock.read(part)
    assert places == [0, 1, 1, 1, 2]
    assert clock.slept == [0.5, 9.0, 9.0, 0.5, 0.5]
    assert caplog.messages == ["what is read again cannot be read now"] * 2


async def test_any_other_failure_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def part(_place: int) -> int | None:
        raise LookupError

    with pytest.raises(LookupError):
        await Clock(monkeypatch, 9).read(part)
