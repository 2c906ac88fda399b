"""A list waits in front of what cannot be told yet: a damaged row, a municipality that is half in."""

import asyncio
import logging
from typing import Any

import pytest
from sqlalchemy import delete

from center_node import changes as center_changes
from jukinet._pb.jukinet.admin.v1 import admin_pb2 as admin
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.register.v1 import change_pb2
from jukinet._pb.jukinet.register.v1.identity_pb2 import CalendarDate
from jukinet.mesh.clock import now_us
from jukinet.store.journal import Origin, write_origin
from jukinet.store.schema import origins
from jukinet.store.snapshots import end_offer, note_chunk, write_offer
from tests.agency_gateway.test_watch import CHIYODA, MOVED, YOKOSUKA, House, refusal
from tests.damaged import flip

Network = Any  # the class is in network.py; tests put methods of their own into it, and no context into calls


@pytest.fixture
def house(network: Network, monkeypatch: pytest.MonkeyPatch) -> House:
    """Three residents are here, and nobody waits for a change."""
    monkeypatch.setattr(center_changes, "WAIT_SECONDS", 0.0)
    network.enter(*map(network.record_of, (1, 2, 3)))
    return House(network)


async def test_a_change_of_whose_row_is_damaged_is_told_once_it_is_mended_and_none_behind_it_before(
    house: House,
) -> None:
    code = house.network.record_of(1).resident_code
    await house.begin(await house.handle(1), await house.handle(2))
    for number, block in ((2, "1番"), (1, "2番"), (2, "3番")):
        house.report(number, block=block)
    flip(house.network.register, code)
    (before,) = await house.changes()
    assert before.provided.record.address.block == "1番"
    assert await refusal(house.changes(before.position)) == errors.ERROR_REASON_DEPENDENCY_UNAVAILABLE
    flip(house.network.register, code)
    told = [change.provided.record.address.block for change in await house.changes()]
    assert told == ["2番", "3番"]


def move_to(house: House, number: int, municipality: str) -> None:
    """A resident moves to another municipality, as both report."""
    house.report(number, change_pb2.CHANGE_REASON_DELETION_DOMESTIC_MOVE_OUT, next_municipality=municipality)
    record = house.network.record_of(number)
    record.address.local_government_code = municipality
    house.report(number, change_pb2.CHANGE_REASON_ENTRY_DOMESTIC_MOVE_IN, record=record, previous_municipality=CHIYODA)


def half_in(network: Network, municipality: str) -> None:
    """Of a municipality the first chunk of its first snapshot is here."""
    with network.register.begin() as connection:
        connection.execute(delete(origins).where(origins.c.municipality == municipality))
        write_offer(connection, municipality, source="cs", manifest=b"", seal=b"", digests=[])
        note_chunk(connection, municipality, number=0, digest=b"", last_sequence=1)


def whole(network: Network, municipality: str) -> None:
    """The last chunk is here too."""
    with network.register.begin() as connection:
        write_origin(connection, municipality, Origin(1, 1, b"", 1))
        end_offer(connection, municipality)


async def test_who_moves_to_a_municipality_that_is_half_in_is_told_once_it_is_whole_and_nothing_behind_it_before(
    house: House,
) -> None:
    await house.begin(await house.handle(1), await house.handle(2))
    house.report(2, block="1番")
    move_to(house, 1, YOKOSUKA)
    half_in(house.network, YOKOSUKA)
    house.report(2, block="3番")
    (before,) = await house.changes()
    assert before.provided.record.address.block == "1番"
    assert await house.changes(before.position) == []
    whole(house.network, YOKOSUKA)
    _out, moved, behind = await house.changes()
    assert moved.provided.record.address.local_government_code == YOKOSUKA
    assert behind.provided.record.address.block == "3番"


async def test_the_operator_reads_for_which_municipality_lists_wait_and_the_log_tells_it_once(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, center_changes.log.name)

    async def awaited() -> list[tuple[str, int]]:
        await house.network.changes.show_now()
        status = admin.GetStatusResponse()
        house.network.changes.describe(status)
        assert all(began < each.waiting_since.ToMicroseconds() <= now_us() for each in status.awaited)
        return [(each.municipality, each.lists) for each in status.awaited]

    await house.begin(await house.handle(1))
    began = now_us()
    house.report(1, block="1番")
    assert await awaited() == []
    half_in(house.network, CHIYODA)
    assert [await awaited() for _ in range(2)] == [[(CHIYODA, 1)]] * 2
    whole(house.network, CHIYODA)
    assert [await awaited() for _ in range(2)] == [[]] * 2
    assert [
        (each.levelname, vars(each)["municipality"]) for each in caplog.records if "municipality" in vars(each)
    ] == [
        ("WARNING", CHIYODA),
        ("INFO", CHIYODA),
    ]


async def test_a_list_does_not_wait_for_who_may_not_be_told_of_in_a_municipality_that_is_half_in(house: House) -> None:
    await house.begin(await house.handle(1), await house.handle(2))
    move_to(house, 1, YOKOSUKA)
    record = house.network.record_of(1)
    record.address.local_government_code = YOKOSUKA
    house.report(1, change_pb2.CHANGE_REASON_PROTECTION_BEGIN, record=record, protected=True)
    half_in(house.network, YOKOSUKA)
    house.report(2, block="3番")
    (change,) = await house.changes()
    assert change.provided.record.address.block == "3番"


async def test_whom_a_list_missed_in_a_municipality_that_is_half_in_is_not_put_on_it_unseen(house: House) -> None:
    handle = await house.handle(1)
    await house.begin(await house.handle(2))
    move_to(house, 1, YOKOSUKA)
    house.report(2, block="3番")
    (told,) = await house.changes()
    assert await house.changes(told.position) == []
    half_in(house.network, YOKOSUKA)
    assert await refusal(house.begin(handle)) == errors.ERROR_REASON_HANDLE_INVALID


async def test_a_damaged_row_ends_no_center_and_its_change_is_told_once_it_is_mended(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(center_changes, "WAIT_SECONDS", 30.0)
    monkeypatch.setattr(center_changes, "_LOOK_SECONDS", 0.0)
    await house.begin(await house.handle(1))
    record = house.network.record_of(1)
    record.address.block = "8番"
    day = CalendarDate(year=2026, month=5, day=1)
    house.network.change(change_pb2.Change(reason=MOVED, event_date=day, record=record, version=2))
    flip(house.network.register, record.resident_code)
    seen, failed = asyncio.Event(), center_changes.log.error

    def error(*said: Any, **extra: Any) -> None:
        failed(*said, **extra)
        seen.set()

    monkeypatch.setattr(center_changes.log, "error", error)
    running = asyncio.ensure_future(house.network.changes.run())
    async with asyncio.timeout(10):
        await seen.wait()
        flip(house.network.register, record.resident_code)
        (change,) = await house.changes()
    assert change.provided.record.address.block == "8番"
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
