"""Whether the center said that the source of an answer is fresh enough, and when and of whom (最新性の証明).

The gateway passes the statement on and cannot make one: an agency that demands a maximum age need not take the
gateway's word for it. The statement names no question, so that one serves many answers: by `said_at` whoever reads it
sees that it was not kept from better days, by the municipality that it is not another one's, and by `complete_as_of`
and the state that the answer could be given on it. A gateway may hide from the center what age the agency demands: then
the center tells what is older, and its own word says so.

What is signed (Ed25519) is the text `jukinet freshness v1`, a zero byte, and the message without its signature, its
fields by number.
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2 import Freshness, Subject

CLOCKS_US: Final = 60_000_000
"""So far the clocks of an agency and of the center may lie apart, with the second for which a statement is kept."""
_CONTEXT: Final = b"jukinet freshness v1\0"


class Demand(NamedTuple):
    """What the center has to have said of the sources of an answer."""

    municipality: str | None
    """Of whom; empty for all together, None where any may be named."""
    maximum_age_seconds: int = 0
    """How long before its word the center held all that they reported, at most; 0 = as long as it likes."""
    connected: bool = False
    """Whether nothing that they reported may be missing."""


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


def demand_of(subject: Subject, outcome: "inquiry.InquiryOutcome.ValueType", *, maximum_age_seconds: int) -> Demand:
    """What an answer rests on, by the rules of the center (`center_node/freshness.py`).

    Who is found may have moved, so any municipality may be named. Who is not found is not found at the address that was
    asked for, or, by number, in all municipalities together, and is called so only where nothing is missing. "Not
    provided" claims nothing, so its source may be as old as it is. An outcome that is not known is held to all of it.

    Args:
        subject: who was asked about.
        outcome: of the answer.
        maximum_age_seconds: what was demanded; 0 = any.
    """
    if outcome == inquiry.INQUIRY_OUTCOME_MATCH:
        return Demand(None, maximum_age_seconds)
    municipality = subject.four_items.address.local_government_code
    if outcome == inquiry.INQUIRY_OUTCOME_NOT_PROVIDED:
        return Demand(municipality)
    return Demand(municipality, maximum_age_seconds, connected=True)


def objection_to(
    said: Iterable[Freshness], key: Ed25519PublicKey, demand: Demand, *, asked_us: int, now_us: int
) -> str:
    """What is wrong with the statements of an answer; empty when they are the center's word of this hour and enough.

    Args:
        said: of the answer.
        key: the center's.
        demand: what they have to say.
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
        if demand.municipality not in (None, each.municipality):
            return "it is about another municipality"
        if demand.connected and each.state != inquiry.SOURCE_STATE_CONNECTED:
            return "something may be missing there, and then nobody is called not found"
        if demand.maximum_age_seconds and not _is_within(each, demand.maximum_age_seconds * 1_000_000):
            return "it is older than was asked for"
    return ""


def _is_within(said: Freshness, age_us: int) -> bool:
    """Whether all was there so long before the center said so: `said_at` is never later than when it decided."""
    whole = said.HasField("complete_as_of")
    return whole and said.said_at.ToMicroseconds() - said.complete_as_of.ToMicroseconds() <= age_us
