"""What a gateway promises: lawful answers cut to what was asked, refusals on record, and nothing without its entry."""

import asyncio
from typing import Any

import grpc
import pytest

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2 as ledger
from jukinet._pb.jukinet.provision.v1 import provision_pb2 as provision
from jukinet._pb.jukinet.register.v1.identity_pb2 import PersonName
from jukinet.ledger import merkle
from jukinet.ledger.note import open_checkpoint
from jukinet.mesh.errors import Refused
from tests.ledger.proofs import verify_inclusion

Network = Any  # the class is in network.py; tests put methods of their own into it, and no context into calls


async def test_a_lawful_question_gets_the_wanted_items_and_no_other(network: Network) -> None:
    network.enter(network.record_of(1))
    answer = await network.inquire()
    assert answer.outcome == inquiry.INQUIRY_OUTCOME_MATCH
    record = answer.provided.record
    assert record.name.legal == "試験花子1"
    assert record.address.block == "2番3号"
    assert not record.HasField("birth_date")
    assert (record.sex, record.resident_code, record.individual_number) == (0, "", "")
    assert answer.provided.status == 0
    assert (answer.legal_basis.purpose, answer.legal_basis.article) == ("B1-77.12", "30-9")
    assert answer.legal_basis.label_ja


async def test_the_latest_change_is_told_only_when_it_is_asked_for(network: Network) -> None:
    network.enter(network.record_of(1))
    answer = await network.inquire(fields=[inquiry.IDENTITY_FIELD_CHANGE])
    assert answer.provided.status
    assert answer.provided.effective_date.year == 2026
    assert answer.provided.record.ByteSize() == 0


async def test_an_individual_number_finds_its_holder_where_the_law_lets_the_agency_use_it(network: Network) -> None:
    network.enter(network.record_of(1), network.record_of(2))
    answer = await network.inquire(subject=inquiry.Subject(individual_number=network.number_of(2)))
    assert answer.provided.record.name.legal == "試験花子2"


async def test_none_and_several_look_the_same(network: Network) -> None:
    twin = {"name": PersonName(legal="試験花子7")}
    network.enter(network.record_of(1, **twin), network.record_of(2, **twin))
    several = await network.inquire(number=7)
    none = await network.inquire(number=8)
    for answer in (several, none):
        assert answer.outcome == inquiry.INQUIRY_OUTCOME_NO_SINGLE_MATCH
        assert not answer.HasField("provided")
    assert several.freshness == none.freshness
    assert [entry.person_token for entry in network.leaves()] == [b"", b""]


async def test_verification_says_yes_to_the_right_person_and_no_to_another(network: Network) -> None:
    network.enter(network.record_of(1))
    assert (await network.verify(network.four_items(network.record_of(1)))).verified
    other = network.four_items(network.record_of(1))
    other.birth_date.day = 3
    assert not (await network.verify(other)).verified


async def test_every_answer_and_every_refusal_is_one_entry(network: Network) -> None:
    network.enter(network.record_of(1))
    await network.inquire()
    await network.inquire(number=9)
    await network.refusal_of(network.inquire(purpose="B1-41"))
    await network.refusal_of(network.inquire("example-bank"))
    results = [(entry.result, entry.refusal) for entry in network.leaves()]
    assert results == [
        (ledger.RESULT_PROVIDED, 0),
        (ledger.RESULT_NO_SINGLE_MATCH, 0),
        (ledger.RESULT_REFUSED, errors.ERROR_REASON_PURPOSE_NOT_GRANTED),
        (ledger.RESULT_REFUSED, errors.ERROR_REASON_PRIVATE_SECTOR_BANNED),
    ]


async def test_a_private_organisation_causes_no_read_of_a_resident_table(network: Network) -> None:
    network.enter(network.record_of(1))
    for subject in (inquiry.Subject(individual_number=network.number_of(1)), None):
        changed = {"subject": subject} if subject else {}
        refusal = await network.refusal_of(network.inquire("example-bank", **changed))
        assert refusal == errors.ERROR_REASON_PRIVATE_SECTOR_BANNED
    assert await network.refusal_of(network.verify(network.four_items(network.record_of(1)), "example-bank"))
    assert network.reads == []
    assert network.center.requests == []
    assert len(network.leaves()) == 3
    await network.inquire()
    assert network.reads, "a lawful question is seen where these were not"


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"purpose": "B1-41"}, errors.ERROR_REASON_PURPOSE_NOT_GRANTED),
        ({"purpose": "B1-999"}, errors.ERROR_REASON_PURPOSE_UNKNOWN),
        ({"fields": [inquiry.IDENTITY_FIELD_RESIDENT_CODE]}, errors.ERROR_REASON_FIELD_NOT_ALLOWED),
        ({"agency": "unlisted"}, errors.ERROR_REASON_AGENCY_UNKNOWN),
    ],
)
async def test_what_the_law_does_not_open_is_refused_before_anything_is_read(
    network: Network, changed: dict[str, Any], reason: int
) -> None:
    assert await network.refusal_of(network.inquire(**changed)) == reason
    assert network.reads == []
    assert [entry.refusal for entry in network.leaves()] == [reason]


async def test_the_center_decides_again_whatever_the_gateway_says(network: Network) -> None:
    network.enter(network.record_of(1))
    network.desk._policy = Lenient(network.desk._policy)
    assert await network.refusal_of(network.inquire("example-bank")) == errors.ERROR_REASON_PRIVATE_SECTOR_BANNED
    assert network.reads == []
    assert [entry.refusal for entry in network.leaves()] == [errors.ERROR_REASON_PRIVATE_SECTOR_BANNED]


class Lenient:
    """A gateway's policy that lets everybody ask as the pension service may."""

    def __init__(self, policy: Any) -> None:
        self._policy = policy
        self.territory = policy.territory

    def decide(self, question: Any) -> Any:
        return self._policy.decide(question._replace(agency="spiffe://agencies.jukinet/agency/pension-service"))


async def test_a_receipt_proves_the_entry_under_a_signed_checkpoint(network: Network) -> None:
    network.enter(network.record_of(1))
    answers = await asyncio.gather(*(network.inquire() for _ in range(20)))
    for answer in answers:
        receipt = answer.receipt
        checkpoint = open_checkpoint(receipt.checkpoint, network.signer.verifier)
        assert verify_inclusion(
            leaf=merkle.leaf_hash(receipt.entry),
            index=receipt.index,
            size=checkpoint.size,
            proof=list(receipt.proof),
            root=checkpoint.root,
        )
        assert ledger.Entry.FromString(receipt.entry).request_id == answer.request_id
    assert sorted(answer.receipt.index for answer in answers) == list(range(20))


async def test_a_request_id_answers_once_and_its_reuse_is_on_record(network: Network) -> None:
    network.enter(network.record_of(1))
    request_id = "5f7d1c1e-0000-4000-8000-000000000001"
    await network.inquire(request_id=request_id)
    again = await network.refusal_of(network.inquire(request_id=request_id))
    assert again == errors.ERROR_REASON_REQUEST_ID_REUSED
    assert [entry.result for entry in network.leaves()] == [ledger.RESULT_PROVIDED, ledger.RESULT_REFUSED]


async def test_without_its_entry_nothing_is_answered(network: Network) -> None:
    network.enter(network.record_of(1))
    network.writer.close()
    assert await network.refusal_of(network.inquire()) == errors.ERROR_REASON_LEDGER_UNAVAILABLE
    assert await network.refusal_of(network.inquire("example-bank")) == errors.ERROR_REASON_LEDGER_UNAVAILABLE
    assert network.entries() == []


async def test_a_closed_ledger_asks_the_center_for_nothing_and_takes_no_entry(network: Network) -> None:
    network.enter(network.record_of(1))
    network.record._is_open = lambda: False
    for agency in ("pension-service", "example-bank", "unlisted"):
        assert await network.refusal_of(network.inquire(agency)) == errors.ERROR_REASON_LEDGER_UNAVAILABLE
    with pytest.raises(Refused):
        await network.note_refusal(errors.ERROR_REASON_INVALID_MESSAGE, "pension-service")
    assert (network.center.requests, network.entries()) == ([], [])


async def test_a_ledger_that_is_closed_answers_nothing_and_reads_nothing(network: Network) -> None:
    network.enter(network.record_of(1))
    network.record._is_open = lambda: False
    for asking in (network.inquire(), network.verify(network.four_items(network.record_of(1)))):
        assert await network.refusal_of(asking) == errors.ERROR_REASON_LEDGER_UNAVAILABLE
    batch = network.inquire_batch(network.batch_of(1))
    assert await network.refusal_of(batch) == errors.ERROR_REASON_LEDGER_UNAVAILABLE
    assert (network.reads, network.center.requests, network.entries()) == ([], [], [])


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED])
async def test_a_center_that_does_not_answer_is_told_as_unavailable_and_recorded(
    network: Network, code: grpc.StatusCode
) -> None:
    network.center.fail = code
    assert await network.refusal_of(network.inquire()) == errors.ERROR_REASON_DEPENDENCY_UNAVAILABLE
    assert [entry.refusal for entry in network.leaves()] == [errors.ERROR_REASON_DEPENDENCY_UNAVAILABLE]


async def test_an_answer_about_another_question_never_leaves(network: Network) -> None:
    network.enter(network.record_of(1))

    def swap(response: provision.ProvideResponse) -> None:
        response.provisions[0].subject_digest = bytes(32)

    network.center.alter = swap
    assert await network.refusal_of(network.inquire()) == errors.ERROR_REASON_DEPENDENCY_UNAVAILABLE
    assert [entry.result for entry in network.leaves()] == [ledger.RESULT_REFUSED]


async def test_no_entry_holds_personal_data(network: Network) -> None:
    network.enter(network.record_of(1))
    await network.inquire()
    await network.verify(network.four_items(network.record_of(1)))
    await network.refusal_of(network.inquire("example-bank"))
    kept = b"".join(network.entries())
    for text in ("試験花子", "千代田", "2番3号", network.number_of(1), "case-1", "op-1"):
        assert text.encode() not in kept


async def test_a_question_that_could_not_be_read_is_on_record_without_anything_it_said(network: Network) -> None:
    await network.note_refusal(errors.ERROR_REASON_INVALID_MESSAGE, "pension-service")
    (entry,) = network.leaves()
    assert (entry.refusal, entry.purpose) == (errors.ERROR_REASON_INVALID_MESSAGE, "")
    assert entry.agency == "spiffe://agencies.jukinet/agency/pension-service"


async def test_what_nodes_and_operators_are_refused_is_not_an_agencys_question(network: Network) -> None:
    await network.note_refusal(errors.ERROR_REASON_CALLER_NOT_ALLOWED, None)
    await network.note_refusal(errors.ERROR_REASON_OVERLOADED, "pension-service", rpc="/grpc.health.v1.Health/Check")
    await network.note_refusal(errors.ERROR_REASON_PURPOSE_UNKNOWN, "pension-service", entered=True)
    assert network.entries() == []
