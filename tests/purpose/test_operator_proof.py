"""A proof holds for one question, one operator, one certificate and five minutes, and for nothing else."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet.purpose.operator_proof import CLOCK_SKEW, LIFETIME, is_of_this_moment, is_signed, sign, statement_of

NOW = datetime(2026, 4, 1, tzinfo=UTC)
AGENCY = "spiffe://agencies.jukinet/agency/pension-service"
CERTIFICATE = bytes(range(32))
KEY = Ed25519PrivateKey.generate()


def question() -> inquiry.InquireRequest:
    return inquiry.InquireRequest(
        context=inquiry.InquiryContext(
            request_id="01234567-89ab-4def-8123-456789abcdef", purpose="B1-77.12", case_reference="c", operator="op-1"
        ),
        subject=inquiry.Subject(individual_number="000000000011"),
        fields=[inquiry.IDENTITY_FIELD_NAME],
    )


def signed(**parts: Any) -> inquiry.InquireRequest:
    return sign(question(), KEY, **{"agency": AGENCY, "certificate": CERTIFICATE, "now": NOW, **parts})


def holds(asked: Any, key: Ed25519PrivateKey = KEY, agency: str = AGENCY, certificate: bytes = CERTIFICATE) -> bool:
    statement = statement_of(asked, agency=agency, certificate=certificate)
    return is_signed(statement, asked.context.operator_proof.signature, key.public_key())


def test_a_question_as_it_was_signed_is_proved() -> None:
    assert holds(signed())
    assert is_of_this_moment(signed().context.operator_proof, NOW)


def _change(path: str, value: Any) -> Callable[[Any], None]:
    def change(asked: Any) -> None:
        *parents, name = path.split(".")
        within = asked
        for parent in parents:
            within = getattr(within, parent)
        setattr(within, name, value)

    return change


CHANGES = {
    "request id": _change("context.request_id", "01234567-89ab-4def-8123-456789abcdee"),
    "row": _change("context.purpose", "B1-77.1"),
    "case": _change("context.case_reference", "d"),
    "operator": _change("context.operator", "op-2"),
    "person": _change("subject.individual_number", "000000000029"),
    "items": lambda asked: asked.fields.append(inquiry.IDENTITY_FIELD_ADDRESS),
    "time": _change("context.operator_proof.signed_at.seconds", int(NOW.timestamp()) + 1),
    "log-on": _change("context.operator_proof.logged_on_at.nanos", 1),
    "signature": _change("context.operator_proof.signature", bytes(64)),
}


@pytest.mark.parametrize("what", CHANGES)
def test_nothing_of_a_question_can_be_changed_behind_its_operator(what: str) -> None:
    asked = signed()
    CHANGES[what](asked)
    assert not holds(asked)


def test_a_proof_is_worthless_under_another_certificate_of_another_agency_or_by_another_key() -> None:
    assert not holds(signed(), certificate=bytes(32))
    assert not holds(signed(), agency=AGENCY + "-2")
    assert not holds(signed(), key=Ed25519PrivateKey.generate())


def test_a_proof_of_one_kind_of_question_proves_no_other_kind() -> None:
    asked = signed()
    batch = inquiry.InquireBatchRequest(context=asked.context, subjects=[asked.subject], fields=asked.fields)
    assert not holds(batch)
    # Two kinds whose content is the same bytes are told apart by their names.
    empty = inquiry.VerifyIdentityRequest(context=asked.context)
    bare = sign(inquiry.InquireRequest(context=asked.context), KEY, agency=AGENCY, certificate=CERTIFICATE, now=NOW)
    empty.context.CopyFrom(bare.context)
    assert holds(bare)
    assert not holds(empty)


@given(
    st.binary(max_size=300),
    st.binary(min_size=32, max_size=32),
    st.integers(0, 511),
    st.sampled_from(["as it is", "signature", "statement"]),
)
def test_a_signature_holds_where_another_implementation_finds_that_it_does(
    statement: bytes, seed: bytes, bit: int, spoilt: str
) -> None:
    key = Ed25519PrivateKey.from_private_bytes(seed)
    signature = key.sign(statement)
    if spoilt == "signature":
        signature = flipped(signature, bit)
    elif spoilt == "statement":
        statement = flipped(statement + bytes(1), bit % (8 * len(statement) + 8))
    try:
        key.public_key().verify(signature, statement)
        good = True
    except InvalidSignature:
        good = False
    assert good is (spoilt == "as it is")
    assert is_signed(statement, signature, key.public_key()) is good


def flipped(text: bytes, bit: int) -> bytes:
    return (int.from_bytes(text) ^ 1 << bit).to_bytes(len(text))


def test_nobody_makes_a_second_signature_of_one_and_no_key_of_small_order_signs_everything() -> None:
    signature = KEY.sign(b"question")
    order = 2**252 + 27742317777372353535851937790883648493
    again = signature[:32] + (int.from_bytes(signature[32:], "little") + order).to_bytes(32, "little")
    assert is_signed(b"question", signature, KEY.public_key())
    assert not is_signed(b"question", again, KEY.public_key())
    neutral = (1).to_bytes(32, "little")
    small = Ed25519PublicKey.from_public_bytes(neutral)
    small.verify(neutral + bytes(32), b"question")
    assert not is_signed(b"question", neutral + bytes(32), small)


@pytest.mark.parametrize("size", [0, 63, 65])
def test_what_has_not_the_length_of_a_signature_is_none(size: int) -> None:
    signature = KEY.sign(b"question")
    assert not is_signed(b"question", (signature + b"q")[:size], KEY.public_key())
    assert not is_signed(b"uestion", KEY.sign(b"uestion")[:63], KEY.public_key())


@pytest.mark.parametrize(
    ("signed_ago", "logged_on_ago", "good"),
    [
        (timedelta(), timedelta(), True),
        (LIFETIME, timedelta(hours=9), True),
        (LIFETIME + timedelta(seconds=1), timedelta(), False),
        (-CLOCK_SKEW, -CLOCK_SKEW, True),
        (-CLOCK_SKEW - timedelta(seconds=1), timedelta(), False),
        (timedelta(), -CLOCK_SKEW - timedelta(seconds=1), False),
    ],
)
def test_a_proof_is_good_for_five_minutes(signed_ago: timedelta, logged_on_ago: timedelta, good: bool) -> None:
    proof = signed(now=NOW - signed_ago, logged_on_at=NOW - logged_on_ago).context.operator_proof
    assert is_of_this_moment(proof, NOW) is good


@pytest.mark.parametrize("seconds", [-(2**63), 2**63 - 1])
@pytest.mark.parametrize("nanos", [-(2**31), 2**31 - 1])
def test_what_is_no_time_is_not_of_this_moment_and_no_fault(seconds: int, nanos: int) -> None:
    asked = signed()
    asked.context.operator_proof.signed_at.seconds = seconds
    asked.context.operator_proof.signed_at.nanos = nanos
    assert not is_of_this_moment(asked.context.operator_proof, NOW)
    assert not holds(asked)
