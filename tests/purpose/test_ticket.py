"""A gateway's ticket holds for its question, its gateway, its half minute and one use, and for nothing else."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.provision.v1 import provision_pb2 as provision
from jukinet.purpose.ticket import CLOCK_SKEW, LIFETIME, TicketInvalid, TicketOffice, sign_ticket, subject_digest

NOW = datetime(2026, 4, 1, 3, 0, tzinfo=UTC)
GATEWAY = "spiffe://nodes.jukinet/gateway/gateway-1"
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
SUBJECT = inquiry.Subject(individual_number="001234567890")
REQUEST_ID = "5f7d1c1e-0000-4000-8000-000000000001"


def make_ticket(**changed: object) -> provision.Ticket:
    parts: dict[str, object] = {
        "gateway": GATEWAY,
        "agency": "spiffe://agencies.jukinet/agency/pension-service",
        "purpose": "B1-77.12",
        "request_id": REQUEST_ID,
        "kind": provision.PROVISION_KIND_RECORD,
        "method": inquiry.INQUIRY_METHOD_INDIVIDUAL_NUMBER,
        "fields": [inquiry.IDENTITY_FIELD_NAME],
        "subject_digest": subject_digest(SUBJECT, REQUEST_ID),
    }
    return provision.Ticket(**{**parts, **changed})  # type: ignore[arg-type]  # parts by name


def make_office() -> TicketOffice:
    return TicketOffice({GATEWAY: KEY.public_key()}.get, opened=NOW)


def test_a_sound_ticket_is_accepted_once() -> None:
    office = make_office()
    signed = sign_ticket(make_ticket(), KEY, now=NOW)
    assert office.accept(signed, caller=GATEWAY, subject=SUBJECT, now=NOW).request_id == REQUEST_ID
    with pytest.raises(TicketInvalid, match="used before"):
        office.accept(signed, caller=GATEWAY, subject=SUBJECT, now=NOW + timedelta(seconds=1))


def test_a_used_ticket_stays_used_until_it_has_run_out_everywhere() -> None:
    office = make_office()
    signed = sign_ticket(make_ticket(), KEY, now=NOW)
    office.accept(signed, caller=GATEWAY, subject=SUBJECT, now=NOW)
    other = sign_ticket(make_ticket(request_id="5f7d1c1e-0000-4000-8000-000000000002"), KEY, now=NOW)
    with pytest.raises(TicketInvalid, match="another person"):
        office.accept(other, caller=GATEWAY, subject=SUBJECT, now=NOW + LIFETIME)
    with pytest.raises(TicketInvalid, match="used before"):
        office.accept(signed, caller=GATEWAY, subject=SUBJECT, now=NOW + LIFETIME)


def other_key(signed: provision.SignedTicket) -> provision.SignedTicket:
    return sign_ticket(provision.Ticket.FromString(signed.ticket), Ed25519PrivateKey.generate(), now=NOW)


def one_bit(signed: provision.SignedTicket) -> provision.SignedTicket:
    return provision.SignedTicket(
        ticket=signed.ticket[:-1] + bytes([signed.ticket[-1] ^ 1]), signature=signed.signature
    )


@pytest.mark.parametrize("forge", [other_key, one_bit])
def test_an_altered_or_foreign_signature_is_refused(
    forge: Callable[[provision.SignedTicket], provision.SignedTicket],
) -> None:
    forged = forge(sign_ticket(make_ticket(), KEY, now=NOW))
    with pytest.raises(TicketInvalid, match="signature"):
        make_office().accept(forged, caller=GATEWAY, subject=SUBJECT, now=NOW)


@pytest.mark.parametrize(
    "now", [NOW - CLOCK_SKEW - timedelta(seconds=1), NOW + LIFETIME + timedelta(milliseconds=1)], ids=["early", "late"]
)
def test_a_ticket_of_another_moment_is_refused(now: datetime) -> None:
    signed = sign_ticket(make_ticket(), KEY, now=NOW)
    with pytest.raises(TicketInvalid, match="moment"):
        make_office().accept(signed, caller=GATEWAY, subject=SUBJECT, now=now)


def test_a_ticket_from_before_a_restart_is_refused() -> None:
    signed = sign_ticket(make_ticket(), KEY, now=NOW)
    opened_later = TicketOffice({GATEWAY: KEY.public_key()}.get, opened=NOW + CLOCK_SKEW + timedelta(seconds=1))
    with pytest.raises(TicketInvalid, match="moment"):
        opened_later.accept(signed, caller=GATEWAY, subject=SUBJECT, now=NOW + timedelta(seconds=10))


def test_a_ticket_cannot_give_itself_a_longer_life() -> None:
    ticket = make_ticket()
    signed = sign_ticket(ticket, KEY, now=NOW)
    ticket.expires_at.FromDatetime(NOW + LIFETIME * 2)
    body = ticket.SerializeToString()
    forged = provision.SignedTicket(ticket=body, signature=KEY.sign(b"jukinet provision ticket v1\0" + body))
    assert signed.ticket != forged.ticket
    with pytest.raises(TicketInvalid, match="life"):
        make_office().accept(forged, caller=GATEWAY, subject=SUBJECT, now=NOW)


def test_a_ticket_for_another_person_is_refused() -> None:
    signed = sign_ticket(make_ticket(), KEY, now=NOW)
    other = inquiry.Subject(individual_number="009876543210")
    with pytest.raises(TicketInvalid, match="another person"):
        make_office().accept(signed, caller=GATEWAY, subject=other, now=NOW)


def test_a_ticket_of_another_gateway_is_refused() -> None:
    signed = sign_ticket(make_ticket(gateway="spiffe://nodes.jukinet/gateway/other"), KEY, now=NOW)
    with pytest.raises(TicketInvalid, match="another gateway"):
        make_office().accept(signed, caller=GATEWAY, subject=SUBJECT, now=NOW)
    with pytest.raises(TicketInvalid, match="no ticket key"):
        make_office().accept(signed, caller="spiffe://nodes.jukinet/gateway/other", subject=SUBJECT, now=NOW)


def test_what_is_remembered_of_used_tickets_does_not_grow_for_ever() -> None:
    office = make_office()
    for number in range(100):
        now = NOW + timedelta(seconds=number)
        request_id = f"5f7d1c1e-0000-4000-8000-{number:012x}"
        ticket = make_ticket(request_id=request_id, subject_digest=subject_digest(SUBJECT, request_id))
        office.accept(sign_ticket(ticket, KEY, now=now), caller=GATEWAY, subject=SUBJECT, now=now)
    assert len(office._used) < 80
