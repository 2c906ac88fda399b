"""An agency is told of each later change of the persons on its list once by position, and of nobody else's."""

import asyncio
import re
import urllib.request
import uuid
from collections.abc import AsyncIterator
from datetime import date, timedelta
from typing import Any

import pytest

from agency_gateway.budgets import Budgets
from center_node import changes as center_changes
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2 as ledger
from jukinet._pb.jukinet.provision.v1 import provision_pb2 as provision
from jukinet._pb.jukinet.register.v1 import change_pb2
from jukinet._pb.jukinet.register.v1.identity_pb2 import CalendarDate
from jukinet._pb.jukinet.watch.v1 import watch_pb2 as watch
from jukinet.domain.arrival import Arrival
from jukinet.ledger.verify.layout import read_entry
from jukinet.mesh import metrics
from jukinet.mesh.clock import now, today_in_japan
from jukinet.mesh.errors import Refused
from jukinet.mesh.identity import Identity
from jukinet.purpose.ticket import question_id, sign_tickets, subject_digest
from jukinet.store import watches
from jukinet.store.register import apply_arrivals
from jukinet.store.watch_look import look_through
from tests.agency_gateway.agencies import asking, signed
from tests.agency_gateway.calls import GATEWAY, called_by

Network = Any  # the class is in network.py; tests put methods of their own into it, and no context into calls
PENSION = "pension-service"
CHIYODA, YOKOSUKA = "131016", "142018"
ADDRESS = [inquiry.IDENTITY_FIELD_ADDRESS, inquiry.IDENTITY_FIELD_CHANGE]
MOVED = change_pb2.CHANGE_REASON_CORRECTION_MOVE_WITHIN


class House:
    """An agency with a list, and a municipality that reports changes."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.list_id = str(uuid.uuid4())
        self._versions: dict[str, int] = {}

    async def handle(self, number: int, **asked: Any) -> bytes:
        answer = await self.network.inquire(number=number, for_watch=True, **asked)
        assert answer.outcome == inquiry.INQUIRY_OUTCOME_MATCH
        return bytes(answer.handle)

    async def begin(
        self, *handles: bytes, agency: str = PENSION, purpose: str = "B1-77.12", days: int = 30, **changed: Any
    ) -> Any:
        last = today_in_japan() + timedelta(days=days)
        order = watch.WatchOrder(
            list_id=changed.pop("list_id", self.list_id),
            handles=handles,
            expires_on=CalendarDate(year=last.year, month=last.month, day=last.day),
        )
        parts = {"context": self.network.context(purpose=purpose), "order": order, "fields": ADDRESS, **changed}
        with called_by(asking(agency)):
            return await self.network.watch.Watch(signed(watch.WatchRequest(**parts), agency), None)

    async def changes(
        self, after: int | None = None, *, agency: str = PENSION, purpose: str = "B1-77.12"
    ) -> list[watch.ToldChange]:
        place = watch.WatchPlace(list_id=self.list_id, after=after)
        request = watch.WatchChangesRequest(context=self.network.context(purpose=purpose), place=place)

        async def requests() -> AsyncIterator[watch.WatchChangesRequest]:
            yield signed(request, agency)

        with called_by(asking(agency)):
            (answer,) = [each async for each in self.network.watch.WatchChanges(requests(), None)]
        assert answer.request_id == request.context.request_id
        return list(answer.changes)

    async def end(self, agency: str = PENSION) -> Any:
        request = watch.EndWatchRequest(context=self.network.context(), list_id=self.list_id)
        with called_by(asking(agency)):
            return await self.network.watch.EndWatch(signed(request, agency), None)

    def report(self, number: int, reason: int = MOVED, *, block: str = "", **parts: Any) -> Any:
        """One more change of a resident, as the center applies it."""
        record = parts.pop("record", None) or self.network.record_of(number)
        if block:
            record.address.block = block
        code = parts.get("previous_resident_code") or record.resident_code
        version = self._versions.get(code, 1) + 1
        self._versions[code] = self._versions[record.resident_code] = version
        day = parts.pop("day", CalendarDate(year=2026, month=5, day=1))
        change = change_pb2.Change(reason=reason, event_date=day, record=record, version=version, **parts)  # type: ignore[arg-type]  # number of an enum
        self.network.change(change)
        with self.network.register.begin() as connection:
            while look_through(connection):
                pass
        return record

    def actions(self) -> list[int]:
        return [entry.action for entry in self.network.leaves()]


@pytest.fixture
def house(network: Network, monkeypatch: pytest.MonkeyPatch) -> House:
    monkeypatch.setattr(center_changes, "WAIT_SECONDS", 0.0)
    network.enter(*map(network.record_of, (1, 2, 3)))
    return House(network)


async def refusal(call: Any) -> int:
    with pytest.raises(Refused) as caught:
        await call
    return caught.value.reason


async def test_a_change_of_a_person_on_the_list_is_told_with_its_items_alone(house: House) -> None:
    told = await house.begin(await house.handle(1), await house.handle(2))
    house.report(3, block="9番9号")
    house.report(2, block="4番5号")
    (change,) = await house.changes()
    assert change.number == told.numbers[1]
    assert change.reason == MOVED
    assert change.provided.record.address.block == "4番5号"
    assert not change.provided.record.HasField("name")
    assert not change.provided.record.resident_code
    assert change.provided.effective_date.month == 5


async def test_what_is_not_on_disk_there_is_told_again_at_its_position_and_what_is_never(house: House) -> None:
    await house.begin(await house.handle(1))
    blocks = [f"{number}番" for number in range(10, 14)]
    for block in blocks[:2]:
        house.report(1, block=block)
    first = await house.changes(0)
    again = await house.changes()
    assert [change.position for change in again] == [change.position for change in first]
    assert len({bytes(change.receipt.entry) for change in (*first, *again)}) == 4, "each telling has its entry"
    for block in blocks[2:]:
        house.report(1, block=block)
    rest = await house.changes(first[0].position)
    told = [change.provided.record.address.block for change in (first[0], *rest)]
    assert told == blocks
    assert await house.changes(rest[-1].position) == []
    assert await house.changes() == []


async def test_each_telling_is_on_record_before_it_leaves_and_a_beginning_and_an_end_too(house: House) -> None:
    begun = await house.begin(await house.handle(1), await house.handle(2))
    house.report(1, block="8番")
    (change,) = await house.changes()
    ended = await house.end()
    entries = house.network.leaves()[2:]
    assert [entry.action for entry in entries] == [
        ledger.ACTION_WATCH,
        ledger.ACTION_WATCH,
        ledger.ACTION_TELL_CHANGE,
        ledger.ACTION_END_WATCH,
    ]
    assert [entry.result for entry in entries] == [4, 4, ledger.RESULT_PROVIDED, 4]
    receipts = [*begun.receipts, change.receipt, ended.receipt]
    assert [receipt.entry for receipt in receipts] == [
        read_entry(leaf).SerializeToString() for leaf in house.network.entries()[2:]
    ]
    assert entries[0].person_token == entries[2].person_token != entries[1].person_token
    assert list(entries[2].fields) == list(entries[2].wanted) == sorted(ADDRESS)
    assert entries[1].request_id == question_id(begun.request_id, 1)


async def test_without_its_entry_no_change_is_told(house: House) -> None:
    await house.begin(await house.handle(1))
    house.report(1, block="8番")
    house.network.writer.close()
    assert await refusal(house.changes()) == errors.ERROR_REASON_LEDGER_UNAVAILABLE


async def test_nobody_comes_on_a_list_but_by_a_handle_of_an_answer_to_this_agency_for_this_row(house: House) -> None:
    handle = await house.handle(1)
    altered = handle[:-1] + bytes([handle[-1] ^ 1])
    for handles, changed in (
        ([altered], {}),
        ([b"x"], {}),
        ([bytes(len(handle))], {}),
        ([handle, altered], {}),
        ([handle], {"purpose": "B1-77.2"}),
    ):
        assert (
            await refusal(house.begin(*handles, purpose=changed.get("purpose", "B1-77.12")))
            == errors.ERROR_REASON_HANDLE_INVALID
        )
        assert house.network.leaves()[-1].refusal == errors.ERROR_REASON_HANDLE_INVALID
    assert await refusal(house.changes()) == errors.ERROR_REASON_WATCH_UNKNOWN
    assert len({await house.handle(1) for _ in range(3)}) == 3, "handles of one person differ"
    assert len(handle) == len(await house.handle(2))


async def test_a_question_that_does_not_want_a_handle_gets_none_nor_does_one_without_a_match(house: House) -> None:
    assert not (await house.network.inquire()).handle
    nobody = await house.network.inquire(number=9, for_watch=True)
    assert not nobody.handle
    message = house.network.batch_of(1, 9, for_watch=True)
    (answer,) = await house.network.inquire_batch(message)
    assert [bool(each.handle) for each in answer.answers] == [True, False]
    await house.begin(answer.answers[0].handle)


@pytest.mark.parametrize(("days", "holds"), [(-1, False), (0, True), (366, True), (367, False)])
async def test_a_list_ends_within_a_year(house: House, days: int, holds: bool) -> None:
    watching = house.begin(await house.handle(1), days=days)
    if holds:
        await watching
    else:
        assert await refusal(watching) == errors.ERROR_REASON_WATCH_EXPIRY


async def test_a_list_that_ran_out_tells_nothing_and_is_forgotten(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await house.begin(await house.handle(1), days=1)
    house.report(1, block="8番")
    later = today_in_japan() + timedelta(days=2)
    monkeypatch.setattr(center_changes, "today_in_japan", lambda: later)
    assert await refusal(house.changes()) == errors.ERROR_REASON_WATCH_UNKNOWN
    with house.network.register.begin() as connection:
        center_changes._end_what_ran_out(connection)
        assert watches.read_list(connection, house.list_id, today=date(2026, 1, 1)) is None


async def test_an_ended_list_tells_nothing(house: House) -> None:
    await house.begin(await house.handle(1))
    house.report(1, block="8番")
    await house.end()
    assert await refusal(house.changes()) == errors.ERROR_REASON_WATCH_UNKNOWN
    assert await refusal(house.end()) == errors.ERROR_REASON_WATCH_UNKNOWN


async def test_a_list_is_its_agencys_for_its_row_and_its_items(house: House) -> None:
    handle = await house.handle(1)
    await house.begin(handle)
    assert await refusal(house.changes(purpose="B1-77.2")) == errors.ERROR_REASON_WATCH_UNKNOWN
    assert await refusal(house.changes(agency="example-bank")) == errors.ERROR_REASON_PRIVATE_SECTOR_BANNED
    name = [inquiry.IDENTITY_FIELD_NAME]
    assert await refusal(house.begin(handle, fields=name)) == errors.ERROR_REASON_WATCH_UNKNOWN
    assert (await house.begin(handle)).numbers == (await house.begin(handle, days=60)).numbers


@pytest.mark.parametrize("changed", [{"fields": [inquiry.IDENTITY_FIELD_RESIDENT_CODE]}, {"purpose": "B1-41"}])
async def test_a_list_that_the_law_does_not_open_is_not_begun(house: House, changed: dict[str, Any]) -> None:
    reason = await refusal(house.begin(await house.handle(1), **changed))
    assert reason in (errors.ERROR_REASON_FIELD_NOT_ALLOWED, errors.ERROR_REASON_PURPOSE_NOT_GRANTED)
    assert house.network.leaves()[-1].refusal == reason


async def test_the_center_decides_again_when_it_tells(house: House) -> None:
    await house.begin(await house.handle(1))
    house.report(1, block="8番")
    policy = house.network.changes._policy

    class Narrower:
        def decide(self, question: Any) -> Any:
            asked = question._replace(purpose="B1-41") if question.fields else question
            return policy.decide(asked)

        territory = policy.territory

    house.network.changes._policy = Narrower()
    assert await refusal(house.changes()) == errors.ERROR_REASON_PURPOSE_NOT_GRANTED
    assert ledger.ACTION_TELL_CHANGE in house.actions()


async def test_nothing_is_told_of_a_municipality_that_the_agency_may_not_hear_of(house: House) -> None:
    await house.begin(await house.handle(1))
    house.report(1, block="8番")
    telling = house.network.changes._telling
    policy = telling._policy

    class Elsewhere:
        decide = policy.decide

        def territory(self, *_question: Any) -> Any:
            return lambda _holder: False

    telling._policy = Elsewhere()
    assert await house.changes() == []


async def test_of_a_protected_person_nothing_is_told_nor_later_what_happened_meanwhile(house: House) -> None:
    await house.begin(await house.handle(1))
    house.report(1, block="1番")
    house.report(1, change_pb2.CHANGE_REASON_PROTECTION_BEGIN, block="1番", protected=True)
    assert await house.changes() == [], "not even what happened before"
    house.report(1, block="2番", protected=True)
    house.report(1, change_pb2.CHANGE_REASON_PROTECTION_END, block="2番")
    house.report(1, block="3番")
    told = [change.provided.record.address.block for change in await house.changes()]
    assert told == ["1番", "3番"]


async def test_what_changed_between_the_answer_and_the_list_is_told_once(house: House) -> None:
    house.report(1, block="6番")
    items = house.network.record_of(1)
    items.address.block = "6番"
    subject = inquiry.Subject(four_items=house.network.four_items(items))
    handle = await house.handle(1, subject=subject)
    house.report(1, block="7番")
    await house.begin(handle)
    await house.begin(handle)
    house.report(1, block="8番")
    told = await house.changes()
    assert [change.provided.record.address.block for change in told] == ["7番", "8番"]
    assert await house.changes(told[-1].position) == []


async def test_who_changed_before_what_the_list_was_told_has_to_be_asked_about_again(house: House) -> None:
    first, second, third = [await house.handle(number) for number in (1, 2, 3)]
    house.report(1, block="7番")
    house.report(2, block="8番")
    house.report(3, change_pb2.CHANGE_REASON_PROTECTION_BEGIN, protected=True)
    await house.begin(second)
    (change,) = await house.changes()
    assert change.provided.record.address.block == "8番"
    assert await refusal(house.begin(third, first)) == errors.ERROR_REASON_HANDLE_INVALID
    await house.begin(third)
    moved = house.network.record_of(1)
    moved.address.block = "7番"
    subject = inquiry.Subject(four_items=house.network.four_items(moved))
    await house.begin(await house.handle(1, subject=subject))
    assert await house.changes(change.position) == []


async def test_of_who_was_protected_between_the_answer_and_the_list_nothing_of_meanwhile_is_told(house: House) -> None:
    handle = await house.handle(1)
    house.report(1, block="1番")
    house.report(1, change_pb2.CHANGE_REASON_PROTECTION_BEGIN, block="1番", protected=True)
    house.report(1, block="2番")
    house.report(1, change_pb2.CHANGE_REASON_PROTECTION_END, block="2番")
    house.report(1, block="3番")
    await house.begin(handle)
    told = [change.provided.record.address.block for change in await house.changes()]
    assert told == ["1番", "3番"]


async def test_a_handle_that_does_not_say_the_version_holds_as_before(house: House) -> None:
    keys = house.network.changes._handles
    uri = Identity("agency", PENSION).uri
    content = keys.read(await house.handle(1), agency=uri, purpose="B1-77.12", now=now())
    assert content.version == 1
    content.ClearField("version")
    house.report(1, block="7番")
    await house.begin(keys.make(content))
    house.report(1, block="8番")
    assert [change.provided.record.address.block for change in await house.changes()] == ["8番"]


async def test_a_death_is_told(house: House) -> None:
    await house.begin(await house.handle(1))
    house.report(1, change_pb2.CHANGE_REASON_DELETION_DEATH)
    (change,) = await house.changes()
    assert change.reason == change_pb2.CHANGE_REASON_DELETION_DEATH
    assert change.provided.status == 4


async def test_a_person_whose_code_changes_stays_on_the_list(house: House) -> None:
    old, handle = house.network.record_of(1), await house.handle(1)
    await house.begin(handle)
    new = house.network.record_of(1, resident_code=house.network.record_of(77).resident_code)
    reason = change_pb2.CHANGE_REASON_CORRECTION_RESIDENT_CODE_REQUEST
    house.report(1, reason, record=new, previous_resident_code=old.resident_code)
    moved = house.network.record_of(1, resident_code=new.resident_code)
    house.report(1, record=moved, block="7番")
    changed, then = await house.changes()
    assert changed.number == then.number
    assert not changed.provided.record.resident_code
    assert then.provided.record.address.block == "7番"
    other = House(house.network)
    await other.begin(handle)
    house.report(1, record=moved, block="8番")
    told = [change.provided.record.address.block for change in (await other.changes())[1:]]
    assert told == ["7番", "8番"], "a handle of the old code is of the same person"


@pytest.mark.parametrize("after", [0, 1, 3, 10**6])
async def test_a_list_goes_on_from_no_place_but_one_that_it_told(house: House, after: int) -> None:
    await house.begin(await house.handle(1))
    house.report(1, block="8番")
    (change,) = await house.changes()
    assert await house.changes(change.position) == []
    assert await refusal(house.changes(after)) == errors.ERROR_REASON_WATCH_POSITION


async def test_a_change_is_told_while_the_agency_waits_for_it(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(center_changes, "WAIT_SECONDS", 30.0)
    await house.begin(await house.handle(1))
    running = asyncio.ensure_future(house.network.changes.run())
    asking = asyncio.ensure_future(house.changes())
    record = house.network.record_of(1)
    record.address.block = "8番"
    change = change_pb2.Change(
        reason=MOVED, event_date=CalendarDate(year=2026, month=5, day=1), record=record, version=2
    )
    arrival = Arrival("131016", 1, 101, change, change.SerializeToString())
    await house.network.register_writer.run(
        lambda connection: apply_arrivals(connection, [arrival], scope="", now_us=1)
    )
    async with asyncio.timeout(10):
        assert len(await asking) == 1
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_list_costs_nothing_of_the_budget_for_questions_nor_after_a_restart(house: House) -> None:
    await house.begin(await house.handle(1))
    house.report(1, block="8番")
    await house.changes()
    budgets = house.network.admission._budgets
    again = Budgets(budgets._directory)
    for entry in house.network.leaves():
        again.restore(entry)
    for each in (budgets, again):
        assert each._agencies[Identity("agency", PENSION).uri].searches == 1


async def test_a_ticket_for_changes_opens_no_record(house: House) -> None:
    await house.handle(1)
    network = house.network
    (request,) = network.center.requests
    (ticket,) = provision.Tickets.FromString(request.tickets.tickets).tickets
    ticket.kind, ticket.request_id = provision.PROVISION_KIND_CHANGES, str(uuid.uuid4())
    ticket.subject_digest = subject_digest(request.questions[0].subject, ticket.request_id)
    signed = sign_tickets([ticket], network.ticket_key, gateway=GATEWAY.uri, now=now())
    network.reads.clear()
    response = await network.center.Provide(
        provision.ProvideRequest(tickets=signed, questions=request.questions), timeout=1
    )
    assert [each.refusal for each in response.provisions] == [errors.ERROR_REASON_TICKET_INVALID]
    assert network.reads == []


async def test_how_many_lists_are_open_and_since_when_the_oldest_change_waits_can_be_scraped(house: House) -> None:
    await house.begin(await house.handle(1))
    begun = now()
    house.report(1, block="11番")
    served = metrics.configure("127.0.0.1:0")
    showing = asyncio.create_task(house.network.changes.show())

    async def scraped() -> dict[str, float]:
        page = await asyncio.to_thread(lambda: urllib.request.urlopen(f"http://{served}/metrics").read().decode())
        found = re.findall(r"^jukinet_(watch\w+) (\S+)$", page, re.MULTILINE)
        return {name: float(value) for name, value in found}

    try:
        while not (shown := await scraped()):
            await asyncio.sleep(0)
    finally:
        showing.cancel()
        metrics.shutdown()
    assert shown["watches_open"] == 1
    assert 0 < shown["watch_untold_age_seconds"] <= (now() - begun).total_seconds()
