"""Why nothing is told of a person shows nowhere: not in an answer, not in the ledger, not in a size.

Nobody, several, protected, deleted, moved away, and a resident of whom this agency may not hear.
"""

from typing import Any

import pytest

from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.ledger.v1.ledger_pb2 import RESULT_NO_SINGLE_MATCH, Entry, Receipt
from tests.agency_gateway import silent
from tests.agency_gateway.silent import AGENCY, OUTCOMES, PURPOSE

Network = Any  # the class is in network.py; tests put methods of their own into it, and no context into calls
REQUEST_ID = "5f7d1c1e-0000-4000-8000-{:012}"
FIELDS = [inquiry.IDENTITY_FIELD_NAME, inquiry.IDENTITY_FIELD_ADDRESS, inquiry.IDENTITY_FIELD_CHANGE]
EMPTY_ANSWER_BYTES = 2
"""What an answer holds beside its id, its legal basis, its source and its receipt: the outcome."""


async def asked(network: Network, method: str, subject: inquiry.Subject, number: int) -> tuple[Any, Receipt]:
    """The answer about one person and its receipt, taken out of it."""
    request_id = REQUEST_ID.format(number)
    context = {"purpose": PURPOSE, "request_id": request_id}
    if method == "Inquire":
        answer = await network.inquire(AGENCY, subject=subject, fields=FIELDS, **context)
    elif method == "VerifyIdentity":
        answer = await network.verify(subject.four_items, AGENCY, **context)
    else:
        message = inquiry.InquireBatchRequest(context=network.context(**context), subjects=[subject], fields=FIELDS)
        (message_answer,) = await network.inquire_batch(message, agency=AGENCY)
        (answer,) = message_answer.answers
    receipt = Receipt.FromString(answer.receipt.SerializeToString())
    answer.ClearField("receipt")
    take_freshness(answer, subject)
    if method != "InquireBatch":
        assert answer.request_id == request_id
        answer.request_id = ""
        assert answer.legal_basis.purpose == PURPOSE
        answer.ClearField("legal_basis")
    return answer, receipt


def take_freshness(answer: Any, subject: inquiry.Subject) -> None:
    """Takes out what is said of a municipality: of the one that was asked for, whoever is found there, or of all."""
    if answer.outcome != inquiry.INQUIRY_OUTCOME_MATCH:
        asked_for = subject.four_items.address.local_government_code
        assert [said.municipality for said in answer.freshness] == [asked_for]
    answer.ClearField("freshness")


def without_its_own(receipt: Receipt) -> tuple[bytes, int]:
    """The entry of a receipt with its time, id and digests replaced by others of their size, and the proof's length."""
    entry = Entry.FromString(receipt.entry)
    assert len(entry.answer_digest) == 32
    entry.answer_digest = bytes(32)
    assert len(entry.operator_proof) == 32
    entry.operator_proof = bytes(32)
    assert len(entry.body_digest) == 32
    entry.body_digest = bytes(32)
    entry.request_id = "0" * len(entry.request_id)
    entry.time.FromMicroseconds(1_800_000_000_000_001)
    return entry.SerializeToString(), len(receipt.proof)


@pytest.mark.parametrize("method", ["Inquire", "VerifyIdentity", "InquireBatch"])
@pytest.mark.parametrize("named", ["by_four_items", "by_number"])
async def test_why_nothing_is_told_shows_in_no_byte(network: Network, method: str, named: str) -> None:
    if (method, named) == ("VerifyIdentity", "by_number"):
        return  # it has no number
    silent.enter_all(network)
    name = getattr(silent, named)
    answers, entries = set(), set()
    for number, outcome in enumerate(OUTCOMES):
        answer, receipt = await asked(network, method, name(network, outcome), number)
        answers.add(answer.SerializeToString())
        entries.add(without_its_own(receipt)[0])
    assert len(answers) == len(entries) == 1
    assert {len(answer) for answer in answers} == {EMPTY_ANSWER_BYTES}
    (entry,) = map(Entry.FromString, entries)
    assert (entry.result, entry.person_token, list(entry.fields)) == (RESULT_NO_SINGLE_MATCH, b"", [])
    # Where something is told, all of this is seen.
    answer, receipt = await asked(network, method, name(network, "somebody"), 99)
    assert answer.SerializeToString() not in answers
    assert without_its_own(receipt)[0] not in entries


async def test_what_a_batch_is_silent_of_looks_the_same_beside_others(network: Network) -> None:
    """The order of a message's persons, and what is found of others, changes nothing."""
    silent.enter_all(network)
    subjects = [silent.by_four_items(network, outcome) for outcome in ("somebody", *OUTCOMES)]
    told: dict[bytes, set[bytes]] = {}
    for turn in range(len(subjects)):
        turned = subjects[turn:] + subjects[:turn]
        context = network.context(PURPOSE, REQUEST_ID.format(turn))
        message = inquiry.InquireBatchRequest(context=context, subjects=turned, fields=FIELDS)
        (answer,) = await network.inquire_batch(message, agency=AGENCY)
        for subject, each in zip(turned, answer.answers, strict=True):
            entry, _ = without_its_own(each.receipt)
            each.ClearField("receipt")
            take_freshness(each, subject)
            told.setdefault(subject.SerializeToString(), set()).add(each.SerializeToString() + entry)
    assert [len(each) for each in told.values()] == [1] * len(subjects)
    assert len({next(iter(each)) for each in told.values()}) == 2


@pytest.mark.parametrize("named", ["by_four_items", "by_number"])
async def test_what_the_center_tells_the_gateway_is_as_silent(network: Network, named: str) -> None:
    silent.enter_all(network)
    seen = set()

    def note(response: Any) -> None:
        for each in response.provisions:
            assert len(each.subject_digest) == 32
            each_told = type(each).FromString(each.SerializeToString())
            each_told.request_id, each_told.subject_digest = "", b""
            each_told.ClearField("freshness")
            assert (len(each_told.body_key), len(each_told.body_place.handle)) == (32, 60)
            each_told.body_key, each_told.body_place.handle = b"", b""
            seen.add(each_told.SerializeToString())

    network.center.alter = note
    for number, outcome in enumerate(OUTCOMES):
        await asked(network, "Inquire", getattr(silent, named)(network, outcome), number)
    assert len(seen) == 1
