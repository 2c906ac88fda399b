"""One batch into one node: placed, applied or parked, forwarded and marked in a single transaction.

Rule 3 of the design: the effect, the outbox row that carries it on, and the mark are one commit; only then is it
acknowledged. A change that this node's rules refuse is parked and still forwarded, because the node above holds the same
rules and must see the municipality's stream without a hole.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from google.protobuf.message import DecodeError
from sqlalchemy import Connection

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.errors.v1.errors_pb2 import ErrorReason
from jukinet._pb.jukinet.link.v1.link_pb2 import Batch, ParkedNotice
from jukinet._pb.jukinet.register.v1.change_pb2 import Change
from jukinet.link.receiver import Fresh, municipalities_of, take
from jukinet.link.seal import link_chain
from jukinet.mesh.errors import Refused
from jukinet.store import journal
from jukinet.store.register import Arrival, apply_arrivals


@dataclass(frozen=True, slots=True)
class Assembly:
    """What a receiving node is: whose changes it sees and whether it has a neighbour above."""

    scope: str
    """Prefix of the local government codes seen here: two digits at a prefecture, empty at the center."""
    forwards: bool
    key_of: Callable[[str], Ed25519PublicKey | None]


@dataclass(frozen=True, slots=True)
class Taken:
    """What a committed batch did."""

    mark: journal.Mark
    outcomes: list["ErrorReason.ValueType | None"]
    """One a new change, in order: None = applied, else why it is parked."""
    parked: list[ParkedNotice]
    last_sequence: int
    """Last sequence number in this node's own outbox; 0 where nothing is forwarded."""


def apply_batch(
    connection: Connection,
    batch: Batch,
    *,
    source: str,
    may_bring: Callable[[str], bool],
    assembly: Assembly,
    traceparents: dict[tuple[str, int], str],
    now_us: int,
) -> Taken:
    """Takes one batch of the sender `source` in the caller's transaction.

    `traceparents` gives, by (municipality, sequence), the trace context to forward. Raises Refused as `receiver.take`.
    """
    known = journal.read_mark(connection, source)
    if known is None:
        raise Refused(errors.ERROR_REASON_LINK_PROTOCOL)
    origins = journal.read_origins(connection, sorted(municipalities_of(batch)))
    mark, fresh = take(known, batch, origins=origins, key_of=assembly.key_of, may_bring=may_bring, now_us=now_us)
    if not fresh:
        return Taken(mark, [], [], 0)
    arrivals = [arrival for entry in fresh for arrival in _arrivals(entry)]
    readable = [arrival for arrival in arrivals if arrival is not None]
    if len(readable) != len(arrivals):
        raise Refused(errors.ERROR_REASON_LINK_PROTOCOL)
    applied = apply_arrivals(connection, readable, scope=assembly.scope, now_us=now_us)
    for municipality in {arrival.municipality for arrival in readable}:
        journal.write_origin(connection, municipality, origins[municipality])
    journal.write_mark(connection, source, mark)
    last = _forward(connection, fresh, source, traceparents, now_us) if assembly.forwards else 0
    return Taken(mark, applied.outcomes, _notices(readable, applied.outcomes, applied.released), last)


def _arrivals(entry: Fresh) -> list[Arrival | None]:
    segment = entry.segment
    arrivals: list[Arrival | None] = []
    for offset, payload in enumerate(segment.changes):
        try:
            change = Change.FromString(payload)
        except DecodeError:
            arrivals.append(None)
        else:
            arrivals.append(
                Arrival(segment.municipality, segment.epoch, segment.first_sequence + offset, change, payload)
            )
    return arrivals


def _forward(
    connection: Connection,
    fresh: Sequence[Fresh],
    source: str,
    traceparents: dict[tuple[str, int], str],
    now_us: int,
) -> int:
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


def _joined(entry: Fresh, traceparents: dict[tuple[str, int], str]) -> str:
    if not entry.sealed.traceparents:
        return ""
    segment = entry.segment
    return ",".join(
        traceparents.get((segment.municipality, segment.first_sequence + offset), "")
        for offset in range(len(segment.changes))
    )


def _notices(
    arrivals: Sequence[Arrival],
    outcomes: Sequence["ErrorReason.ValueType | None"],
    released: Sequence[tuple[str, int]],
) -> list[ParkedNotice]:
    notices = [
        ParkedNotice(municipality=arrival.municipality, sequence=arrival.sequence, reason=reason)
        for arrival, reason in zip(arrivals, outcomes, strict=True)
        if reason is not None
    ]
    notices += [ParkedNotice(municipality=code, sequence=sequence, released=True) for code, sequence in released]
    return notices
