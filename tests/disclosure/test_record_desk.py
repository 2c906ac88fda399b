"""Residents' requests at the desk: a retry makes no second one, each ends, and one check serves for one question."""

from collections.abc import Awaitable
from datetime import date, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, select

from jukinet._pb.jukinet.disclosure.v1 import disclosure_pb2 as disclosure
from jukinet._pb.jukinet.disclosure.v1.record_pb2 import GetRecordRequest, GetRecordResponse
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2 as ledger
from jukinet.disclosure import schema
from jukinet.disclosure.desk import Desk
from jukinet.disclosure.record_desk import RecordDesk
from jukinet.disclosure.request import ANSWERED, BY_LETTER, CLOSED, EXTENDED, RECEIVED, Request
from jukinet.ledger.layout import encode
from jukinet.ledger.verify.layout import read_entry
from jukinet.mesh.errors import Refused, check_message
from tests.disclosure.answers import CODE, OTHER
from tests.disclosure.counter import COUNTER, check

Node = Any  # the fixture's own class lives in conftest.py
ASKING, ANSWERING = disclosure.AFFAIR_REQUEST_RECORD, disclosure.AFFAIR_ANSWER_REQUEST
CORRECTING, WITHDRAWING = disclosure.AFFAIR_REQUEST_CORRECTION, disclosure.AFFAIR_WITHDRAW_REQUEST
WITHDRAWN = disclosure.CLOSE_REASON_WITHDRAWN
DAY = date(2026, 11, 27)


class Center:
    """Has the record of everybody, and counts who asked for one."""

    def __init__(self) -> None:
        self.asked = 0

    async def GetRecord(self, _request: GetRecordRequest, *, timeout: float) -> GetRecordResponse:
        self.asked += 1
        return GetRecordResponse(stored=disclosure.StoredRecord(is_stored=True))


class Counters:
    """The desk as the tests use it: on a day, as a counter, by the number of a check."""

    def __init__(self, desk: Desk, node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
        self._desk, self.node, self._patch = desk, node, monkeypatch
        self.center = Center()
        self.records = self.restarted()
        self.on(DAY)

    def restarted(self) -> RecordDesk:
        center: Any = self.center
        self.records = RecordDesk(self._desk, center=center, reader=self.node.reader)
        return self.records

    def on(self, day: date) -> None:
        self._patch.setattr("jukinet.mesh.clock.today_in_japan", lambda: day)

    async def ask(self, number: int = 1, code: str = CODE) -> Request:
        return await self.records.request(COUNTER, check(number, code, ASKING))

    async def answer(self, of: Request, number: int, code: str = CODE) -> Request:
        return (await self.records.answer(COUNTER, check(number, code, ANSWERING), of.request_id))[0]

    async def correct(self, of: Request, number: int, code: str = CODE, document: str = "7-1") -> Request:
        signed = check(number, code, CORRECTING)
        return await self.records.request_correction(COUNTER, signed, disclosed_by=of.request_id, document=document)

    async def close(self, request: Request, reason: Any, document: str = "7-2", counter: str = COUNTER) -> Request:
        return await self.records.close(counter, request.request_id, reason=reason, document=document, signed=None)

    async def withdraw(self, request: Request, number: int, code: str = CODE) -> Request:
        signed = check(number, code, WITHDRAWING)
        return await self.records.close(COUNTER, request.request_id, reason=WITHDRAWN, document="", signed=signed)

    def kept(self) -> tuple[int, int]:
        """Number of requests and steps in the database."""
        with self.node.reader.connect() as connection:
            counts = [
                connection.execute(select(func.count()).select_from(table)).scalar_one()
                for table in (schema.requests, schema.request_steps)
            ]
        return counts[0], counts[1]


@pytest.fixture
def at(desk: Desk, node: Node, monkeypatch: pytest.MonkeyPatch) -> Counters:
    return Counters(desk, node, monkeypatch)


async def is_refused(call: Awaitable[Any], reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        await call


@pytest.mark.parametrize("restarted", [False, True])
async def test_who_asks_again_with_the_same_check_is_told_of_the_first_request(at: Counters, restarted: bool) -> None:
    first = await at.ask()
    if restarted:
        at.restarted()
    at.on(DAY + timedelta(days=1))
    assert await at.ask() == first
    longer = DAY + timedelta(days=40)
    await at.records.extend(COUNTER, first.request_id, due_on=longer, reason=1, document="7-1")
    again = await at.ask()
    assert (again.state, again.received_on, again.due_on) == (EXTENDED, DAY, longer)
    assert at.kept() == (1, 1)
    # Each time that it was told stands in the record.
    assert [each.action for each in at.node.own_entries()] == [ledger.ACTION_REQUEST_RECORD] * 4


@pytest.mark.parametrize("restarted", [False, True])
async def test_who_asks_for_a_correction_again_is_told_of_the_first_one(at: Counters, restarted: bool) -> None:
    request = await at.answer(await at.ask(), 2)
    first = await at.correct(request, 3)
    if restarted:
        at.restarted()
    assert await at.correct(request, 3) == first
    assert (await at.records.investigate(COUNTER, first.request_id)) == await at.correct(request, 3)
    assert at.kept() == (2, 2)


async def test_a_check_that_made_a_request_asks_for_nothing_else(at: Counters) -> None:
    request = await at.answer(await at.ask(), 2)
    other = await at.answer(await at.ask(4), 5)
    correction = await at.correct(request, 3)
    kept = at.kept()
    for call in (
        at.ask(1, OTHER),
        at.correct(request, 1),
        at.ask(3),
        at.correct(request, 3, document="7-9"),
        at.correct(other, 3),
        at.ask(2),
        at.correct(request, 2),
        at.withdraw(correction, 2),
    ):
        await is_refused(call, "IDENTITY_CHECK_INVALID")
    assert at.kept() == kept


async def test_a_check_discloses_by_one_request_alone(at: Counters) -> None:
    one, other = await at.ask(1), await at.ask(2)
    answered = await at.answer(one, 3)
    assert await at.answer(one, 3) == answered
    fetched = at.center.asked
    for used in (1, 3):
        await is_refused(at.answer(other, used), "IDENTITY_CHECK_INVALID")
    assert at.center.asked == fetched  # nobody's record was fetched for it
    assert (await at.records.requests(COUNTER))[1].state == RECEIVED


@pytest.mark.parametrize("reason", disclosure.CloseReason.values()[1:])
async def test_a_request_that_is_closed_is_overdue_no_more_and_stays_closed(at: Counters, reason: Any) -> None:
    shown: list[tuple[int, int]] = []
    at._patch.setattr("jukinet.mesh.metrics.requests", lambda waiting, overdue: shown.append((waiting, overdue)))
    request = await at.ask()
    late = DAY + timedelta(days=31)
    at.on(late)
    await at.ask(2)
    assert (at.records.open_requests, at.records.overdue_requests, shown[-1]) == (2, 1, (2, 1))
    closed = await at.close(request, reason)
    assert (closed.state, closed.closed_as, closed.ended_on) == (CLOSED, reason, late)
    assert (at.records.open_requests, at.records.overdue_requests, shown[-1]) == (1, 0, (1, 0))
    for call in (
        at.close(request, reason),
        at.answer(request, 3),
        at.withdraw(request, 4),
        at.records.extend(COUNTER, request.request_id, due_on=late + timedelta(days=9), reason=1, document="7-1"),
    ):
        await is_refused(call, "DISCLOSURE_STEP")
    assert at.center.asked == 0
    assert (await at.restarted().requests(COUNTER))[0] == closed


async def test_a_resident_withdraws_a_request_of_his_own_at_the_counter_that_took_it(at: Counters) -> None:
    request = await at.ask()
    await is_refused(at.withdraw(request, 2, OTHER), "DISCLOSURE_STEP")
    await is_refused(at.close(request, WITHDRAWN, counter="spiffe://nodes.jukinet/counter/portal"), "DISCLOSURE_STEP")
    other_affair = at.records.close(
        COUNTER, request.request_id, reason=WITHDRAWN, document="", signed=check(3, CODE, ANSWERING)
    )
    await is_refused(other_affair, "IDENTITY_CHECK_INVALID")
    withdrawn = await at.withdraw(request, 4)
    assert (withdrawn.state, withdrawn.ended_by) == (CLOSED, str(UUID(int=4)))
    assert await at.withdraw(request, 4) == withdrawn  # an answer that was lost on its way
    assert at.kept() == (1, 1)
    await is_refused(at.withdraw(await at.ask(5), 4), "IDENTITY_CHECK_INVALID")


async def test_what_was_answered_is_neither_withdrawn_nor_closed(at: Counters) -> None:
    request = await at.answer(await at.ask(), 2)
    for call in (at.withdraw(request, 3), at.close(request, disclosure.CLOSE_REASON_DECEASED)):
        await is_refused(call, "DISCLOSURE_STEP")
    assert (await at.records.requests(COUNTER))[0].state == ANSWERED


async def test_a_letter_that_discloses_leads_to_a_correction_and_a_correction_has_its_own_answer(at: Counters) -> None:
    request = await at.close(await at.ask(), BY_LETTER)
    correction = await at.correct(request, 2)
    await is_refused(at.close(correction, BY_LETTER), "DISCLOSURE_STEP")
    assert (await at.close(correction, disclosure.CLOSE_REASON_NOT_ANSWERABLE)).state == CLOSED
    unseen = await at.close(await at.ask(3), WITHDRAWN)
    await is_refused(at.correct(unseen, 4), "DISCLOSURE_STEP")


async def test_a_request_that_was_closed_and_one_that_could_not_be_stand_in_the_ledger(at: Counters) -> None:
    request, other = await at.ask(), await at.ask(2)
    await at.withdraw(request, 3)
    await at.close(other, disclosure.CLOSE_REASON_DECEASED)
    await is_refused(at.close(other, disclosure.CLOSE_REASON_DECEASED), "DISCLOSURE_STEP")
    withdrawn, died, refused = at.node.own_entries()[2:]
    for each in (withdrawn, died, refused):
        assert (each.action, each.article) == (ledger.ACTION_CLOSE_REQUEST, "")
        assert read_entry(encode(each)) == each
    assert (withdrawn.request_id, bool(withdrawn.person_token)) == (str(UUID(int=3)), True)
    assert (died.request_id, bool(died.person_token)) == (other.request_id, False)
    assert refused.refusal == errors.ERROR_REASON_DISCLOSURE_STEP


@pytest.mark.parametrize(
    ("reason", "document", "checked", "holds"),
    [
        (WITHDRAWN, "", True, True),
        (WITHDRAWN, "7-1", True, True),
        (WITHDRAWN, "7-1", False, True),
        (WITHDRAWN, "", False, False),
        (disclosure.CLOSE_REASON_DECEASED, "7-1", False, True),
        (disclosure.CLOSE_REASON_DECEASED, "", False, False),
        (disclosure.CLOSE_REASON_DECEASED, "7-1", True, False),
        (disclosure.CLOSE_REASON_UNSPECIFIED, "7-1", False, False),
    ],
)
def test_a_request_is_closed_on_the_residents_word_or_on_paper(
    reason: Any, document: str, checked: bool, holds: bool
) -> None:
    signed = check(2, CODE, WITHDRAWING) if checked else None
    asked = disclosure.CloseRequestRequest(request_id=str(UUID(int=1)), reason=reason, document=document, check=signed)
    if holds:
        check_message(asked)
    else:
        with pytest.raises(Refused, match="INVALID_MESSAGE"):
            check_message(asked)
