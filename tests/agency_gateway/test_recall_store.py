"""What a gateway keeps of recalls, on either database."""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, Engine, event, insert, update

from agency_gateway import held_back, provided
from agency_gateway import recall_store as store
from agency_gateway.node import MIGRATIONS
from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2 as ledger
from jukinet._pb.jukinet.provision.v1.correction_pb2 import CorrectedMark, Correction
from jukinet._pb.jukinet.register.v1.identity_pb2 import CalendarDate
from jukinet.ledger import schema
from jukinet.store.engine import open_writer
from jukinet.store.migrate import ensure_schema

NAME, ADDRESS, SEX = inquiry.IDENTITY_FIELD_NAME, inquiry.IDENTITY_FIELD_ADDRESS, inquiry.IDENTITY_FIELD_SEX
AGENCY, PURPOSE = "spiffe://agencies.jukinet/a", "B1-77"
ENTRY = ledger.Entry(agency=AGENCY, purpose=PURPOSE)
DAY = CalendarDate(year=2026, month=5, day=1)


def mark(number: int) -> bytes:
    return number.to_bytes(32, "big")


def correction(number: int, *marks: CorrectedMark) -> Correction:
    return Correction(correction_id=mark(number), corrected_on=DAY, marks=marks)


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    opened = open_writer(database_url)
    ensure_schema(opened, MIGRATIONS)
    yield opened
    opened.dispose()


@pytest.fixture
def connection(engine: Engine) -> Iterator[Connection]:
    """A database with five answers: each provided name and address, the n-th under the mark n."""
    with engine.begin() as opened:
        for number in range(5):
            leaf = {"leaf_index": number, "entry": ENTRY.SerializeToString(), "leaf_hash": bytes(32)}
            opened.execute(insert(schema.entries).values(leaf))
            row = {"leaf_index": number, "mark": mark(number), "item_bits": store.bits_of([NAME, ADDRESS])}
            opened.execute(insert(provided.provided).values(row))
        yield opened


def test_the_migration_makes_the_tables_that_the_program_describes(engine: Engine) -> None:
    def is_ours(_object: object, name: str | None, kind: str, *_rest: object) -> bool:
        return kind != "table" or name in provided.metadata.tables

    with engine.connect() as opened:
        context = MigrationContext.configure(opened, opts={"compare_type": True, "include_object": is_ours})
        assert compare_metadata(context, provided.metadata) == []


def test_an_answer_is_due_for_what_it_told_and_was_wrong(connection: Connection) -> None:
    marks = [CorrectedMark(mark=mark(1), items=[ADDRESS, SEX]), CorrectedMark(mark=mark(2), items=[SEX])]
    unknown = [CorrectedMark(mark=mark(number), items=[NAME]) for number in range(100, 1500)]
    (due,) = store.due_of(connection, [correction(1, *marks, *unknown)])
    assert (due.leaf_index, due.corrected_on, store.items_of(due.item_bits)) == (1, "2026-05-01", [ADDRESS])
    assert store.due_of(connection, [correction(2)]) == []


def test_a_yes_is_due_for_what_was_compared_and_one_that_was_kept_before_for_what_was_provided(
    connection: Connection,
) -> None:
    yes = store.items_in(ledger.Entry(action=ledger.ACTION_VERIFY_IDENTITY))
    connection.execute(update(provided.provided).where(provided.provided.c.leaf_index == 1).values(item_bits=yes))
    marks = [CorrectedMark(mark=mark(each), items=[NAME, ADDRESS], compared=[NAME], recent=True) for each in (1, 2)]
    known = [correction(1, *marks)]
    store.add_corrected(connection, known)
    for found in (store.due_of(connection, known), store.due_since(connection, 0)):
        assert [(due.leaf_index, store.items_of(due.item_bits)) for due in found] == [(1, [NAME]), (2, [NAME, ADDRESS])]


def test_an_answer_that_came_later_is_held_against_what_is_known(connection: Connection) -> None:
    known = correction(1, *(CorrectedMark(mark=mark(each), items=[NAME, SEX], recent=each != 4) for each in (1, 3, 4)))
    for _ in range(2):
        store.add_corrected(connection, [known])
    assert [due.leaf_index for due in store.due_since(connection, 0)] == [1, 3]
    assert [(due.leaf_index, store.items_of(due.item_bits)) for due in store.due_since(connection, 2)] == [(3, [NAME])]


def test_a_recall_is_noted_once_for_each_answer_and_correction(connection: Connection) -> None:
    first = store.Due(1, mark(1), "2026-05-01", store.bits_of([NAME]))
    other = first._replace(correction=mark(2))
    assert [store.note(connection, due, ENTRY, now_us=7) for due in (first, first, other)] == [True, False, True]
    told = store.unacknowledged(connection, AGENCY, PURPOSE, limit=9)
    assert [(each.leaf_index, each.entry) for each in told] == [(1, ENTRY.SerializeToString())] * 2
    assert store.open_recalls(connection) == [store.Open(AGENCY, PURPOSE, 2, 7)]


def test_what_is_acknowledged_is_told_no_more_and_its_position_stays_known(connection: Connection) -> None:
    for number in range(3):
        store.note(connection, store.Due(number, mark(1), "2026-05-01", 2), ENTRY, now_us=number)
    first, second, third = store.unacknowledged(connection, AGENCY, PURPOSE, limit=9)
    until = store.unacknowledged(connection, AGENCY, PURPOSE, limit=9, until=second.position)
    assert until == [first, second]
    assert [store.acknowledge(connection, second.position, now_us=9) for _ in range(2)] == [True, False]
    assert store.unacknowledged(connection, AGENCY, PURPOSE, limit=9) == [first, third]
    assert store.unacknowledged(connection, AGENCY, "B1-78", limit=9) == []
    assert store.is_position(connection, AGENCY, PURPOSE, second.position)
    assert not store.is_position(connection, "another", PURPOSE, second.position)


def test_what_no_agency_acknowledged_is_counted_since_the_oldest(connection: Connection) -> None:
    assert store.standing(connection) == store.Standing(0, None)
    for number in range(3):
        entry = ledger.Entry(agency=f"{AGENCY}{number}", purpose=PURPOSE)
        store.note(connection, store.Due(number, mark(1), "2026-05-01", 2), entry, now_us=7 + number)
    assert store.standing(connection) == store.Standing(3, 7)
    store.acknowledge(connection, 1, now_us=20)
    assert store.standing(connection) == store.Standing(2, 8)


def test_what_was_acknowledged_is_read_neither_to_count_nor_to_tell(tmp_path: Path) -> None:
    """As SQLite plans it; PostgreSQL's plan depends on how many rows there are."""
    engine = open_writer(f"sqlite:///{tmp_path / 'gateway.db'}")
    ensure_schema(engine, MIGRATIONS)
    plans: list[str] = []

    @event.listens_for(engine, "before_cursor_execute", retval=True)
    def plan(_connection: Any, cursor: Any, statement: str, values: Any, *_more: Any) -> tuple[str, Any]:
        cursor.execute(f"EXPLAIN QUERY PLAN {statement}", values)
        plans.append(" ".join(str(row[3]) for row in cursor.fetchall()))
        return statement, values

    with engine.connect() as opened:
        store.standing(opened)
        store.open_recalls(opened)
        store.unacknowledged(opened, AGENCY, PURPOSE, limit=9)
    engine.dispose()
    assert len(plans) == 3
    assert all("recalls_open" in each for each in plans), plans


def test_what_is_held_back_comes_in_its_order_from_its_day_on_and_leaves_once(connection: Connection) -> None:
    def hold(number: int, until: str, *, did: bool = True) -> None:
        entry = ledger.Entry(request_id=str(number)).SerializeToString()
        assert not held_back.hold_back(connection, act=lambda _: did, until=until, entry=entry)

    hold(0, "2026-06-01")
    hold(1, "2026-05-01")
    hold(2, "2026-05-01", did=False)
    hold(3, "2026-06-01")
    assert held_back.due(connection, date(2026, 4, 30)) == []
    (early,) = held_back.due(connection, date(2026, 5, 31))
    every = held_back.due(connection, date(2026, 6, 1))
    moment = datetime(2026, 6, 1, tzinfo=UTC)
    opened = [each.opened(moment) for each in every]
    assert [(each.request_id, each.sealed_until) for each in opened] == [
        ("0", "2026-06-01"), ("1", "2026-05-01"), ("3", "2026-06-01"),
    ]  # fmt: skip
    assert {each.time.ToDatetime(UTC) for each in opened} == {moment}
    assert [held_back.release(connection, early.position) for _ in range(2)] == [True, False]
    assert [held_back.release(connection, every[2].position) for _ in range(2)] == [True, False]
    hold(4, "2026-05-01")
    assert held_back.due(connection, date(2026, 5, 1))[0].position > every[2].position, "who is late removes another"


def test_a_gateway_goes_on_where_it_was(connection: Connection) -> None:
    assert store.read_place(connection) == store.Place()
    for place in (store.Place(5, b"x" * 32, 3), store.Place(9, b"y" * 32, 4)):
        store.write_place(connection, place)
        assert store.read_place(connection) == place


def test_a_yes_tells_the_four_items_and_an_answer_what_it_provided() -> None:
    yes = ledger.Entry(action=ledger.ACTION_VERIFY_IDENTITY)
    assert store.items_of(store.items_in(yes)) == [1, 2, 3, 4]
    answer = ledger.Entry(action=ledger.ACTION_INQUIRE, fields=[ADDRESS])
    assert store.items_of(store.items_in(answer)) == [ADDRESS]
