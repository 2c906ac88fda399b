"""The change brake counts the last hour, by an injected clock, and lets nobody be held by less than it allows."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jukinet._pb.jukinet.register.v1.change_pb2 import Change, ChangeReason
from jukinet.domain.brake import HOUR_US, SLOT_US, SLOTS, Brake, Count, Tally, count, judge, lift, taken_up
from jukinet.domain.change import REASONS, Act

NOW = 1_790_000_000_000_000
MINUTE = 60_000_000
SMALL = Brake(percent=10.0, deletions=4, floor=6)

batches = st.lists(
    st.tuples(st.integers(0, 20 * MINUTE), st.integers(0, 4), st.integers(0, 2)).map(
        lambda each: (each[0], Count(each[1] + each[2], each[2]))
    ),
    max_size=40,
)
"""Microseconds since the batch before, and what it brings."""


def residents(number: int) -> Callable[[], int]:
    return lambda: number


@given(batches, st.integers(0, 120))
def test_who_is_over_the_limit_in_an_hour_is_held_and_who_is_not_in_65_minutes_is_not(
    batches: list[tuple[int, Count]], active: int
) -> None:
    most = SMALL.most(active)
    came: list[tuple[int, Count]] = []
    tally, now = Tally(), NOW
    for pause, arrived in batches:
        now += pause
        came.append((now, arrived))
        tally = judge(tally, arrived, brake=SMALL, now_us=now, count_residents=residents(active))

        def since(length: int, now: int = now) -> tuple[int, int]:
            lately = [counted for at, counted in came if at > now - length]
            return sum(each.changes for each in lately), sum(each.deletions for each in lately)

        changes, deletions = since(HOUR_US)
        if changes > most or deletions > SMALL.deletions:
            assert tally.held_at
        if tally.held_at:
            assert tally.held_at == now
            changes, deletions = since(HOUR_US + SLOT_US)
            assert changes > most or deletions > SMALL.deletions
            return


def test_what_came_a_moment_less_than_an_hour_ago_still_counts_wherever_the_slots_begin() -> None:
    for offset in range(0, SLOT_US, SLOT_US // 50):
        for at in (NOW + offset, NOW + offset + SLOT_US // 50 - 1):
            tally = judge(Tally(), Count(6), brake=SMALL, now_us=at, count_residents=residents(0))
            later = at + HOUR_US - 1
            assert judge(tally, Count(1), brake=SMALL, now_us=later, count_residents=residents(0)).held_at
            much_later = at + HOUR_US + SLOT_US
            assert not judge(tally, Count(6), brake=SMALL, now_us=much_later, count_residents=residents(0)).held_at


@given(batches, st.lists(st.integers(-86_400_000_000, 0), min_size=40, max_size=40))
def test_a_clock_that_goes_back_forgets_nothing(batches: list[tuple[int, Count]], back: list[int]) -> None:
    brake = Brake(percent=0.0, deletions=10**6, floor=30)
    tally, total = Tally(slot=NOW // SLOT_US), 0
    for (_, arrived), skew in zip(batches, back, strict=False):
        total += arrived.changes
        tally = judge(tally, arrived, brake=brake, now_us=NOW + skew, count_residents=residents(0))
        assert tally.total.changes == total
        assert bool(tally.held_at) == (total > 30)
        if tally.held_at:
            return


@given(batches)
def test_nothing_counts_while_two_operators_have_lifted_the_brake(batches: list[tuple[int, Count]]) -> None:
    lifted = taken_up(lift(Tally(held_at=1, changes=(99,) * SLOTS), now_us=NOW))
    now = NOW
    for pause, arrived in batches:
        now += pause
        if now >= NOW + HOUR_US:
            break
        assert judge(lifted, arrived, brake=SMALL, now_us=now, count_residents=residents(0)) is lifted
    after = judge(lifted, Count(6, 0), brake=SMALL, now_us=NOW + HOUR_US, count_residents=residents(0))
    assert (after.held_at, after.total) == (0, Count(6, 0))
    assert judge(after, Count(1, 0), brake=SMALL, now_us=NOW + HOUR_US, count_residents=residents(0)).held_at


def test_a_release_that_is_not_through_is_a_new_hold() -> None:
    """Who proposed to release the one before has not spoken of this one."""
    held = Tally(held_at=NOW)
    assert lift(held, now_us=NOW + 1).held_at == NOW + 1
    assert not taken_up(lift(held, now_us=NOW + 1)).held_at


@pytest.mark.parametrize("number", sorted(REASONS))
def test_every_reason_counts_but_first_entries(number: int) -> None:
    reason = ChangeReason.ValueType(number)
    first, later = Change(reason=reason, version=1), Change(reason=reason, version=2)
    entry = REASONS[number].act is Act.ENTRY
    deletion = number in (9, 10, 11, 12)
    assert count([first]) == (Count(0, 0) if entry else Count(1, int(deletion)))
    assert count([later]) == Count(1, int(deletion))


def test_what_could_not_be_read_counts() -> None:
    assert count([Change(), Change()]) == Count(2, 0)


def test_first_entries_touch_nothing() -> None:
    tally = Tally()
    assert judge(tally, Count(), brake=SMALL, now_us=NOW, count_residents=residents(0)) is tally


@pytest.mark.parametrize(("active", "most"), [(0, 50), (2_500, 50), (2_501, 50.02), (100_000, 2_000)])
def test_two_percent_an_hour_but_never_less_than_fifty(active: int, most: float) -> None:
    assert Brake().most(active) == pytest.approx(most)


def test_200_deaths_and_deletions_are_taken_and_one_more_is_not() -> None:
    tally = judge(Tally(), Count(200, 200), brake=Brake(), now_us=NOW, count_residents=residents(10**6))
    assert not tally.held_at
    assert judge(tally, Count(1, 1), brake=Brake(), now_us=NOW, count_residents=residents(10**6)).held_at


def test_residents_are_counted_at_most_once_an_hour_and_always_before_a_hold() -> None:
    asked: list[int] = []

    def active() -> int:
        asked.append(1)
        return 200 * len(asked)

    brake = Brake(percent=10.0, floor=5)
    tally, now = Tally(), NOW
    for expected in (0, 1, 1, 1, 2):  # 5 free; 20 of 200; then 40 of 400
        tally = judge(tally, Count(5, 0), brake=brake, now_us=now, count_residents=active)
        assert len(asked) == expected, tally
        assert not tally.held_at
        now += 1
    tally = judge(tally, Count(5, 0), brake=brake, now_us=now + HOUR_US - SLOT_US, count_residents=active)
    assert len(asked) == 2
