"""A gateway's ticket holds for its question, its gateway, its half minute and one use, and for nothing else."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.provision.v1 import provision_pb2 as provision
from jukinet.purpose import operator_proof
from jukinet.purpose import ticket as ticket_module
from jukinet.purpose.ticket import (
    CLOCK_SKEW,
    LIFETIME,
    TicketInvalid,
    TicketOffice,
    sign_tickets,
    subject_digest,
    subject_digests,
)

NOW = datetime(2026, 4, 1, 3, 0, tzinfo=UTC)
GATEWAY = "spiffe://nodes.jukinet/gateway/gateway-1"
OTHER_GATEWAY = "spiffe://nodes.jukinet/gateway/gateway-2"
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
SUBJECT = inquiry.Subject(individual_number="001234567890")
OTHER = inquiry.Subject(individual_number="009876543210")
REQUEST_ID = "5f7d1c1e-0000-4000-8000-000000000001"


def make_ticket(request_id: str = REQUEST_ID, **changed: object) -> provision.Ticket:
    parts: dict[str, object] = {
        "agency": "spiffe://agencies.jukinet/agency/pension-service",
        "purpose": "B1-77.12",
        "request_id": request_id,
        "kind": provision.PROVISION_KIND_RECORD,
        "method": inquiry.INQUIRY_METHOD_INDIVIDUAL_NUMBER,
        "fields": [inquiry.IDENTITY_FIELD_NAME],
        "subject_digest": subject_digest(SUBJECT, request_id),
        "edition": "2019-01",
    }
    return provision.Ticket(**{**parts, **changed})  # type: ignore[arg-type]  # parts by name


def sign(*tickets: provision.Ticket, gateway: str = GATEWAY, now: datetime = NOW) -> provision.SignedTickets:
    return sign_tickets(tickets or [make_ticket()], KEY, gateway=gateway, now=now)


def make_office() -> TicketOffice:
    return TicketOffice({GATEWAY: KEY.public_key()}.get, opened=NOW)


def use_all(
    office: TicketOffice,
    signed: provision.SignedTickets,
    *,
    now: datetime = NOW,
    subjects: tuple[inquiry.Subject, ...] = (SUBJECT,),
) -> list[str]:
    """What the center does with a sheet: accepts it, and uses each ticket; gives their request ids."""
    tickets = office.accept(signed, caller=GATEWAY, now=now)
    for ticket in tickets.tickets:
        office.use(ticket, subjects=subjects, now=now)
    return [ticket.request_id for ticket in tickets.tickets]


def test_a_sound_ticket_is_used_once() -> None:
    office = make_office()
    signed = sign()
    assert use_all(office, signed) == [REQUEST_ID]
    with pytest.raises(TicketInvalid, match="used before") as caught:
        use_all(office, signed, now=NOW + timedelta(seconds=1))
    assert caught.value.reason == errors.ERROR_REASON_REQUEST_ID_REUSED


def test_tickets_signed_together_hold_each_for_itself() -> None:
    office = make_office()
    ids = [f"5f7d1c1e-0000-4000-8000-{number:012x}" for number in range(100)]
    assert use_all(office, sign(*map(make_ticket, ids))) == ids
    with pytest.raises(TicketInvalid, match="used before"):
        use_all(office, sign(make_ticket(ids[57])))


def test_a_ticket_that_stands_twice_on_a_sheet_is_used_once() -> None:
    with pytest.raises(TicketInvalid, match="used before"):
        use_all(make_office(), sign(make_ticket(), make_ticket()))


def test_a_used_ticket_stays_used_until_it_has_run_out_everywhere() -> None:
    office = make_office()
    signed = sign()
    use_all(office, signed)
    other = sign(make_ticket(), now=NOW + LIFETIME - timedelta(seconds=1))
    use_all(office, sign(make_ticket("5f7d1c1e-0000-4000-8000-000000000002"), now=NOW + LIFETIME), now=NOW + LIFETIME)
    for late in (signed, other):
        with pytest.raises(TicketInvalid, match="used before"):
            use_all(office, late, now=NOW + LIFETIME)


def test_a_used_ticket_from_a_clock_that_is_ahead_stays_used_until_it_has_run_out() -> None:
    office, end = make_office(), NOW + LIFETIME + CLOCK_SKEW
    signed = sign(now=NOW + CLOCK_SKEW)
    use_all(office, signed)
    use_all(office, sign(make_ticket("5f7d1c1e-0000-4000-8000-000000000002"), now=end), now=end)
    with pytest.raises(TicketInvalid, match="used before"):
        use_all(office, signed, now=end)


def test_a_request_id_stays_used_for_as_long_as_another_gateway_would_take_its_proof() -> None:
    gateways = dict.fromkeys((GATEWAY, OTHER_GATEWAY), KEY.public_key())
    office = TicketOffice(gateways.get, opened=NOW)
    use_all(office, sign())
    # Signed by a clock that is ahead of a gateway's that is ahead, shown to one whose clock is behind.
    last = NOW + operator_proof.CLOCK_SKEW + operator_proof.LIFETIME + 2 * CLOCK_SKEW
    use_all(office, sign(make_ticket("5f7d1c1e-0000-4000-8000-000000000002"), now=last), now=last)
    issued = last - CLOCK_SKEW
    tickets = office.accept(sign(gateway=OTHER_GATEWAY, now=issued), caller=OTHER_GATEWAY, now=issued + LIFETIME)
    with pytest.raises(TicketInvalid, match="used before"):
        office.use(tickets.tickets[0], subjects=[SUBJECT], now=issued + LIFETIME)


def test_what_was_used_is_forgotten_when_no_proof_holds_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ticket_module, "MOST_REMEMBERED", 2)
    office = make_office()
    ids = [f"5f7d1c1e-0000-4000-8000-{number:012x}" for number in range(4)]
    use_all(office, sign(*map(make_ticket, ids[:2])))
    with pytest.raises(TicketInvalid, match="too many") as caught:
        use_all(office, sign(make_ticket(ids[2])))
    assert caught.value.reason == errors.ERROR_REASON_OVERLOADED
    later = NOW + ticket_module.REMEMBERED
    assert use_all(office, sign(*map(make_ticket, ids[2:]), now=later), now=later) == ids[2:]
    assert len(office._used) == 2


def other_key(signed: provision.SignedTickets) -> provision.SignedTickets:
    tickets = provision.Tickets.FromString(signed.tickets).tickets
    return sign_tickets(tickets, Ed25519PrivateKey.generate(), gateway=GATEWAY, now=NOW)


def one_bit(signed: provision.SignedTickets) -> provision.SignedTickets:
    altered = signed.tickets[:-1] + bytes([signed.tickets[-1] ^ 1])
    return provision.SignedTickets(tickets=altered, signature=signed.signature)


def one_less(signed: provision.SignedTickets) -> provision.SignedTickets:
    tickets = provision.Tickets.FromString(signed.tickets)
    del tickets.tickets[1:]
    return provision.SignedTickets(tickets=tickets.SerializeToString(), signature=signed.signature)


@pytest.mark.parametrize("forge", [other_key, one_bit, one_less])
def test_an_altered_or_foreign_signature_is_refused(
    forge: Callable[[provision.SignedTickets], provision.SignedTickets],
) -> None:
    forged = forge(sign(make_ticket(), make_ticket("5f7d1c1e-0000-4000-8000-000000000002")))
    with pytest.raises(TicketInvalid, match="signature"):
        make_office().accept(forged, caller=GATEWAY, now=NOW)


@pytest.mark.parametrize(
    "now", [NOW - CLOCK_SKEW - timedelta(seconds=1), NOW + LIFETIME + timedelta(milliseconds=1)], ids=["early", "late"]
)
def test_a_ticket_of_another_moment_is_refused(now: datetime) -> None:
    with pytest.raises(TicketInvalid, match="moment"):
        make_office().accept(sign(), caller=GATEWAY, now=now)


def test_a_ticket_from_before_a_restart_is_refused() -> None:
    opened_later = TicketOffice({GATEWAY: KEY.public_key()}.get, opened=NOW + CLOCK_SKEW + timedelta(seconds=1))
    with pytest.raises(TicketInvalid, match="moment"):
        opened_later.accept(sign(), caller=GATEWAY, now=NOW + timedelta(seconds=10))


def test_tickets_cannot_give_themselves_a_longer_life() -> None:
    tickets = provision.Tickets.FromString(sign().tickets)
    tickets.expires_at.FromDatetime(NOW + LIFETIME * 2)
    body = tickets.SerializeToString()
    forged = provision.SignedTickets(tickets=body, signature=KEY.sign(b"jukinet provision tickets v2\0" + body))
    with pytest.raises(TicketInvalid, match="life"):
        make_office().accept(forged, caller=GATEWAY, now=NOW)


def test_a_ticket_for_another_person_is_refused_and_stays_unused() -> None:
    office, signed = make_office(), sign()
    with pytest.raises(TicketInvalid, match="another person"):
        use_all(office, signed, subjects=(OTHER,))
    assert use_all(office, signed) == [REQUEST_ID]


@pytest.mark.parametrize(
    "subjects", [(OTHER, SUBJECT, SUBJECT), (SUBJECT, OTHER), (SUBJECT, OTHER, SUBJECT, OTHER), (), (SUBJECT,) * 3]
)
def test_a_ticket_of_a_batch_holds_for_its_persons_in_their_places_and_once(
    subjects: tuple[inquiry.Subject, ...],
) -> None:
    office, people = make_office(), (SUBJECT, OTHER, SUBJECT)
    signed = sign(make_ticket(subject_digest=b"", subject_digests=subject_digests(people, REQUEST_ID)))
    with pytest.raises(TicketInvalid, match="another person"):
        use_all(office, signed, subjects=subjects)
    assert use_all(office, signed, subjects=people) == [REQUEST_ID]
    with pytest.raises(TicketInvalid, match="used before"):
        use_all(office, signed, subjects=people)


def test_tickets_of_another_gateway_are_refused() -> None:
    other = "spiffe://nodes.jukinet/gateway/other"
    with pytest.raises(TicketInvalid, match="another gateway"):
        make_office().accept(sign(gateway=other), caller=GATEWAY, now=NOW)
    with pytest.raises(TicketInvalid, match="no ticket key"):
        make_office().accept(sign(), caller=other, now=NOW)


def test_what_is_remembered_of_used_tickets_does_not_grow_for_ever() -> None:
    office = make_office()
    for number in range(100):
        now = NOW + timedelta(seconds=5 * number)
        use_all(office, sign(make_ticket(f"5f7d1c1e-0000-4000-8000-{number:012x}"), now=now), now=now)
    assert len(office._used) < 80
