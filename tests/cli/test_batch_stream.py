"""Whoever is named as the contract allows is asked about: no message is larger than a gateway takes."""

from itertools import pairwise

import pytest
from google.protobuf.message import Message as Contract

from jukinet._pb.buf.validate import validate_pb2
from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.register.v1.identity_pb2 import SEX_FEMALE
from jukinet.cli.batch_stream import TOGETHER, messages_of
from jukinet.cli.output import Failure
from jukinet.ledger.verify.batch_job import Person, put_persons
from jukinet.mesh.errors import check_message
from jukinet.mesh.limits import GATEWAY_MESSAGE_BYTES

UUID = "5f7d1c1e-0000-4000-8000-000000000001"


def fill(message: Contract, *names: str) -> None:
    """Puts the longest text that the contract allows into fields, of characters that take four bytes."""
    for name in names:
        rules = message.DESCRIPTOR.fields_by_name[name].GetOptions().Extensions[validate_pb2.field]
        setattr(message, name, "\U00020bb7" * rules.string.max_len)


def longest() -> Person:
    items = inquiry.FourItems(sex=SEX_FEMALE)
    fill(items, "name")
    fill(items.address, "town", "block", "building")
    items.address.local_government_code = "131016"
    items.birth_date.year, items.birth_date.month, items.birth_date.day = 1948, 12, 31
    return Person(inquiry.Subject(four_items=items), bytes([1]) * 32)


def request_of(persons: list[Person]) -> inquiry.InquireBatchRequest:
    """The longest message about persons."""
    fields = inquiry.IdentityField.values()[1:]
    request = inquiry.InquireBatchRequest(fields=fields, sealed_until="2027-04-01", job=bytes([1]) * 32)
    fill(request.context, "case_reference", "operator")
    context = request.context
    context.request_id, context.purpose, context.maximum_age_seconds = UUID, "B1-100-100-100*.100", 2**32 - 1
    proof = context.operator_proof
    for moment in (proof.signed_at, proof.logged_on_at):
        moment.seconds, moment.nanos = 253_402_300_799, 999_999_999
    proof.signature = bytes([1]) * 64
    put_persons(request, persons)
    return request


def test_the_longest_names_and_addresses_of_the_contract_go_into_messages_that_a_gateway_takes() -> None:
    people = [(number, longest()) for number in range(1, 1001)]
    messages = [*messages_of(people)]
    assert [each for message in messages for each in message.records] == people, "nobody is left out, all in order"
    requests = [request_of(message.persons) for message in messages]
    for request in requests:
        check_message(request)
    assert max(request.ByteSize() for request in requests) <= GATEWAY_MESSAGE_BYTES
    fuller = [request_of(a.persons + b.persons[:4]).ByteSize() for a, b in pairwise(messages)]
    assert min(fuller) > GATEWAY_MESSAGE_BYTES, "and they are as full as that lets them be"


@pytest.mark.parametrize("who", [Person(inquiry.Subject(individual_number="000000000019")), Failure("x")])
def test_short_records_are_as_many_in_a_message_as_the_contract_allows(who: Person | Failure) -> None:
    messages = [*messages_of((number, who) for number in range(2 * TOGETHER + 1))]
    assert [len(message.records) for message in messages] == [TOGETHER, TOGETHER, 1]
