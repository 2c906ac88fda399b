"""Exactly those who were provided with what was corrected as wrong are told so, once, until they acknowledge it."""

import asyncio
import uuid
from datetime import UTC, date, timedelta
from types import SimpleNamespace
from typing import Any

import protovalidate
import pytest
from sqlalchemy import select, text

from agency_gateway import provided, recall_service
from agency_gateway import recall_store as store
from center_node import changes as center_changes
from center_node import corrections as center_corrections
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2 as ledger
from jukinet._pb.jukinet.provision.v1.correction_pb2 import ListCorrectionsRequest
from jukinet._pb.jukinet.recall.v1 import recall_pb2 as recall
from jukinet._pb.jukinet.register.v1 import change_pb2
from jukinet._pb.jukinet.register.v1.identity_pb2 import BirthDate
from jukinet.ledger.entry import EntryKeys
from jukinet.ledger.verify.layout import read_entry
from jukinet.mesh.clock import now, today_in_japan
from jukinet.mesh.errors import Refused
from jukinet.store import corrections
from jukinet.store.watch_look import look_through
from tests.agency_gateway.calls import GATEWAY
from tests.agency_gateway.conftest import MAYOR, PENSION
from tests.agency_gateway.office import Office
from tests.agency_gateway.test_seals import later
from tests.agency_gateway.test_watch import House
from tests.damaged import flip
from tests.purpose.drafts import draft

Network = Any  # the fixture's own class lives in conftest.py
NAME, ADDRESS = inquiry.IDENTITY_FIELD_NAME, inquiry.IDENTITY_FIELD_ADDRESS
BIRTH, SEX = inquiry.IDENTITY_FIELD_BIRTH_DATE, inquiry.IDENTITY_FIELD_SEX
NUMBER = inquiry.IDENTITY_FIELD_INDIVIDUAL_NUMBER
MOVED = change_pb2.CHANGE_REASON_CORRECTION_MOVE_WITHIN
EX_OFFICIO = change_pb2.CHANGE_REASON_CORRECTION_EX_OFFICIO
DELETED, ENTERED = change_pb2.CHANGE_REASON_DELETION_EX_OFFICIO, change_pb2.CHANGE_REASON_ENTRY_EX_OFFICIO
CODE_REQUEST = change_pb2.CHANGE_REASON_CORRECTION_RESIDENT_CODE_REQUEST


@pytest.fixture
def office(network: Network, monkeypatch: pytest.MonkeyPatch) -> Office:
    for module in (center_corrections, recall_service):
        monkeypatch.setattr(module, "WAIT_SECONDS", 0.0)
    return Office(network, 1, 2, 3)


async def test_who_was_provided_with_what_was_wrong_is_told_and_nobody_else(office: Office) -> None:
    asked = await office.ask(1)
    await office.ask(2)
    office.report(1, block="9番9号")
    await office.ask(1)
    assert await office.recalled() == {asked: [ADDRESS]}
    assert await office.told(agency=MAYOR.name, purpose="B2-1-2") == []


async def test_a_recall_says_which_answer_and_items_and_when_and_no_value(office: Office) -> None:
    asked = await office.ask(1)
    office.report(1, block="9番9号", name="試験花代")
    await office.look()
    (told,) = await office.told()
    answer = office.network.leaves()[told.answer_index]
    assert (answer.request_id, answer.time) == (asked, told.answered_at)
    assert list(told.items) == [NAME, ADDRESS]
    corrected_on = date(told.corrected_on.year, told.corrected_on.month, told.corrected_on.day)
    assert today_in_japan() - corrected_on <= timedelta(days=1)
    said = str(told) + str(office.network.leaves()[-1])
    assert not any(value in said for value in ("花", "9番", office.records[1].resident_code))


async def test_what_life_changed_is_not_recalled(office: Office) -> None:
    await office.ask(1)
    office.report(1, MOVED, was_wrong=False, block="9番9号")
    office.report(1, EX_OFFICIO, was_wrong=False, name="婚姻花子")
    assert await office.recalled() == {}


async def test_a_birth_date_is_recalled_without_the_municipalitys_word(office: Office) -> None:
    asked = await office.ask(1, fields=[BIRTH, NAME])
    office.report(1, was_wrong=False, birth_date=BirthDate(year=1981, month=1, day=2), name="試験花代")
    assert await office.recalled() == {asked: [BIRTH]}


async def test_an_item_that_was_not_provided_is_not_recalled(office: Office) -> None:
    await office.ask(1, fields=[NAME])
    office.report(1, block="9番9号")
    assert await office.recalled() == {}


async def test_a_yes_is_recalled_where_one_of_the_four_items_was_wrong(office: Office) -> None:
    items = office.network.four_items(office.records[1])
    yes = await office.network.verify(items)
    items.name = "別人"
    await office.network.verify(items)
    office.report(1, name="試験花代")
    assert await office.recalled() == {yes.request_id: [NAME]}


MINOR: dict[str, tuple[int, dict[str, Any]]] = {
    "reading": (NAME, {"name": "試験花代"}),
    "building": (ADDRESS, {"block": "9番9号"}),
}
"""A part of an item that no search compares; the item; a part of it that one does."""


@pytest.mark.parametrize("part", MINOR)
async def test_a_yes_that_holds_is_not_recalled_and_who_was_provided_with_what_was_wrong_is(
    office: Office, part: str
) -> None:
    item, compared = MINOR[part]
    yes, asked = await office.verify(1), await office.ask(1)
    mended: dict[str, Any] = {part: "テスト"}
    office.report(1, **mended)
    assert await office.recalled() == {asked: [item]}
    office.report(1, **compared)
    assert await office.recalled() == {asked: [item], yes: [item]}, "what the yes said was wrong all the time"


@pytest.mark.parametrize("part", MINOR)
async def test_a_yes_that_was_under_way_is_recalled_where_it_does_not_hold_alone(office: Office, part: str) -> None:
    item, compared = MINOR[part]
    arrive = await office.ask_slowly(1, office.verify)
    mended: dict[str, Any] = {part: "テスト"}
    office.report(1, **mended)
    await office.look()
    first = await arrive()
    assert await office.recalled() == {}
    arrive = await office.ask_slowly(1, office.verify)
    office.report(1, **compared)
    await office.look()
    second = await arrive()
    assert await office.recalled() == {first: [item], second: [item]}


async def test_a_wrong_value_is_recalled_from_when_it_came_and_through_other_changes(office: Office) -> None:
    await office.ask(1)
    office.report(1, MOVED, was_wrong=False, block="8番8号")
    first = await office.ask(1)
    office.report(1, was_wrong=False, name="婚姻花子")
    second = await office.ask(1)
    office.report(1, block="8番9号")
    assert await office.recalled() == {first: [ADDRESS], second: [ADDRESS]}


async def test_an_answer_under_a_resident_code_that_was_changed_since_is_recalled(office: Office) -> None:
    asked = await office.ask(1)
    old = office.records[1].resident_code
    new = office.network.record_of(77).resident_code
    office.report(1, CODE_REQUEST, was_wrong=False, resident_code=new, previous_resident_code=old)
    assert await office.recalled() == {}
    office.report(1, block="9番9号")
    assert await office.recalled() == {asked: [ADDRESS]}


async def test_persons_of_a_batch_are_recalled_one_by_one(office: Office) -> None:
    message = office.network.batch_of(1, 2, 3)
    await office.network.inquire_batch(message)
    office.report(2, name="試験花代")
    (told,) = (await office.recalled()).items()
    leaf = office.network.leaves()[1]
    assert told == (leaf.request_id, [NAME])


async def test_an_answer_that_said_unchanged_is_recalled_too(office: Office) -> None:
    subject = inquiry.Subject(four_items=office.network.four_items(office.records[1]))
    first = await office.network.inquire(subject=subject)
    again = await office.network.inquire(subject=subject, held=first.held)
    assert again.unchanged
    office.report(1, block="9番9号")
    assert await office.recalled() == {each.request_id: [ADDRESS] for each in (first, again)}


async def test_a_damaged_row_stops_no_other_recall_and_its_own_comes_once_it_is_mended(office: Office) -> None:
    first, second, third = [await office.ask(number) for number in (1, 2, 3)]
    codes = [office.records[number].resident_code for number in (1, 2)]
    for number in (1, 2, 3):
        office.report(number, block="9番9号")
    for code in codes:
        flip(office.network.register, code)
    assert await office.recalled() == {third: [ADDRESS]}
    assert office.network.recalls.as_of is None, "all corrections is what was not held against the answers"
    flip(office.network.register, codes[0])
    assert await office.recalled() == {first: [ADDRESS], third: [ADDRESS]}
    assert office.network.recalls.as_of is None
    flip(office.network.register, codes[1])
    assert await office.recalled() == {answer: [ADDRESS] for answer in (first, second, third)}
    assert office.network.recalls.as_of is not None


async def test_of_who_is_protected_nothing_is_told_when_the_damaged_row_is_mended(office: Office) -> None:
    await office.ask(1)
    office.report(1, block="9番9号")
    office.report(1, change_pb2.CHANGE_REASON_PROTECTION_BEGIN, was_wrong=False, protected=True)
    flip(office.network.register, office.records[1].resident_code)
    assert await office.recalled() == {}
    flip(office.network.register, office.records[1].resident_code)
    assert await office.recalled() == {}
    assert office.network.recalls.as_of is not None


async def test_an_answer_that_never_left_is_not_recalled(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = await office.ask(1)
    # As after a restart of the center, which forgets the tickets that were used.
    monkeypatch.setattr(office.network.center_service._tickets, "use", lambda *_about, **_until: None)
    with pytest.raises(Refused, match="REQUEST_ID_REUSED"):
        await office.ask(1, request_id=asked)
    office.report(1, block="9番9号")
    assert await office.recalled() == {asked: [ADDRESS]}


async def test_an_answer_that_is_committed_while_the_gateway_looks_is_recalled(office: Office) -> None:
    asked, arrive = await office.ask(1), await office.ask_slowly(1)
    office.report(1, block="9番9号")
    recalls, later = office.network.recalls, []
    note = recalls._note

    async def note_while_one_arrives(due: Any) -> None:
        recalls._note = note
        await note(due)
        later.append(await arrive())

    recalls._note = note_while_one_arrives
    assert await office.recalled() == {each: [ADDRESS] for each in (asked, *later)}
    assert len(later) == 1


async def test_of_a_protected_person_nothing_is_recalled_nor_later(office: Office) -> None:
    await office.ask(1)
    office.report(1, change_pb2.CHANGE_REASON_PROTECTION_BEGIN, was_wrong=False, protected=True)
    office.report(1, block="9番9号", protected=True)
    assert await office.recalled() == {}
    office.report(1, change_pb2.CHANGE_REASON_PROTECTION_END, was_wrong=False)
    assert await office.recalled() == {}


async def test_of_a_record_that_was_entered_in_error_all_that_was_provided_is_recalled_once(office: Office) -> None:
    asked, items = await office.ask(1), office.network.four_items(office.records[1])
    yes = (await office.network.verify(items)).request_id
    await office.ask(2)
    office.report(1, DELETED)
    everything = {asked: [NAME, ADDRESS], yes: [NAME, BIRTH, SEX, ADDRESS]}
    assert await office.recalled() == everything
    office.report(1, ENTERED, name="試験花代")
    await office.ask(1)
    assert await office.recalled() == everything


async def test_what_an_entry_replaces_of_the_record_deleted_before_it_is_recalled(office: Office) -> None:
    asked = await office.ask(1)
    await office.ask(1, fields=[ADDRESS])
    office.report(1, DELETED, was_wrong=False)
    assert await office.recalled() == {}
    office.report(1, ENTERED, name="試験花代")
    assert await office.recalled() == {asked: [NAME]}


@pytest.mark.parametrize(
    "reason",
    [
        DELETED,
        change_pb2.CHANGE_REASON_DELETION_DEATH,
        change_pb2.CHANGE_REASON_DELETION_DOMESTIC_MOVE_OUT,
        change_pb2.CHANGE_REASON_DELETION_ABROAD_MOVE_OUT,
    ],
)
async def test_who_is_deleted_for_another_reason_and_entered_again_is_not_recalled(
    office: Office, reason: change_pb2.ChangeReason.ValueType
) -> None:
    await office.ask(1)
    office.report(1, reason, was_wrong=False)
    office.report(1, ENTERED, was_wrong=False, block="9番9号")
    assert await office.recalled() == {}


async def test_two_corrections_of_one_answer_are_two_recalls(office: Office) -> None:
    asked = await office.ask(1)
    office.report(1, block="9番9号")
    office.report(1, name="試験花代")
    await office.look()
    told = await office.told()
    assert [(each.request_id, list(each.items)) for each in told] == [(asked, [ADDRESS]), (asked, [NAME])]


async def test_each_recall_and_each_acknowledgement_is_on_record_once(office: Office) -> None:
    for number in (1, 2):
        await office.ask(number)
        office.report(number, block="9番9号")
    await office.look()
    first, second = await office.told()
    assert await office.told() == [first, second], "until it is acknowledged it is told again, at its position"
    assert await office.told(first.place) == [second]
    assert await office.told(first.place) == [second]
    assert await office.told(second.place) == []
    await office.look()
    entries = office.network.leaves()[2:]
    noted, known = ledger.ACTION_RECALL, ledger.ACTION_ACKNOWLEDGE_RECALL
    assert [entry.action for entry in entries] == [noted, noted, known, known]
    assert {entry.result for entry in entries} == {ledger.RESULT_DONE}
    assert {entry.agency for entry in entries} == {PENSION.uri}
    assert not any(entry.person_token for entry in entries)
    assert [bool(entry.operator_proof) for entry in entries] == [False, False, True, True]
    for leaf in office.network.entries():
        read_entry(leaf)


async def test_nothing_is_acknowledged_that_this_gateway_did_not_tell_this_agency_for_this_purpose(
    office: Office,
) -> None:
    for purpose in ("B1-77.12", "B1-77.2"):
        await office.ask(1, purpose=purpose)
    office.report(1, block="9番9号")
    await office.look()
    (told,), (other,) = await office.told(), await office.told(purpose="B1-77.2")
    places = {
        "of another purpose": other.place,
        "of another agency": place_of(told.position, agency=MAYOR.uri),
        "of another gateway": place_of(told.position, gateway="spiffe://nodes.jukinet/gateway/gateway-2"),
        "of another gateway's key": place_of(told.position, root=bytes([1] * 32)),
        "of a recall that is not there": place_of(other.position + 1),
        "the position alone": told.place[:8],
        "of this tag at another position": other.position.to_bytes(8, "big") + told.place[8:],
        "without its end": told.place[:-1],
        "with more behind it": told.place + b"0",
        "of zeros": bytes(24),
    }
    on_record = office.network.leaves()
    for what, place in places.items():
        with pytest.raises(Refused) as refused:
            await office.told(place)
        assert refused.value.reason == errors.ERROR_REASON_RECALL_POSITION, what
        # An entry would show that the agency had a recall, of a sealed answer perhaps.
        assert office.network.leaves() == on_record, what
        assert await office.told() == [told], what
    assert told.place == place_of(told.position)
    assert await office.told(told.place) == []


def test_a_recall_is_not_acknowledged_by_a_bare_position_as_older_programs_do() -> None:
    context = inquiry.InquiryContext(
        request_id=str(uuid.uuid4()), purpose="B1-77.12", case_reference="case-1", operator="op-2"
    )
    asked = recall.TellRecallsRequest(context=context)
    assert not protovalidate.collect_violations(asked)
    asked.acknowledged_position = 5
    (broken,) = protovalidate.collect_violations(asked)
    assert broken.proto.rule_id == "acknowledged_position.is_by_place_now"


def place_of(position: int, *, gateway: str = GATEWAY.uri, agency: str = PENSION.uri, root: bytes = bytes(32)) -> bytes:
    """What a gateway of this name and key tells an agency that a recall is acknowledged by."""
    return position.to_bytes(8, "big") + EntryKeys(root).recall_tag(gateway, agency, "B1-77.12", position)


async def test_who_may_not_ask_is_told_no_recall(office: Office) -> None:
    with pytest.raises(Refused) as refused:
        await office.told(agency="example-bank")
    assert refused.value.reason == errors.ERROR_REASON_PRIVATE_SECTOR_BANNED
    assert office.actions() == [ledger.ACTION_ACKNOWLEDGE_RECALL]


async def test_what_stands_unacknowledged_is_listed_by_agency_and_purpose(office: Office) -> None:
    for number in (1, 2):
        await office.ask(number)
    await office.ask(3, purpose="B1-77.2")
    for number in (1, 2, 3):
        office.report(number, block="9番9号")
    await office.look()
    (first, _) = await office.told()
    await office.told(first.place)
    listed = await office.network.recall.ListUnacknowledged(recall.ListUnacknowledgedRequest(), None)
    rows = [(each.agency, each.purpose, each.recalls) for each in listed.unacknowledged]
    assert rows == [(PENSION.uri, "B1-77.12", 1), (PENSION.uri, "B1-77.2", 1)]
    assert all(each.since.seconds > 0 for each in listed.unacknowledged)


async def test_whoever_follows_the_corrections_gathers_the_marks_and_finds_what_is_gathered(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provided, "RUN", 2)
    asked = [await office.ask(1) for _ in range(5)]
    await office.look()
    with office.network.ledger_reader.connect() as connection:
        assert provided.gathered(connection) == 4
    office.report(1, block="9番9号")
    assert await office.recalled() == {each: [ADDRESS] for each in asked}


@pytest.mark.parametrize("provision", ["immediate", "batch", "changes"])
async def test_a_row_that_is_open_to_one_method_alone_fetches_its_recalls(office: Office, provision: str) -> None:
    asked = await office.ask(1)
    office.network.desk._policy.adopt(draft("2020-01", date(2020, 1, 1), rows={"B1-77": {"provisions": provision}}))
    office.report(1, block="9番9号")
    assert await office.recalled() == {asked: [ADDRESS]}


async def test_a_row_that_is_open_to_no_method_fetches_no_recalls(office: Office) -> None:
    await office.ask(1)
    office.network.desk._policy.adopt(draft("2020-01", date(2020, 1, 1), rows={"B1-77": None}))
    office.report(1, block="9番9号")
    await office.look()
    unknown = errors.ERROR_REASON_PURPOSE_UNKNOWN
    assert await office.network.refusal_of(office.told()) == unknown
    assert office.network.leaves()[-1].refusal == unknown


async def test_a_sealed_answer_is_recalled_and_no_mark_ties_it_to_an_open_one(office: Office) -> None:
    network = office.network
    network.desk._policy.adopt(draft("2020-01", date(2020, 1, 1), seals={"B1-77": 12}))
    sealed, opened = await office.ask(sealed_until=later(6)), await office.ask()
    with network.ledger_reader.connect() as connection:
        marks = connection.execute(select(provided.provided.c.mark)).scalars().all()
    assert len(set(marks)) == 2
    office.report(1, block="9番9号")
    assert await office.recalled() == {sealed: [ADDRESS], opened: [ADDRESS]}
    assert {entry.sealed_until for entry in network.leaves()[2:]} == {""}


async def test_a_change_that_is_told_is_recalled_even_where_it_is_told_after_the_correction_was_known(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(center_changes, "WAIT_SECONDS", 0.0)
    house = House(office.network)
    await house.begin(await house.handle(2))
    for block in ("4番", "5番", "6番"):
        office.report(2, MOVED, was_wrong=False, block=block)
    office.report(2, block="7番")
    assert await office.recalled() == {}
    with office.network.register.begin() as connection:
        while look_through(connection):
            pass
    *_, before, wrong, _right = await house.changes()
    entries = {entry.request_id: entry for entry in office.network.leaves()}
    ((recalled, items),) = (await office.recalled()).items()
    assert items == [ADDRESS]
    assert entries[recalled].SerializeToString() == wrong.receipt.entry != before.receipt.entry


async def test_a_deletion_that_is_told_of_a_record_entered_in_error_is_recalled_too(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(center_changes, "WAIT_SECONDS", 0.0)
    house = House(office.network)
    await house.begin(await house.handle(2))
    office.report(2, DELETED)
    with office.network.register.begin() as connection:
        look_through(connection)
    (told,) = await house.changes()
    entries = {entry.request_id: entry.SerializeToString() for entry in office.network.leaves()}
    assert told.receipt.entry in [entries[request_id] for request_id in await office.recalled()]


async def test_where_an_older_database_was_put_back_at_the_center_its_corrections_are_found_once(
    office: Office,
) -> None:
    asked = await office.ask(1)
    office.report(1, block="9番9号")
    assert await office.recalled() == {asked: [ADDRESS]}
    with office.network.register.begin() as connection:
        connection.execute(text("DROP TRIGGER history_no_update"))
        connection.execute(text("UPDATE history SET applied_at = applied_at + 1, checksum = NULL"))
    again = await office.network.recalls._center.ListCorrections(
        ListCorrectionsRequest(**_place_of(office.network)), timeout=1
    )
    assert len(again.corrections) == 1, "it is listed from the beginning"
    assert await office.recalled() == {asked: [ADDRESS]}
    second = await office.ask(1)
    office.report(1, block="9番8号")
    assert await office.recalled() == {asked: [ADDRESS], second: [ADDRESS]}


def _place_of(network: Network) -> dict[str, Any]:
    with network.ledger_reader.connect() as connection:
        place = store.read_place(connection)
    return {"after": place.position, "place": place.place}


async def test_a_long_history_is_read_to_its_end(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corrections, "READ_THROUGH", 2)
    monkeypatch.setattr(corrections, "MOST_VERSIONS", 1)
    asked = []
    for number in (1, 2, 3):
        for block in ("4番", "5番", "6番"):
            office.report(number, MOVED, was_wrong=False, block=block)
        asked.append(await office.ask(number))
        office.report(number, block="9番9号")
    assert await office.recalled() == {each: [ADDRESS] for each in asked}


async def test_a_gateway_that_did_not_read_all_corrections_yet_says_so_and_goes_on_where_it_ended(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corrections, "READ_THROUGH", 2)
    network, asked = office.network, [await office.ask(number) for number in (1, 2, 3)]
    for number in (1, 2, 3):
        office.report(number, block="9番9号")
    said: list[tuple[int, bool]] = []
    for _ in range(4):
        # As at a start of the gateway.
        network.recalls = network.recall._recalls = network.new_recalls()
        began = now()
        await network.recalls.step()
        answer = await office.hear()
        complete = answer.HasField("as_of")
        assert not complete or answer.as_of.ToDatetime(UTC) >= began
        said.append((len(answer.recalls), complete))
    assert said == [(0, False), (1, False), (3, False), (3, True)]
    assert [each.request_id for each in await office.told()] == asked


async def test_a_gateway_that_cannot_follow_the_center_says_since_when(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    await office.look()
    as_of = (await office.hear()).as_of
    await office.ask(1)
    office.report(1, block="9番9号")

    async def unreachable(*_: Any, **_more: Any) -> Any:
        raise TimeoutError

    with monkeypatch.context() as patch:
        patch.setattr(office.network.recalls, "_center", SimpleNamespace(ListCorrections=unreachable))
        with pytest.raises(TimeoutError):
            await office.network.recalls.step()
    answer = await office.hear()
    assert (list(answer.recalls), answer.as_of) == ([], as_of)
    await office.look()
    answer = await office.hear()
    assert len(answer.recalls) == 1
    assert answer.as_of.ToDatetime(UTC) > as_of.ToDatetime(UTC)


async def test_a_recall_is_told_while_the_agency_waits_for_it(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recall_service, "WAIT_SECONDS", 30.0)
    asked = await office.ask(1)
    waiting = asyncio.ensure_future(office.told())
    await asyncio.sleep(0)
    office.report(1, block="9番9号")
    async with asyncio.timeout(10):
        await office.look()
        assert [each.request_id for each in await waiting] == [asked]


async def test_without_its_entry_nothing_is_noted_and_nothing_acknowledged(office: Office) -> None:
    await office.ask(1)
    office.report(1, block="9番9号")
    record = office.network.record
    is_open, record._is_open = record._is_open, lambda: False
    with pytest.raises(Refused, match="LEDGER_UNAVAILABLE"):
        await office.look()
    record._is_open = is_open
    await office.look()
    (told,) = await office.told()
    record._is_open = lambda: False
    with pytest.raises(Refused, match="LEDGER_UNAVAILABLE"):
        await office.told(told.place)
    record._is_open = is_open
    assert await office.told() == [told]
