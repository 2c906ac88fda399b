"""Secrets of bodies: on disk before a key leaves, gone for good when destroyed, the same ones until then."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from center_node import acts_of_two, body_key_service
from center_node.body_key_service import destroy_again
from center_node.body_keys import Answered, BodyKeys, first_kept
from jukinet._pb.jukinet.body.v1.body_pb2 import KeyPlace
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet.mesh.clock import now_us
from jukinet.mesh.errors import Refused
from jukinet.store.engine import open_reader, open_writer
from jukinet.store.migrate import REGISTER, ensure_schema

NOVEMBER, DECEMBER = datetime(2026, 11, 30, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)
AGENCY = "spiffe://agencies.jukinet/agency/pension-service"
CODE, OTHER = "00000000019", "00000000027"
Open = Callable[[], BodyKeys]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "body-keys.db"


@pytest.fixture
def keys(path: Path) -> Iterator[BodyKeys]:
    opened = BodyKeys(path, bytes(32))
    yield opened
    opened.close()


async def key(keys: BodyKeys, code: str, number: int = 1, now: datetime = NOVEMBER) -> tuple[bytes, KeyPlace]:
    (found,) = await keys.keys_for([Answered(AGENCY, f"request-{number}", code)], now)
    return found


def on_disk(path: Path) -> bytes:
    return b"".join(file.read_bytes() for file in path.parent.glob("body-keys.db*"))


def secrets(path: Path, table: str) -> list[bytes]:
    with sqlite3.connect(path) as connection:
        return [row[0] for row in connection.execute(f"SELECT secret FROM {table}")]


async def test_each_question_has_its_own_key_and_the_center_finds_it_again(path: Path, keys: BodyKeys) -> None:
    found = {
        (code, number, now): await key(keys, code, number, now)
        for code in (CODE, OTHER, "")
        for number in (1, 2)
        for now in (NOVEMBER, DECEMBER)
    }
    assert len({each for each, _ in found.values()}) == len(found)
    keys.close()
    again = BodyKeys(path, bytes(32))
    for (_, number, _), (made, place) in found.items():
        assert await again.key_of(place, AGENCY, f"request-{number}") == made
    assert len(secrets(path, "months")) == len(secrets(path, "persons")) == 2
    again.close()


async def test_no_two_places_of_a_call_share_a_nonce(keys: BodyKeys) -> None:
    found = await keys.keys_for([Answered(AGENCY, "request-1", code) for code in (CODE, OTHER, "", CODE)], NOVEMBER)
    assert len({place.handle[:12] for _, place in found}) == len(found) == 4


async def test_two_calls_about_a_new_person_at_once_agree_on_the_secret(keys: BodyKeys) -> None:
    found = await asyncio.gather(*(key(keys, CODE) for _ in range(20)))
    assert len({each for each, _ in found}) == 1


async def test_the_file_names_nobody(path: Path, keys: BodyKeys) -> None:
    await key(keys, CODE)
    assert CODE.encode() not in on_disk(path)


@pytest.mark.parametrize("table", ["months", "persons"])
async def test_a_destroyed_secret_is_nowhere_on_the_disk_and_its_keys_are_gone(
    path: Path, keys: BodyKeys, table: str
) -> None:
    _, place = await key(keys, CODE)
    other_key, other_place = await key(keys, OTHER if table == "persons" else CODE, now=DECEMBER)
    (secret, *_) = secrets(path, table)
    name = keys.name_of(CODE) if table == "persons" else "2026-11"
    secret = next(each for each in secrets(path, table) if table == "months" or each in _of(path, name))
    assert secret in on_disk(path)
    assert await keys.destroy([(name, now_us())]) == 1
    assert secret not in on_disk(path)
    with pytest.raises(Refused) as caught:
        await keys.key_of(place, AGENCY, "request-1")
    assert caught.value.reason == errors.ERROR_REASON_BODY_KEY_DESTROYED
    assert await keys.key_of(other_place, AGENCY, "request-1") == other_key


def _of(path: Path, name: str) -> list[bytes]:
    with sqlite3.connect(path) as connection:
        return [row[0] for row in connection.execute("SELECT secret FROM persons WHERE person = ?", (name,))]


async def test_whoever_is_asked_about_after_the_destruction_has_a_new_secret(keys: BodyKeys) -> None:
    before, old_place = await key(keys, CODE)
    await keys.destroy([(keys.name_of(CODE), now_us())])
    after, new_place = await key(keys, CODE)
    assert after != before
    assert (
        await keys.key_of(new_place, AGENCY, "request-1") == after == await keys.key_of(old_place, AGENCY, "request-1")
    )


async def test_what_operators_destroyed_is_destroyed_again_when_a_backup_brings_it_back(tmp_path: Path) -> None:
    register = open_writer(f"sqlite:///{tmp_path / 'center.db'}")
    ensure_schema(register, REGISTER)
    keys = BodyKeys(tmp_path / "body-keys.db", bytes(32))
    _, place = await key(keys, CODE)
    with register.begin() as connection:
        for operator in ("one", "two"):
            acts_of_two.act(connection, acts_of_two.DESTROY, keys.name_of(CODE), operator=operator, now_us=now_us())
    reader = open_reader(f"sqlite:///{tmp_path / 'center.db'}")
    await destroy_again(keys, reader)
    with pytest.raises(Refused):
        await keys.key_of(place, AGENCY, "request-1")
    made, later = await key(keys, CODE)
    await destroy_again(keys, reader)  # what was made since then stays
    assert await keys.key_of(later, AGENCY, "request-1") == made
    for each in (reader, register):
        each.dispose()
    keys.close()


async def test_the_oldest_month_expires_first(keys: BodyKeys) -> None:
    for month in (3, 1, 2):
        await key(keys, "", now=datetime(2019, month, 1, tzinfo=UTC))
    assert first_kept(datetime(2026, 3, 31, tzinfo=UTC), 7) == "2019-03"
    destroyed = [await keys.after_an_hour("2019-03", every=1) for _ in range(3)]
    assert destroyed == ["2019-01", "2019-02", None]


async def test_a_month_expires_by_hours_that_the_center_ran_however_often_it_starts(path: Path) -> None:
    """A clock that is years ahead takes one month a day, and no start takes another."""
    before = BodyKeys(path, bytes(32))
    for month in (1, 2, 3):
        await key(before, "", now=datetime(2019, month, 1, tzinfo=UTC))
    secret = secrets(path, "months")[0]
    before.close()
    destroyed = []
    for _ in range(12):  # of six hours each: three days
        opened = BodyKeys(path, bytes(32))
        destroyed.append([await opened.after_an_hour("2030-01", every=24) for _ in range(6)])
        opened.close()
    assert [each[-1] for each in destroyed if each[-1]] == ["2019-01", "2019-02", "2019-03"]
    assert sum(each is None for run in destroyed for each in run) == 12 * 6 - 3
    assert [bool(each[-1]) for each in destroyed] == [False, False, False, True] * 3
    assert secret not in on_disk(path)


async def test_no_start_of_the_center_destroys_a_month(keys: BodyKeys, monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits an hour first, and 24 of them."""
    monkeypatch.setattr(body_key_service, "now", lambda: datetime(2040, 1, 1, tzinfo=UTC))
    await key(keys, "", now=datetime(2019, 1, 1, tzinfo=UTC))
    hours = []

    async def passing(seconds: float) -> None:
        hours.append((seconds, await keys.holds("2019-01")))
        if len(hours) == 26:
            raise asyncio.CancelledError

    monkeypatch.setattr(asyncio, "sleep", passing)
    with pytest.raises(asyncio.CancelledError):
        await body_key_service.destroy_expired(keys, 7)
    assert hours == [(3600.0, True)] * 24 + [(3600.0, False)] * 2


def test_an_act_takes_two_operators_each_time_anew(tmp_path: Path) -> None:
    register = open_writer(f"sqlite:///{tmp_path / 'center.db'}")
    ensure_schema(register, REGISTER)

    def act(operator: str, kind: str = acts_of_two.OPEN, name: str = "a") -> tuple[str, bool]:
        with register.begin() as connection:
            return acts_of_two.act(connection, kind, name, operator=operator, now_us=1)

    assert act("one") == ("one", False)
    with pytest.raises(Refused) as caught:
        act("one")
    assert caught.value.reason == errors.ERROR_REASON_SECOND_OPERATOR_NEEDED
    assert act("two", acts_of_two.DESTROY) == ("two", False)
    assert act("two", name="b") == ("two", False)
    assert act("two") == ("one", True)
    assert act("two") == ("two", False)
    assert act("one") == ("two", True)
    with register.connect() as connection:
        assert acts_of_two.destroyed(connection) == []
    register.dispose()
