"""What a later change of the same person overtook comes into the history, in its place; no row goes back for it."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from sqlalchemy import Engine, select

from jukinet._pb.jukinet.errors.v1.errors_pb2 import ErrorReason
from jukinet.domain.arrival import Arrival
from jukinet.store.current_rows import look_up
from jukinet.store.register import Applied, apply_arrivals
from jukinet.store.schema import history, parked

TOKYO, NEXT_DOOR, THIRD, OSAKA = "131016", "131024", "131032", "271004"
MOVE_OUT, MOVE_IN = "DELETION_DOMESTIC_MOVE_OUT", "ENTRY_DOMESTIC_MOVE_IN"
Make = Callable[..., Any]


@pytest.fixture
def receive(engine: Engine) -> Callable[..., Applied]:
    """Applies or parks arrivals at the prefecture of Tokyo, in a transaction of their own."""

    def run(*arrivals: Arrival) -> Applied:
        with engine.begin() as connection:
            return apply_arrivals(connection, arrivals, scope="13", now_us=7)

    return run


@pytest.fixture
def stay(change: Make, arrive: Make) -> list[Arrival]:
    """Tokyo enters the person, corrects the address and lets the person go to Osaka, out of the prefecture's sight."""
    return [
        arrive(change(1, 1)),
        arrive(change(1, 2, reason="CORRECTION_MOVE_WITHIN", town="栄町")),
        arrive(change(1, 3, reason=MOVE_OUT, town="栄町", next_municipality=OSAKA)),
    ]


@pytest.fixture
def back(change: Make, arrive: Make) -> Arrival:
    """Next door enters the person from Osaka."""
    arrival: Arrival = arrive(change(1, 6, reason=MOVE_IN, at=NEXT_DOOR, previous_municipality=OSAKA), NEXT_DOOR)
    return arrival


def names(reasons: Sequence["ErrorReason.ValueType | None"]) -> list[str]:
    return ["" if reason is None else ErrorReason.Name(reason).removeprefix("ERROR_REASON_") for reason in reasons]


def history_of(engine: Engine) -> list[tuple[int, str, bytes]]:
    query = select(history.c.version, history.c.municipality, history.c.change).order_by(history.c.version)
    with engine.connect() as connection:
        return [(version, at, bytes(change)) for version, at, change in connection.execute(query)]


def in_history(*arrivals: Arrival) -> list[tuple[int, str, bytes]]:
    return sorted((each.change.version, each.municipality, each.payload) for each in arrivals)


def parked_in(engine: Engine) -> list[tuple[str, int, str, bytes]]:
    query = select(parked.c.municipality, parked.c.sequence, parked.c.reason, parked.c.change).order_by(parked.c.id)
    with engine.connect() as connection:
        rows = connection.execute(query).all()
    return [(at, number, *names([reason]), bytes(change)) for at, number, reason, change in rows]


@pytest.mark.parametrize("together", [False, True], ids=["each in its own run", "in one run"])
def test_an_overtaken_stay_is_in_the_history_with_nothing_parked_and_the_row_stands(
    engine: Engine, receive: Make, stay: list[Arrival], back: Arrival, code: Make, together: bool
) -> None:
    runs = [[back, *stay]] if together else [[back], *([each] for each in stay)]
    assert [reason for run in runs for reason in receive(*run).outcomes] == [None] * 4
    assert history_of(engine) == in_history(*stay, back)
    assert parked_in(engine) == []
    with engine.connect() as connection:
        row = look_up(connection, [code(1)])[code(1)]
    assert (row.version, row.holder, row.record) == (6, NEXT_DOOR, back.change.record)


def test_an_overtaken_stay_that_waits_for_another_municipality_is_released(
    engine: Engine, receive: Make, stay: list[Arrival], change: Make, arrive: Make
) -> None:
    """Osaka let the person go to a third municipality of Tokyo, and from there by a move within Tokyo next door."""
    third = [
        arrive(change(1, 5, reason=MOVE_IN, at=THIRD, previous_municipality=OSAKA), THIRD),
        arrive(change(1, 6, reason=MOVE_OUT, at=THIRD, next_municipality=NEXT_DOOR), THIRD),
    ]
    next_door = [
        arrive(change(1, 7, reason=MOVE_IN, at=NEXT_DOOR, previous_municipality=THIRD), NEXT_DOOR),
        arrive(change(1, 8, reason="DELETION_ABROAD_MOVE_OUT", at=NEXT_DOOR), NEXT_DOOR),
    ]
    home = arrive(change(1, 10, reason="ENTRY_ABROAD_MOVE_IN"))
    assert names(receive(*stay, home).outcomes) == [""] * 4
    assert set(names(receive(*next_door).outcomes)) == {"WAITING_FOR_EARLIER_CHANGE"}
    applied = receive(*third)
    assert names(applied.outcomes) == ["", ""]
    assert applied.released == [(NEXT_DOOR, 1), (NEXT_DOOR, 2)]
    assert history_of(engine) == in_history(*stay, *third, *next_door, home)
    assert parked_in(engine) == []


def test_a_second_municipality_at_the_same_overtaken_version_is_parked(
    engine: Engine, receive: Make, stay: list[Arrival], back: Arrival, change: Make, arrive: Make
) -> None:
    double = arrive(change(1, 1, at=THIRD), THIRD)
    receive(back, *stay)
    assert names(receive(double).outcomes) == ["VERSION_CONFLICT"]
    assert parked_in(engine) == [(THIRD, 1, "VERSION_CONFLICT", double.payload)]
    assert history_of(engine) == in_history(*stay, back)


def test_who_was_not_the_holder_then_is_parked_and_the_holder_is_not_held_up(
    engine: Engine, receive: Make, stay: list[Arrival], back: Arrival, change: Make, arrive: Make
) -> None:
    forged = arrive(change(1, 2, reason="DELETION_DEATH", at=THIRD), THIRD)
    receive(back, stay[0])
    assert names(receive(forged).outcomes) == ["NOT_HOLDER"]
    assert names(receive(*stay[1:]).outcomes) == ["", ""]
    assert parked_in(engine) == [(THIRD, 1, "NOT_HOLDER", forged.payload)]
    assert history_of(engine) == in_history(*stay, back)
