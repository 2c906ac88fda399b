"""A row of the history that is not what was written is told to nobody, and no change is judged by it."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, select, text, update

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet.domain.arrival import Arrival
from jukinet.mesh.errors import Refused
from jukinet.store import watches
from jukinet.store.checksum import RecordDamaged
from jukinet.store.chunk import not_here
from jukinet.store.corrections import is_readable, read_corrections
from jukinet.store.kept_changes import KEPT, KeptChange, read_kept
from jukinet.store.register import apply_arrivals
from jukinet.store.rows import ReadChange, checksum_of_kept
from jukinet.store.schema import history
from jukinet.store.watch_look import look_through
from jukinet.store.watch_start import put_on
from jukinet.store.watches import WatchList
from tests.damaged import flip_kept, flipped

COLUMNS = KeptChange._fields[1:]
"""All but the position."""
LIST = "5f7d1c1e-0000-4000-8000-000000000001"
Make = Callable[..., Any]
Apply = Callable[..., list[Any]]

NUMBERS, DIGITS = st.integers(0, 2**62), st.text("0123456789", min_size=6, max_size=11)
ROWS = st.builds(KeptChange, NUMBERS, DIGITS, NUMBERS, DIGITS, NUMBERS, NUMBERS, st.binary(min_size=1), NUMBERS)


@given(ROWS, st.sampled_from(COLUMNS), st.data())
def test_no_single_flipped_bit_of_any_column_goes_unnoticed(row: KeptChange, column: str, data: st.DataObject) -> None:
    checksum = checksum_of_kept(row[1:-1], row.applied_at)
    assert read_kept((*row, checksum)) == row
    bits = 8 * len(row.change) if column == "change" else 62
    damaged = row._replace(**{column: flipped(getattr(row, column), data.draw(st.integers(0, bits - 1)))})
    with pytest.raises(RecordDamaged):
        read_kept((*damaged, checksum))
    with pytest.raises(RecordDamaged):
        read_kept((*row, checksum ^ 1 << data.draw(st.integers(0, 31))))


@pytest.fixture
def applied(engine: Engine) -> Apply:
    """Applies arrivals, in a transaction; gives what became of each."""

    def run(*arrivals: Arrival) -> list[Any]:
        with engine.begin() as connection:
            return apply_arrivals(connection, arrivals, scope="", now_us=7).outcomes

    return run


@pytest.mark.parametrize("column", COLUMNS)
def test_each_column_is_under_the_checksum_as_it_is_stored(
    engine: Engine, applied: Apply, change: Make, arrive: Make, column: str
) -> None:
    arrivals = [arrive(change(number, 1)) for number in (1, 2)]
    applied(*arrivals)
    flip_kept(engine, 1, column)
    with engine.connect() as connection:
        damaged, sound = connection.execute(select(*KEPT).order_by(history.c.position)).all()
    with pytest.raises(RecordDamaged):
        read_kept(damaged)
    assert read_kept(sound).change == arrivals[1].payload


def test_a_row_of_an_earlier_version_has_no_checksum_and_counts_as_sound(
    engine: Engine, applied: Apply, change: Make, arrive: Make
) -> None:
    applied(arrive(change(1, 1)))
    flip_kept(engine, 1, "checksum")
    with engine.begin() as connection:
        connection.execute(update(history).values(checksum=None))
        assert read_kept(connection.execute(select(*KEPT)).one()).version == 1


@pytest.mark.parametrize("column", ["change", "municipality", "applied_at"])
def test_an_overtaken_change_is_not_judged_by_a_damaged_row(
    engine: Engine, applied: Apply, change: Make, arrive: Make, column: str
) -> None:
    came = {"reason": "ENTRY_DOMESTIC_MOVE_IN", "at": "131024", "previous_municipality": "271004"}
    back = [arrive(change(number, 6, **came), "131024") for number in (1, 2)]
    stay = [arrive(change(number, 1)) for number in (1, 2)]
    with engine.begin() as connection:
        assert apply_arrivals(connection, back, scope="13", now_us=7).outcomes == [None] * 2
    flip_kept(engine, 1, column)
    with engine.begin() as connection:
        outcomes = apply_arrivals(connection, stay, scope="13", now_us=8).outcomes
    assert outcomes == [errors.ERROR_REASON_RECORD_DAMAGED, None]


def test_a_correction_that_a_damaged_row_hides_is_put_off_and_no_other_one(
    engine: Engine, applied: Apply, change: Make, arrive: Make, code: Make
) -> None:
    applied(*(arrive(change(number, 1)) for number in (1, 2)))
    for number in (1, 2):
        mended = change(number, 2, reason="CORRECTION_MOVE_WITHIN", town="二丁目")
        mended.was_wrong = True
        applied(arrive(mended))

    def corrected() -> tuple[list[str], int]:
        with engine.connect() as connection:
            listed = read_corrections(connection, after=0)
        return [each.resident_code for each in listed.found], listed.put_off

    assert corrected() == ([code(1), code(2)], 0)
    for position, put_off in ((1, 1), (3, 3)):  # what was wrong, and the correction itself
        flip_kept(engine, position, "change")
        assert corrected() == ([code(2)], put_off)
        with engine.connect() as connection:
            assert not is_readable(connection, put_off)
        flip_kept(engine, position, "change")
        with engine.connect() as connection:
            assert is_readable(connection, put_off)
    assert corrected() == ([code(1), code(2)], 0)


def test_a_list_waits_in_front_of_a_damaged_change_and_is_told_nothing_of_it(
    engine: Engine, applied: Apply, change: Make, arrive: Make, code: Make
) -> None:
    applied(arrive(change(1, 1)))
    kept = WatchList(LIST, "spiffe://agencies.jukinet/agency/a", "B1-1", (1, 4), "2126-06-01")

    def run(job: Callable[..., Any]) -> Any:
        with engine.begin() as connection:
            return job(connection)

    run(partial(watches.keep_list, kept=kept))
    put = partial(put_on, list_id=LIST, resident_code=code(1), method=1, version=1)
    run(put)
    applied(*(arrive(change(1, v, reason="CORRECTION_MOVE_WITHIN", town=f"{v}丁目")) for v in (2, 3)))
    waiting = partial(watches.waiting, list_id=LIST, limit=9)
    flip_kept(engine, 3, "change")
    assert run(look_through) == 2
    with pytest.raises(RecordDamaged):
        run(look_through)
    flip_kept(engine, 3, "change")
    assert run(look_through) == 1
    assert [each.position for each in run(partial(waiting, after=0))] == [2, 3]
    flip_kept(engine, 3, "change")
    assert [each.position for each in run(partial(waiting, after=0))] == [2]
    with pytest.raises(RecordDamaged):
        run(partial(waiting, after=2))
    run(lambda connection: connection.execute(text("DELETE FROM watched")))
    with pytest.raises(RecordDamaged):
        run(put)


def test_no_chunk_is_compared_with_a_damaged_row(engine: Engine, applied: Apply, change: Make, arrive: Make) -> None:
    arrivals = [arrive(change(number, 1)) for number in (1, 2)]
    applied(*arrivals)
    chunk = [
        ReadChange(each.sequence, each.epoch, each.change.record.resident_code, "", 1, each.payload, None, None)
        for each in arrivals
    ]
    with engine.connect() as connection:
        assert not_here(connection, "131016", chunk) == []
    flip_kept(engine, 2, "change")
    with engine.connect() as connection, pytest.raises(Refused) as caught:
        not_here(connection, "131016", chunk)
    assert caught.value.reason == errors.ERROR_REASON_RECORD_DAMAGED
