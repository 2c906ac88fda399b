"""A counter's word about a resident holds for ten minutes, for one affair, from that counter alone."""

from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from jukinet._pb.jukinet.disclosure.v1 import disclosure_pb2 as disclosure
from jukinet.mesh.errors import Refused
from jukinet.purpose.identity_check import CLOCK_SKEW, LIFETIME, open_check, sign_check
from nation.codes import CodePool

KEY = Ed25519PrivateKey.from_private_bytes(b"\x01" * 32)
COUNTER = "spiffe://nodes.jukinet/counter/131016"
OTHER = "spiffe://nodes.jukinet/counter/portal"
NOW = datetime(2026, 11, 27, 3, tzinfo=UTC)
CODE = CodePool(Random(1)).draw_resident_code()
KEYS = {COUNTER: KEY.public_key(), OTHER: KEY.public_key()}


def check(**changed: Any) -> disclosure.IdentityCheck:
    made = disclosure.IdentityCheck(
        **{
            "id": "00000000-0000-4000-8000-000000000001",
            "counter": COUNTER,
            "clerk": "clerk 7",
            "resident_code": CODE,
            "proof": disclosure.IDENTITY_PROOF_PHOTO_DOCUMENT,
            "affair": disclosure.AFFAIR_FIND_USAGE,
            **changed,
        }
    )
    made.checked_at.FromDatetime(NOW)
    return made


def opened(signed: disclosure.SignedIdentityCheck, *, counter: str = COUNTER, now: datetime = NOW) -> Any:
    keys = {counter: KEYS[counter]} if counter in KEYS else {}
    return open_check(signed, keys=keys, affair=disclosure.AFFAIR_FIND_USAGE, now=now)


def test_a_check_is_what_the_counter_signed() -> None:
    assert opened(sign_check(check(), KEY)) == check()


@given(st.integers(-2_000, 2_000))
def test_a_check_holds_for_its_ten_minutes_and_no_longer(seconds: int) -> None:
    later = timedelta(seconds=seconds)
    try:
        opened(sign_check(check(), KEY), now=NOW + later)
        held = True
    except Refused:
        held = False
    assert held == (-CLOCK_SKEW <= later <= LIFETIME)


def _flipped(signed: disclosure.SignedIdentityCheck, bit: int) -> disclosure.SignedIdentityCheck:
    body = bytearray(signed.check)
    body[bit // 8] ^= 1 << bit % 8
    return disclosure.SignedIdentityCheck(check=bytes(body), signature=signed.signature)


def test_no_bit_of_a_check_can_be_changed() -> None:
    signed = sign_check(check(), KEY)
    for bit in range(8 * len(signed.check)):
        with pytest.raises(Refused, match="IDENTITY_CHECK_INVALID"):
            opened(_flipped(signed, bit))


@pytest.mark.parametrize(
    ("signed", "counter"),
    [
        (sign_check(check(), Ed25519PrivateKey.generate()), COUNTER),
        (sign_check(check(), KEY), OTHER),
        (sign_check(check(), KEY), "spiffe://nodes.jukinet/counter/unknown"),
        (sign_check(check(counter=OTHER), KEY), COUNTER),
        (sign_check(check(affair=disclosure.AFFAIR_ANSWER_REQUEST), KEY), COUNTER),
        (sign_check(check(proof=disclosure.IDENTITY_PROOF_UNSPECIFIED), KEY), COUNTER),
        (sign_check(check(resident_code=CODE[:-1] + str((int(CODE[-1]) + 1) % 10)), KEY), COUNTER),
        (sign_check(check(proof=disclosure.IDENTITY_PROOF_LEGAL_REPRESENTATIVE), KEY), COUNTER),
        (sign_check(check(id="1"), KEY), COUNTER),
        (
            disclosure.SignedIdentityCheck(check=b"\xff", signature=KEY.sign(b"jukinet identity check v1\0\xff")),
            COUNTER,
        ),
        (disclosure.SignedIdentityCheck(), COUNTER),
    ],
    ids=[
        "key",
        "caller",
        "unknown",
        "counter",
        "affair",
        "proof",
        "check digit",
        "representative",
        "id",
        "bytes",
        "nothing",
    ],
)
def test_any_other_word_does_not_hold(signed: disclosure.SignedIdentityCheck, counter: str) -> None:
    with pytest.raises(Refused, match="IDENTITY_CHECK_INVALID") as refused:
        opened(signed, counter=counter)
    assert CODE not in refused.value.detail
