"""Checks of identity: a counter's (窓口) word, under its own signature, about who the resident before it is.

A resident has no certificate, so whoever answers a counter would have to take its word for anybody. The counter
therefore signs each time what it did: whom it checked, how, what for and when. The signature is by a key of its own and
not by that of its TLS, so that the word can be kept and shown to others later. It holds for ten minutes and for one
affair; that it serves for one question alone is seen to where the affair is put on record.

A legal representative (法定代理人) is not taken: whom a protected child is protected from may be one, and what a
representative is told, who asked about the child and where it is, cannot be taken back. Such requests go by paper.

Source: Basic Resident Registration Act art. 30-32 (disclosure to the person concerned alone).
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from google.protobuf.message import DecodeError

from jukinet._pb.jukinet.disclosure.v1.disclosure_pb2 import (
    IDENTITY_PROOF_LEGAL_REPRESENTATIVE,
    Affair,
    IdentityCheck,
    SignedIdentityCheck,
)
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet.domain.resident_code import is_resident_code
from jukinet.mesh.config import ConfigError
from jukinet.mesh.errors import Refused, check_message
from jukinet.mesh.identity import Identity, IdentityError
from jukinet.mesh.pki import load_public_keys

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
    affair: "Affair.ValueType",
    now: datetime,
) -> IdentityCheck:
    """What a counter says about who the resident is, once it holds.

    Args:
        signed: as it came.
        keys: of the counters that may have made it, by SPIFFE ID.
        affair: that is asked for.
        now: timezone-aware.
    Raises:
        Refused: IDENTITY_CHECK_INVALID.
    """
    check = IdentityCheck()
    try:
        check.ParseFromString(signed.check)
    except DecodeError:
        raise _invalid("it is no check") from None
    key = keys.get(check.counter)
    if key is None:
        raise _invalid("it was made by another counter, or one whose key is not known")
    try:
        key.verify(signed.signature, _CONTEXT + signed.check)
        check_message(check)
    except InvalidSignature:
        raise _invalid("the signature does not verify") from None
    except Refused:
        raise _invalid("it breaks the contract") from None
    if check.affair != affair:
        raise _invalid("it was made for another affair")
    if check.proof == IDENTITY_PROOF_LEGAL_REPRESENTATIVE:
        raise _invalid("a representative is dealt with on paper")
    if not is_resident_code(check.resident_code):
        raise _invalid("the check digit of the resident code is wrong")
    if not now - LIFETIME <= check.checked_at.ToDatetime(tzinfo=UTC) <= now + CLOCK_SKEW:
        raise _invalid("it is not of this moment")
    return check


def load_counters(directory: Path) -> Mapping[str, Ed25519PublicKey]:
    """Reads the keys of the counters (窓口): one `NAME.pub` each.

    Returns:
        Keys by SPIFFE ID.

    Raises:
        PkiError: the directory is missing, or a file in it is not a public key.
        ConfigError: a file has the name of no counter.
    """
    try:
        return {Identity("counter", name).uri: key for name, key in load_public_keys(directory).items()}
    except IdentityError as error:
        raise ConfigError(f"{directory}: {error}") from None


def _invalid(why: str) -> Refused:
    return Refused(errors.ERROR_REASON_IDENTITY_CHECK_INVALID, detail=why)
