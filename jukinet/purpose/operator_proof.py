"""Operator proofs (操作者の証明): each question is signed by the key of the one who asks it.

Rule: the gateway rebuilds what must have been signed from what it knows of the call, and verifies the signature over
that; nothing that a caller states about his own proof is compared, so nothing can be forgotten. A proof is worth
nothing under another certificate of the agency, for another question, or five minutes later; and the question's id can
be used once. gRPC gives no access to the exporter of TLS (RFC 9266), so the channel is bound by the certificate.

Source: the terminals left logged on and the shared accounts of 2012 to 2022; NIST SP 800-63B (proof of possession).
"""

import hashlib
from datetime import datetime, timedelta
from typing import Final, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from nacl.bindings import crypto_sign_BYTES
from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.recall.v1 import recall_pb2 as recall
from jukinet._pb.jukinet.watch.v1 import watch_pb2 as watch

LIFETIME: Final = timedelta(minutes=5)
CLOCK_SKEW: Final = timedelta(seconds=30)
"""How far an operator's clock may be ahead of the gateway's."""
_CONTEXT: Final = b"jukinet operator proof v1\0"

Question = (
    inquiry.InquireRequest
    | inquiry.VerifyIdentityRequest
    | inquiry.InquireBatchRequest
    | watch.WatchRequest
    | watch.EndWatchRequest
    | watch.WatchChangesRequest
    | recall.TellRecallsRequest
)
_Q = TypeVar("_Q", bound=Question)


def statement_of(question: Question, *, agency: str, certificate: bytes) -> bytes:
    """What the operator of a question has to sign, as `OperatorProof` in the contract says.

    The age that he demands is no part of it: the agency sees by the center's word on the answer whether it was kept
    (`jukinet.ledger.verify.freshness`).

    Args:
        question: with all of its context but the signature.
        agency: SPIFFE ID of the agency.
        certificate: SHA-256 of the agency's certificate in DER, 32 bytes.
    """
    context, proof = question.context, question.context.operator_proof
    asked: Message = type(question)()
    asked.CopyFrom(question)
    asked.ClearField("context")
    parts = (
        agency.encode(),
        certificate,
        context.request_id.encode(),
        context.purpose.encode(),
        context.case_reference.encode(),
        context.operator.encode(),
        _moment(proof.signed_at),
        _moment(proof.logged_on_at),
        question.DESCRIPTOR.full_name.encode(),
        hashlib.sha256(asked.SerializeToString(deterministic=True)).digest(),
    )
    return _CONTEXT + b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def sign(
    question: _Q,
    key: Ed25519PrivateKey,
    *,
    agency: str,
    certificate: bytes,
    now: datetime,
    logged_on_at: datetime | None = None,
) -> _Q:
    """Puts the proof of its operator into a question.

    Args:
        question: complete but for the proof; it is changed.
        key: the operator's own.
        agency: SPIFFE ID of the agency.
        certificate: SHA-256 of the certificate in DER with which it is going to be asked, 32 bytes.
        now: UTC.
        logged_on_at: when the operator unlocked his key; now, if None.

    Returns:
        The same question.
    """
    proof = question.context.operator_proof
    proof.signed_at.FromDatetime(now)
    proof.logged_on_at.FromDatetime(logged_on_at or now)
    proof.signature = key.sign(statement_of(question, agency=agency, certificate=certificate))
    return question


def is_signed(statement: bytes, signature: bytes, key: Ed25519PublicKey) -> bool:
    """Whether this key signed the statement, as RFC 8032 says, without the points of small order that it lets pass."""
    if len(signature) != crypto_sign_BYTES:
        return False
    try:
        # Each question has a proof to be verified: libsodium takes half the time that OpenSSL does.
        VerifyKey(key.public_bytes_raw()).verify(statement, signature)
    except BadSignatureError:
        return False
    return True


def is_of_this_moment(proof: inquiry.OperatorProof, now: datetime) -> bool:
    """Whether a proof may be used now: signed within its lifetime, after a log-on that is not of the future."""
    signed, logged_on = moment_of(proof.signed_at), moment_of(proof.logged_on_at)
    latest = (now + CLOCK_SKEW).timestamp()
    return now.timestamp() - LIFETIME.total_seconds() <= signed <= latest and logged_on <= latest


def moment_of(stamp: Timestamp) -> float:
    """Seconds since 1970; of any number that a message may hold, so that none is a fault."""
    return stamp.seconds + stamp.nanos / 1e9


def _moment(stamp: Timestamp) -> bytes:
    # Signed and unsigned: a message may hold what is no time; it is refused as expired, not as a fault.
    return stamp.seconds.to_bytes(8, "big", signed=True) + stamp.nanos.to_bytes(4, "big", signed=True)
