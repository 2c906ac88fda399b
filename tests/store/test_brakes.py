"""The change brake on disk: kept in the caller's transaction, one row a municipality."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, select

from jukinet.domain.arrival import Arrival
from jukinet.domain.brake import HOUR_US, Brake, Count, Tally, lift
from jukinet.store.brakes import brake_arrived, is_held, keep_tally, read_held, read_tally
from jukinet.store.register import apply_arrivals
from jukinet.store.schema import brakes

TOKYO, OSAKA = "131016", "271004"
NOW = 1_790_000_000_000_000
BRAKE = Brake(percent=50.0, deletions=3, floor=4)


def came(engine: Engine, now_us: int = NOW, brake: Brake = BRAKE, **counts: Count) -> list[str]:
    """Who is held after so much came of Tokyo and Osaka."""
    codes = {"tokyo": TOKYO, "osaka": OSAKA}
    with engine.begin() as connection:
        arrived = {codes[name]: counted for name, counted in counts.items()}
        return sorted(brake_arrived(connection, arrived, brake=brake, now_us=now_us))


def test_only_the_municipality_that_is_over_its_brake_is_held(engine: Engine) -> None:
    assert came(engine, tokyo=Count(4), osaka=Count(4)) == []
    assert came(engine, tokyo=Count(1), osaka=Count(0)) == [TOKYO]
    assert came(engine, NOW + 1, tokyo=Count(0), osaka=Count(0)) == [TOKYO]
    with engine.connect() as connection:
        assert (is_held(connection, TOKYO), is_held(connection, OSAKA)) == (True, False)
        ((code, tally),) = read_held(connection).items()
    assert (code, tally.held_at, tally.total) == (TOKYO, NOW, Count(5))


def test_deaths_and_deletions_have_a_limit_of_their_own(engine: Engine) -> None:
    assert came(engine, tokyo=Count(3, 3)) == []
    assert came(engine, tokyo=Count(1, 1)) == [TOKYO]


def test_a_larger_municipality_may_do_more(
    engine: Engine, change: Callable[..., Any], arrive: Callable[..., Arrival]
) -> None:
    """Its residents are counted when it matters, so a register that grew meanwhile holds nobody."""
    with engine.begin() as connection:
        arrivals = [arrive(change(number, 1)) for number in range(20)]
        apply_arrivals(connection, arrivals, scope="", now_us=1)
    assert came(engine, tokyo=Count(10)) == []
    with engine.begin() as connection:
        arrivals = [arrive(change(number, 1)) for number in range(20, 30)]
        apply_arrivals(connection, arrivals, scope="", now_us=1)
    assert came(engine, tokyo=Count(5)) == []
    assert came(engine, tokyo=Count(1)) == [TOKYO]


def test_what_counts_for_nothing_writes_nothing(engine: Engine) -> None:
    assert came(engine, tokyo=Count()) == []
    with engine.connect() as connection:
        assert connection.execute(select(brakes)).all() == []


def test_a_tally_comes_back_as_it_was_kept(engine: Engine) -> None:
    tally = Tally(7, tuple(range(13)), tuple(range(13, 26)), 10**9, NOW, NOW + 1, NOW + 2)
    with engine.begin() as connection:
        keep_tally(connection, TOKYO, Tally())
        keep_tally(connection, TOKYO, tally)
    with engine.connect() as connection:
        assert read_tally(connection, TOKYO) == tally
        assert read_tally(connection, "999999") == Tally()


def test_what_was_not_committed_holds_nobody(engine: Engine) -> None:
    with pytest.raises(ZeroDivisionError), engine.begin() as connection:
        assert brake_arrived(connection, {TOKYO: Count(99)}, brake=BRAKE, now_us=NOW)
        raise ZeroDivisionError
    with engine.connect() as connection:
        assert not is_held(connection, TOKYO)


def test_a_lifted_brake_counts_nothing_for_an_hour(engine: Engine) -> None:
    came(engine, tokyo=Count(99))
    with engine.begin() as connection:
        lifted = lift(read_tally(connection, TOKYO), now_us=NOW + 5)
        keep_tally(connection, TOKYO, lifted)
    assert came(engine, NOW + 6, tokyo=Count(1)) == [TOKYO], "what waits of it comes first"
    with engine.begin() as connection:
        keep_tally(connection, TOKYO, Tally(lifted_until=lifted.lifted_until))
    assert came(engine, NOW + HOUR_US, tokyo=Count(99)) == []
    assert came(engine, NOW + HOUR_US + 6, tokyo=Count(4)) == []
    assert came(engine, NOW + HOUR_US + 6, tokyo=Count(1)) == [TOKYO]
