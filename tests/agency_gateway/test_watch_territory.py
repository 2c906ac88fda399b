"""Of whose changes an agency of one prefecture is told does not follow from when it happens to ask."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import delete, text

from center_node import changes as center_changes
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.register.v1 import change_pb2
from jukinet._pb.jukinet.register.v1.identity_pb2 import CalendarDate
from jukinet._pb.jukinet.watch.v1 import watch_pb2 as watch
from jukinet.mesh.clock import today_in_japan
from jukinet.store.schema import history
from tests.agency_gateway.agencies import MAYOR
from tests.agency_gateway.test_watch import CHIYODA, YOKOSUKA, House, refusal

Network = Any  # the class is in network.py; tests put methods of their own into it, and no context into calls
MAYORS: dict[str, Any] = {"agency": MAYOR.name, "purpose": "B2-1-2"}
"""An agency and a row that open the residents of Tokyo alone."""
MOVED_OUT = change_pb2.CHANGE_REASON_DELETION_DOMESTIC_MOVE_OUT
MOVED_IN = change_pb2.CHANGE_REASON_ENTRY_DOMESTIC_MOVE_IN
MOVED_WITHIN = change_pb2.CHANGE_REASON_CORRECTION_MOVE_WITHIN


@pytest.fixture
def house(network: Network, monkeypatch: pytest.MonkeyPatch) -> House:
    """Three residents of Tokyo are here, and nobody waits for a change."""
    monkeypatch.setattr(center_changes, "WAIT_SECONDS", 0.0)
    network.enter(*map(network.record_of, (1, 2, 3)))
    return House(network)


def report(house: House, reason: int, municipality: str, block: str = "", **parts: Any) -> None:
    """A change of resident 1, as this municipality seals it."""
    record = house.network.record_of(1)
    record.address.local_government_code = municipality
    house.report(1, reason, record=record, block=block, **parts)


def away_and_back(house: House) -> None:
    """Resident 1 leaves Tokyo, moves within the other prefecture, and returns."""
    report(house, MOVED_OUT, CHIYODA, next_municipality=YOKOSUKA)
    report(house, MOVED_IN, YOKOSUKA, "5番", previous_municipality=CHIYODA)
    report(house, MOVED_WITHIN, YOKOSUKA, "6番")
    report(house, MOVED_OUT, YOKOSUKA, "6番", next_municipality=CHIYODA)
    report(house, MOVED_IN, CHIYODA, "7番", previous_municipality=YOKOSUKA)


def said(told: list[watch.ToldChange]) -> list[tuple[int, str]]:
    places = (change.provided.record.address for change in told)
    return [(change.reason, place.local_government_code) for change, place in zip(told, places, strict=True)]


@pytest.mark.parametrize("comes", ["after each change", "in the end"])
async def test_who_leaves_the_prefecture_is_told_as_gone_whenever_it_asks_and_of_elsewhere_nothing(
    house: House, comes: str
) -> None:
    await house.begin(await house.handle(1, **MAYORS), **MAYORS)
    told: list[watch.ToldChange] = []

    async def ask() -> None:
        told.extend(await house.changes(told[-1].position if told else None, **MAYORS))

    report(house, MOVED_OUT, CHIYODA, next_municipality=YOKOSUKA)
    if comes == "after each change":
        await ask()
        assert said(told) == [(MOVED_OUT, CHIYODA)]
    report(house, MOVED_IN, YOKOSUKA, "5番", previous_municipality=CHIYODA)
    report(house, MOVED_WITHIN, YOKOSUKA, "6番")
    await ask()
    assert said(told) == [(MOVED_OUT, CHIYODA)]


@pytest.mark.parametrize("comes", ["while away", "after the return"])
async def test_who_returns_is_told_of_again_and_nothing_of_what_was_reported_elsewhere_meanwhile(
    house: House, comes: str
) -> None:
    await house.begin(await house.handle(1, **MAYORS), **MAYORS)
    report(house, MOVED_OUT, CHIYODA, next_municipality=YOKOSUKA)
    report(house, MOVED_IN, YOKOSUKA, "5番", previous_municipality=CHIYODA)
    told = await house.changes(**MAYORS) if comes == "while away" else []
    report(house, MOVED_OUT, YOKOSUKA, "5番", next_municipality=CHIYODA)
    report(house, MOVED_IN, CHIYODA, "7番", previous_municipality=YOKOSUKA)
    told += await house.changes(told[-1].position if told else None, **MAYORS)
    assert said(told) == [(MOVED_OUT, CHIYODA), (MOVED_IN, CHIYODA)]


async def test_whoever_may_hear_of_everybody_is_told_of_all_of_it(house: House) -> None:
    await house.begin(await house.handle(1))
    away_and_back(house)
    codes = [code for _, code in said(await house.changes())]
    assert codes == [CHIYODA, YOKOSUKA, YOKOSUKA, YOKOSUKA, CHIYODA]


async def test_of_who_left_between_the_answer_and_the_list_the_move_is_told_and_nothing_of_elsewhere(
    house: House,
) -> None:
    handle = await house.handle(1, **MAYORS)
    report(house, MOVED_OUT, CHIYODA, next_municipality=YOKOSUKA)
    report(house, MOVED_IN, YOKOSUKA, "5番", previous_municipality=CHIYODA)
    await house.begin(handle, **MAYORS)
    assert said(await house.changes(**MAYORS)) == [(MOVED_OUT, CHIYODA)]


async def test_a_handle_is_refused_for_a_missed_change_of_the_prefecture_though_the_person_lives_elsewhere_by_now(
    house: House,
) -> None:
    handle = await house.handle(1, **MAYORS)
    await house.begin(await house.handle(2, **MAYORS), **MAYORS)
    report(house, MOVED_OUT, CHIYODA, next_municipality=YOKOSUKA)
    report(house, MOVED_IN, YOKOSUKA, "5番", previous_municipality=CHIYODA)
    house.report(2, block="1番")
    (_told,) = await house.changes(**MAYORS)
    assert await refusal(house.begin(handle, **MAYORS)) == errors.ERROR_REASON_HANDLE_INVALID


async def test_a_handle_is_not_refused_for_what_was_missed_elsewhere(house: House) -> None:
    await house.begin(await house.handle(2, **MAYORS), **MAYORS)
    tomorrow = today_in_japan() + timedelta(days=1)
    day = CalendarDate(year=tomorrow.year, month=tomorrow.month, day=tomorrow.day)
    report(house, MOVED_OUT, CHIYODA, next_municipality=YOKOSUKA, day=day)
    handle = await house.handle(1, **MAYORS)
    report(house, MOVED_IN, YOKOSUKA, "5番", previous_municipality=CHIYODA, day=day)
    house.report(2, block="1番")
    (told,) = await house.changes(**MAYORS)
    await house.begin(handle, **MAYORS)
    assert await house.changes(told.position, **MAYORS) == []


async def test_a_handle_is_refused_where_the_history_lacks_what_may_have_been_the_move(house: House) -> None:
    handle, protected = await house.handle(1, **MAYORS), await house.handle(2, **MAYORS)
    report(house, MOVED_OUT, CHIYODA, next_municipality=YOKOSUKA)
    report(house, MOVED_IN, YOKOSUKA, "5番", previous_municipality=CHIYODA)
    house.report(2, change_pb2.CHANGE_REASON_PROTECTION_BEGIN, protected=True)
    with house.network.register.begin() as connection:
        connection.execute(text("DROP TRIGGER history_no_delete"))
        connection.execute(delete(history).where(history.c.version == 2))
    assert await refusal(house.begin(handle, **MAYORS)) == errors.ERROR_REASON_HANDLE_INVALID
    await house.begin(protected, **MAYORS)
