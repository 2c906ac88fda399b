"""What a client that knows the contract alone goes through, in whatever language: a list, a recall, a signed job, what
it may demand and hold, questions under seal, and a counter's for a resident.

Each walk ends with what the ledger says of it.
"""

import asyncio
import uuid
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

from google.protobuf import json_format
from google.protobuf.message import Message

from jukinet._pb.jukinet.disclosure.v1 import disclosure_pb2 as disclosure
from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2 as ledger
from jukinet._pb.jukinet.recall.v1 import recall_pb2 as recall
from jukinet._pb.jukinet.register.v1 import identity_pb2
from jukinet._pb.jukinet.watch.v1 import watch_pb2 as watch
from jukinet.cli.development_agencies import PENSION_SERVICE
from jukinet.cli.ledger import fetch_ledger
from jukinet.disclosure.usage_rows import rows_of
from jukinet.ledger.verify.batch_job import FIRST_PERSON, digest_of, read_head, read_public_key, require_whole
from jukinet.ledger.verify.batch_result import FORMAT, verify_batch
from jukinet.ledger.verify.json_lines import spell
from jukinet.mesh.clock import today_in_japan
from jukinet.mesh.identity import Identity
from tests.journeys.operators import OPERATOR
from tests.journeys.test_disclosure import Resident, mirrored, verify
from tests.journeys.test_own_record import answering, check

Network = Any  # the fixture's own class lives in conftest.py
CHIYODA, GATEWAY = "131016", "gateway-1"
AGENCY, COUNTER = Identity("agency", PENSION_SERVICE), Identity("counter", CHIYODA)


class Client(Protocol):
    """A program in another language that asks as the pension service, or as a counter."""

    async def ask(self, question: Any) -> Any:
        """The answer to a question, signed for it; questions of a kind that is a stream travel on one stream."""

    async def order(self, question: inquiry.InquireBatchRequest, job: Path) -> None:
        """Writes the order to ask this, signed by the operator, with its persons into a file job."""


def method_of(question: Message) -> Any:
    """The descriptor of the method that takes this question."""
    services = question.DESCRIPTOR.file.services_by_name.values()
    (method,) = [each for service in services for each in service.methods if each.input_type is question.DESCRIPTOR]
    return method


def node_for(caller: Identity) -> str:
    """The node that a caller asks: a counter another one than an agency."""
    return "disclosure" if caller.kind == "counter" else GATEWAY


async def watch_a_person(network: Network, client: Client) -> None:
    """The client asks for a handle, begins a list with it, takes two changes on one stream, and ends the list."""
    person = await network.enter(CHIYODA)
    found = await client.ask(network.question(person, for_watch=True))
    day = today_in_japan() + timedelta(days=30)
    order = watch.WatchOrder(
        list_id=str(uuid.uuid4()),
        handles=[found.handle],
        expires_on=identity_pb2.CalendarDate(year=day.year, month=day.month, day=day.day),
    )
    begun = await client.ask(
        watch.WatchRequest(context=network.context(), order=order, fields=[inquiry.IDENTITY_FIELD_ADDRESS])
    )
    receipts, after = [found.receipt, *begun.receipts], 0
    for block in ("11番", "12番"):
        person.address.block = block
        await network.submit(CHIYODA, network.submission("CORRECTION_MOVE_WITHIN", person))
        await network.arrived(CHIYODA)
        told: Any = watch.WatchChangesResponse()
        while not told.changes:
            place = watch.WatchPlace(list_id=order.list_id, after=after)
            told = await client.ask(watch.WatchChangesRequest(context=network.context(), place=place))
        (change,) = told.changes
        assert (change.number, change.provided.record) == (
            begun.numbers[0],
            identity_pb2.IdentityRecord(address=person.address),
        )
        assert change.position > after
        after = change.position
        receipts.append(change.receipt)
    ended = await client.ask(watch.EndWatchRequest(context=network.context(), list_id=order.list_id))
    entries = await network.ledger()
    receipts.append(ended.receipt)
    assert [entries[each.index] for each in receipts] == [ledger.Entry.FromString(each.entry) for each in receipts]
    assert [entries[each.index].action for each in receipts] == [
        ledger.ACTION_INQUIRE,
        ledger.ACTION_WATCH,
        ledger.ACTION_TELL_CHANGE,
        ledger.ACTION_TELL_CHANGE,
        ledger.ACTION_END_WATCH,
    ]


async def take_a_recall(network: Network, client: Client) -> None:
    """What the client was told turns out to be wrong; it hears so, acknowledges by place, and hears no more of it."""
    person = await network.enter(CHIYODA)
    asked = network.question(person, fields=[inquiry.IDENTITY_FIELD_ADDRESS])
    wrong = await client.ask(asked)
    person.address.block = "11番"
    await network.submit(CHIYODA, network.submission("CORRECTION_MINOR", person, was_wrong=True))
    await network.arrived(CHIYODA)
    told: Any = recall.TellRecallsResponse()
    while asked.context.request_id not in [each.request_id for each in told.recalls]:
        told = await client.ask(recall.TellRecallsRequest(context=network.context()))
    mine = told.recalls[-1]
    assert mine.request_id == asked.context.request_id
    assert list(mine.items) == [inquiry.IDENTITY_FIELD_ADDRESS]
    before = await network.ledger()
    assert mine.answer_index == wrong.receipt.index
    assert before[mine.answer_index] == ledger.Entry.FromString(wrong.receipt.entry)
    nothing = await client.ask(recall.TellRecallsRequest(context=network.context(), acknowledged=mine.place))
    assert not nothing.recalls
    since = (await network.ledger())[len(before) :]
    acknowledged = [entry for entry in since if entry.action == ledger.ACTION_ACKNOWLEDGE_RECALL]
    assert [(each.result, each.agency, each.purpose) for each in acknowledged] == [
        (ledger.RESULT_DONE, AGENCY.uri, asked.context.purpose)
    ] * len(told.recalls)


async def hold_what_was_answered(network: Network, client: Client) -> None:
    """The client demands an age, and says later what it holds: alone, and by two messages of a batch on one stream."""
    person = await network.enter(CHIYODA)
    found = await client.ask(network.question(person, context=network.context(maximum_age_seconds=3600)))
    assert found.provided.record.name.legal == person.name.legal
    assert [each.municipality for each in found.freshness] == [CHIYODA]
    again = await client.ask(network.question(person, held=found.held))
    messages = [
        inquiry.InquireBatchRequest(
            context=network.context(),
            subjects=[inquiry.Subject(four_items=network.four_items(person))],
            fields=[inquiry.IDENTITY_FIELD_NAME],
            held=[found.held],
        )
        for _ in range(2)
    ]
    answers = [await client.ask(each) for each in messages]
    assert [each.request_id for each in answers] == [each.context.request_id for each in messages]
    told = [again, *(one for each in answers for one in each.answers)]
    assert [(each.outcome, each.unchanged) for each in told] == [(inquiry.INQUIRY_OUTCOME_MATCH, True)] * 3
    assert not any(each.HasField("provided") for each in told)
    entries = await network.ledger()
    for each in (found, *told):
        assert entries[each.receipt.index] == ledger.Entry.FromString(each.receipt.entry)


async def ask_under_seal(network: Network, client: Client, purpose: str, until: str) -> None:
    """The client asks, verifies, and asks by a batch about one person, each sealed until a day, as this row may be."""
    person = await network.enter(CHIYODA)
    items = network.four_items(person)
    question = network.question(person, purpose, sealed_until=until)
    verification = inquiry.VerifyIdentityRequest(context=network.context(purpose), four_items=items, sealed_until=until)
    batch = inquiry.InquireBatchRequest(
        context=network.context(purpose), subjects=[question.subject], fields=question.fields, sealed_until=until
    )
    found, verified, of_batch = [await client.ask(each) for each in (question, verification, batch)]
    (in_batch,) = of_batch.answers
    assert found.provided.record.name == in_batch.provided.record.name == person.name
    assert verified.verified
    entries = await network.ledger()
    sealed = [entries[each.receipt.index] for each in (found, verified, in_batch)]
    assert sealed == [ledger.Entry.FromString(each.receipt.entry) for each in (found, verified, in_batch)]
    assert [(each.action, each.sealed_until) for each in sealed] == [
        (ledger.ACTION_INQUIRE, until),
        (ledger.ACTION_VERIFY_IDENTITY, until),
        (ledger.ACTION_INQUIRE_BATCH, until),
    ]
    assert len({each.person_token for each in sealed}) == 3  # an open entry of the month would share its own


async def ask_for_a_resident(network: Network, client: Client, folder: Path) -> None:
    """The client, a counter's, asks for a resident's own record, and who received it: what can be counted again."""
    record = await network.enter(CHIYODA)
    await network.inquire(network.question(record))
    await mirrored(network)
    code = record.resident_code
    wanted = disclosure.RequestRecordRequest(check=check(network, code, disclosure.AFFAIR_REQUEST_RECORD))
    taken = (await client.ask(wanted)).request
    assert taken.state == disclosure.REQUEST_STATE_RECEIVED
    told = await client.ask(answering(network, code, taken.request_id))
    assert (told.request.request_id, told.request.state) == (taken.request_id, disclosure.REQUEST_STATE_ANSWERED)
    assert told.stored.record == record
    answer = await client.ask(Resident(network, record, folder).request())
    (row,) = rows_of(disclosure.Usage.FromString(answer.usage))
    assert (row["recipient_ja"], row["items"]) == ("日本年金機構", ["NAME"])
    await fetch_ledger(network.mesh, GATEWAY, folder / "ledger.jsonl")
    report = await asyncio.to_thread(verify, network, folder, answer)
    assert (report.findings.first_ones, report.complete, report.rows) == ([], True, 1)


async def carry_out_a_job(network: Network, client: Client, folder: Path) -> None:
    """The client orders a batch as a signed file and asks under it; what it was answered holds before a third."""
    people = [await network.enter(CHIYODA) for _ in range(2)]
    question = inquiry.InquireBatchRequest(
        context=network.context(),
        subjects=[
            inquiry.Subject(four_items=network.four_items(people[0])),
            inquiry.Subject(individual_number=people[1].individual_number),
        ],
        fields=[inquiry.IDENTITY_FIELD_NAME, inquiry.IDENTITY_FIELD_BIRTH_DATE],
    )
    job, result = folder / "job", folder / "result"
    await client.order(question, job)
    public = network.mesh.operator_key(AGENCY, OPERATOR).with_suffix(".pub")
    with job.open("rb") as file:
        head = read_head(file)
        head.require_signed(read_public_key(public))
        require_whole(file, head.order)
    question.job = head.digest
    answer = await client.ask(question)
    names = [each.provided.record.name for each in answer.answers]
    assert names == [each.name for each in people]
    result.write_text("".join(f"{spell(line)}\n" for line in _result(head.digest, question, answer)), "utf-8")
    report = verify_batch(job, result, public, [network.mesh.root / f"ledger-{GATEWAY}.vkey"])
    assert (report.findings.first_ones, report.persons, report.answered) == ([], 2, 2)
    entries = await network.ledger()
    for each in answer.answers:
        assert entries[each.receipt.index] == ledger.Entry.FromString(each.receipt.entry)
        assert entries[each.receipt.index].action == ledger.ACTION_INQUIRE_BATCH


def _result(
    job: bytes, question: inquiry.InquireBatchRequest, answer: inquiry.InquireBatchResponse
) -> list[dict[str, Any]]:
    """The lines of a result with one message, as `jukinet/ledger/verify/batch_result.py` says."""
    message = json_format.MessageToDict(answer, preserving_proto_field_name=True)
    answers = message.pop("answers")
    lines = [
        {"line": line, "person": digest_of(subject), **each}
        for line, (subject, each) in enumerate(zip(question.subjects, answers, strict=True), FIRST_PERSON)
    ]
    closing = {"line": lines[-1]["line"], "operator": question.context.operator, "message": message}
    return [{"format": FORMAT, "job": job.hex()}, *lines, closing]
