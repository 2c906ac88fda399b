"""Exactly those who were provided with what was corrected as wrong are told so, of the items that were wrong alone."""

from datetime import date, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from agency_gateway import provided
from center_node import changes as center_changes
from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.register.v1 import change_pb2
from jukinet._pb.jukinet.register.v1.identity_pb2 import BirthDate
from jukinet.mesh.clock import today_in_japan
from jukinet.mesh.errors import Refused
from jukinet.store.watch_look import look_through
from tests.agency_gateway.agencies import MAYOR
from tests.agency_gateway.office import Office
from tests.agency_gateway.test_seals import later
from tests.agency_gateway.test_watch import House
from tests.damaged import flip
from tests.purpose.drafts import draft

NAME, ADDRESS = inquiry.IDENTITY_FIELD_NAME, inquiry.IDENTITY_FIELD_ADDRESS
BIRTH, SEX = inquiry.IDENTITY_FIELD_BIRTH_DATE, inquiry.IDENTITY_FIELD_SEX
MOVED = change_pb2.CHANGE_REASON_CORRECTION_MOVE_WITHIN
EX_OFFICIO = change_pb2.CHANGE_REASON_CORRECTION_EX_OFFICIO
DELETED, ENTERED = change_pb2.CHANGE_REASON_DELETION_EX_OFFICIO, change_pb2.CHANGE_REASON_ENTRY_EX_OFFICIO
CODE_REQUEST = change_pb2.CHANGE_REASON_CORRECTION_RESIDENT_CODE_REQUEST


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
