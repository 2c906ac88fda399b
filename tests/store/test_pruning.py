"""A segment leaves the outbox when the center has it and thirty days have passed, and not before."""

from datetime import date, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, delete, select

from jukinet.store import journal
from jukinet.store.journal import OutboxRow, Stream
from jukinet.store.pruning import KEPT, SEGMENTS_AT_ONCE, note_day, prune
from jukinet.store.schema import outbox, outbox_days

DAY = date(2026, 4, 1)


def grow(connection: Connection, last: int, *, center_mark: int = 0) -> None:
    """Adds segments of one change each, up to sequence number `last`."""
    before = journal.read_stream(connection)
    numbers = range(before.last_sequence + 1, last + 1)
    journal.append_outbox(connection, [OutboxRow(n, n, b"chain %d" % n, b"s", b"seal", "", "", n) for n in numbers])
    journal.write_stream(connection, Stream(1, last, b"chain %d" % last, center_mark, center_mark, 0))


def kept(connection: Connection) -> list[int]:
    return list(connection.execute(select(outbox.c.last_sequence).order_by(outbox.c.last_sequence)).scalars())


def test_a_segment_stays_thirty_days_and_until_the_center_has_it(engine: Engine) -> None:
    with engine.begin() as connection:
        grow(connection, 5, center_mark=3)
        note_day(connection, DAY)
        grow(connection, 8, center_mark=3)
        note_day(connection, DAY)
        assert prune(connection, today=DAY + KEPT - timedelta(days=1), is_center=False) == 0
        assert kept(connection) == [1, 2, 3, 4, 5, 6, 7, 8]
        assert prune(connection, today=DAY + KEPT, is_center=False) == 3
        assert kept(connection) == [4, 5, 6, 7, 8]
        grow(connection, 8, center_mark=8)
        assert prune(connection, today=DAY + KEPT, is_center=False) == 2
        assert kept(connection) == [6, 7, 8]


def test_the_center_itself_waits_for_nobody_but_the_thirty_days(engine: Engine) -> None:
    with engine.begin() as connection:
        grow(connection, 2)
        note_day(connection, DAY)
        assert prune(connection, today=DAY + KEPT, is_center=True) == 2
        assert kept(connection) == []


def test_few_segments_leave_in_one_transaction(engine: Engine) -> None:
    with engine.begin() as connection:
        grow(connection, SEGMENTS_AT_ONCE + 7, center_mark=SEGMENTS_AT_ONCE + 7)
        note_day(connection, DAY)
        gone = [prune(connection, today=DAY + KEPT, is_center=False) for _ in range(3)]
        assert gone == [SEGMENTS_AT_ONCE, 7, 0]


def test_a_node_that_noted_no_day_keeps_everything(engine: Engine) -> None:
    with engine.begin() as connection:
        grow(connection, 2, center_mark=2)
        assert prune(connection, today=DAY + 100 * KEPT, is_center=False) == 0


def test_days_that_count_no_more_are_forgotten(engine: Engine) -> None:
    with engine.begin() as connection:
        for number in range(60):
            grow(connection, number + 1, center_mark=number + 1)
            note_day(connection, DAY + timedelta(days=number))
        today = DAY + timedelta(days=59)
        while prune(connection, today=today, is_center=False):
            pass
        days = connection.execute(select(outbox_days.c.day).order_by(outbox_days.c.day)).scalars().all()
        assert days[0] == (today - KEPT).isoformat()
        assert len(days) == KEPT.days + 1
        assert kept(connection) == list(range(60 - KEPT.days + 1, 61))


@pytest.mark.parametrize("is_center", [False, True])
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 20), st.integers(0, 6)), min_size=1, max_size=20),
)
def test_whatever_comes_no_segment_leaves_early(
    engine: Engine, is_center: bool, steps: list[tuple[int, int, int]]
) -> None:
    made: dict[int, date] = {}
    today, last, mark = DAY, 0, 0
    with engine.begin() as connection:
        connection.execute(delete(outbox))
        connection.execute(delete(outbox_days))
        journal.write_stream(connection, Stream(1, 0, b"", 0, 0, 0))
        for changes, days, acknowledged in steps:
            today += timedelta(days=days)
            mark = min(last, mark + acknowledged)
            grow(connection, last + changes, center_mark=mark)
            made |= dict.fromkeys(range(last + 1, last + changes + 1), today)
            last += changes
            note_day(connection, today)
            while prune(connection, today=today, is_center=is_center):
                pass
            gone = set(made) - set(kept(connection))
            assert all(today - made[number] >= KEPT for number in gone)
            assert is_center or all(number <= mark for number in gone)
            assert gone == set(range(1, len(gone) + 1))
        today += timedelta(days=1)
        grow(connection, last, center_mark=last)
        note_day(connection, today)
        while prune(connection, today=today + KEPT, is_center=is_center):
            pass
        assert kept(connection) == []
