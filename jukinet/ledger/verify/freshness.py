"""Whether the center said how fresh the source of an answer is, and when and of whom (最新性の証明).

The gateway passes the statement on and cannot make one: an agency that demands a maximum age need not take the
gateway's word for it. The statement names no question, so that one serves many answers: by `said_at` whoever reads it
sees that it was not kept from better days, and by the municipality that it is not another one's.

What is signed (Ed25519) is the text `jukinet freshness v1`, a zero byte, and the message without its signature, its
fields by number.
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2 import Freshness, Subject

CLOCKS_US: Final = 60_000_000
"""So far the clocks of an agency and of the center may lie apart, with the second for which a statement is kept."""
_CONTEXT: Final = b"jukinet freshness v1\0"


def is_signed(said: Freshness, key: Ed25519PublicKey) -> bool:
    """Whether the center whose key this is said it so."""
    return _is_signed(said.SerializeToString(deterministic=True), key.public_bytes_raw())


# In a batch many answers carry the same statement: as many as the municipalities of the country in a second.
@lru_cache(maxsize=2048)
def _is_signed(statement: bytes, key: bytes) -> bool:
    bare = Freshness.FromString(statement)
    signature = bare.signature
    bare.ClearField("signature")
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, _CONTEXT + bare.SerializeToString(deterministic=True))
    except InvalidSignature:
        return False
    return True


def asked_of(subject: Subject, *, found: bool) -> str | None:
    """Of whom an answer has to say how fresh it is, for `objection_to`.

    Who is found may have moved, so any municipality may be named. Who is not found is not found at the address that was
    asked for, or, by number, in all municipalities together.

    Args:
        subject: who was asked about.
        found: whether the answer is a match.
    """
    return None if found else subject.four_items.address.local_government_code


def objection_to(
    said: Iterable[Freshness], key: Ed25519PublicKey, *, municipality: str | None, asked_us: int, now_us: int
) -> str:
    """What is wrong with the statements of an answer; empty when they are the center's word of this hour.

    Args:
        said: of the answer.
        key: the center's.
        municipality: of whom they have to be; empty for all together, None where any may be named.
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
        if municipality not in (None, each.municipality):
            return "it is about another municipality"
    return ""
