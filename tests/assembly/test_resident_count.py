"""Nobody waits for the count of a register longer than a moment."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet.assembly import resident_count
from jukinet.assembly.resident_count import ResidentCount
from jukinet.mesh.errors import Refused
from jukinet.store.engine import open_reader, open_writer
from jukinet.store.errors import StoreError
from jukinet.store.migrate import REGISTER, migrate


class Slow:
    """A count that ends when it is let."""

    def __init__(self) -> None:
        self.may_end = threading.Event()
        self.begun = 0
        self.residents = {"ACTIVE": 1}

    def __call__(self, _connection: Connection) -> dict[str, int]:
        self.begun += 1
        counted = dict(self.residents)
        assert self.may_end.wait(60)
        return counted


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Slow]:
    counting = Slow()
    monkeypatch.setattr(resident_count, "counts_by_status", counting)
    monkeypatch.setattr(resident_count, "WAIT_SECONDS", 0.05)
    yield counting
    counting.may_end.set()


@pytest.fixture
def register(tmp_path: Path) -> Iterator[Engine]:
    writer = open_writer(f"sqlite:///{tmp_path}/register.db")
    migrate(writer, REGISTER)
    writer.dispose()
    reader = open_reader(f"sqlite:///{tmp_path}/register.db")
    yield reader
    reader.dispose()


async def _ended(count: ResidentCount) -> None:
    counting = count._counting
    assert counting is not None
    await counting


async def test_who_asks_during_a_long_count_is_told_the_last_one_with_its_moment(slow: Slow, register: Engine) -> None:
    count = ResidentCount(register)
    assert await count.told() is None
    assert await count.told() is None
    assert slow.begun == 1
    slow.may_end.set()
    await _ended(count)
    slow.may_end.clear()
    slow.residents = {"ACTIVE": 2}
    first = await count.told()
    assert first is not None
    assert first.residents == {"ACTIVE": 1}
    slow.may_end.set()
    await _ended(count)
    second = await count.told()
    assert second is not None
    assert (second.residents, second.at > first.at) == ({"ACTIVE": 2}, True)


async def test_a_count_that_is_quick_is_of_now(slow: Slow, register: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resident_count, "WAIT_SECONDS", 60.0)
    slow.may_end.set()
    count = ResidentCount(register)
    for residents in ({"ACTIVE": 1}, {"ACTIVE": 3}):
        slow.residents = residents
        told = await count.told()
        assert told is not None
        assert told.residents == residents


async def test_a_count_that_failed_while_nobody_waited_does_not_stand_in_the_way_of_the_next(
    slow: Slow, register: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(connection: Connection) -> dict[str, int]:
        slow(connection)
        raise StoreError("away")

    monkeypatch.setattr(resident_count, "counts_by_status", away)
    count = ResidentCount(register)
    assert await count.told() is None
    slow.may_end.set()
    await _ended(count)
    monkeypatch.setattr(resident_count, "WAIT_SECONDS", 60.0)
    with pytest.raises(Refused) as caught:
        await count.told()
    assert caught.value.reason == errors.ERROR_REASON_DEPENDENCY_UNAVAILABLE
    monkeypatch.setattr(resident_count, "counts_by_status", slow)
    told = await count.told()
    assert told is not None
    assert asyncio.all_tasks() == {asyncio.current_task()}
