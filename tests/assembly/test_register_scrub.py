"""A node reads its register again while it serves, and tells operators what is damaged until it is mended."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Engine

from jukinet._pb.jukinet.admin.v1.admin_pb2 import GetStatusResponse, RegisterScrub
from jukinet._pb.jukinet.consistency.v1 import consistency_pb2 as consistency
from jukinet._pb.jukinet.register.v1 import change_pb2, identity_pb2
from jukinet.assembly import register_scrub
from jukinet.assembly.consistency import ConsistencyService
from jukinet.assembly.register_scrub import EVERY, PART, Scrub
from jukinet.assembly.rounds import read_in_rounds
from jukinet.domain.arrival import Arrival
from jukinet.domain.resident_code import check_digit
from jukinet.mesh.logging import JsonFormatter
from jukinet.store.engine import open_reader, open_writer
from jukinet.store.errors import StoreError
from jukinet.store.migrate import REGISTER, ensure_schema
from jukinet.store.register import apply_arrivals
from tests.damaged import flip, flip_kept

TOKYO, FIRST_DAY = "131016", datetime(2026, 11, 28, tzinfo=UTC)
NOBODY: Any = None


def code(number: int) -> str:
    body = f"00{number:08}"
    return body + check_digit(body)


def change(number: int, version: int, reason: str) -> change_pb2.Change:
    """The n-th resident, who lives somewhere else in each version."""
    return change_pb2.Change(
        reason=change_pb2.ChangeReason.Value(f"CHANGE_REASON_{reason}"),
        event_date=identity_pb2.CalendarDate(year=2026, month=4, day=1),
        record=identity_pb2.IdentityRecord(
            resident_code=code(number),
            name=identity_pb2.PersonName(legal="山田 花子"),
            birth_date=identity_pb2.BirthDate(year=1980, month=1, day=2),
            sex=identity_pb2.SEX_FEMALE,
            address=identity_pb2.Address(local_government_code=TOKYO, town=f"{version}丁目", block="2番3号"),
        ),
        version=version,
        was_wrong=False,
    )


class Register:
    """A register of people, numbered from 0, each of one change."""

    def __init__(self, url: str) -> None:
        self.engine: Engine = open_writer(url)
        ensure_schema(self.engine, REGISTER)
        self.reader = open_reader(url)
        self._sequence = 0

    async def close(self) -> None:
        # A pass that was cancelled reads on in its thread, with a connection that would outlive the engine.
        await asyncio.get_running_loop().shutdown_default_executor()
        self.reader.dispose()
        self.engine.dispose()

    def apply(self, *changes: change_pb2.Change) -> None:
        first = self._sequence + 1
        arrivals = [Arrival(TOKYO, 1, n, each, each.SerializeToString()) for n, each in enumerate(changes, first)]
        self._sequence += len(changes)
        with self.engine.begin() as connection:
            assert apply_arrivals(connection, arrivals, scope="", now_us=1).outcomes == [None] * len(changes)

    def enter(self, count: int) -> None:
        self.apply(*(change(number, 1, "ENTRY_EX_OFFICIO") for number in range(count)))

    def move(self, count: int, version: int) -> None:
        self.apply(*(change(number, version, "CORRECTION_MOVE_WITHIN") for number in range(count)))


@pytest.fixture
async def register(database_url: str) -> AsyncIterator[Register]:
    opened = Register(database_url)
    yield opened
    await opened.close()


class PassingDays:
    """A clock on which a pass is always due again."""

    def __init__(self) -> None:
        self._looks = 0

    def __call__(self) -> datetime:
        self._looks += 1
        return FIRST_DAY + self._looks * EVERY


@asynccontextmanager
async def reading(scrub: Scrub) -> AsyncIterator["asyncio.Task[None]"]:
    task = asyncio.create_task(scrub.run())
    yield task
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


def status_of(scrub: Scrub) -> RegisterScrub:
    status = GetStatusResponse()
    scrub.describe(status)
    assert status.HasField("register_scrub")
    return status.register_scrub


async def next_pass(scrub: Scrub) -> None:
    """Waits for the end of a pass that began after now."""
    for _ in range(2):
        last = scrub.whole_at
        await until(lambda last=last: scrub.whole_at != last)  # type: ignore[misc]  # bound at once


async def test_what_is_damaged_while_the_node_runs_is_told_until_it_is_mended(
    register: Register, caplog: pytest.LogCaptureFixture
) -> None:
    register.enter(PART + 20)
    scrub = Scrub(register.reader, clock=PassingDays(), pause=0.0)
    assert not status_of(scrub).HasField("whole_at")
    async with reading(scrub) as task:
        await next_pass(scrub)
        assert (status_of(scrub).damaged_records, status_of(scrub).damaged_changes) == (0, 0)
        assert status_of(scrub).HasField("whole_at")
        flip(register.engine, code(7))
        flip(register.engine, code(PART + 3))
        flip_kept(register.engine, PART + 5, "change")
        await next_pass(scrub)
        assert (status_of(scrub).damaged_records, status_of(scrub).damaged_changes) == (2, 1)
        lines = [JsonFormatter("node").format(each) for each in caplog.records if each.levelname == "CRITICAL"]
        told = [json.loads(line) for line in lines]
        assert sorted((each["municipality"], each["position"]) for each in told) == [
            (TOKYO, 8),
            (TOKYO, PART + 4),
            (TOKYO, PART + 5),
        ]
        assert not any(code(7)[:10] in line for line in lines)
        await next_pass(scrub)
        assert len([each for each in caplog.records if each.levelname == "CRITICAL"]) == 3, "told once"

        flip(register.engine, code(7))
        flip_kept(register.engine, PART + 5, "change")
        assert [each.resident_code for each in await asyncio.to_thread(scrub.look_again)] == [code(PART + 3)]
        assert (status_of(scrub).damaged_records, status_of(scrub).damaged_changes) == (1, 0)
        await next_pass(scrub)
        assert (status_of(scrub).damaged_records, status_of(scrub).damaged_changes) == (1, 0)
        assert not task.done()


async def test_a_pass_covers_all_rows_and_the_next_one_begins_a_day_later(register: Register) -> None:
    register.enter(PART + 20)
    scrub = Scrub(register.reader, clock=lambda: FIRST_DAY, pause=0.0)
    async with reading(scrub):
        await until(lambda: scrub.whole_at is not None)
        assert status_of(scrub).rows == 2 * (PART + 20)
        assert status_of(scrub).whole_at.ToDatetime(UTC) == FIRST_DAY
    scrub = Scrub(register.reader, clock=PassingDays(), pause=0.0)
    async with reading(scrub):
        await next_pass(scrub)
        register.move(5, 2)
        await next_pass(scrub)
        await until(lambda: status_of(scrub).rows == 2 * (PART + 20) + 5)


async def test_known_damage_is_looked_at_again_while_no_pass_is_under_way(
    register: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(register_scrub, "_LOOK_AGAIN_SECONDS", 0.01)
    register.enter(3)
    flip(register.engine, code(1))
    scrub = Scrub(register.reader, clock=lambda: FIRST_DAY, pause=0.0)
    looks, look_again = list[int](), scrub.look_again
    monkeypatch.setattr(scrub, "look_again", lambda: looks.append(len(look_again())))
    async with reading(scrub):
        await until(lambda: scrub.whole_at is not None)
        watching = asyncio.create_task(scrub.watch())
        await until(lambda: len(looks) > 2)
        assert status_of(scrub).damaged_records == 1
        flip(register.engine, code(1))
        await until(lambda: status_of(scrub).damaged_records == 0)
        watching.cancel()


async def test_rows_that_change_while_they_are_read_are_no_false_alarm(register: Register) -> None:
    register.enter(PART + 20)
    scrub = Scrub(register.reader, clock=PassingDays(), pause=0.0)
    async with reading(scrub):
        for version in range(2, 10):
            await asyncio.to_thread(register.move, PART + 20, version)
        await next_pass(scrub)
        assert (status_of(scrub).damaged_records, status_of(scrub).damaged_changes) == (0, 0)
        await until(lambda: status_of(scrub).rows == 10 * (PART + 20))


async def test_a_postgresql_that_is_away_ends_nothing_and_is_no_damage(
    postgresql_server: Any, postgresql_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(register_scrub, "read_in_rounds", partial(read_in_rounds, again=0.01))
    register = Register(postgresql_url)
    register.enter(20)
    flip(register.engine, code(3))
    scrub = Scrub(register.reader, clock=PassingDays(), pause=0.0)
    async with reading(scrub) as task:
        await next_pass(scrub)
        await asyncio.to_thread(postgresql_server.go_away)
        try:
            await until(lambda: caplog.messages.count("what is read again cannot be read now") > 1)
            with pytest.raises(StoreError):
                await asyncio.to_thread(scrub.look_again)
        finally:
            await asyncio.to_thread(postgresql_server.restart)
        await next_pass(scrub)
        await until(lambda: status_of(scrub).rows == 40)
        assert not task.done()
    assert (status_of(scrub).damaged_records, status_of(scrub).damaged_changes) == (1, 0)
    await register.close()


async def test_no_more_than_some_are_kept_in_mind(register: Register, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(register_scrub, "MOST", 3)
    register.enter(6)
    for number in range(5):
        flip(register.engine, code(number))
    flip_kept(register.engine, 1, "change")
    scrub = Scrub(register.reader, clock=lambda: FIRST_DAY, pause=0.0)
    async with reading(scrub):
        await until(lambda: scrub.whole_at is not None)
    assert (status_of(scrub).damaged_records, status_of(scrub).damaged_changes) == (3, 0)


async def test_operators_who_compare_are_told_which_rows_are_damaged_now(register: Register) -> None:
    register.enter(4)
    flip(register.engine, code(1))
    flip(register.engine, code(2))
    flip_kept(register.engine, 4, "change")
    scrub = Scrub(register.reader, clock=lambda: FIRST_DAY, pause=0.0)
    async with reading(scrub):
        await until(lambda: scrub.whole_at is not None)
    flip(register.engine, code(2))
    service = ConsistencyService(register.reader, damaged=scrub.look_again)
    answer = await service.ListDamaged(consistency.ListDamagedRequest(), NOBODY)
    assert [(row.kind, row.position, row.municipality, row.resident_code) for row in answer.rows] == [
        (consistency.ROW_KIND_CHANGE, 4, TOKYO, code(3)),
        (consistency.ROW_KIND_CURRENT, 2, TOKYO, code(1)),
    ]
