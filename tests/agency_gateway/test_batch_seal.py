"""Under a job the gateway signs its answers together with what was asked; the verifier's own code reads that."""

import hashlib
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature

from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry

Network = Any  # the class is in network.py; tests put methods of their own into it, and no context into calls
JOB = bytes(range(32))
AGENCY = "spiffe://agencies.jukinet/agency/pension-service"


def statement(request: inquiry.InquireBatchRequest, response: inquiry.InquireBatchResponse, agency: str) -> bytes:
    """What is signed, written down anew from the contract's text."""
    asked, answered = inquiry.InquireBatchRequest(), inquiry.InquireBatchResponse()
    asked.CopyFrom(request)
    asked.context.ClearField("operator_proof")
    answered.CopyFrom(response)
    answered.ClearField("signature")
    said = b"jukinet batch answer v1\0"
    digests = [hashlib.sha256(each.SerializeToString(deterministic=True)).digest() for each in (asked, answered)]
    for part in (agency.encode(), *digests):
        said += len(part).to_bytes(4, "big") + part
    return said


async def test_answers_under_a_job_are_signed_with_their_question(network: Network) -> None:
    network.enter(network.record_of(1))
    request = network.batch_of(1, 9, job=JOB)
    (response,) = await network.inquire_batch(request)
    key = network.ledger_key.public_key()
    key.verify(response.signature, statement(request, response, AGENCY))
    other_job = network.batch_of(1, 9, job=bytes(32), request_id=request.context.request_id)
    other_person = network.batch_of(9, 1, job=JOB, request_id=request.context.request_id)
    for another in (other_job, other_person):
        with pytest.raises(InvalidSignature):
            key.verify(response.signature, statement(another, response, AGENCY))
    with pytest.raises(InvalidSignature):
        key.verify(response.signature, statement(request, response, AGENCY + "-2"))


async def test_answers_outside_of_a_job_bear_no_signature(network: Network) -> None:
    network.enter(network.record_of(1))
    (response,) = await network.inquire_batch(network.batch_of(1))
    assert response.signature == b""
