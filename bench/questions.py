"""The questions of `bench inquiry` and `bench batch`: an agency's lawful ones, and how large all messages are."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bench.workload import MUNICIPALITY, SEED
from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.intake.v1.intake_pb2 import Submission
from jukinet._pb.jukinet.provision.v1 import provision_pb2 as provision
from jukinet.cli.development_agencies import OPERATORS
from jukinet.cli.operator_key import Signing
from jukinet.mesh.clock import now, now_us
from jukinet.purpose.ticket import sign_tickets, subject_digest

TOGETHER: Final = 256
"""Persons in one message of a batch; the contract allows no more."""
AGENCY: Final = "spiffe://agencies.jukinet/agency/pension-service"
_GATEWAY: Final = "spiffe://nodes.jukinet/gateway/gateway-1"
_FIELDS: Final = (
    inquiry.IDENTITY_FIELD_NAME,
    inquiry.IDENTITY_FIELD_BIRTH_DATE,
    inquiry.IDENTITY_FIELD_SEX,
    inquiry.IDENTITY_FIELD_ADDRESS,
)


class Questions:
    """Inquiries about residents of the register, each with an id of its own.

    Args:
        people: who is asked about, in an order drawn from the seed.
        signing: the operator who asks; his signature is the agency's work, and holds for five minutes.
    """

    def __init__(self, people: Sequence[Submission], signing: Signing) -> None:
        self._people = people
        self._signing = signing
        self._random = Random(SEED)

    def next(self, count: int) -> list[bytes]:
        """So many InquireRequests, serialised."""
        return [self._signing(self._request()).SerializeToString() for _ in range(count)]

    def next_messages(self, count: int) -> list[bytes]:
        """So many InquireBatchRequests about `TOGETHER` persons each, serialised."""
        return [self._signing(self._message()).SerializeToString() for _ in range(count)]

    def _request(self) -> inquiry.InquireRequest:
        return inquiry.InquireRequest(context=self._context(), subject=self._subject(), fields=_FIELDS)

    def _message(self) -> inquiry.InquireBatchRequest:
        subjects = [self._subject() for _ in range(TOGETHER)]
        return inquiry.InquireBatchRequest(context=self._context(), subjects=subjects, fields=_FIELDS)

    def _context(self) -> inquiry.InquiryContext:
        return inquiry.InquiryContext(
            request_id=str(uuid.UUID(int=self._random.getrandbits(128), version=4)),
            purpose="B1-77.12",
            case_reference="bench-case-1",
            operator=OPERATORS[0],
        )

    def _subject(self) -> inquiry.Subject:
        return inquiry.Subject(four_items=_four_items(self._random.choice(self._people)))


@dataclass(frozen=True, slots=True)
class Sizes:
    """Bytes of the four messages of one inquiry, or of one message of a batch."""

    inquire: int
    provide: int
    provided: int
    inquired: int


def sizes_of(request: bytes, answer: bytes) -> Sizes:
    """Sizes on both hops, from one question and its answer; the inner hop's are of messages of the same content."""
    asked, answered = inquiry.InquireRequest.FromString(request), inquiry.InquireResponse.FromString(answer)
    provide, provided = _inner(asked.context, [asked.subject], asked.fields, [answered])
    return Sizes(len(request), provide, provided, len(answer))


def sizes_of_message(request: bytes, answer: bytes) -> Sizes:
    """The same of one message of a batch."""
    asked, answered = inquiry.InquireBatchRequest.FromString(request), inquiry.InquireBatchResponse.FromString(answer)
    provide, provided = _inner(asked.context, asked.subjects, asked.fields, answered.answers)
    return Sizes(len(request), provide, provided, len(answer))


def _inner(
    context: inquiry.InquiryContext,
    subjects: Sequence[inquiry.Subject],
    fields: Sequence["inquiry.IdentityField.ValueType"],
    answers: Sequence[inquiry.InquireResponse | inquiry.BatchAnswer],
) -> tuple[int, int]:
    """Bytes of request and response between gateway and center."""
    tickets = [
        provision.Ticket(
            agency=AGENCY,
            purpose=context.purpose,
            request_id=context.request_id,
            kind=provision.PROVISION_KIND_BATCH,
            method=inquiry.INQUIRY_METHOD_FOUR_ITEMS,
            fields=fields,
            subject_digest=subject_digest(subject, context.request_id),
            edition="2019-01",
            operator=context.operator,
        )
        for subject in subjects
    ]
    signed = sign_tickets(tickets, Ed25519PrivateKey.generate(), gateway=_GATEWAY, now=now())
    freshness = inquiry.Freshness(municipality=MUNICIPALITY, sequence=1)
    freshness.as_of.FromMicroseconds(now_us())
    found = [
        provision.Provision(
            request_id=ticket.request_id,
            subject_digest=ticket.subject_digest,
            outcome=answer.outcome,
            provided=answer.provided,
            person_token=bytes(32),
            freshness=[freshness],
        )
        for ticket, answer in zip(tickets, answers, strict=True)
    ]
    questions = [provision.Question(subject=subject) for subject in subjects]
    request = provision.ProvideRequest(tickets=signed, questions=questions)
    return request.ByteSize(), provision.ProvideResponse(provisions=found).ByteSize()


def _four_items(person: Submission) -> inquiry.FourItems:
    record = person.record
    return inquiry.FourItems(
        name=record.name.legal, birth_date=record.birth_date, sex=record.sex, address=record.address
    )
