"""Where a node stands in the streams, moved with the effect."""

from collections.abc import Sequence

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError

from jukinet.store import journal
from jukinet.store.journal import Mark, Origin, OutboxRow, Stream

CS = "spiffe://nodes.jukinet/municipality/131016"
OTHER = "spiffe://nodes.jukinet/municipality/131024"


def segment(first: int, last: int, *, source: str = "", source_sequence: int = 0, size: int = 10) -> OutboxRow:
    return OutboxRow(first, last, b"chain %d" % last, b"s" * size, b"seal", "", source, source_sequence)


def append(engine: Engine, rows: Sequence[OutboxRow]) -> None:
    with engine.begin() as connection:
        journal.append_outbox(connection, rows)


def fetched(engine: Engine, after: int, *, max_changes: int = 500, max_bytes: int = 1 << 20) -> list[int]:
    with engine.connect() as connection:
        rows = journal.fetch_outbox(connection, after, max_changes=max_changes, max_bytes=max_bytes)
    return [row.last_sequence for row in rows]


def test_a_new_node_begins_with_the_first_epoch_and_nothing_sent(engine: Engine) -> None:
    with engine.connect() as connection:
        assert journal.read_stream(connection) == Stream(1, 0, b"", 0, 0, 0)
        assert journal.first_kept(connection) == 0
        assert journal.chain_at(connection, 0) == b""
        assert journal.chain_at(connection, 1) is None
        assert journal.read_mark(connection, CS) is None
        assert journal.read_marks(connection) == {}
        assert journal.read_origins(connection) == {}


def test_the_stream_is_kept_as_one_row(engine: Engine) -> None:
    for state in (Stream(1, 5, b"five", 3, 2, 9), Stream(2, 7, b"seven", 7, 7, 10)):
        with engine.begin() as connection:
            journal.write_stream(connection, state)
            assert journal.read_stream(connection) == state


def test_marks_and_origins_are_kept_by_sender_and_by_municipality(engine: Engine) -> None:
    with engine.begin() as connection:
        for mark in (Mark(1, 5, b"five", 0, 1), Mark(2, 6, b"six", 3, 2)):
            journal.write_mark(connection, CS, mark)
        journal.write_mark(connection, OTHER, Mark(1, 1, b"one", 0, 3))
        for origin in (Origin(1, 5, b"h5", 1), Origin(1, 9, b"h9", 2)):
            journal.write_origin(connection, "131016", origin)
        journal.write_origin(connection, "131024", Origin(1, 1, b"h1", 3))
    with engine.connect() as connection:
        assert journal.read_mark(connection, CS) == Mark(2, 6, b"six", 3, 2)
        assert journal.read_marks(connection) == {CS: Mark(2, 6, b"six", 3, 2), OTHER: Mark(1, 1, b"one", 0, 3)}
        assert journal.read_origins(connection, ["131016", "999999"]) == {"131016": Origin(1, 9, b"h9", 2)}
        assert journal.read_origins(connection, []) == {}
        assert set(journal.read_origins(connection)) == {"131016", "131024"}


def test_the_outbox_is_read_in_order_from_a_sequence_number(engine: Engine) -> None:
    append(engine, [segment(1, 3), segment(4, 4), segment(5, 9)])
    append(engine, [])
    assert fetched(engine, 0) == [3, 4, 9]
    assert fetched(engine, 3) == [4, 9]
    assert fetched(engine, 9) == []
    with engine.connect() as connection:
        assert journal.first_kept(connection) == 1
        assert journal.chain_at(connection, 4) == b"chain 4"
        assert journal.chain_at(connection, 5) is None
        (row,) = journal.fetch_outbox(connection, 4, max_changes=9, max_bytes=999)
        assert row == segment(5, 9)


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"max_changes": 4}, [3, 4]),
        ({"max_changes": 8}, [3, 4]),
        ({"max_changes": 9}, [3, 4, 9]),
        ({"max_bytes": 20}, [3, 4]),
        ({"max_bytes": 19}, [3]),
        ({"max_changes": 1}, [3]),
        ({"max_changes": 0}, [3]),
        ({"max_bytes": 1}, [3]),
    ],
)
def test_a_batch_stays_within_its_limits_but_is_never_empty(
    engine: Engine, limits: dict[str, int], expected: list[int]
) -> None:
    append(engine, [segment(1, 3), segment(4, 4), segment(5, 9)])
    assert fetched(engine, 0, **limits) == expected


def test_a_sequence_number_is_given_once(engine: Engine) -> None:
    append(engine, [segment(1, 3)])
    with pytest.raises(IntegrityError):
        append(engine, [segment(2, 3)])


def test_progress_above_tells_each_sender_below_how_far_it_reached_the_center(engine: Engine) -> None:
    append(
        engine,
        [
            segment(1, 2, source=CS, source_sequence=2),
            segment(3, 3, source=OTHER, source_sequence=1),
            segment(4, 6, source=CS, source_sequence=5),
            segment(7, 7),
        ],
    )
    with engine.begin() as connection:
        journal.write_mark(connection, CS, Mark(1, 5, b"", 0, 0))
        journal.write_mark(connection, OTHER, Mark(1, 1, b"", 0, 0))
        progress = journal.record_progress
        assert progress(connection, neighbour_mark=7, center_mark=0, now_us=1) == {}
        assert progress(connection, neighbour_mark=7, center_mark=3, now_us=2) == {CS: 2, OTHER: 1}
        assert progress(connection, neighbour_mark=7, center_mark=7, now_us=3) == {CS: 5}
        assert {source: mark.center_mark for source, mark in journal.read_marks(connection).items()} == {
            CS: 5,
            OTHER: 1,
        }
        state = journal.read_stream(connection)
        assert (state.neighbour_mark, state.center_mark, state.moved_at) == (7, 7, 3)


def test_marks_never_go_back(engine: Engine) -> None:
    append(engine, [segment(1, 5, source=CS, source_sequence=5)])
    with engine.begin() as connection:
        journal.write_mark(connection, CS, Mark(1, 5, b"", 0, 0))
        journal.record_progress(connection, neighbour_mark=5, center_mark=5, now_us=1)
        before = journal.read_stream(connection)
        assert journal.record_progress(connection, neighbour_mark=2, center_mark=1, now_us=2) == {}
        assert journal.read_stream(connection) == before
        mark = journal.read_mark(connection, CS)
        assert mark is not None
        assert mark.center_mark == 5


def test_only_own_changes_move_no_mark_of_others(engine: Engine) -> None:
    append(engine, [segment(1, 5)])
    with engine.begin() as connection:
        assert journal.record_progress(connection, neighbour_mark=5, center_mark=5, now_us=1) == {}
