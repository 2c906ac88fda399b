"""An agency asks no more in a day than its budget allows, through however many gateways and over restarts."""

import asyncio
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, select

from center_node.asked_today import AskedToday, asked_today
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.provision.v1 import provision_pb2 as provision
from jukinet.mesh.errors import Refused
from jukinet.purpose.agencies import Agency
from jukinet.purpose.budgets import UNLIMITED, Budget
from jukinet.store.engine import open_reader, open_writer
from jukinet.store.migrate import REGISTER, migrate
from jukinet.store.writer import Writer

DAY = date(2026, 4, 1)
NewCenter = Callable[..., "Center"]
NOTHING: frozenset[str] = frozenset()


def directory(agency: str, **limits: Any) -> dict[str, Agency]:
    budget = Budget(**limits)
    return {agency: Agency("one", agency, "One", "一", "public", NOTHING, NOTHING, DAY, budget=budget)}


def ticket(
    *, agency: str, number: bool = False, batch: bool = False, purpose: str = "B1-77.12", operator: str = "op-1"
) -> Any:
    kind = provision.PROVISION_KIND_BATCH if batch else provision.PROVISION_KIND_RECORD
    method = inquiry.INQUIRY_METHOD_INDIVIDUAL_NUMBER if number else inquiry.INQUIRY_METHOD_FOUR_ITEMS
    return provision.Ticket(
        agency=agency,
        purpose=purpose,
        kind=kind,
        method=inquiry.INQUIRY_METHOD_UNSPECIFIED if batch else method,
        operator=operator,
    )


def subject(person: str) -> inquiry.Subject:
    return inquiry.Subject(individual_number=person)


class Center:
    """What counts at the center; it can be started again. No two have an agency in common."""

    def __init__(self, engine: Engine, reader: Engine, writer: Writer, **limits: Any) -> None:
        self.agency = f"spiffe://jukinet.example/agency/{uuid4()}"
        self.writer = writer
        self.reasons: set[errors.ErrorReason.ValueType] = set()
        self.limits: list[str] = []
        self._start = (directory(self.agency, **limits), reader, writer)
        self.restart(DAY)

    def restart(self, day: date) -> None:
        self._counted = AskedToday(*self._start, day, token_key=bytes(32))

    async def asks(self, persons: int = 1, day: date = DAY, about: str = "1", **changed: Any) -> bool:
        """Whether a question is answered."""
        asked = ticket(**{"agency": self.agency, **changed})
        try:
            self._counted.charge(asked, [subject(about)] * persons, day)
        except Refused as refused:
            self.reasons.add(refused.reason)
            self.limits.append(refused.limit)
            return False
        await self._counted.keep()
        return True


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def new_center(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NewCenter]:
    url = f"sqlite:///{tmp_path_factory.mktemp('center')}/register.db"
    if request.param == "postgresql":
        server = request.getfixturevalue("postgresql_server")
        server.create("asked_today")
        url = server.url("asked_today")
    engine, reader = open_writer(url), open_reader(url)
    migrate(engine, REGISTER)
    writer = Writer(engine)
    yield partial(Center, engine, reader, writer)
    writer.close()
    reader.dispose()
    engine.dispose()


async def test_searches_numbers_and_batches_have_limits_of_their_own(new_center: NewCenter) -> None:
    limits = {"agency_searches_day": 3, "agency_batch_day": 5, "row_questions_day": {"B1-41": 1}}
    counted = new_center(**limits)
    assert [await counted.asks() for _ in range(4)] == [True, True, True, False]
    assert counted.reasons == {errors.ERROR_REASON_BUDGET_EXCEEDED}
    assert await counted.asks(number=True)
    assert await counted.asks(batch=True, persons=5)
    assert not await counted.asks(batch=True)
    assert [await counted.asks(number=True, purpose="B1-41.2") for _ in range(2)] == [True, False]
    assert await counted.asks(agency="spiffe://jukinet.example/agency/two")
    assert counted.limits == ["agency_searches_day", "agency_batch_day", "row_questions_day"]


async def test_without_a_line_nobody_gets_a_batch_whatever_a_gateway_allows(new_center: NewCenter) -> None:
    counted = new_center(row_questions_day={"B1-77": 9})
    assert not await counted.asks(batch=True)
    assert not await counted.asks(batch=True, agency="spiffe://jukinet.example/agency/unlisted")
    assert counted.reasons == {errors.ERROR_REASON_BUDGET_EXCEEDED}
    assert await counted.asks(number=True)


async def test_what_is_refused_is_not_charged(new_center: NewCenter) -> None:
    counted = new_center(agency_batch_day=5)
    assert not await counted.asks(batch=True, persons=6)
    assert await counted.asks(batch=True, persons=5)


async def test_a_day_begins_with_nothing_asked_and_a_clock_put_back_begins_none(new_center: NewCenter) -> None:
    counted = new_center(agency_searches_day=1)
    assert await counted.asks()
    assert await counted.asks(day=DAY + timedelta(days=1))
    assert not await counted.asks(day=DAY)
    counted.restart(DAY + timedelta(days=1))
    assert not await counted.asks(day=DAY + timedelta(days=1))
    counted.restart(DAY + timedelta(days=2))
    assert await counted.asks(day=DAY + timedelta(days=2))


async def test_a_clock_that_was_a_day_ahead_gives_nobody_a_second_day_over_restarts(new_center: NewCenter) -> None:
    counted = new_center(agency_searches_day=1)
    assert await counted.asks()
    counted.restart(DAY + timedelta(days=1))
    assert await counted.asks(day=DAY + timedelta(days=1))
    counted.restart(DAY)
    assert not await counted.asks()


def _all(wanted: Any, connection: Connection) -> list[str]:
    return list(connection.scalars(wanted))


async def test_days_that_are_long_over_are_not_kept(new_center: NewCenter) -> None:
    counted = new_center()
    assert await counted.asks()
    for ahead in (2, 3):
        assert await counted.asks(day=DAY + timedelta(days=ahead))
        days = select(asked_today.c.day).where(asked_today.c.agency == counted.agency).distinct()
        kept = await counted.writer.run(partial(_all, days))
        assert (DAY.isoformat() in kept) == (ahead == 2)


@pytest.mark.parametrize("limit", [1, 250])
@settings(max_examples=40)
@given(runs=st.lists(st.lists(st.integers(1, 40), max_size=12), min_size=1, max_size=5))
async def test_restarts_give_nobody_more_and_cost_a_hundredth_each(
    new_center: NewCenter, limit: int, runs: list[list[int]]
) -> None:
    counted = new_center(agency_batch_day=limit)
    answered = 0
    for run in runs:
        for persons in run:
            taken = await counted.asks(persons, batch=True)
            if not taken:
                assert answered + persons > limit - len(runs) * (limit // 100)
            answered += persons * taken
        counted.restart(DAY)
    assert answered <= limit


async def test_most_questions_write_nothing(new_center: NewCenter) -> None:
    counted = new_center(agency_searches_day=1_000, operator_searches_day=300, agency_subjects_day=5_000)
    submitted = 0
    run = counted.writer.run

    async def counting(job: Any) -> Any:
        nonlocal submitted
        submitted += 1
        return await run(job)

    counted.writer.run = counting  # type: ignore[method-assign]  # counts what is written, and writes it
    for number in range(110):
        assert await counted.asks(about=str(number))
    assert submitted <= 20


async def test_an_operator_has_one_day_at_all_gateways_and_after_a_restart(new_center: NewCenter) -> None:
    counted = new_center(operator_searches_day=2)
    assert [await counted.asks() for _ in range(3)] == [True, True, False]
    counted.restart(DAY)
    assert not await counted.asks()
    assert counted.limits == ["operator_searches_day"] * 2
    assert await counted.asks(operator="op-2")
    assert await counted.asks(number=True)
    assert await counted.asks(day=DAY + timedelta(days=1))


async def test_an_operator_has_one_day_of_batches_at_all_gateways_and_after_a_restart(new_center: NewCenter) -> None:
    counted = new_center(agency_batch_day=100, operator_batch_day=5)
    assert await counted.asks(5, batch=True)
    assert not await counted.asks(batch=True)
    counted.restart(DAY)
    assert not await counted.asks(batch=True)
    assert await counted.asks(5, batch=True, operator="op-2")
    assert await counted.asks()
    assert await counted.asks(5, batch=True, day=DAY + timedelta(days=1))


async def test_one_operator_may_do_the_whole_run_of_his_agency_where_no_line_says_less(new_center: NewCenter) -> None:
    counted = new_center(agency_batch_day=90)
    assert await counted.asks(90, batch=True)
    assert not await counted.asks(batch=True)


async def test_operators_of_one_name_in_two_agencies_are_two_and_do_not_look_alike(new_center: NewCenter) -> None:
    counted = new_center(operator_searches_day=1)
    other = f"spiffe://jukinet.example/agency/{uuid4()}"
    assert await counted.asks()
    assert not await counted.asks()
    assert await counted.asks(agency=other)
    by_agency = select(asked_today.c.name).where(asked_today.c.agency.in_([counted.agency, other]))
    names = await counted.writer.run(lambda connection: connection.scalars(by_agency).all())
    digests = [name for name in names if name.startswith("operator")]
    assert len(digests) == len(set(digests)) == 2


async def test_all_whom_a_gateway_does_not_name_are_one_operator(new_center: NewCenter) -> None:
    counted = new_center(operator_searches_day=2)
    assert [await counted.asks(operator="") for _ in range(3)] == [True, True, False]


async def test_names_that_are_refused_stay_nowhere(new_center: NewCenter) -> None:
    counted = new_center(agency_searches_day=1)
    assert await counted.asks()
    for number in range(3):
        assert not await counted.asks(operator=f"invented-{number}")
    before = size_of(counted._counted)
    for number in range(500):
        assert not await counted.asks(operator=f"invented again-{number}", about=str(number))
    assert size_of(counted._counted) == before


def size_of(counted: AskedToday) -> int:
    """How much is kept of the day."""
    return sum(len(each) for each in vars(counted).values() if isinstance(each, dict | set))


async def test_different_persons_of_a_day_are_counted_for_all_gateways_and_over_restarts(new_center: NewCenter) -> None:
    counted = new_center(agency_subjects_day=2)
    assert await counted.asks(about="1")
    assert await counted.asks(about="2", number=True, operator="op-2")
    assert not await counted.asks(about="3", number=True)
    assert await counted.asks(about="1", operator="op-2")
    assert await counted.asks(about="3", agency="spiffe://jukinet.example/agency/three")
    counted.restart(DAY)
    assert not await counted.asks(about="4")
    assert await counted.asks(about="4", day=DAY + timedelta(days=1))


async def test_who_asked_about_whom_is_not_on_disk(new_center: NewCenter) -> None:
    counted = new_center()
    assert await counted.asks(operator="taro.yamada", about="123456789018")
    kept = await counted.writer.run(lambda connection: str(connection.execute(select(asked_today)).all()))
    assert counted.agency in kept
    assert "taro.yamada" not in kept
    assert "123456789018" not in kept


async def test_restarts_use_no_limit_up_that_is_none(new_center: NewCenter) -> None:
    counted = new_center(operator_searches_day=UNLIMITED, agency_searches_day=UNLIMITED, agency_subjects_day=UNLIMITED)
    for _ in range(120):
        assert await counted.asks()
        counted.restart(DAY)


async def test_persons_of_a_batch_count_for_their_row(new_center: NewCenter) -> None:
    counted = new_center(agency_batch_day=100, row_questions_day={"B1-41": 3})
    assert await counted.asks(batch=True, persons=2, purpose="B1-41.2")
    assert not await counted.asks(batch=True, persons=2, purpose="B1-41")
    assert await counted.asks(number=True, purpose="B1-41")
    assert not await counted.asks(batch=True, purpose="B1-41")
    assert await counted.asks(batch=True, persons=4)


async def test_who_asks_while_others_are_written_is_on_disk_before_his_answer(new_center: NewCenter) -> None:
    counted = new_center(agency_batch_day=500, row_questions_day={"B1-77": 500})

    async def asks(**changed: Any) -> None:
        assert await counted.asks(persons=3, **changed)

    async with asyncio.TaskGroup() as group:
        for turn in range(20):
            group.create_task(asks(batch=True))
            group.create_task(asks(number=True))
            if turn % 5 == 0:
                await asyncio.sleep(0)
    counted.restart(DAY)
    assert not await counted.asks(persons=441, batch=True)
    assert not await counted.asks(persons=441, number=True)
