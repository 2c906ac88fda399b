"""A mark of what is held is the same for the same question and answer, and for nothing else."""

from collections.abc import Callable
from typing import Any

import pytest

from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2 import ProvidedRecord, Subject
from jukinet._pb.jukinet.provision.v1.provision_pb2 import Ticket
from jukinet._pb.jukinet.register.v1.identity_pb2 import IdentityRecord
from jukinet.purpose.held import HeldMarks, is_held

Parts = dict[str, Any]
FIELDS = [inquiry.IDENTITY_FIELD_NAME, inquiry.IDENTITY_FIELD_ADDRESS]


def parts() -> Parts:
    return {
        "ticket": Ticket(agency="spiffe://x/agency/a", purpose="B1-77.12", fields=FIELDS, request_id="1"),
        "subject": Subject(individual_number="0" * 12),
        "resident_code": "0" * 11,
        "provided": ProvidedRecord(record=IdentityRecord(individual_number="0" * 12)),
    }


def mark(given: Parts, key: bytes = bytes(32)) -> bytes:
    return HeldMarks(key).of_ticket(given["ticket"])(given["subject"], given["resident_code"], given["provided"])


def test_the_order_of_the_items_and_the_request_id_make_no_difference() -> None:
    other = parts()
    other["ticket"].fields.reverse()
    other["ticket"].request_id = "2"
    assert is_held(mark(parts()), held=mark(other))


@pytest.mark.parametrize(
    "alter",
    [
        lambda given: setattr(given["ticket"], "agency", "spiffe://x/agency/b"),
        lambda given: setattr(given["ticket"], "purpose", "B1-77.11"),
        lambda given: given["ticket"].fields.append(2),
        lambda given: setattr(given["subject"], "individual_number", "1" * 12),
        lambda given: given.update(resident_code="1" * 11),
        lambda given: setattr(given["provided"], "status", 1),
    ],
    ids=["agency", "purpose", "fields", "subject", "person", "provided"],
)
def test_whatever_else_differs_makes_another_mark(alter: Callable[[Parts], object]) -> None:
    other = parts()
    alter(other)
    assert not is_held(mark(parts()), held=mark(other))


def test_another_center_makes_other_marks_and_nothing_is_never_held() -> None:
    assert not is_held(mark(parts()), held=mark(parts(), bytes([1]) * 32))
    assert not is_held(mark(parts()), held=b"")
