"""One batch into one node: placed, applied or parked, forwarded and marked in a single transaction.

Rule 3 of the design: the effect, the outbox row that carries it on, and the mark are one commit; only then is it
acknowledged. The outbox is kept at the center too, which has nobody to send it to: it is the log from which senders get
back what they lost. A change that this node's rules refuse is parked and still forwarded, because the node above holds
the same rules and must see the municipality's stream without a hole.

A municipality over its change brake (`jukinet.domain.brake`) is held: the hold is kept, and nothing of it takes
effect. Where the municipality itself sends, the batch is not taken and stays with it. Where a prefecture brings it
among others, its changes are parked in their order and the others' are taken.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import Connection, delete, select

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.errors.v1.errors_pb2 import ErrorReason
from jukinet._pb.jukinet.link.v1.link_pb2 import Batch, ParkedNotice
from jukinet._pb.jukinet.register.v1.change_pb2 import Change
from jukinet.domain.brake import Brake, Tally, count
from jukinet.link.reading import Read, read_change, read_changes
from jukinet.link.receiver import Fresh, municipalities_of, take
from jukinet.link.seal import link_chain
from jukinet.mesh.errors import Refused
from jukinet.mesh.failpoints import passing
from jukinet.mesh.identity import Identity
from jukinet.store import journal
from jukinet.store.brakes import brake_arrived
from jukinet.store.register import apply_arrivals, park
from jukinet.store.schema import parked
from jukinet.store.snapshots import half_in

_HELD = errors.ERROR_REASON_LINK_HELD


@dataclass(frozen=True, slots=True)
class Assembly:
    """What a receiving node is: whose changes it sees and whether it has a neighbour above."""

    scope: str
    """Prefix of the local government codes seen here: two digits at a prefecture, empty at the center."""
    forwards: bool
    """Whether there is a node above."""
    key_of: Callable[[str], Ed25519PublicKey | None]
    brake: Brake | None = field(default_factory=Brake)
    """How much of one municipality is taken in an hour; None for what was taken once before."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What a committed batch did."""

    mark: journal.Mark
    outcomes: list["ErrorReason.ValueType | None"]
    """One a new change, in order: None = applied, else why it is parked."""
    parked: list[ParkedNotice]
    last_sequence: int
    """Last sequence number in this node's own outbox; 0 where nothing was new."""
    fresh: Sequence[Fresh]
    """The segments that were new, in order: `outcomes` is about their changes."""
    held: Mapping[str, Tally] = field(default_factory=dict)
    """The municipalities of this batch that are held: nothing of them was applied."""
    newly_held: Sequence[str] = ()
    """Those that this batch made too much of."""


def apply_batch(
    connection: Connection,
    batch: Batch,
    *,
    source: str,
    may_bring: Callable[[str], bool],
    assembly: Assembly,
    traceparents: Mapping[tuple[str, int], str],
    now_us: int,
) -> Taken:
    """Takes one batch of the sender `source` in the caller's transaction.

    `traceparents` gives, by (municipality, sequence), the trace context to forward. Raises Refused as `receiver.take`;
    LINK_GAP also where a municipality's snapshot is half in.
    """
    passing("apply.begun")
    known = journal.read_mark(connection, source)
    if known is None:
        raise Refused(errors.ERROR_REASON_LINK_PROTOCOL)
    origins = journal.read_origins(connection, sorted(municipalities_of(batch)))
    placed = take(known, batch, origins=origins, key_of=assembly.key_of, may_bring=may_bring, now_us=now_us)
    if not placed.fresh:
        return Taken(placed.mark, [], [], 0, ())
    passing("apply.placed")
    new = [entry for entry in placed.fresh if not entry.repeated]
    if half_in(connection, {entry.segment.municipality for entry in new}):
        raise Refused(errors.ERROR_REASON_LINK_GAP)  # the snapshot comes first
    changes = [change for entry in new for change in read_changes(entry.segment)]
    held = _braked(connection, changes, assembly.brake, now_us)
    newly_held = [name for name, tally in held.items() if tally.held_at == now_us]
    if any(source == Identity("municipality", name).uri for name in held):
        return Taken(known, [], [], 0, (), held, newly_held)
    if held:
        changes = [(arrival, _HELD if arrival.municipality in held else fault) for arrival, fault in changes]
    outcomes, notices = settle(connection, changes, scope=assembly.scope, now_us=now_us)
    passing("apply.settled")
    for municipality, origin in placed.origins.items():
        journal.write_origin(connection, municipality, origin)
    passing("apply.origins")
    journal.write_mark(connection, source, placed.mark)
    passing("apply.marked")
    last = append_segments(connection, placed.fresh, source=source, traceparents=traceparents, now_us=now_us)
    passing("apply.forwarded")
    return Taken(placed.mark, outcomes, notices, last, new, held, newly_held)


def _braked(connection: Connection, changes: Sequence[Read], brake: Brake | None, now_us: int) -> dict[str, Tally]:
    """Counts what arrived by municipality, and names those that are held."""
    if brake is None:
        return {}
    arrived: dict[str, list[Change]] = {}
    for arrival, _ in changes:
        arrived.setdefault(arrival.municipality, []).append(arrival.change)
    counted = {municipality: count(theirs) for municipality, theirs in arrived.items()}
    return brake_arrived(connection, counted, brake=brake, now_us=now_us)


def read_again(connection: Connection, *, scope: str, now_us: int) -> int:
    """Takes up the parked changes whose reason an older version of this node did not know, in the caller's transaction.

    Call it when a node starts, for an upgrade may have taught it more. Returns how many are no longer unread; each of
    them was applied, or parked again for what the register says of it.
    """
    unread = parked.c.reason == errors.ERROR_REASON_CHANGE_UNKNOWN_TYPE
    columns = (parked.c.id, parked.c.municipality, parked.c.epoch, parked.c.sequence, parked.c.change)
    now_read = []
    for row_id, *change in connection.execute(select(*columns).where(unread).order_by(parked.c.id)).all():
        arrival, fault = read_change(*change)
        if fault != errors.ERROR_REASON_CHANGE_UNKNOWN_TYPE:
            connection.execute(delete(parked).where(parked.c.id == row_id))
            now_read.append((arrival, fault))
    settle(connection, now_read, scope=scope, now_us=now_us)
    return len(now_read)


def settle(
    connection: Connection, changes: Sequence[Read], *, scope: str, now_us: int
) -> tuple[list["ErrorReason.ValueType | None"], list[ParkedNotice]]:
    """Applies or parks what could be read, and parks the rest, in the caller's transaction.

    `scope` and `now_us` are those of `apply_arrivals`. Returns outcomes in order, and what is to be said of them.
    """
    applied = apply_arrivals(
        connection, [arrival for arrival, fault in changes if fault is None], scope=scope, now_us=now_us
    )
    park(connection, [(arrival, fault) for arrival, fault in changes if fault is not None], now_us=now_us)
    judged = iter(applied.outcomes)
    outcomes: list[ErrorReason.ValueType | None] = []
    notices = []
    for arrival, fault in changes:
        reason = next(judged) if fault is None else fault
        outcomes.append(reason)
        if reason is not None:
            notices.append(ParkedNotice(municipality=arrival.municipality, sequence=arrival.sequence, reason=reason))
    notices += [ParkedNotice(municipality=code, sequence=number, released=True) for code, number in applied.released]
    return outcomes, notices


def append_segments(
    connection: Connection,
    fresh: Sequence[Fresh],
    *,
    source: str,
    traceparents: Mapping[tuple[str, int], str],
    now_us: int,
) -> int:
    """Adds segments to this node's own stream, as they came from `source` (empty = from itself).

    Returns the last sequence number in the outbox.
    """
    own = journal.read_stream(connection)
    position, chain = own.last_sequence, own.chain
    rows = []
    for entry in fresh:
        first = position + 1
        position += len(entry.segment.changes)
        chain = link_chain(chain, first_sequence=first, last_sequence=position, segment=entry.digest)
        rows.append(
            journal.OutboxRow(
                first_sequence=first,
                last_sequence=position,
                chain=chain,
                segment=entry.sealed.segment,
                seal=entry.sealed.seal,
                traceparents=_joined(entry, traceparents),
                source=source,
                source_sequence=entry.last_sequence,
            )
        )
    journal.append_outbox(connection, rows)
    journal.write_stream(
        connection,
        journal.Stream(own.epoch, position, chain, own.neighbour_mark, own.center_mark, now_us),
    )
    return position


def _joined(entry: Fresh, traceparents: Mapping[tuple[str, int], str]) -> str:
    segment = entry.segment
    first = segment.first_sequence
    contexts = [traceparents.get((segment.municipality, first + n), "") for n in range(len(segment.changes))]
    return ",".join(contexts) if any(contexts) else ""
