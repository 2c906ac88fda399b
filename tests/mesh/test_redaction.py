"""What carries `debug_redact` is never shown."""

from collections.abc import Iterator
from typing import cast

import pytest
from google.protobuf import any_pb2, timestamp_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import given
from hypothesis import strategies as st

from jukinet._pb.jukinet.admin.v1.admin_pb2 import GetStatusResponse, LinkStatus
from jukinet._pb.jukinet.errors.v1.errors_pb2 import ERROR_REASON_NOT_HOLDER
from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2 import (
    INQUIRY_OUTCOME_MATCH,
    INQUIRY_OUTCOME_NO_SINGLE_MATCH,
    FourItems,
    InquireRequest,
    InquireResponse,
    ProvidedRecord,
    VerifyIdentityResponse,
)
from jukinet._pb.jukinet.intake.v1.intake_pb2 import Submission, SubmitChangesRequest
from jukinet._pb.jukinet.ledger.v1.ledger_pb2 import ListEntriesResponse, Receipt
from jukinet._pb.jukinet.link.v1.link_pb2 import Ack, Batch, ParkedNotice, SealedSegment
from jukinet._pb.jukinet.register.v1 import change_pb2, identity_pb2
from jukinet._pb.jukinet.register.v1.identity_pb2 import IdentityRecord, PersonName
from jukinet.mesh.redaction import REDACTED, contract, is_personal, personal_fields, redacted

TEXT_CANARY = "山田花子kanarienvogel"
NUMBER_CANARY = 20_477
BYTES_CANARY = "鈴木kanarienvogel".encode()


def plant(message: Message, *, personal: bool = False, depth: int = 6) -> Message:
    """Fills every field; those that are personal, and all below them, with canaries."""
    for field in cast(list[FieldDescriptor], message.DESCRIPTOR.fields):
        _plant(message, field, personal or is_personal(field), depth)
    return message


def _plant(message: Message, field: FieldDescriptor, personal: bool, depth: int) -> None:
    if field.message_type is not None:
        if field.message_type.GetOptions().map_entry or depth == 0:
            return
        below = getattr(message, field.name)
        inner = below.add() if field.is_repeated else below
        inner.SetInParent()
        if not inner.DESCRIPTOR.full_name.startswith("google."):
            plant(inner, personal=personal, depth=depth - 1)
        return
    value: object
    if field.enum_type is not None:
        value = field.enum_type.values[-1].number
    elif field.type == FieldDescriptor.TYPE_STRING:
        value = TEXT_CANARY if personal else "harmless"
    elif field.type == FieldDescriptor.TYPE_BYTES:
        value = BYTES_CANARY
    elif field.type == FieldDescriptor.TYPE_BOOL:
        value = True
    else:
        value = NUMBER_CANARY if personal else 7
    if field.is_repeated:
        getattr(message, field.name).append(value)
    else:
        setattr(message, field.name, value)


def all_messages() -> Iterator[Descriptor]:
    for file in contract():
        waiting = list(file.message_types_by_name.values())
        while waiting:
            each = waiting.pop()
            if not each.GetOptions().map_entry:
                yield each
            waiting += each.nested_types


@pytest.mark.parametrize("descriptor", list(all_messages()), ids=lambda descriptor: descriptor.full_name)
def test_no_canary_in_a_personal_field_is_shown(descriptor: Descriptor) -> None:
    text = redacted(plant(GetMessageClass(descriptor)()))
    assert "kanarienvogel" not in text
    assert str(NUMBER_CANARY) not in text
    assert BYTES_CANARY.decode() not in text
    for field in descriptor.fields:
        if is_personal(field):
            assert f"{field.name}: {REDACTED}" in text


def test_that_something_was_found_is_not_shown() -> None:
    assert redacted(VerifyIdentityResponse(verified=True)) == redacted(VerifyIdentityResponse(verified=False))
    found = InquireResponse(outcome=INQUIRY_OUTCOME_MATCH)
    found.provided.record.name.legal = "x"
    assert redacted(found) == redacted(InquireResponse(outcome=INQUIRY_OUTCOME_NO_SINGLE_MATCH))
    assert redacted(Receipt(index=4, entry=bytes(200))) == redacted(Receipt(index=4, entry=bytes(160)))


def test_that_somebody_died_or_moved_is_not_shown() -> None:
    moved = identity_pb2.Resident(
        status=identity_pb2.RESIDENT_STATUS_MOVED_OUT,
        effective_date=identity_pb2.CalendarDate(year=2026, month=4, day=1),
        holder="131016",
        next_municipality="271004",
        version=2,
    )
    died = identity_pb2.Resident(status=identity_pb2.RESIDENT_STATUS_DECEASED)
    assert redacted(moved) == redacted(died) == redacted(identity_pb2.Resident())
    death = change_pb2.Change(reason=change_pb2.CHANGE_REASON_DELETION_DEATH, event_date=moved.effective_date)
    assert redacted(death) == redacted(change_pb2.Change())
    assert redacted(Submission(message_id="m-1", reason=death.reason, transfer_version=3)) == redacted(
        Submission(message_id="m-1")
    )


OF_A_PERSON = [
    *identity_pb2.DESCRIPTOR.message_types_by_name.values(),
    *change_pb2.DESCRIPTOR.message_types_by_name.values(),
    FourItems.DESCRIPTOR,
    ProvidedRecord.DESCRIPTOR,
]


@pytest.mark.parametrize("descriptor", OF_A_PERSON, ids=lambda descriptor: descriptor.name)
def test_a_message_that_says_something_of_a_person_has_no_open_field(descriptor: Descriptor) -> None:
    assert [field.name for field in descriptor.fields if not is_personal(field)] == []


def test_of_a_submission_only_its_message_id_is_shown() -> None:
    assert [field.name for field in Submission.DESCRIPTOR.fields if not is_personal(field)] == ["message_id"]


def test_list_of_personal_fields_holds_the_six_items_and_the_numbers() -> None:
    fields = personal_fields()
    assert fields == sorted(set(fields))
    assert all(field.startswith("jukinet.") for field in fields)
    for expected in (
        *(f"register.v1.{field.full_name.rpartition('v1.')[2]}" for field in IdentityRecord.DESCRIPTOR.fields),
        *(f"register.v1.PersonName.{field.name}" for field in PersonName.DESCRIPTOR.fields),
        "intake.v1.Submission.resident_code",
        "inquiry.v1.InquiryContext.operator",
        "consistency.v1.Row.resident_code",
        "link.v1.SealedSegment.segment",
        "link.v1.ChunkChange.change",
        "disclosure.v1.SignedIdentityCheck.check",
        "disclosure.v1.IdentityCheck.resident_code",
        "disclosure.v1.FindUsageResponse.usage",
    ):
        assert f"jukinet.{expected}" in fields


def test_contract_is_complete() -> None:
    packages = {file.package.split(".")[1] for file in contract()}
    assert packages == {
        "admin",
        "body",
        "consistency",
        "disclosure",
        "errors",
        "inquiry",
        "intake",
        "ledger",
        "link",
        "provision",
        "recall",
        "register",
        "statute",
        "watch",
        "witness",
    }


def test_other_fields_are_shown_as_they_are() -> None:
    asked = SubmitChangesRequest(
        submission=Submission(message_id="m-1"),
        traceparent="t\n\x1b[31m",
    )
    text = redacted(asked)
    assert text.startswith('SubmitChangesRequest{submission: Submission{message_id: "m-1", ')
    assert r'traceparent: "t\n\u001b[31m"' in text
    notice = ParkedNotice(municipality="131016", sequence=7, reason=ERROR_REASON_NOT_HOLDER, released=True)
    assert redacted(notice) == (
        'ParkedNotice{municipality: "131016", sequence: 7, reason: ERROR_REASON_NOT_HOLDER, released: true}'
    )


def test_bytes_maps_lists_times_and_unknown_numbers_are_shown_short() -> None:
    status = GetStatusResponse(
        residents={"ACTIVE": 5},
        links=[LinkStatus(outgoing=True, last_error=999)],  # type: ignore[arg-type]
    )
    status.links[0].moved_at.FromSeconds(0)
    assert redacted(status) == (
        'GetStatusResponse{residents: {"ACTIVE": 5}, '
        "links: [LinkStatus{outgoing: true, moved_at: 1970-01-01T00:00:00Z, last_error: 999}]}"
    )
    assert redacted(Ack(mark=3, chain=bytes(32))) == "Ack{mark: 3, chain: <32 bytes>}"
    assert redacted(ListEntriesResponse(entries=[b"x"] * 20)).endswith("<1 bytes>, … 20 in all]}")
    assert redacted(timestamp_pb2.Timestamp(seconds=2**62)) == "[no time]"


def test_packed_message_is_shown_by_its_type_alone() -> None:
    packed = any_pb2.Any()
    packed.Pack(PersonName(legal=TEXT_CANARY))
    assert redacted(packed) == 'Any{"type.googleapis.com/jukinet.register.v1.PersonName"}'


def test_text_is_short_and_on_one_line() -> None:
    batch = Batch(segments=[SealedSegment(segment=b"x", traceparents=["a\nb" * 100] * 8)] * 8)
    text = redacted(batch)
    assert len(text) <= 2_001
    assert "\n" not in text


@given(st.binary(max_size=200))
def test_whatever_parses_can_be_shown(raw: bytes) -> None:
    asked = InquireRequest()
    try:
        asked.ParseFromString(raw)
    except Exception:
        return
    assert redacted(asked).isprintable()
