"""A database that fails is told to operators with a reason, never as an internal fault."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event

from jukinet._pb.jukinet.admin.v1 import admin_pb2 as admin
from jukinet._pb.jukinet.consistency.v1 import consistency_pb2 as consistency
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet.assembly import reading
from jukinet.assembly.consistency import ConsistencyService
from jukinet.assembly.status import AdminService
from jukinet.mesh.errors import Refused
from jukinet.mesh.identity import Identity
from jukinet.store.engine import open_reader, open_writer
from jukinet.store.errors import StorageFull, StoreError
from jukinet.store.migrate import REGISTER, migrate

AT = consistency.Place(municipality="131016", epoch=1, sequence=1)


async def _all(answers: Any) -> list[Any]:
    return [each async for each in answers]


def _away() -> list[Any]:
    raise StoreError("away")


def _consistency(register: Engine) -> ConsistencyService:
    return ConsistencyService(register, damaged=_away)


def _status(register: Engine) -> Any:
    return AdminService(identity=Identity("center"), register=register, describe=lambda _: None)


CALLS: dict[str, Callable[[Engine], Any]] = {
    "GetStatus": lambda register: _status(register).GetStatus(admin.GetStatusRequest(), None),
    "ListParked": lambda register: _all(_status(register).ListParked(admin.ListParkedRequest(), None)),
    "ListPlaces": lambda register: _consistency(register).ListPlaces(consistency.ListPlacesRequest(), _NOBODY),
    "GetDigest": lambda register: _consistency(register).GetDigest(
        consistency.GetDigestRequest(key=bytes(32), at=AT), _NOBODY
    ),
    "ListRows": lambda register: _all(
        _consistency(register).ListRows(consistency.ListRowsRequest(key=bytes(32), at=AT, buckets=[1]), _NOBODY)
    ),
    "ListDamaged": lambda register: _consistency(register).ListDamaged(consistency.ListDamagedRequest(), _NOBODY),
}
_NOBODY: Any = None


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Engine]:
    """A database without a table."""
    open_writer(f"sqlite:///{tmp_path}/register.db").dispose()
    register = open_reader(f"sqlite:///{tmp_path}/register.db")
    yield register
    register.dispose()


@pytest.mark.parametrize("call", CALLS)
async def test_a_failed_database_is_a_dependency_that_is_not_available(empty: Engine, call: str) -> None:
    with pytest.raises(Refused) as caught:
        await CALLS[call](empty)
    assert caught.value.reason == errors.ERROR_REASON_DEPENDENCY_UNAVAILABLE


async def test_a_full_disk_is_told_as_one(empty: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_register: Engine, _query: Callable[[Connection], Any]) -> Any:
        raise StorageFull("disk")

    monkeypatch.setattr(reading, "read", full)
    with pytest.raises(Refused) as caught:
        await CALLS["GetStatus"](empty)
    assert caught.value.reason == errors.ERROR_REASON_STORAGE_FULL
    assert not isinstance(caught.value.__cause__, StoreError)


async def test_what_a_node_shows_all_the_time_is_read_without_counting_its_residents(tmp_path: Path) -> None:
    writer = open_writer(f"sqlite:///{tmp_path}/register.db")
    migrate(writer, REGISTER)
    writer.dispose()
    register, read = open_reader(f"sqlite:///{tmp_path}/register.db"), list[str]()
    event.listen(register, "connect", lambda driver, _: driver.set_trace_callback(read.append))
    shown = await _status(register).standing()
    assert any("FROM parked" in statement for statement in read)
    assert not any("FROM residents" in statement for statement in read)
    told = await _status(register).GetStatus(admin.GetStatusRequest(), None)
    assert any("FROM residents" in statement for statement in read)
    told.ClearField("residents_counted_at")
    assert told == shown
    register.dispose()
