"""The center's signature over what it says of a municipality's freshness (最新性の証明).

The gateway passes the statement on and cannot make one: an agency that demands a maximum age need not take the
gateway's word for it. The statement names no question, so that one serves many answers: by `said_at` whoever reads it
sees that it was not kept from better days, and by the municipality that it is not another one's.
"""

from collections.abc import Iterable
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2 import Freshness

CLOCKS_US: Final = 60_000_000
"""So far the clocks of an agency and of the center may lie apart, with the second for which a statement is kept."""
_CONTEXT: Final = b"jukinet freshness v1\0"


def sign_freshness(said: Freshness, key: Ed25519PrivateKey) -> Freshness:
    """The statement with its signature, 64 bytes of Ed25519; `said` is without one."""
    said.signature = key.sign(_CONTEXT + said.SerializeToString(deterministic=True))
    return said


def is_signed(said: Freshness, key: Ed25519PublicKey) -> bool:
    """Whether the center whose key this is said it so."""
    bare = Freshness()
    bare.CopyFrom(said)
    bare.ClearField("signature")
    try:
        key.verify(said.signature, _CONTEXT + bare.SerializeToString(deterministic=True))
    except InvalidSignature:
        return False
    return True


def objection_to(
    said: Iterable[Freshness], key: Ed25519PublicKey, *, municipality: str, asked_us: int, now_us: int
) -> str:
    """What is wrong with the statements of an answer; empty when they are the center's word of this hour.

    Args:
        said: of the answer.
        key: the center's.
        municipality: of the address that was asked for; empty where any may be named, as on a match or by number.
        asked_us: when the question was sent, microseconds since 1970.
        now_us: when it was answered.
    """
    statements = list(said)
    if not statements:
        return "it does not say how fresh its source is"
    for each in statements:
        if not is_signed(each, key):
            return "the center whose key this is did not say so"
        if not asked_us - CLOCKS_US <= each.said_at.ToMicroseconds() <= now_us + CLOCKS_US:
            return "it was not said when the question was asked, or a clock is wrong"
        if municipality and each.municipality != municipality:
            return "it is about another municipality"
    return ""
