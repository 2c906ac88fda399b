"""A row that is not what was written is provided to nobody and changed by nobody; all others are as before."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, select, update

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2 import FourItems
from jukinet.mesh.clock import today_in_japan
from jukinet.store.checksum import RecordDamaged, is_sound
from jukinet.store.current_rows import look_up
from jukinet.store.register import apply_arrivals
from jukinet.store.rows import checksum_of
from jukinet.store.schema import history, parked, residents
from tests import searched


@given(st.binary(min_size=1, max_size=400), st.data())
def test_no_single_flipped_bit_goes_unnoticed(message: bytes, data: st.DataObject) -> None:
    bit = data.draw(st.integers(0, len(message) * 8 - 1))
    flipped = bytearray(message)
    flipped[bit // 8] ^= 1 << bit % 8
    assert is_sound(message, checksum_of(message))
    assert not is_sound(bytes(flipped), checksum_of(message))


@pytest.fixture
def flip(engine: Engine) -> Callable[[str], None]:
    """Flips a bit in somebody's row, past the product."""

    def do(code: str) -> None:
        with engine.begin() as connection:
            row = connection.execute(select(residents.c.resident).where(residents.c.resident_code == code)).scalar_one()
            flipped = bytes([*row[:-3], row[-3] ^ 4, *row[-2:]])
            connection.execute(update(residents).where(residents.c.resident_code == code).values(resident=flipped))

    return do


def enter(engine: Engine, change: Any, arrive: Any, *numbers: int) -> None:
    with engine.begin() as connection:
        applied = apply_arrivals(connection, [arrive(change(number, 1)) for number in numbers], scope="", now_us=1)
    assert applied.outcomes == [None] * len(numbers)


def items_of(record: Any) -> FourItems:
    return FourItems(name=record.name.legal, birth_date=record.birth_date, sex=record.sex, address=record.address)


def test_a_damaged_record_is_provided_to_nobody(
    engine: Engine, change: Any, arrive: Any, record: Any, code: Any, flip: Callable[[str], None]
) -> None:
    enter(engine, change, arrive, 1)
    with engine.connect() as connection:
        assert searched.by_four_items(connection, items_of(record(1)), day=today_in_japan())
    flip(code(1))
    with engine.connect() as connection:
        with pytest.raises(RecordDamaged):
            searched.by_four_items(connection, items_of(record(1)), day=today_in_japan())
        assert look_up(connection, [code(1)]) == {}


def test_a_change_of_a_damaged_record_is_parked_and_others_are_applied(
    engine: Engine, change: Any, arrive: Any, code: Any, flip: Callable[[str], None]
) -> None:
    enter(engine, change, arrive, 1, 2)
    flip(code(1))
    moves = [arrive(change(number, 2, reason="CORRECTION_MOVE_WITHIN", town="二丁目")) for number in (1, 2)]
    with engine.begin() as connection:
        applied = apply_arrivals(connection, moves, scope="", now_us=2)
    assert applied.outcomes == [errors.ERROR_REASON_RECORD_DAMAGED, None]
    with engine.connect() as connection:
        assert connection.execute(select(parked.c.reason)).scalars().all() == [errors.ERROR_REASON_RECORD_DAMAGED]
        written = connection.execute(select(history.c.resident_code).where(history.c.version == 2)).scalars().all()
    assert written == [code(2)]


def test_a_row_of_an_earlier_version_is_taken_as_it_is_and_gets_its_checksum_with_the_next_change(
    engine: Engine, change: Any, arrive: Any, code: Any
) -> None:
    enter(engine, change, arrive, 1)
    with engine.begin() as connection:
        connection.execute(update(residents).values(checksum=None))
        assert set(look_up(connection, [code(1)])) == {code(1)}
        move = arrive(change(1, 2, reason="CORRECTION_MOVE_WITHIN", town="二丁目"))
        assert apply_arrivals(connection, [move], scope="", now_us=2).outcomes == [None]
        message, checksum = connection.execute(select(residents.c.resident, residents.c.checksum)).one()
    assert checksum == checksum_of(message)
