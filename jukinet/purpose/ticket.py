"""Tickets: what a gateway states about one question, so that the center can decide for itself.

A gateway may read for others, which makes it worth deceiving (confused deputy). So it does not ask in its own name: it
states, under its signature, which agency asks what about whom, for thirty seconds. A request id is good for one use,
whichever gateway brings it, for as long as an operator's proof for it may be shown to another one. A center that starts
remembers none of before: until such proofs have run out, a question that was asked may be asked once more, through
another gateway. The center checks the statement against its caller and the question, and then decides again by the same
policy. Questions that are asked together share the signature; each has its own ticket, and so has each message of a
batch.

Source: docs/decisions/0056-an-operator-signs-each-question.md.
"""

import hashlib
import hmac
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from google.protobuf.message import DecodeError, Message
from google.protobuf.timestamp_pb2 import Timestamp

from jukinet._pb.jukinet.errors.v1 import errors_pb2
from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2 import (
    INQUIRY_METHOD_FOUR_ITEMS,
    INQUIRY_METHOD_INDIVIDUAL_NUMBER,
    InquiryMethod,
    Subject,
)
from jukinet._pb.jukinet.provision.v1.provision_pb2 import SignedTickets, Ticket, Tickets
from jukinet.purpose import operator_proof

LIFETIME = timedelta(seconds=30)
CLOCK_SKEW = timedelta(seconds=5)
REMEMBERED = operator_proof.LIFETIME + operator_proof.CLOCK_SKEW + LIFETIME + 2 * CLOCK_SKEW
"""How long the center knows a request id: by an operator's clock that is ahead his proof may hold that much longer, and
another gateway makes a ticket of it in its last moment. The clocks of two gateways differ, and the center's may be put
back."""
MOST_REMEMBERED = 1_000_000
"""Request ids in memory, some 130 MB: of 2,700 tickets a second. A message of a batch has one."""
_CONTEXT = b"jukinet provision tickets v2\0"


class TicketInvalid(Exception):
    """The ticket does not hold; `why` is for the operator and names no person, `reason` is for the gateway."""

    def __init__(
        self, why: str, reason: "errors_pb2.ErrorReason.ValueType" = errors_pb2.ERROR_REASON_TICKET_INVALID
    ) -> None:
        super().__init__(f"ticket refused: {why}")
        self.why = why
        self.reason = reason


def method_of(subject: Subject) -> "InquiryMethod.ValueType":
    """In which way a question names the person."""
    if subject.WhichOneof("key") == "individual_number":
        return INQUIRY_METHOD_INDIVIDUAL_NUMBER
    return INQUIRY_METHOD_FOUR_ITEMS


def question_id(request_id: str, number: int) -> str:
    """Request id of one person's question: as the contract of InquireBatchRequest says, a UUID of version 8 (RFC 9562).

    Anybody can compute it, so the contract takes none of that version from an agency: one would stand for two persons.

    Args:
        request_id: of the message.
        number: the person's place in it, from 0.
    """
    digits = hashlib.sha256(f"{request_id}/{number}".encode()).hexdigest()
    variant = "89ab"[int(digits[16], 16) % 4]
    return f"{digits[:8]}-{digits[8:12]}-8{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:32]}"


def subject_digest(subject: Message, request_id: str) -> bytes:
    """Binds a ticket to the person asked about, or to an order about a list, 32 bytes, without telling who that is."""
    return hmac.digest(request_id.encode(), subject.SerializeToString(deterministic=True), "sha256")


def subject_digests(subjects: Sequence[Message], request_id: str) -> list[bytes]:
    """The same for each person of a message of a batch, which has this request id."""
    return [subject_digest(subject, f"{request_id}/{number}") for number, subject in enumerate(subjects)]


def digests_in(ticket: Ticket) -> Sequence[bytes]:
    """Digests of the persons that a ticket is for: of a single question one."""
    return ticket.subject_digests or [ticket.subject_digest]


def sign_tickets(tickets: Sequence[Ticket], key: Ed25519PrivateKey, *, gateway: str, now: datetime) -> SignedTickets:
    """Dates tickets and signs them together: one signature costs as much as everything else about a question.

    Args:
        tickets: at most 100.
        key: the gateway's ticket key.
        gateway: its SPIFFE ID.
        now: UTC.
    """
    sheet = Tickets(gateway=gateway, tickets=tickets)
    sheet.issued_at.FromDatetime(now)
    sheet.expires_at.FromDatetime(now + LIFETIME)
    body = sheet.SerializeToString()
    return SignedTickets(tickets=body, signature=key.sign(_CONTEXT + body))


class TicketOffice:
    """Checks tickets, and that each is used once.

    `key_of` gives the ticket key of a gateway by its SPIFFE ID. Tickets from before `opened` are refused, because what
    was used before a restart is not remembered.
    """

    def __init__(self, key_of: Callable[[str], Ed25519PublicKey | None], *, opened: datetime) -> None:
        self._key_of = key_of
        self._opened = opened - CLOCK_SKEW
        self._used: dict[bytes, float] = {}
        """Until when each is known, in seconds since 1970; in the order of their use."""

    def accept(self, signed: SignedTickets, *, caller: str, now: datetime) -> Tickets:
        """The tickets, if they hold for this caller (a SPIFFE ID) and this moment; `use` then takes each of them.

        Raises TicketInvalid.
        """
        key = self._key_of(caller)
        if key is None:
            raise TicketInvalid("no ticket key is known for the gateway")
        try:
            key.verify(signed.signature, _CONTEXT + signed.tickets)
            tickets = Tickets.FromString(signed.tickets)
        except (InvalidSignature, DecodeError):
            raise TicketInvalid("the signature does not verify") from None
        if tickets.gateway != caller:
            raise TicketInvalid("it was made by another gateway")
        _check_time(tickets, self._opened, now)
        return tickets

    def use(self, ticket: Ticket, *, subjects: Sequence[Message], now: datetime) -> None:
        """Takes a ticket that was accepted at this moment, once, if it is for these subjects.

        Raises TicketInvalid.
        """
        if not hmac.compare_digest(b"".join(digests_in(ticket)), b"".join(_digests_of(ticket, subjects))):
            raise TicketInvalid("it is for another person")
        moment, key = now.timestamp(), used_key(ticket.agency, ticket.request_id)
        while self._used and self._used[first := next(iter(self._used))] <= moment:
            del self._used[first]
        if key in self._used:
            # One ticket is made of one question, so it is the agency that gave two questions one id.
            raise TicketInvalid("it was used before", errors_pb2.ERROR_REASON_REQUEST_ID_REUSED)
        if len(self._used) >= MOST_REMEMBERED:  # who is not remembered could be answered twice
            raise TicketInvalid("too many others were used", errors_pb2.ERROR_REASON_OVERLOADED)
        self._used[key] = moment + REMEMBERED.total_seconds()


def used_key(agency: str, request_id: str) -> bytes:
    """By what a request id of an agency is remembered, 16 bytes."""
    return hashlib.sha256(f"{request_id}\n{agency}".encode()).digest()[:16]


def _digests_of(ticket: Ticket, subjects: Sequence[Message]) -> list[bytes]:
    """What the ticket says if it is for these subjects."""
    if ticket.subject_digests:
        return subject_digests(subjects, ticket.request_id)
    return [subject_digest(subject, ticket.request_id) for subject in subjects]


def _check_time(tickets: Tickets, opened: datetime, now: datetime) -> None:
    issued, expires = _utc(tickets.issued_at, now), _utc(tickets.expires_at, now)
    if expires - issued > LIFETIME:
        raise TicketInvalid("its life is too long")
    if issued < opened or not issued - CLOCK_SKEW <= now <= expires:
        raise TicketInvalid("it is not of this moment")


def _utc(stamp: Timestamp, now: datetime) -> datetime:
    return stamp.ToDatetime(tzinfo=now.tzinfo)
