"""All search keys of a register are of one version, and made anew before a node answers from another's."""

import logging
from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
from google.protobuf.message import DecodeError
from sqlalchemy import Engine, insert, select, text, update

from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2 import FourItems
from jukinet._pb.jukinet.register.v1.identity_pb2 import RESIDENT_STATUS_ACTIVE, Resident
from jukinet.domain.person_name import SEARCH_KEY_VERSION
from jukinet.store.errors import StoreError
from jukinet.store.rows import keys_of
from jukinet.store.schema import residents, search_keys
from jukinet.store.search_keys import renew_keys
from tests import searched

Make = Callable[..., Any]
KEYS = ("name_key", "alias_key", "former_name_key", "address_key")
MANY = 2_500  # more than two transactions take


@pytest.fixture
def fill(engine: Engine, record: Make) -> Callable[[int], None]:
    """Writes residents into a register, their keys folded by another version, which the register says."""

    def write(count: int) -> None:
        rows = []
        for number in range(count):
            resident = Resident(
                record=record(number, legal=f"山田 花子{number}", former_surname="髙橋"),
                version=1,
                status=RESIDENT_STATUS_ACTIVE,
                holder="131016",
            )
            rows.append(
                {
                    "resident_code": resident.record.resident_code,
                    "version": 1,
                    "status": RESIDENT_STATUS_ACTIVE,
                    "holder": "131016",
                    "effective_date": "2026-04-01",
                    "birth_date": "1980-01-02",
                    "sex": resident.record.sex,
                    "individual_number": "",
                    "resident": resident.SerializeToString(),
                    **dict.fromkeys(KEYS, f"another version's {number}"),
                }
            )
        with engine.begin() as connection:
            connection.execute(insert(search_keys), {"id": 1, "version": SEARCH_KEY_VERSION + 1})
            connection.execute(insert(residents), rows)

    return write


def said_version(engine: Engine) -> int | None:
    with engine.connect() as connection:
        return connection.execute(select(search_keys.c.version)).scalar_one_or_none()


def wrong_keys(engine: Engine) -> int:
    with engine.connect() as connection:
        rows = connection.execute(select(residents)).mappings().all()
    return sum(
        any(row[key] != new for key, new in keys_of(Resident.FromString(row["resident"]).record).items())
        for row in rows
    )


def test_keys_of_another_version_are_all_made_anew_and_find_again(
    engine: Engine, fill: Callable[[int], None], record: Make, caplog: pytest.LogCaptureFixture
) -> None:
    fill(MANY)
    assert wrong_keys(engine) == MANY
    with caplog.at_level(logging.INFO):
        renew_keys(engine)
    assert (wrong_keys(engine), said_version(engine)) == (0, SEARCH_KEY_VERSION)
    told = [
        (each.message, each.__dict__["version"]) for each in caplog.records if each.name == "jukinet.store.search_keys"
    ]
    assert told == [
        ("the search keys are of another version and are made anew", SEARCH_KEY_VERSION + 1),
        ("the search keys are of this version", SEARCH_KEY_VERSION),
    ]
    assert caplog.records[-1].__dict__["count"] == MANY
    one = record(7)
    items = FourItems(name="高橋 花子7", birth_date=one.birth_date, sex=one.sex, address=one.address)
    with engine.connect() as connection:
        found = searched.by_four_items(connection, items, day=date(2026, 4, 10))
    assert found is not None
    assert found.record.resident_code == one.resident_code


def test_nothing_but_the_keys_of_a_row_is_changed(engine: Engine, fill: Callable[[int], None]) -> None:
    def others() -> list[Any]:
        columns = [column for column in residents.c if column.name not in KEYS]
        with engine.connect() as connection:
            return list(connection.execute(select(*columns).order_by(residents.c.resident_code)))

    fill(3)
    before = others()
    renew_keys(engine)
    assert others() == before


def test_a_register_that_was_half_made_anew_does_not_look_whole(
    engine: Engine, fill: Callable[[int], None], record: Make
) -> None:
    fill(MANY)
    first, last = (residents.c.resident_code == record(number).resident_code for number in (0, MANY - 1))
    with engine.begin() as connection:
        whole = connection.execute(select(residents.c.resident).where(last)).scalar_one()
        connection.execute(update(residents).where(last).values(resident=b"\xff"))
    with pytest.raises(DecodeError):
        renew_keys(engine)
    assert said_version(engine) == 0
    with engine.begin() as connection:
        connection.execute(update(residents).where(last).values(resident=whole))
        assert connection.execute(select(residents.c.name_key).where(first)).scalar_one() == "山田花子0"
    renew_keys(engine)
    assert (wrong_keys(engine), said_version(engine)) == (0, SEARCH_KEY_VERSION)


def test_a_register_of_this_version_is_left_alone(engine: Engine, fill: Callable[[int], None]) -> None:
    fill(2)
    with engine.begin() as connection:
        connection.execute(update(search_keys).values(version=SEARCH_KEY_VERSION))
    renew_keys(engine)
    assert wrong_keys(engine) == 2


def test_a_new_register_says_its_version_and_logs_nothing(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "jukinet"):
        renew_keys(engine)
    assert said_version(engine) == SEARCH_KEY_VERSION
    assert caplog.records == []


def test_a_failing_database_quotes_no_row(engine: Engine, fill: Callable[[int], None]) -> None:
    fill(2)
    with engine.begin() as connection:
        connection.execute(text("CREATE UNIQUE INDEX in_the_way ON residents (address_key)"))
    with pytest.raises(StoreError) as failed:
        renew_keys(engine)
    assert failed.value.__context__ is None
    assert "本町" not in str(failed.value)
    assert said_version(engine) == 0
