"""A resident sees the own record at a counter, has it corrected, and nobody else sees it."""

import asyncio
import base64
import json
import uuid
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from jukinet._pb.jukinet.disclosure.v1 import disclosure_pb2 as disclosure
from jukinet._pb.jukinet.disclosure.v1.disclosure_pb2_grpc import DisclosureServiceStub
from jukinet._pb.jukinet.disclosure.v1.record_pb2 import GetRecordRequest
from jukinet._pb.jukinet.disclosure.v1.record_pb2_grpc import RecordServiceStub
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2
from jukinet._pb.jukinet.register.v1 import identity_pb2
from jukinet.ledger.verify import verify_files
from jukinet.ledger.verify.layout import read_entry
from jukinet.mesh.clock import now, today_in_japan
from jukinet.mesh.identity import Identity
from jukinet.mesh.pki import load_signing_key
from jukinet.purpose.identity_check import sign_check
from tests.commands import jukinet
from tests.journeys.test_disclosure import run

Network = Any  # the fixture's own class lives in conftest.py
CHIYODA = "131016"
COUNTER, PORTAL = Identity("counter", CHIYODA), Identity("counter", "portal")


def check(network: Network, code: str, affair: Any, counter: Identity = COUNTER) -> disclosure.SignedIdentityCheck:
    key = load_signing_key(network.mesh.root / "clients" / f"counter-{counter.name}" / "check.key")
    made = disclosure.IdentityCheck(
        id=str(uuid.uuid4()),
        counter=counter.uri,
        clerk="clerk 7",
        resident_code=code,
        proof=disclosure.IDENTITY_PROOF_TWO_DOCUMENTS,
        affair=affair,
    )
    made.checked_at.FromDatetime(now())
    return sign_check(made, key)


async def call(network: Network, rpc: str, request: Any, caller: Identity = COUNTER) -> Any:
    async with network.channel("disclosure", caller) as channel:
        return await getattr(DisclosureServiceStub(channel), rpc)(request, timeout=10)


async def listed(network: Network, caller: Identity = COUNTER) -> set[str]:
    async with network.channel("disclosure", caller) as channel:
        requests = DisclosureServiceStub(channel).ListRequests(disclosure.ListRequestsRequest(), timeout=10)
        return {each.request.request_id async for each in requests}


async def requested(network: Network, code: str) -> disclosure.RequestStatus:
    asked = disclosure.RequestRecordRequest(check=check(network, code, disclosure.AFFAIR_REQUEST_RECORD))
    taken: disclosure.RequestStatus = (await call(network, "RequestRecord", asked)).request
    return taken


def answering(network: Network, code: str, number: str, counter: Identity = COUNTER) -> Any:
    word = check(network, code, disclosure.AFFAIR_ANSWER_REQUEST, counter)
    return disclosure.AnswerRequestRequest(check=word, request_id=number)


async def test_a_resident_sees_the_record_as_the_center_has_it_and_has_it_corrected(
    network: Network, refused: Any
) -> None:
    record = await network.enter(CHIYODA)
    code, day = record.resident_code, today_in_japan()
    taken = await requested(network, code)
    assert (taken.state, taken.due_on) == (disclosure.REQUEST_STATE_RECEIVED, f"{day + timedelta(days=30)}")
    extension = disclosure.ExtendRequestRequest(
        request_id=taken.request_id,
        due_on=f"{day + timedelta(days=50)}",
        reason=disclosure.EXTENSION_REASON_MANY_REQUESTS,
        document="7-1",
    )
    extended = (await call(network, "ExtendRequest", extension)).request
    assert (extended.state, extended.due_on) == (disclosure.REQUEST_STATE_EXTENDED, extension.due_on)
    asked = answering(network, code, taken.request_id)
    told = await call(network, "AnswerRequest", asked)
    assert told.stored.is_stored
    assert told.stored.record == record
    assert (told.stored.status, told.stored.holder) == (identity_pb2.RESIDENT_STATUS_ACTIVE, CHIYODA)
    assert told.stored.HasField("as_of")
    assert told.request.answered_on == f"{day}"
    assert await call(network, "AnswerRequest", asked) == told  # an answer that was lost on its way
    with refused() as refusal:
        await call(network, "AnswerRequest", answering(network, code, taken.request_id))
    assert refusal.name == "DISCLOSURE_STEP"

    wanted = disclosure.RequestCorrectionRequest(
        check=check(network, code, disclosure.AFFAIR_REQUEST_CORRECTION), disclosed_by=taken.request_id, document="7-2"
    )
    correction = (await call(network, "RequestCorrection", wanted)).request
    written = disclosure.AnswerCorrectionRequest(
        request_id=correction.request_id, outcome=disclosure.CORRECTION_OUTCOME_NOT_CORRECTED, document="7-3"
    )
    with refused() as refusal:
        await call(network, "AnswerCorrection", written)
    assert refusal.name == "DISCLOSURE_STEP"
    await call(
        network, "InvestigateCorrection", disclosure.InvestigateCorrectionRequest(request_id=correction.request_id)
    )
    done = (await call(network, "AnswerCorrection", written)).request
    assert done.state == disclosure.REQUEST_STATE_ANSWERED


async def test_that_nothing_is_stored_is_an_answer_too(network: Network) -> None:
    code = network.code()
    taken = await requested(network, code)
    told = await call(network, "AnswerRequest", answering(network, code, taken.request_id))
    assert told.stored == disclosure.StoredRecord(is_stored=False)
    assert told.request.state == disclosure.REQUEST_STATE_ANSWERED


async def test_nobody_gets_the_record_of_another(network: Network, refused: Any) -> None:
    mine, other = await network.enter(CHIYODA), await network.enter(CHIYODA)
    taken = await requested(network, mine.resident_code)
    for asked, caller, reason in (
        (answering(network, other.resident_code, taken.request_id), COUNTER, "DISCLOSURE_STEP"),
        (answering(network, mine.resident_code, taken.request_id, PORTAL), PORTAL, "DISCLOSURE_STEP"),
        (answering(network, mine.resident_code, taken.request_id, PORTAL), COUNTER, "IDENTITY_CHECK_INVALID"),
        (answering(network, mine.resident_code, str(uuid.uuid4())), COUNTER, "DISCLOSURE_STEP"),
    ):
        with refused() as refusal:
            await call(network, "AnswerRequest", asked, caller)
        assert refusal.name == reason
    assert taken.request_id not in await listed(network, PORTAL)


async def test_a_request_whose_answer_was_lost_is_made_once_though_the_node_was_killed(network: Network) -> None:
    before = await listed(network)
    asked = disclosure.RequestRecordRequest(check=check(network, network.code(), disclosure.AFFAIR_REQUEST_RECORD))
    taken = await call(network, "RequestRecord", asked)
    network.nodes.kill("disclosure")
    await asyncio.to_thread(network.start, "disclosure")
    assert await call(network, "RequestRecord", asked) == taken
    assert await listed(network) - before == {taken.request.request_id}


async def test_a_request_is_answered_though_the_resident_code_was_changed_since(network: Network, refused: Any) -> None:
    record = await network.enter(CHIYODA)
    former, stranger = record.resident_code, (await network.enter(CHIYODA)).resident_code
    taken = await requested(network, former)
    record.resident_code = network.code()
    change = network.submission("CORRECTION_RESIDENT_CODE_REQUEST", record, previous_resident_code=former)
    await network.submit(CHIYODA, change)
    await network.arrived(CHIYODA)
    for code in (stranger, record.resident_code):
        with refused() as refusal:
            await call(network, "AnswerRequest", answering(network, code, taken.request_id))
        assert refusal.name == "DISCLOSURE_STEP"
    told = await call(network, "AnswerRequest", answering(network, former, taken.request_id))
    assert (told.stored.record, told.stored.status) == (record, identity_pb2.RESIDENT_STATUS_ACTIVE)
    wanted = disclosure.RequestCorrectionRequest(
        check=check(network, former, disclosure.AFFAIR_REQUEST_CORRECTION),
        disclosed_by=taken.request_id,
        document="7-2",
    )
    assert (await call(network, "RequestCorrection", wanted)).request.state == disclosure.REQUEST_STATE_RECEIVED


async def test_the_center_gives_a_record_on_a_counters_word_alone(network: Network, refused: Any) -> None:
    record = await network.enter(CHIYODA)
    good = check(network, record.resident_code, disclosure.AFFAIR_ANSWER_REQUEST)
    forged = disclosure.SignedIdentityCheck(check=good.check, signature=bytes(64))
    other_affair = check(network, record.resident_code, disclosure.AFFAIR_FIND_USAGE)
    async with network.channel("center", Identity("disclosure")) as channel:
        stub = RecordServiceStub(channel)
        for word in (forged, other_affair):
            with refused() as refusal:
                await stub.GetRecord(GetRecordRequest(check=word), timeout=10)
            assert refusal.name == "IDENTITY_CHECK_INVALID"
        given = await stub.GetRecord(GetRecordRequest(check=good), timeout=10)
        assert given.stored.record == record
    for caller in (COUNTER, Identity("gateway", "gateway-1"), Identity("operator", "operator")):
        async with network.channel("center", caller) as channel:
            with refused() as refusal:
                await RecordServiceStub(channel).GetRecord(GetRecordRequest(check=good), timeout=10)
            assert refusal.name == "CALLER_NOT_ALLOWED"


def test_a_clerk_takes_and_answers_requests_by_command(network: Network, tmp_path: Path) -> None:
    record = asyncio.run(network.enter(CHIYODA))
    code = tmp_path / "code.txt"
    code.write_text(record.resident_code)
    as_counter = ("--mesh", str(network.mesh.root), "--counter", CHIYODA, "--json")
    by_clerk = ("--clerk", "7", "--proof", "photo-document")

    def command(*words: str) -> Any:
        return json.loads(run("disclosure", *words, *as_counter))

    number = (command("request", str(code), *by_clerk))["request_id"]
    later = f"{today_in_japan() + timedelta(days=40)}"
    extended = command("extend", number, "--due", later, "--reason", "investigation", "--document", "7-1")
    assert (extended["state"], extended["due_on"]) == ("EXTENDED", later)
    told = command("answer", number, str(code), *by_clerk)
    assert told["stored"]["record"]["individual_number"] == record.individual_number
    correction = (command("correct", number, str(code), *by_clerk, "--document", "7-2"))["request_id"]
    command("investigate", correction)
    command("answer-correction", correction, "--outcome", "corrected-in-part", "--document", "7-3")
    listed = {each["request_id"]: each["state"] for each in (command("requests"))["requests"]}
    assert listed[number] == listed[correction] == "ANSWERED"
    withdrawn, on_paper = ((command("request", str(code), *by_clerk))["request_id"] for _ in range(2))
    by_resident = ("--reason", "withdrawn", "--resident", str(code))
    assert command("close", withdrawn, *by_resident, *by_clerk)["close_reason"] == "WITHDRAWN"
    closed = command("close", on_paper, "--reason", "answered-by-letter", "--document", "7-4")
    assert (closed["state"], closed["closed_on"]) == ("CLOSED", f"{today_in_japan()}")
    assert (command("requests", "--overdue"))["requests"] == []


def test_what_residents_were_told_is_a_ledger_that_verifies_offline(network: Network, tmp_path: Path) -> None:
    code = network.code()
    taken = asyncio.run(requested(network, code))
    asyncio.run(call(network, "AnswerRequest", answering(network, code, taken.request_id)))
    out, config = tmp_path / "told.jsonl", network.mesh.config_path("disclosure")
    jukinet("ledger", "export", "--config", str(config), "--out", str(out))
    report = verify_files(out, network.mesh.disclosure_key)
    assert report.findings.first_ones == []
    told = [
        read_entry(base64.b64decode(json.loads(line)["e"]))
        for line in out.read_text().splitlines()[1:]
        if '"e"' in line
    ]
    assert [(each.article, each.agency) for each in told if each.request_id == taken.request_id] == [
        ("30-32", COUNTER.uri)
    ]
    assert told[-1].action == ledger_pb2.ACTION_DISCLOSE_RECORD
    assert code.encode() not in out.read_bytes()


@pytest.mark.parametrize("node", ["disclosure", "center"])
async def test_no_record_stays_at_the_disclosure_node(network: Network, node: str) -> None:
    """A control: what is sought is found in the center's own register."""
    record = await network.enter(CHIYODA)
    taken = await requested(network, record.resident_code)
    await call(network, "AnswerRequest", answering(network, record.resident_code, taken.request_id))
    files = [path.read_bytes() for path in network.folder(node).glob("*") if path.is_file()]
    held = any(record.resident_code.encode() in content for content in files)
    assert held == (node == "center")
