"""The questions of `bench inquiry`: an agency's lawful inquiries, and how large all messages on their way are."""

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
from jukinet.mesh.clock import now, now_us
from jukinet.purpose.ticket import sign_tickets, subject_digest

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
    """

    def __init__(self, people: Sequence[Submission]) -> None:
        self._people = people
        self._random = Random(SEED)

    def next(self, count: int) -> list[bytes]:
        """So many InquireRequests, serialised."""
        return [self._request(self._random.choice(self._people)).SerializeToString() for _ in range(count)]

    def _request(self, person: Submission) -> inquiry.InquireRequest:
        return inquiry.InquireRequest(
            context=inquiry.InquiryContext(
                request_id=str(uuid.UUID(int=self._random.getrandbits(128), version=4)),
                purpose="B1-77.12",
                case_reference="bench-case-1",
                operator="bench-operator",
            ),
            subject=inquiry.Subject(four_items=_four_items(person)),
            fields=_FIELDS,
        )


@dataclass(frozen=True, slots=True)
class Sizes:
    """Bytes of the four messages of one inquiry."""

    inquire: int
    provide: int
    provided: int
    inquired: int


def sizes_of(request: bytes, answer: bytes) -> Sizes:
    """Sizes on both hops, from one question and its answer; the inner hop's are of messages of the same content."""
    asked, answered = inquiry.InquireRequest.FromString(request), inquiry.InquireResponse.FromString(answer)
    ticket = provision.Ticket(
        agency=AGENCY,
        purpose=asked.context.purpose,
        request_id=asked.context.request_id,
        kind=provision.PROVISION_KIND_RECORD,
        method=inquiry.INQUIRY_METHOD_FOUR_ITEMS,
        fields=asked.fields,
        subject_digest=subject_digest(asked.subject, asked.context.request_id),
    )
    signed = sign_tickets([ticket], Ed25519PrivateKey.generate(), gateway=_GATEWAY, now=now())
    freshness = inquiry.Freshness(municipality=MUNICIPALITY, sequence=1)
    freshness.as_of.FromMicroseconds(now_us())
    found = provision.Provision(
        request_id=asked.context.request_id,
        subject_digest=ticket.subject_digest,
        outcome=answered.outcome,
        provided=answered.provided,
        person_token=bytes(32),
        freshness=[freshness],
    )
    response = provision.ProvideResponse(provisions=[found])
    provide = provision.ProvideRequest(tickets=signed, questions=[provision.Question(subject=asked.subject)])
    return Sizes(len(request), provide.ByteSize(), response.ByteSize(), len(answer))


def _four_items(person: Submission) -> inquiry.FourItems:
    record = person.record
    return inquiry.FourItems(
        name=record.name.legal, birth_date=record.birth_date, sex=record.sex, address=record.address
    )
