"""What operators did: to what is parked or held, to an edition, to the key of a body, about a gateway that is gone. One
row an act, never changed.

An act on a held municipality has epoch 0, which no change has, and in the place of the sequence number since when it is
held: so each hold has proposals of its own.

A proposal stands until it is carried out. It holds for the reason that the first operator looked at: a change that is
parked for another reason by now takes a new proposal.
"""

from dataclasses import dataclass

from sqlalchemy import Connection, insert, select

from jukinet.store.schema import operator_acts

PROPOSE = "propose"


@dataclass(frozen=True, slots=True)
class Proposal:
    """Who proposed, and when in microseconds since 1970."""

    operator: str
    acted_at: int


def note(
    connection: Connection,
    act: str,
    *,
    municipality: str,
    epoch: int,
    sequence: int,
    reason: int,
    operator: str,
    now_us: int,
) -> None:
    """Puts an act on a parked change, or on a held municipality, on record."""
    connection.execute(
        insert(operator_acts).values(
            act=act,
            municipality=municipality,
            epoch=epoch,
            sequence=sequence,
            reason=reason,
            operator=operator,
            acted_at=now_us,
        )
    )


def note_about(connection: Connection, act: str, about: str, *, operator: str, now_us: int) -> None:
    """Puts an act on record that concerns no municipality: on an edition, a key of bodies or a gateway, by its name."""
    connection.execute(
        insert(operator_acts).values(
            act=act,
            municipality="",
            epoch=0,
            sequence=0,
            reason=0,
            operator=operator,
            acted_at=now_us,
            edition=about,
        )
    )


def proposal_of(connection: Connection, municipality: str, epoch: int, sequence: int, reason: int) -> Proposal | None:
    """The standing proposal for a change that is parked for this reason."""
    found = connection.execute(
        select(operator_acts.c.operator, operator_acts.c.acted_at)
        .where(
            operator_acts.c.act == PROPOSE,
            operator_acts.c.municipality == municipality,
            operator_acts.c.epoch == epoch,
            operator_acts.c.sequence == sequence,
            operator_acts.c.reason == reason,
        )
        .order_by(operator_acts.c.id)
        .limit(1)
    ).one_or_none()
    return Proposal(*found) if found else None
