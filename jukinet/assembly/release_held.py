"""What operators do about a municipality that its change brake holds: release it, by two of them.

Rule 1: it takes two different operators, and both looked at the same hold. The first call proposes, the second
operator's carries out.
Rule 2: what was parked meanwhile is judged in the order in which it was sealed, by the rules that always hold, and
nothing of the municipality overtakes it: until the last of it is taken up, what comes is parked behind it.
Rule 3: it is taken up in portions, each in a transaction of its own, so that a large one stops nobody else. Where the
node ends in between it goes on when it starts, as long as the brake is lifted; after that two operators decide again.

Each function works within the caller's transaction.
"""

from dataclasses import dataclass

from sqlalchemy import Connection, and_, delete, func, select

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet.domain.brake import lift, taken_up
from jukinet.link.apply_batch import settle
from jukinet.link.reading import read_change
from jukinet.mesh.errors import Refused
from jukinet.store.brakes import keep_tally, read_held, read_tally
from jukinet.store.operator_acts import PROPOSE, Proposal, note, proposal_of
from jukinet.store.schema import parked

PORTION = 500
"""Changes of one transaction: as many as of a batch."""
_HELD = errors.ERROR_REASON_LINK_HELD


@dataclass(frozen=True, slots=True)
class ReleasedHeld:
    """What a call of one of two operators did."""

    carried_out: bool
    proposed_by: str
    taken_up: int = 0
    """Parked changes that were judged in this transaction."""
    left: int = 0
    """Those that wait for the next portions."""
    lifted_until: int = 0
    """Microseconds since 1970; 0 for a proposal."""


def release_held(connection: Connection, municipality: str, *, operator: str, scope: str, now_us: int) -> ReleasedHeld:
    """Proposes to release a held municipality, or as the second operator does it.

    Args:
        connection: of the node's writer.
        municipality: six-digit code.
        operator: SPIFFE ID of the caller.
        scope: as in `jukinet.domain.apply`.
        now_us: microseconds since 1970.

    Raises:
        Refused: NOT_HELD, SECOND_OPERATOR_NEEDED.
    """
    tally = read_tally(connection, municipality)
    if not tally.held_at or tally.is_lifted(now_us):
        raise Refused(errors.ERROR_REASON_NOT_HELD)
    proposed = proposal_to_release(connection, municipality, tally.held_at)
    if proposed is None:
        _note(connection, PROPOSE, municipality, tally.held_at, operator, now_us)
        return ReleasedHeld(False, operator)
    if proposed.operator == operator:
        raise Refused(errors.ERROR_REASON_SECOND_OPERATOR_NEEDED)
    _note(connection, "release", municipality, tally.held_at, operator, now_us)
    lifted = lift(tally, now_us=now_us)
    keep_tally(connection, municipality, lifted)
    judged = _take_up(connection, municipality, scope, now_us)
    left = parked_for_brake(connection).get(municipality, 0)
    return ReleasedHeld(True, proposed.operator, judged, left, lifted.lifted_until)


def take_up_released(connection: Connection, *, scope: str, now_us: int) -> bool:
    """Judges one more portion of each municipality that was released. Returns whether anything is left."""
    for municipality, tally in read_held(connection).items():
        if tally.is_lifted(now_us):
            _take_up(connection, municipality, scope, now_us)
    return any(tally.is_lifted(now_us) for tally in read_held(connection).values())


def proposal_to_release(connection: Connection, municipality: str, held_at: int) -> Proposal | None:
    """The standing proposal to release the municipality from the hold that began then."""
    return proposal_of(connection, municipality, 0, held_at, _HELD)


def parked_for_brake(connection: Connection) -> dict[str, int]:
    """How many changes are parked because their municipality is held, by municipality."""
    query = select(parked.c.municipality, func.count()).where(parked.c.reason == _HELD)
    found = connection.execute(query.group_by(parked.c.municipality))
    return {row.municipality: row[1] for row in found}


def _take_up(connection: Connection, municipality: str, scope: str, now_us: int) -> int:
    """Judges the oldest of what is parked for the brake; after the last of it the municipality is not held any more."""
    columns = (parked.c.id, parked.c.municipality, parked.c.epoch, parked.c.sequence, parked.c.change)
    kept = and_(parked.c.municipality == municipality, parked.c.reason == _HELD)
    rows = connection.execute(select(*columns).where(kept).order_by(parked.c.id).limit(PORTION + 1)).all()
    portion = rows[:PORTION]
    if portion:
        connection.execute(delete(parked).where(kept, parked.c.id <= portion[-1].id))
    reads = [read_change(*change) for _, *change in portion]
    settle(connection, reads, scope=scope, now_us=now_us)
    if len(rows) == len(portion):
        keep_tally(connection, municipality, taken_up(read_tally(connection, municipality)))
    return len(portion)


def _note(connection: Connection, act: str, municipality: str, held_at: int, operator: str, now_us: int) -> None:
    note(
        connection,
        act,
        municipality=municipality,
        epoch=0,
        sequence=held_at,
        reason=_HELD,
        operator=operator,
        now_us=now_us,
    )
