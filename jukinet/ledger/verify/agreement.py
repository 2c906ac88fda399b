"""Whether an answer agrees with itself: what belongs to a match is on a match alone."""

from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2 import (
    INQUIRY_OUTCOME_MATCH,
    BatchAnswer,
    InquireResponse,
    VerifyIdentityResponse,
)

Answer = InquireResponse | BatchAnswer | VerifyIdentityResponse


def contradiction_in(answer: Answer) -> str:
    """How an answer contradicts itself, as an end of "it contradicts itself, for"; empty where it does not.

    Source: `inquiry.proto`, of each of these messages.
    """
    match = answer.outcome == INQUIRY_OUTCOME_MATCH
    if isinstance(answer, VerifyIdentityResponse):
        return "" if answer.verified == match else "it says both yes and no"
    if isinstance(answer, BatchAnswer) and answer.refusal and answer.outcome:
        return "it is a refusal with an outcome"
    if not match:
        has = [name for name in ("provided", "handle", "held", "unchanged") if _has(answer, name)]
        return f"without a match it has {' and '.join(has)}" if has else ""
    if answer.unchanged and answer.HasField("provided"):
        return "it has provided, and says that nothing changed"
    return ""


def _has(answer: InquireResponse | BatchAnswer, name: str) -> bool:
    return answer.HasField("provided") if name == "provided" else bool(getattr(answer, name))
