"""What a restored node does with its own segments, which the node above gave back: puts them where they were.

Rule: what comes back is checked like what comes anew (seal, origin chain, order), goes through the same rules, and ends
in the same sequence numbers and the same link chain, in one transaction a batch. So a crash leaves a shorter stream,
and the next restore goes on from there.

A CS gets rows, history, outbox, origin and message ids back, so that a repeated message (電文番号) is answered as
repeated. A prefecture takes each segment as a batch of the CS that it once came from, so the marks of its senders come
back too.
"""

from collections.abc import Callable
from dataclasses import replace

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import Connection

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.link.v1.link_pb2 import Batch, Segment
from jukinet.link.apply_batch import Assembly, append_segments, apply_batch, settle
from jukinet.link.reading import read_changes
from jukinet.link.receiver import municipalities_of, take
from jukinet.mesh.errors import Refused
from jukinet.mesh.identity import Identity
from jukinet.store import journal
from jukinet.store.schema import intake_messages
from jukinet.store.statement import keep

Reapplied = Callable[[Connection, Batch, int], int]
"""Puts a batch back in the caller's transaction, at so many microseconds since 1970: the last sequence number then."""


def reapply_own(connection: Connection, batch: Batch, now_us: int, *, municipality: str, key: Ed25519PublicKey) -> int:
    """Puts back what this municipality sealed itself.

    Raises Refused as `receiver.take`: LINK_FORK where it does not continue what the municipality holds.
    """
    own = _in_order(connection, batch)
    placed = take(
        journal.Mark(own.epoch, own.last_sequence, own.chain, 0, 0),
        Batch(
            epoch=own.epoch,
            first_sequence=own.last_sequence + 1,
            previous_chain=own.chain,
            segments=batch.segments,
        ),
        origins=journal.read_origins(connection, [municipality]),
        key_of=lambda _: key,
        may_bring=lambda name: name == municipality,
        now_us=now_us,
    )
    changes = [change for entry in placed.fresh for change in read_changes(entry.segment)]
    settle(connection, changes, scope=municipality, now_us=now_us)
    for name, origin in placed.origins.items():
        journal.write_origin(connection, name, origin)
    for entry in placed.fresh:
        _KEEP_MESSAGE.write(connection, _messages(entry.segment))
    return append_segments(connection, placed.fresh, source="", traceparents={}, now_us=now_us)


def reapply_below(connection: Connection, batch: Batch, now_us: int, *, assembly: Assembly) -> int:
    """Puts back what a prefecture had taken from its municipalities, each segment as its CS sent it.

    Raises Refused as `receiver.take`.
    """
    last = _in_order(connection, batch).last_sequence
    unbraked = replace(assembly, brake=None)
    municipalities_of(batch)  # refuses what is malformed
    for sealed in batch.segments:
        segment = Segment.FromString(sealed.segment)
        source = Identity("municipality", segment.municipality).uri
        known = journal.read_mark(connection, source) or journal.Mark(segment.epoch, 0, b"", 0, 0)
        known = replace(known, epoch=max(known.epoch, segment.epoch))
        journal.write_mark(connection, source, known)
        taken = apply_batch(
            connection,
            Batch(
                epoch=known.epoch,
                first_sequence=known.mark + 1,
                previous_chain=known.chain,
                segments=[sealed],
            ),
            source=source,
            may_bring=lambda name: name.startswith(assembly.scope),
            assembly=unbraked,
            traceparents={},
            now_us=now_us,
        )
        last = taken.last_sequence
    return last


def _in_order(connection: Connection, batch: Batch) -> journal.Stream:
    """The own stream, which the batch must continue: nothing may have been taken meanwhile."""
    own = journal.read_stream(connection)
    if batch.first_sequence != own.last_sequence + 1:
        raise Refused(errors.ERROR_REASON_LINK_FORK)
    return own


def _messages(segment: Segment) -> list[dict[str, object]]:
    # An older segment has no keys.
    return [
        {
            "message_id": key[:32].hex(),
            "digest": key[32:],
            "version": arrival.change.version,
            "epoch": arrival.epoch,
            "sequence": arrival.sequence,
        }
        for key, (arrival, _) in zip(
            segment.message_keys, read_changes(segment), strict=False
        )  # none in an older segment
    ]


_KEEP_MESSAGE = keep(intake_messages, "message_id")
