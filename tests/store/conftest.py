"""A register of a node in a fresh database, and changes to put into it."""

from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import Engine

from jukinet._pb.jukinet.register.v1 import change_pb2, identity_pb2
from jukinet.domain.arrival import Arrival
from jukinet.domain.resident_code import check_digit
from jukinet.store.engine import open_writer
from jukinet.store.migrate import REGISTER, ensure_schema

TOKYO, OSAKA = "131016", "271004"


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """The writing engine of a new register."""
    opened = open_writer(database_url)
    ensure_schema(opened, REGISTER)
    yield opened
    opened.dispose()


@pytest.fixture(scope="session")
def code() -> Callable[[int], str]:
    """The n-th resident code of the block for synthetic people."""
    return lambda number: (body := f"00{number:08}") + check_digit(body)


@pytest.fixture(scope="session")
def record(code: Callable[[int], str]) -> Callable[..., identity_pb2.IdentityRecord]:
    """The n-th resident's six items."""

    def make(
        number: int,
        *,
        at: str = TOKYO,
        town: str = "本町一丁目",
        legal: str = "山田 花子",
        alias: str = "",
        former_surname: str = "",
    ) -> identity_pb2.IdentityRecord:
        return identity_pb2.IdentityRecord(
            resident_code=code(number),
            name=identity_pb2.PersonName(legal=legal, alias=alias, former_surname=former_surname),
            birth_date=identity_pb2.BirthDate(year=1980, month=1, day=2),
            sex=identity_pb2.SEX_FEMALE,
            address=identity_pb2.Address(local_government_code=at, town=town, block="2番3号"),
        )

    return make


@pytest.fixture(scope="session")
def change(record: Callable[..., identity_pb2.IdentityRecord]) -> Callable[..., change_pb2.Change]:
    """A change of the n-th resident; an entry ex officio unless the reason is given."""

    def make(
        number: int, version: int, *, reason: str = "ENTRY_EX_OFFICIO", protected: bool = False, **items: str
    ) -> change_pb2.Change:
        fields = {name: items.pop(name) for name in list(items) if name.endswith(("municipality", "_code"))}
        return change_pb2.Change(
            reason=change_pb2.ChangeReason.Value(f"CHANGE_REASON_{reason}"),
            event_date=identity_pb2.CalendarDate(year=2026, month=4, day=1),
            record=record(number, **items),
            version=version,
            protected=protected,
            was_wrong=False,
            **fields,
        )

    return make


@pytest.fixture
def arrive() -> Callable[..., Arrival]:
    """Places changes in their municipalities' streams, each with the next sequence number."""
    last: dict[str, int] = {}

    def place(change: change_pb2.Change, municipality: str = TOKYO, *, epoch: int = 1) -> Arrival:
        last[municipality] = last.get(municipality, 0) + 1
        return Arrival(municipality, epoch, last[municipality], change, change.SerializeToString())

    return place
