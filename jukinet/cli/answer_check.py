"""Whether an answer agrees with itself, for who asks a gateway."""

from typing import TYPE_CHECKING

from jukinet.cli.output import Exit, Failure

if TYPE_CHECKING:
    from jukinet.ledger.verify.agreement import Answer


def require_agreement(answer: "Answer") -> None:
    """Makes sure that an answer does not contradict itself.

    Raises:
        Failure: it does, and is not to be used.
    """
    from jukinet.ledger.verify.agreement import contradiction_in

    if wrong := contradiction_in(answer):
        raise Failure(
            f"The answer is on record but not to be used: it contradicts itself, for {wrong}. Tell whoever runs the "
            "gateway.",
            Exit.REFUSED,
        )
