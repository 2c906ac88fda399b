"""Checks of identity: a counter's (窓口) word, under its own signature, about who the resident before it is.

A resident has no certificate, so whoever answers a counter would have to take its word for anybody. The counter
therefore signs each time what it did: whom it checked, how, what for and when. The signature is by a key of its own and
not by that of its TLS, so that the word can be kept and shown to others later. It holds for ten minutes and for one
affair; that it is not used twice is seen to where the affair is put on record.

Source: Basic Resident Registration Act art. 30-32 (disclosure to the person concerned alone).
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from google.protobuf.message import DecodeError

from jukinet._pb.jukinet.disclosure.v1.disclosure_pb2 import Affair, IdentityCheck, SignedIdentityCheck
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet.domain.resident_code import is_resident_code
from jukinet.mesh.errors import Refused, check_message

LIFETIME = timedelta(minutes=10)
CLOCK_SKEW = timedelta(seconds=5)
_CONTEXT = b"jukinet identity check v1\0"


def sign_check(check: IdentityCheck, key: Ed25519PrivateKey) -> SignedIdentityCheck:
    """Puts a counter's name to a check of identity."""
    body = check.SerializeToString()
    return SignedIdentityCheck(check=body, signature=key.sign(_CONTEXT + body))


def open_check(
    signed: SignedIdentityCheck,
    *,
    keys: Mapping[str, Ed25519PublicKey],
    counter: str,
    affair: "Affair.ValueType",
    now: datetime,
) -> IdentityCheck:
    """What a counter says about who the resident is, once it holds.

    Args:
        signed: as it came.
        keys: of the counters, by SPIFFE ID.
        counter: SPIFFE ID of the caller; nobody hands in another's check.
        affair: that is asked for.
        now: timezone-aware.
    Raises:
        Refused: IDENTITY_CHECK_INVALID.
    """
    key = keys.get(counter)
    if key is None:
        raise _invalid("no key is known for the counter")
    check = IdentityCheck()
    try:
        key.verify(signed.signature, _CONTEXT + signed.check)
        check.ParseFromString(signed.check)
        check_message(check)
    except (InvalidSignature, DecodeError):
        raise _invalid("the signature does not verify") from None
    except Refused:
        raise _invalid("it breaks the contract") from None
    if check.counter != counter:
        raise _invalid("it was made by another counter")
    if check.affair != affair:
        raise _invalid("it was made for another affair")
    if not is_resident_code(check.resident_code):
        raise _invalid("the check digit of the resident code is wrong")
    if not now - LIFETIME <= check.checked_at.ToDatetime(tzinfo=UTC) <= now + CLOCK_SKEW:
        raise _invalid("it is not of this moment")
    return check


def _invalid(why: str) -> Refused:
    return Refused(errors.ERROR_REASON_IDENTITY_CHECK_INVALID, detail=why)
