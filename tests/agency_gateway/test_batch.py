"""A batch is answered message by message, in order, with one entry a person; what is refused leaves nothing."""

import asyncio
import hashlib
import uuid
from collections.abc import AsyncIterator, Callable
from datetime import date
from typing import Any

import grpc
import protovalidate
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agency_gateway.batch import UNDER_WAY, in_order
from agency_gateway.record import Recorded
from jukinet._pb.buf.validate import validate_pb2
from jukinet._pb.jukinet.body.v1.body_pb2 import KeyPlace
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2 as ledger
from jukinet._pb.jukinet.provision.v1 import provision_pb2 as provision
from jukinet._pb.jukinet.register.v1.identity_pb2 import IdentityRecord
from jukinet.ledger import merkle
from jukinet.ledger.note import open_checkpoint
from jukinet.ledger.verify import batch_result
from jukinet.ledger.verify.batch_result import TOGETHER
from jukinet.mesh.clock import now
from jukinet.mesh.errors import Refused
from jukinet.mesh.limits import ANSWER_BYTES
from jukinet.purpose import ticket as ticket_module
from jukinet.purpose.decision import PurposePolicy
from jukinet.purpose.ticket import question_id, used_key
from jukinet.store.schema import residents
from tests.ledger.proofs import verify_inclusion
from tests.purpose.drafts import draft

Network = Any  # the class is in network.py; tests put methods of their own into it, and no context into calls
REQUEST_ID = "5f7d1c1e-0000-4000-8000-000000000001"


def names(answers: list[inquiry.InquireBatchResponse]) -> list[list[str]]:
    return [[each.provided.record.name.legal for each in answer.answers] for answer in answers]


async def test_each_person_of_each_message_is_answered_in_order_with_one_entry(network: Network) -> None:
    network.enter(*map(network.record_of, range(1, 101)))
    messages = [network.batch_of(*range(first, first + 20)) for first in range(1, 101, 20)]
    answers = await network.inquire_batch(*messages)
    assert [answer.request_id for answer in answers] == [message.context.request_id for message in messages]
    assert [name for each in names(answers) for name in each] == [f"試験花子{number}" for number in range(1, 101)]
    assert {answer.legal_basis.article for answer in answers} == {"30-9"}
    entries = network.leaves()
    asked = [question_id(message.context.request_id, number) for message in messages for number in range(20)]
    assert sorted(entry.request_id for entry in entries) == sorted(asked)
    assert {(entry.action, entry.result) for entry in entries} == {
        (ledger.ACTION_INQUIRE_BATCH, ledger.RESULT_PROVIDED)
    }
    assert len({entry.person_token for entry in entries}) == 100


async def test_a_message_of_as_many_persons_as_it_may_hold_is_answered_person_by_person(network: Network) -> None:
    network.enter(*map(network.record_of, range(1, TOGETHER + 1)))
    (answer,) = await network.inquire_batch(network.batch_of(*range(1, TOGETHER + 1)))
    assert names([answer]) == [[f"試験花子{number}" for number in range(1, TOGETHER + 1)]]
    entries = [ledger.Entry.FromString(each.receipt.entry) for each in answer.answers]
    assert [entry.request_id for entry in entries] == [question_id(answer.request_id, n) for n in range(TOGETHER)]
    assert len({entry.body_digest for entry in entries}) == TOGETHER


def test_the_largest_answers_to_a_message_can_be_sent() -> None:
    whole = IdentityRecord(resident_code="9" * 11, individual_number="9" * 12)
    for part in (whole.name, whole.address):
        for each in part.DESCRIPTOR.fields:
            most = each.GetOptions().Extensions[validate_pb2.field].string.max_len or 6
            setattr(part, each.name, "𠮷" * most)
    assert sum(map(len, (whole.name.legal, whole.address.building))) == 400
    found = provision.Provision(
        request_id=REQUEST_ID,
        provided=inquiry.ProvidedRecord(record=whole),
        freshness=[inquiry.Freshness(municipality="999999", sequence=2**63, signature=bytes(64))],
        handle=bytes(512),
        body_place=KeyPlace(month="2026-11", handle=bytes(60)),
        look_up=provision.LOOK_UP_SOMEBODY,
    )
    for name in ("subject_digest", "person_token", "body_key", "sealed_token", "recall_mark", "crowd_key", "held"):
        setattr(found, name, bytes(32))
    receipt = ledger.Receipt(index=2**63, entry=bytes(1024), proof=[bytes(32)] * 63, checkpoint="9" * 1024)
    answer = inquiry.BatchAnswer(
        provided=found.provided, freshness=found.freshness, handle=found.handle, held=found.held, receipt=receipt
    )
    assert provision.ProvideResponse(provisions=[found] * TOGETHER).ByteSize() < ANSWER_BYTES
    assert inquiry.InquireBatchResponse(answers=[answer] * TOGETHER).ByteSize() < ANSWER_BYTES


async def test_each_receipt_proves_the_entry_of_its_own_person(network: Network) -> None:
    network.enter(*map(network.record_of, range(1, 9)))
    message = network.batch_of(*range(1, 9))
    (answer,) = await network.inquire_batch(message)
    for number, each in enumerate(answer.answers):
        checkpoint = open_checkpoint(each.receipt.checkpoint, network.signer.verifier)
        leaf = merkle.leaf_hash(each.receipt.entry)
        where = {"leaf": leaf, "index": each.receipt.index, "size": checkpoint.size, "root": checkpoint.root}
        assert verify_inclusion(**where, proof=list(each.receipt.proof))
        entry = ledger.Entry.FromString(each.receipt.entry)
        assert entry.request_id == question_id(message.context.request_id, number)


async def test_who_is_not_found_and_who_is_named_by_number_stand_in_their_places(network: Network) -> None:
    network.enter(network.record_of(1), network.record_of(2))
    message = network.batch_of(1, 9)
    message.subjects.append(inquiry.Subject(individual_number=network.number_of(2)))
    (answer,) = await network.inquire_batch(message)
    found, nobody, by_number = answer.answers
    assert found.provided.record.name.legal == "試験花子1"
    assert nobody.outcome == inquiry.INQUIRY_OUTCOME_NO_SINGLE_MATCH
    assert not nobody.HasField("provided")
    assert [source.municipality for source in nobody.freshness] == ["131016"]
    assert by_number.provided.record.name.legal == "試験花子2"
    assert [entry.result for entry in network.leaves()].count(ledger.RESULT_NO_SINGLE_MATCH) == 1


@pytest.mark.parametrize(
    ("agency", "changed", "reason"),
    [
        ("example-bank", {}, errors.ERROR_REASON_PRIVATE_SECTOR_BANNED),
        ("pension-service", {"purpose": "B1-41"}, errors.ERROR_REASON_PURPOSE_NOT_GRANTED),
        (
            "pension-service",
            {"fields": [inquiry.IDENTITY_FIELD_RESIDENT_CODE]},
            errors.ERROR_REASON_FIELD_NOT_ALLOWED,
        ),
    ],
)
async def test_a_message_that_the_law_does_not_open_is_refused_once_before_anything_is_read(
    network: Network, agency: str, changed: dict[str, Any], reason: int
) -> None:
    network.enter(network.record_of(1))
    message = network.batch_of(1, 1, 1, request_id=REQUEST_ID, **changed)
    assert await network.refusal_of(network.inquire_batch(message, agency=agency)) == reason
    assert network.reads == []
    assert [(entry.request_id, entry.refusal) for entry in network.leaves()] == [(REQUEST_ID, reason)]


async def test_messages_before_a_refused_one_are_answered_and_those_behind_it_are_not(network: Network) -> None:
    network.enter(network.record_of(1))
    messages = [network.batch_of(1), network.batch_of(1, purpose="B1-41"), network.batch_of(1)]

    async def requests() -> AsyncIterator[inquiry.InquireBatchRequest]:
        for message in messages:
            yield message

    told = []
    with pytest.raises(Refused) as caught:
        async for answer in network.batch(requests()):
            told.append(answer.request_id)
    assert caught.value.reason == errors.ERROR_REASON_PURPOSE_NOT_GRANTED
    assert told == [messages[0].context.request_id]


async def test_a_message_that_cannot_be_read_ends_the_batch_and_is_on_record(network: Network) -> None:
    network.enter(network.record_of(1))
    broken = Refused(errors.ERROR_REASON_INVALID_MESSAGE)
    answered = network.batch_of(1)
    refusal = await network.refusal_of(network.inquire_batch(answered, broken))
    assert refusal == errors.ERROR_REASON_INVALID_MESSAGE
    entries = network.leaves()
    assert sorted(entry.refusal for entry in entries) == [0, errors.ERROR_REASON_INVALID_MESSAGE]
    assert [entry.purpose for entry in entries if entry.refusal] == [""]


async def test_when_the_center_is_away_nothing_of_the_message_leaves_and_one_entry_says_so(network: Network) -> None:
    network.center.fail = grpc.StatusCode.UNAVAILABLE
    refusal = await network.refusal_of(network.inquire_batch(network.batch_of(1, 2, 3, request_id=REQUEST_ID)))
    assert refusal == errors.ERROR_REASON_DEPENDENCY_UNAVAILABLE
    assert [(entry.request_id, entry.refusal) for entry in network.leaves()] == [(REQUEST_ID, refusal)]


def _decide_by_another_edition(network: Network, _: pytest.MonkeyPatch) -> None:
    gateways = network.desk._policy
    centers = PurposePolicy(gateways.editions, gateways._directory)
    centers.adopt(draft("2026-04", date(2026, 4, 1), rows={"B1-80": None}))
    network.center_service._policy = centers


def _list_no_agency(network: Network, _: pytest.MonkeyPatch) -> None:
    network.center_service._policy = PurposePolicy(network.desk._policy.editions, {})


def _remember_no_more_tickets(_: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ticket_module, "MOST_REMEMBERED", 0)


def _know_the_request_id(network: Network, _: pytest.MonkeyPatch) -> None:
    used = used_key("spiffe://agencies.jukinet/agency/pension-service", REQUEST_ID)
    network.center_service._tickets._used[used] = now().timestamp() + 60


@pytest.mark.parametrize(
    ("happen", "reason"),
    [
        (_decide_by_another_edition, errors.ERROR_REASON_DEPENDENCY_UNAVAILABLE),
        (_remember_no_more_tickets, errors.ERROR_REASON_DEPENDENCY_UNAVAILABLE),
        (_list_no_agency, errors.ERROR_REASON_AGENCY_UNKNOWN),
        (_know_the_request_id, errors.ERROR_REASON_REQUEST_ID_REUSED),
    ],
)
async def test_a_message_whose_ticket_the_center_refuses_is_refused_as_a_whole_with_one_entry(
    network: Network,
    monkeypatch: pytest.MonkeyPatch,
    happen: Callable[[Network, pytest.MonkeyPatch], None],
    reason: int,
) -> None:
    network.enter(*map(network.record_of, (1, 2, 3)))
    happen(network, monkeypatch)
    message = network.batch_of(1, 2, 3, request_id=REQUEST_ID)
    assert await network.refusal_of(network.inquire_batch(message)) == reason
    assert network.reads == []
    assert [(entry.request_id, entry.refusal) for entry in network.leaves()] == [(REQUEST_ID, reason)]


async def test_one_damaged_record_is_refused_in_its_place_and_on_record(network: Network) -> None:
    network.enter(*map(network.record_of, (1, 2, 3)))
    damaged = network.record_of(2).resident_code
    with network.register.begin() as connection:
        connection.execute(residents.update().where(residents.c.resident_code == damaged).values(checksum=1))
    (answer,) = await network.inquire_batch(network.batch_of(1, 2, 3))
    assert [each.refusal for each in answer.answers] == [0, errors.ERROR_REASON_DEPENDENCY_UNAVAILABLE, 0]
    assert ledger.Entry.FromString(answer.answers[1].receipt.entry).refusal == answer.answers[1].refusal
    assert len(network.leaves()) == 3


async def test_a_message_goes_to_the_center_under_one_ticket_and_another_order_of_answers_never_leaves(
    network: Network,
) -> None:
    network.enter(*map(network.record_of, (1, 2, 3)))

    def swap(response: provision.ProvideResponse) -> None:
        first, *others = response.provisions
        del response.provisions[:]
        response.provisions.extend([*others, first])

    await network.inquire_batch(network.batch_of(1, 2, 3))
    (request,) = network.center.requests
    (ticket,) = provision.Tickets.FromString(request.tickets.tickets).tickets
    assert len(set(ticket.subject_digests)) == 3
    network.center.alter = swap
    (answer,) = await network.inquire_batch(network.batch_of(1, 2, 3))
    assert {each.refusal for each in answer.answers} == {errors.ERROR_REASON_DEPENDENCY_UNAVAILABLE}
    assert not any(each.HasField("provided") for each in answer.answers)


async def test_the_center_decides_each_way_in_which_a_message_names_persons(network: Network) -> None:
    network.enter(network.record_of(1))
    by_number = inquiry.Subject(individual_number=network.number_of(1))
    message = network.batch_of(1)
    message.subjects.append(by_number)
    policy, asked = network.center_service._policy, []

    class Noting:
        def decide(self, question: Any) -> Any:
            asked.append(question.method)
            return policy.decide(question)

        territory, seals_on = policy.territory, policy.seals_on

    network.center_service._policy = Noting()
    await network.inquire_batch(message)
    assert sorted(asked) == [inquiry.INQUIRY_METHOD_FOUR_ITEMS, inquiry.INQUIRY_METHOD_INDIVIDUAL_NUMBER]


async def test_a_request_id_answers_once(network: Network) -> None:
    network.enter(network.record_of(1))
    message = network.batch_of(1, request_id=REQUEST_ID)
    assert names(await network.inquire_batch(message)) == [["試験花子1"]]
    again = await network.refusal_of(network.inquire_batch(message))
    assert again == errors.ERROR_REASON_REQUEST_ID_REUSED
    assert [entry.result for entry in network.leaves()] == [ledger.RESULT_PROVIDED, ledger.RESULT_REFUSED]


async def test_a_message_that_was_refused_as_a_whole_may_be_answered_under_the_same_request_id(
    network: Network,
) -> None:
    network.enter(network.record_of(1))
    refused = await network.refusal_of(
        network.inquire_batch(network.batch_of(1, request_id=REQUEST_ID, purpose="B1-41"))
    )
    assert names(await network.inquire_batch(network.batch_of(1, request_id=REQUEST_ID))) == [["試験花子1"]]
    entries = [(entry.request_id, entry.refusal) for entry in network.leaves()]
    assert entries == [(REQUEST_ID, refused), (question_id(REQUEST_ID, 0), 0)]


async def test_a_used_request_id_is_refused_for_each_person_of_the_message(network: Network) -> None:
    network.enter(network.record_of(1))
    await network.inquire_batch(network.batch_of(1, 2, request_id=REQUEST_ID))
    entries = network.leaves()
    # The center refuses a used ticket, so the ledger is asked itself, about more persons than before.
    more = ledger.Entry()
    more.CopyFrom(entries[0])
    more.request_id = question_id(REQUEST_ID, 2)
    again = network.record.keep_all([Recorded(entry, b"body") for entry in (*entries, more)])
    assert await network.refusal_of(again) == errors.ERROR_REASON_REQUEST_ID_REUSED
    refused = network.leaves()[2:]
    assert [entry.request_id for entry in refused] == [question_id(REQUEST_ID, number) for number in range(3)]
    assert {entry.refusal for entry in refused} == {errors.ERROR_REASON_REQUEST_ID_REUSED}
    assert not any(entry.person_token or entry.body_digest or entry.answer_digest for entry in refused)


async def test_without_its_entries_nothing_is_answered(network: Network) -> None:
    network.enter(network.record_of(1))
    network.writer.close()
    refusal = await network.refusal_of(network.inquire_batch(network.batch_of(1)))
    assert refusal == errors.ERROR_REASON_LEDGER_UNAVAILABLE


async def test_a_node_that_stops_answers_what_it_has_read_and_says_so(network: Network) -> None:
    network.enter(network.record_of(1))
    more = asyncio.Event()

    async def requests() -> AsyncIterator[inquiry.InquireBatchRequest]:
        yield network.batch_of(1)
        await more.wait()

    answers = []
    with pytest.raises(Refused) as caught:
        async for answer in network.batch(requests()):
            answers.append(answer)
            await network.inquiry.end_batches()
    assert caught.value.reason == errors.ERROR_REASON_DRAINING
    assert names(answers) == [["試験花子1"]]


def test_the_id_of_a_question_is_the_one_that_the_contract_describes() -> None:
    for number in range(64):
        digest = hashlib.sha256(f"{REQUEST_ID}/{number}".encode()).digest()
        made = uuid.UUID(question_id(REQUEST_ID, number))
        assert str(made) == question_id(REQUEST_ID, number) == batch_result.question_id(REQUEST_ID, number)
        assert (made.version, made.variant) == (8, uuid.RFC_4122)
        free = ~(0xF << 76 | 0x3 << 62)  # all bits but those of version and variant
        assert made.int & free == int.from_bytes(digest[:16]) & free


def test_no_agency_can_ask_under_the_id_of_a_person_of_its_message(network: Network) -> None:
    def broken(request_id: str) -> set[str]:
        violations = protovalidate.collect_violations(network.context(request_id=request_id))
        return {each.proto.rule_id for each in violations}

    assert "string.pattern" not in broken(REQUEST_ID)
    assert all("string.pattern" in broken(question_id(REQUEST_ID, number)) for number in range(64))


@given(st.lists(st.integers(0, 5), max_size=30))
async def test_answers_come_in_the_order_of_the_requests_however_long_each_takes(turns: list[int]) -> None:
    working = most = 0

    async def requests() -> AsyncIterator[int]:
        for number in range(len(turns)):
            yield number

    async def answer(number: int) -> int:
        nonlocal working, most
        working += 1
        most = max(most, working)
        for _ in range(turns[number]):
            await asyncio.sleep(0)
        working -= 1
        return number

    assert [each async for each in in_order(requests(), answer, stopping=asyncio.Event())] == [*range(len(turns))]
    assert most <= UNDER_WAY


async def test_a_caller_who_leaves_leaves_no_work_behind() -> None:
    begun, ended = [], []

    async def requests() -> AsyncIterator[int]:
        for number in range(100):
            yield number

    async def answer(number: int) -> int:
        begun.append(number)
        try:
            if number:
                await asyncio.Event().wait()
        finally:
            ended.append(number)
        return number

    answers = in_order(requests(), answer, stopping=asyncio.Event())
    assert await anext(answers) == 0
    while len(begun) < UNDER_WAY:
        await asyncio.sleep(0)
    await answers.aclose()
    assert sorted(ended) == sorted(begun)


async def test_what_a_request_raises_comes_in_its_turn_and_ends_the_rest() -> None:
    async def requests() -> AsyncIterator[int]:
        for number in range(10):
            yield number

    async def answer(number: int) -> int:
        if number == 2:
            raise Refused(errors.ERROR_REASON_PURPOSE_UNKNOWN)
        return number

    told = []
    with pytest.raises(Refused):
        async for each in in_order(requests(), answer, stopping=asyncio.Event()):
            told.append(each)
    assert told == [0, 1]


async def test_no_more_is_read_than_is_worked_on() -> None:
    begun: list[int] = []
    done = asyncio.Event()

    async def requests() -> AsyncIterator[int]:
        for number in range(100):
            yield number

    async def answer(number: int) -> int:
        begun.append(number)
        await done.wait()
        return number

    answers = in_order(requests(), answer, stopping=asyncio.Event())
    first = asyncio.ensure_future(anext(answers))
    for _ in range(100):
        await asyncio.sleep(0)
    assert begun == [*range(UNDER_WAY)]
    done.set()
    assert await first == 0
    await answers.aclose()
