"""The own record of a person whose resident code was changed is the one that the person has now, and nobody else's."""

from collections.abc import Iterator
from random import Random
from typing import Any
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Engine, delete

from center_node.record import RecordService
from jukinet._pb.jukinet.disclosure.v1 import disclosure_pb2 as disclosure
from jukinet._pb.jukinet.disclosure.v1.record_pb2 import GetRecordRequest
from jukinet._pb.jukinet.register.v1 import change_pb2, identity_pb2
from jukinet.domain.arrival import Arrival
from jukinet.mesh import clock
from jukinet.mesh.errors import Refused
from jukinet.mesh.identity import Identity
from jukinet.purpose.identity_check import sign_check
from jukinet.store.engine import open_reader, open_writer
from jukinet.store.migrate import REGISTER, ensure_schema
from jukinet.store.register import apply_arrivals
from jukinet.store.schema import residents
from nation.codes import CodePool
from tests.damaged import flip

TOKYO = "131016"
COUNTER = Identity("counter", TOKYO).uri
KEY = Ed25519PrivateKey.from_private_bytes(b"\x06" * 32)
_POOL = CodePool(Random(4))
FIRST, SECOND, THIRD, OTHER, NOBODY = (_POOL.draw_resident_code() for _ in range(5))
NO_CONTEXT: Any = None


def record_of(code: str, legal: str = "山田 花子") -> identity_pb2.IdentityRecord:
    return identity_pb2.IdentityRecord(
        resident_code=code,
        name=identity_pb2.PersonName(legal=legal),
        birth_date=identity_pb2.BirthDate(year=1980, month=1, day=2),
        sex=identity_pb2.SEX_FEMALE,
        address=identity_pb2.Address(local_government_code=TOKYO, town="本町", block="2番3号"),
    )


class Center:
    """A register of two residents, of whom one had the code changed twice."""

    def __init__(self, engine: Engine, reader: Engine) -> None:
        self.engine = engine
        self._service = RecordService(reader=reader, counters={COUNTER: KEY.public_key()})
        self._sequence = 0
        self.report("ENTRY_EX_OFFICIO", record_of(FIRST), 1)
        self.report("ENTRY_EX_OFFICIO", record_of(OTHER, "佐藤 一"), 1)
        self.report("CORRECTION_RESIDENT_CODE_REQUEST", record_of(SECOND), 2, previous_resident_code=FIRST)
        self.report("CORRECTION_RESIDENT_CODE_REQUEST", record_of(THIRD), 3, previous_resident_code=SECOND)

    def report(self, reason: str, record: identity_pb2.IdentityRecord, version: int, **parts: Any) -> None:
        change = change_pb2.Change(
            reason=change_pb2.ChangeReason.Value(f"CHANGE_REASON_{reason}"),
            event_date=identity_pb2.CalendarDate(year=2026, month=4, day=1),
            record=record,
            version=version,
            was_wrong=False,
            **parts,
        )
        self._sequence += 1
        arrival = Arrival(TOKYO, 1, self._sequence, change, change.SerializeToString())
        with self.engine.begin() as connection:
            assert apply_arrivals(connection, [arrival], scope="", now_us=7).outcomes == [None]

    async def stored(self, code: str) -> disclosure.StoredRecord:
        check = disclosure.IdentityCheck(
            id=str(uuid4()),
            counter=COUNTER,
            clerk="7",
            resident_code=code,
            proof=disclosure.IDENTITY_PROOF_PHOTO_DOCUMENT,
            affair=disclosure.AFFAIR_ANSWER_REQUEST,
        )
        check.checked_at.FromDatetime(clock.now())
        request = GetRecordRequest(check=sign_check(check, KEY))
        return (await self._service.GetRecord(request, NO_CONTEXT)).stored


@pytest.fixture
def center(database_url: str) -> Iterator[Center]:
    engine = open_writer(database_url)
    ensure_schema(engine, REGISTER)
    reader = open_reader(database_url)
    yield Center(engine, reader)
    reader.dispose()
    engine.dispose()


async def test_under_each_code_that_a_person_had_the_record_is_the_one_of_now(center: Center) -> None:
    for code in (FIRST, SECOND, THIRD):
        stored = await center.stored(code)
        assert (stored.record, stored.status) == (record_of(THIRD), identity_pb2.RESIDENT_STATUS_ACTIVE)
    assert (await center.stored(OTHER)).record == record_of(OTHER, "佐藤 一")
    assert await center.stored(NOBODY) == disclosure.StoredRecord(is_stored=False)


@pytest.mark.parametrize("damaged", [FIRST, SECOND, THIRD])
async def test_where_a_row_on_the_way_is_damaged_nobodys_record_is_given(center: Center, damaged: str) -> None:
    flip(center.engine, damaged)
    with pytest.raises(Refused, match="RECORD_DAMAGED"):
        await center.stored(FIRST)


async def test_a_new_code_without_a_row_is_damage_and_not_that_none_is_stored(center: Center) -> None:
    with center.engine.begin() as connection:
        connection.execute(delete(residents).where(residents.c.resident_code == THIRD))
    with pytest.raises(Refused, match="RECORD_DAMAGED"):
        await center.stored(FIRST)
