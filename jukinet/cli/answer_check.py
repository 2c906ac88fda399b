"""Whether an answer agrees with itself, for who asks a gateway."""

from typing import TYPE_CHECKING

from jukinet.cli.output import Exit, Failure

if TYPE_CHECKING:
    from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2 import BatchAnswer, InquireResponse


def require_agreement(answer: "InquireResponse | BatchAnswer") -> None:
    """Makes sure that an answer has what belongs to a match on a match alone.

    Raises:
        Failure: it contradicts itself, and is not to be used.

    Source: `inquiry.proto`, InquireResponse and BatchAnswer.
    """
    from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2 import INQUIRY_OUTCOME_MATCH, BatchAnswer

    wrong = ""
    if answer.outcome and isinstance(answer, BatchAnswer) and answer.refusal:
        wrong = "it is a refusal with an outcome"
    elif answer.outcome != INQUIRY_OUTCOME_MATCH:
        has = [name for name in ("provided", "handle", "held", "unchanged") if _has(answer, name)]
        wrong = f"without a match it has {' and '.join(has)}" if has else ""
    elif answer.unchanged and answer.HasField("provided"):
        wrong = "it has provided, and says that nothing changed"
    if wrong:
        raise Failure(
            f"The answer is on record but not to be used: it contradicts itself, for {wrong}. Tell whoever runs the "
            "gateway.",
            Exit.REFUSED,
        )


def _has(answer: "InquireResponse | BatchAnswer", name: str) -> bool:
    return answer.HasField("provided") if name == "provided" else bool(getattr(answer, name))
