"""A municipality's whole register is loaded into its new CS: all of it or nothing."""

from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Engine, func, select

from cs_node.first_load import LinesRefused, NotEmpty, first_load
from cs_node.intake import Item, Sealing, accept
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.intake.v1.intake_pb2 import Submission
from jukinet._pb.jukinet.register.v1 import change_pb2, identity_pb2
from jukinet.domain.resident_code import check_digit
from jukinet.store import journal
from jukinet.store.engine import open_writer
from jukinet.store.migrate import REGISTER, ensure_schema
from jukinet.store.outbox_start import kept_after
from jukinet.store.schema import history, intake_messages, outbox, residents

SEALING = Sealing("131016", Ed25519PrivateKey.from_private_bytes(bytes(32)))
TODAY = date(2026, 4, 1)


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    opened = open_writer(database_url)
    ensure_schema(opened, REGISTER)
    yield opened
    opened.dispose()


def entry(number: int, **changed: Any) -> Submission:
    body = f"00{number:08}"
    code = body + check_digit(body)
    record = identity_pb2.IdentityRecord(
        resident_code=code,
        name=identity_pb2.PersonName(legal="試験太郎"),
        birth_date=identity_pb2.BirthDate(year=1980, month=1, day=2),
        sex=identity_pb2.SEX_MALE,
        address=identity_pb2.Address(local_government_code="131016", town="千代田一丁目", block="1番1号"),
    )
    parts: dict[str, Any] = {
        "message_id": f"m-{number}",
        "reason": change_pb2.CHANGE_REASON_ENTRY_EX_OFFICIO,
        "event_date": identity_pb2.CalendarDate(year=2026, month=4, day=1),
        "resident_code": code,
        "record": record,
    }
    return Submission(**(parts | changed))


def load(engine: Engine, *submissions: Submission) -> int:
    with engine.begin() as connection:
        return first_load(connection, enumerate(submissions, 2), SEALING, today=TODAY, at_us=1)


def count(engine: Engine, table: Any) -> int:
    with engine.begin() as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


def test_what_is_loaded_is_sealed_and_counted_and_not_in_the_outbox(engine: Engine) -> None:
    assert load(engine, *(entry(n) for n in range(1100))) == 1100
    assert [count(engine, table) for table in (residents, history, intake_messages, outbox)] == [1100, 1100, 1100, 0]
    with engine.begin() as connection:
        origin = journal.read_origins(connection)["131016"]
        stream = journal.read_stream(connection)
        assert (origin.sequence, stream.last_sequence) == (1100, 1100)
        assert journal.outbox_start_of(connection) == (1100, stream.chain)
        # What comes next follows, and a message that was loaded is a repeated one.
        new, again = accept(connection, [Item(entry(2000), ""), Item(entry(7), "")], SEALING, today=TODAY, at_us=1)
        assert (new.sequence, again.repeated) == (1101, True)  # type: ignore[union-attr]  # neither is refused
        assert kept_after(connection) == {"": 1100}


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (entry(700, resident_code=entry(5).resident_code, record=entry(5).record), "RESIDENT_EXISTS"),
        (entry(700, message_id="m 1"), "INVALID_MESSAGE"),
        (entry(700, message_id="m-5"), "MESSAGE_ID_REUSED"),
    ],
)
def test_one_refused_line_and_nothing_is_loaded(engine: Engine, bad: Submission, reason: str) -> None:
    with pytest.raises(LinesRefused) as refused:
        load(engine, *(entry(n) for n in range(600)), bad, entry(601))
    told = [(line, errors.ErrorReason.Name(why)) for line, _, why in refused.value.refused]
    assert told == [(602, f"ERROR_REASON_{reason}")]
    assert [count(engine, table) for table in (residents, history, intake_messages, outbox)] == [0, 0, 0, 0]
    assert load(engine, entry(1)) == 1


def test_only_an_empty_register_is_loaded(engine: Engine) -> None:
    load(engine, entry(1))
    with pytest.raises(NotEmpty):
        load(engine, entry(2))
    assert count(engine, residents) == 1
