"""Tickets: what a gateway states about one question, so that the center can decide for itself.

A gateway may read for others, which makes it worth deceiving (confused deputy). So it does not ask in its own name: it
states, under its signature, which agency asks what about whom, for thirty seconds and for one use. The center checks
the statement against its caller and the question, and then decides again by the same policy.
"""

import hashlib
import hmac
from collections.abc import Callable
from datetime import datetime, timedelta

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp

from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2 import (
    INQUIRY_METHOD_FOUR_ITEMS,
    INQUIRY_METHOD_INDIVIDUAL_NUMBER,
    InquiryMethod,
    Subject,
)
from jukinet._pb.jukinet.provision.v1.provision_pb2 import SignedTicket, Ticket

LIFETIME = timedelta(seconds=30)
CLOCK_SKEW = timedelta(seconds=5)
_CONTEXT = b"jukinet provision ticket v1\0"


class TicketInvalid(Exception):
    """The ticket does not hold; `why` is for the operator and names no person."""

    def __init__(self, why: str) -> None:
        super().__init__(f"ticket refused: {why}")
        self.why = why


def method_of(subject: Subject) -> "InquiryMethod.ValueType":
    """In which way a question names the person."""
    if subject.WhichOneof("key") == "individual_number":
        return INQUIRY_METHOD_INDIVIDUAL_NUMBER
    return INQUIRY_METHOD_FOUR_ITEMS


def subject_digest(subject: Subject, request_id: str) -> bytes:
    """Binds a ticket to the person asked about, 32 bytes, without telling who that is."""
    return hmac.digest(request_id.encode(), subject.SerializeToString(deterministic=True), hashlib.sha256)


def sign_ticket(ticket: Ticket, key: Ed25519PrivateKey, *, now: datetime) -> SignedTicket:
    """Dates the ticket and signs it. `now` is UTC."""
    ticket.issued_at.FromDatetime(now)
    ticket.expires_at.FromDatetime(now + LIFETIME)
    body = ticket.SerializeToString()
    return SignedTicket(ticket=body, signature=key.sign(_CONTEXT + body))


class TicketOffice:
    """Checks tickets, and that each is used once.

    `key_of` gives the ticket key of a gateway by its SPIFFE ID. Tickets from before `opened` are refused, because what
    was used before a restart is not remembered.
    """

    def __init__(self, key_of: Callable[[str], Ed25519PublicKey | None], *, opened: datetime) -> None:
        self._key_of = key_of
        self._opened = opened - CLOCK_SKEW
        self._used: dict[tuple[str, str], datetime] = {}
        self._swept = opened

    def accept(self, signed: SignedTicket, *, caller: str, subject: Subject, now: datetime) -> Ticket:
        """The ticket, once, if it holds for this caller (a SPIFFE ID), this subject and this moment.

        Raises TicketInvalid.
        """
        key = self._key_of(caller)
        if key is None:
            raise TicketInvalid("no ticket key is known for the gateway")
        try:
            key.verify(signed.signature, _CONTEXT + signed.ticket)
            ticket = Ticket.FromString(signed.ticket)
        except (InvalidSignature, DecodeError):
            raise TicketInvalid("the signature does not verify") from None
        if ticket.gateway != caller:
            raise TicketInvalid("it was made by another gateway")
        _check_time(ticket, self._opened, now)
        if not hmac.compare_digest(ticket.subject_digest, subject_digest(subject, ticket.request_id)):
            raise TicketInvalid("it is for another person")
        self._use_once(ticket, now)
        return ticket

    def _use_once(self, ticket: Ticket, now: datetime) -> None:
        if now - self._swept > LIFETIME:
            self._used = {key: end for key, end in self._used.items() if end > now}
            self._swept = now
        key = (ticket.agency, ticket.request_id)
        if key in self._used:
            raise TicketInvalid("it was used before")
        self._used[key] = _utc(ticket.expires_at, now) + CLOCK_SKEW


def _check_time(ticket: Ticket, opened: datetime, now: datetime) -> None:
    issued, expires = _utc(ticket.issued_at, now), _utc(ticket.expires_at, now)
    if expires - issued > LIFETIME:
        raise TicketInvalid("its life is too long")
    if issued < opened or not issued - CLOCK_SKEW <= now <= expires:
        raise TicketInvalid("it is not of this moment")


def _utc(stamp: Timestamp, now: datetime) -> datetime:
    return stamp.ToDatetime(tzinfo=now.tzinfo)
