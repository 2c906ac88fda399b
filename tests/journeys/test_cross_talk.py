"""Thirty-two clients of four agencies ask at once, hang up and run out of time: nobody hears of anybody but the person
asked about.

Every entry of the ledger, of answers that never arrived too, is the only one of its question and bears who asked, for
which affair and about whom: agency, operator, row, case and token, computed anew from the keys of gateway and center.
"""

import asyncio
import time
import uuid
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import grpc
import pytest

from bench.two_nodes import GATEWAY, TwoNodes, start_two_nodes
from bench.workload import MUNICIPALITY, PREFECTURE
from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2_grpc import InquiryServiceStub
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2 as ledger
from jukinet._pb.jukinet.ledger.v1.ledger_pb2_grpc import LedgerServiceStub
from jukinet.assembly.process import needed
from jukinet.cli.connect import channel_to, in_mesh
from jukinet.cli.development_agencies import OPERATORS, PENSION_SERVICE, TAX_AGENCY
from jukinet.cli.operator_key import Signing
from jukinet.ledger.entry import EntryKeys, month_key, person_token
from jukinet.ledger.verify.notes import read_checkpoint, read_key
from jukinet.ledger.verify.tree import hash_leaf, root_from_proof
from jukinet.mesh.client import streaming
from jukinet.mesh.identity import Identity
from jukinet.mesh.pki import load_secret
from jukinet.purpose.ticket import method_of, question_id
from tests import nightly

CLIENTS = 32
RESIDENTS = 1000
FIELDS = [inquiry.IDENTITY_FIELD_NAME, inquiry.IDENTITY_FIELD_ADDRESS, inquiry.IDENTITY_FIELD_BIRTH_DATE]
ROWS = {
    PENSION_SERVICE: "B1-77.12",
    TAX_AGENCY: "B1-44-2",
    f"prefecture-{PREFECTURE}": "B5-1",
    f"municipality-{MUNICIPALITY}": "B2-1",
}
"""Each opens its agency the number and every item, at once and in batches."""
FOUR_ITEMS = inquiry.INQUIRY_METHOD_FOUR_ITEMS
GAVE_UP = (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)
Person = Any  # a Submission


class Asker(NamedTuple):
    """An operator of an agency, who signs, the row for which he asks, and the channel of his client."""

    channel: grpc.aio.Channel
    signing: Signing
    operator: str
    purpose: str


class Question(NamedTuple):
    """What the entry of a question has to say."""

    asker: Asker
    case: str
    action: "ledger.Action.ValueType"
    method: "inquiry.InquiryMethod.ValueType"
    person: Person | None
    """None where no single person is as it says."""


class Witness:
    """What was asked under each request id, and what is wrong with what came back."""

    def __init__(self, nodes: TwoNodes) -> None:
        self.asked: dict[str, Question] = {}
        self.answers = self.given_up = 0
        self.wrong: list[str] = []
        self._recorded: set[str] = set()
        self._key = read_key(nodes.mesh.ledger_key(GATEWAY).read_text("utf-8"))
        self._root_key = load_secret(needed(nodes.mesh.config("center").center.token_key))
        self._keys = EntryKeys(load_secret(needed(nodes.mesh.config(GATEWAY).gateway.token_key)))

    def heard(self, person: Person, provided: inquiry.ProvidedRecord) -> None:
        record, meant = provided.record, person.record
        if (record.name, record.address, record.birth_date) != (meant.name, meant.address, meant.birth_date):
            self.wrong.append("an answer about another person")

    def proven(self, request_id: str, receipt: ledger.Receipt) -> None:
        self.answers += 1
        tree = read_checkpoint(receipt.checkpoint, self._key)
        if root_from_proof(hash_leaf(receipt.entry), receipt.index, tree.size, receipt.proof) != tree.root:
            self.wrong.append("a receipt that does not verify")
        if ledger.Entry.FromString(receipt.entry).request_id != request_id:
            self.wrong.append("a receipt of another question")

    def recorded(self, entry: ledger.Entry) -> None:
        if entry.request_id in self._recorded or entry.request_id not in self.asked:
            self.wrong.append("an entry of no question, or a second one of the same")
            return
        self._recorded.add(entry.request_id)
        (asker, case, action, method, person), token = self.asked[entry.request_id], b""
        if person is not None and entry.result == ledger.RESULT_PROVIDED:
            moment = datetime.fromtimestamp(entry.time.seconds, UTC)
            token = person_token(month_key(self._root_key, moment), person.record.resident_code)
        if entry.person_token != token or (person is None and entry.result == ledger.RESULT_PROVIDED):
            self.wrong.append("an entry with a wrong token")
        agency = asker.signing.agency
        who = agency, self._keys.operator_pseudonym(agency, asker.operator), asker.purpose
        if (entry.agency, entry.operator_pseudonym, entry.purpose) != who:
            self.wrong.append("an entry of another agency, operator or row")
        if entry.case_commitment != self._keys.case_commitment(agency, case):
            self.wrong.append("an entry of another case")
        if (entry.action, entry.method) != (action, method):
            self.wrong.append("an entry of another kind of question")


class Client:
    """One agency's client, which asks until enough answers have come to all of them together."""

    def __init__(self, seed: int, people: Sequence[Person], witness: Witness, asker: Asker) -> None:
        self._random = Random(seed)
        self._people = people
        self._witness = witness
        self._asker = asker
        self._stub: Any = InquiryServiceStub(asker.channel)

    async def ask_until(self, answers: int) -> None:
        kinds = [self._inquire, self._verify, self._batch]
        while self._witness.answers < answers:
            patience = self._random.choice([*[10.0] * 8, self._random.uniform(0.001, 0.1), 0.5])
            asking = asyncio.ensure_future(self._random.choice(kinds)(patience))
            if self._random.random() < 0.1:
                await asyncio.wait({asking}, timeout=self._random.uniform(0, 0.1))
                asking.cancel()
            try:
                await asking
            except asyncio.CancelledError:
                self._witness.given_up += 1
            except grpc.aio.AioRpcError as error:
                if error.code() not in GAVE_UP:
                    raise
                self._witness.given_up += 1

    async def _inquire(self, patience: float) -> None:
        person = self._random.choice(self._people)
        subject = self._subject(person)
        context = self._context(ledger.ACTION_INQUIRE, method_of(subject), person)
        request = inquiry.InquireRequest(context=context, subject=subject, fields=FIELDS)
        answer = await self._stub.Inquire(self._asker.signing(request), timeout=patience)
        self._witness.heard(person, answer.provided)
        self._witness.proven(context.request_id, answer.receipt)

    async def _verify(self, patience: float) -> None:
        person, other = self._random.sample(self._people, 2)
        items = _four_items(person)
        mixed = self._random.random() < 0.3
        if mixed:
            items.name = other.record.name.legal + "也"
        context = self._context(ledger.ACTION_VERIFY_IDENTITY, FOUR_ITEMS, None if mixed else person)
        request = inquiry.VerifyIdentityRequest(context=context, four_items=items)
        answer = await self._stub.VerifyIdentity(self._asker.signing(request), timeout=patience)
        if answer.verified == mixed:
            self._witness.wrong.append("a wrong verification")
        self._witness.proven(context.request_id, answer.receipt)

    async def _batch(self, patience: float) -> None:
        messages = [self._message() for _ in range(self._random.randint(1, 3))]
        signed = [self._asker.signing(request) for request, _ in messages]
        number = 0
        async with streaming(self._stub.InquireBatch(iter(signed), timeout=patience)) as answers:
            async for answer in answers:
                request, people = messages[number]
                number += 1
                assert answer.request_id == request.context.request_id
                for place, (person, each) in enumerate(zip(people, answer.answers, strict=True)):
                    self._witness.heard(person, each.provided)
                    self._witness.proven(question_id(answer.request_id, place), each.receipt)
        assert number == len(messages)

    def _message(self) -> tuple[inquiry.InquireBatchRequest, list[Person]]:
        people = self._random.choices(self._people, k=self._random.randint(1, 20))
        subjects = [self._subject(person) for person in people]
        context = self._context(ledger.ACTION_INQUIRE_BATCH, inquiry.INQUIRY_METHOD_UNSPECIFIED, None)
        whole = self._witness.asked[context.request_id]
        for place, (person, subject) in enumerate(zip(people, subjects, strict=True)):
            asked = whole._replace(method=method_of(subject), person=person)
            self._witness.asked[question_id(context.request_id, place)] = asked
        return inquiry.InquireBatchRequest(context=context, subjects=subjects, fields=FIELDS), people

    def _context(
        self, action: "ledger.Action.ValueType", method: "inquiry.InquiryMethod.ValueType", person: Person | None
    ) -> inquiry.InquiryContext:
        """On whose behalf a new question is, each for a case of its own."""
        request_id, case = str(uuid.uuid4()), f"case {self._random.getrandbits(64)}"
        self._witness.asked[request_id] = Question(self._asker, case, action, method, person)
        who = self._asker.operator, self._asker.purpose
        return inquiry.InquiryContext(request_id=request_id, operator=who[0], purpose=who[1], case_reference=case)

    def _subject(self, person: Person) -> inquiry.Subject:
        if self._random.random() < 0.4:
            return inquiry.Subject(individual_number=person.record.individual_number)
        return inquiry.Subject(four_items=_four_items(person))


async def run(folder: Path, *, answers: int, seed: int) -> Witness:
    """Lets all clients ask; gives what was found, every entry of the ledger looked at."""
    async with AsyncExitStack() as stack:
        nodes = await start_two_nodes(folder / "mesh", residents=RESIDENTS, environ={}, stack=stack)
        witness = Witness(nodes)
        who = [(agency, operator) for agency in ROWS for operator in OPERATORS]
        askers = [await asker(nodes, stack, *who[number % len(who)]) for number in range(CLIENTS)]
        async with asyncio.TaskGroup() as group:
            for number, each in enumerate(askers):
                client = Client(seed * 1000 + number, nodes.people, witness, each)
                group.create_task(client.ask_until(answers))
        for leaf in await entries(nodes):
            witness.recorded(ledger.Entry.FromString(leaf))
    return witness


async def asker(nodes: TwoNodes, stack: AsyncExitStack, agency: str, operator: str) -> Asker:
    """An operator of an agency with a channel of his own."""
    identity = Identity("agency", agency)
    channel = await stack.enter_async_context(channel_to(in_mesh(nodes.mesh, GATEWAY, identity)))
    signing = Signing.of(nodes.mesh.client(identity).certificate, nodes.mesh.operator_key(identity, operator))
    return Asker(channel, signing, operator, ROWS[agency])


async def entries(nodes: TwoNodes) -> list[bytes]:
    """All entries of the gateway's ledger, those of calls that were given up too."""
    found: list[bytes] = []
    async with channel_to(in_mesh(nodes.mesh, GATEWAY)) as channel:
        while len(found) < await nodes.ledger_entries():
            runs = LedgerServiceStub(channel).ListEntries(ledger.ListEntriesRequest(first_index=len(found)), timeout=60)
            async for answer in runs:
                found += answer.entries
    return found


@pytest.mark.slow
async def test_nobody_hears_of_anybody_but_the_person_asked_about(tmp_path: Path) -> None:
    found = await run(tmp_path, answers=4000, seed=1)
    assert found.wrong == []
    assert found.given_up > 0


@pytest.mark.nightly
@pytest.mark.timeout(3600)
async def test_nobody_hears_of_anybody_else_in_fifty_thousand_answers(tmp_path: Path) -> None:
    nightly.skip_if_done("cross-talk")
    began = time.monotonic()
    found = await run(tmp_path, answers=50_000, seed=2)
    kept = {
        "seed": 2,
        "acknowledged": found.answers,
        "cuts": found.given_up,
        "seconds": round(time.monotonic() - began),
    }
    nightly.keep("cross-talk", kept, held=not found.wrong)
    assert found.wrong == []


def _four_items(person: Person) -> inquiry.FourItems:
    record = person.record
    return inquiry.FourItems(
        name=record.name.legal, birth_date=record.birth_date, sex=record.sex, address=record.address
    )
