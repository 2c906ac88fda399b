"""A recall is told until it is acknowledged, each step on record, and with it how far the gateway knows corrections."""

import asyncio
import uuid
from datetime import UTC, date
from types import SimpleNamespace
from typing import Any

import protovalidate
import pytest
from sqlalchemy import text

from agency_gateway import provided, recall_service
from agency_gateway import recall_store as store
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2 as ledger
from jukinet._pb.jukinet.provision.v1.correction_pb2 import ListCorrectionsRequest
from jukinet._pb.jukinet.recall.v1 import recall_pb2 as recall
from jukinet._pb.jukinet.register.v1 import change_pb2
from jukinet.ledger.entry import EntryKeys
from jukinet.ledger.verify.layout import read_entry
from jukinet.mesh.clock import now
from jukinet.mesh.errors import Refused
from jukinet.store import corrections
from tests.agency_gateway.agencies import MAYOR, PENSION
from tests.agency_gateway.calls import GATEWAY
from tests.agency_gateway.office import Office
from tests.damaged import flip
from tests.purpose.drafts import draft

Network = Any  # the class is in network.py; tests put methods of their own into it, and no context into calls
NAME, ADDRESS = inquiry.IDENTITY_FIELD_NAME, inquiry.IDENTITY_FIELD_ADDRESS
MOVED = change_pb2.CHANGE_REASON_CORRECTION_MOVE_WITHIN


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
