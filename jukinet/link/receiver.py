"""Receiving side of a link, without I/O.

Rules (reliability: an acknowledgement is a promise):
1. A hello is answered only after its epoch is on disk: a newer epoch fences the older one *before* its sender learns
   anything. An older epoch is refused.
2. A batch is taken only if its epoch is the one in force, it begins right after the mark (segments at or before the mark
   are repetitions and are dropped), and its link chain continues ours.
3. A segment is taken only if its municipality may come by this sender, its seal verifies with that municipality's key,
   and it continues that municipality's own stream: next sequence number, hash of the segment before.
4. Whatever is refused leaves the state as it was. The caller keeps the new state in the transaction that holds the effect
   and acknowledges after the commit.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from google.protobuf.message import DecodeError

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.link.v1.link_pb2 import Batch, Hello, SealedSegment, Segment
from jukinet.link.seal import link_chain, seal_holds, segment_hash
from jukinet.mesh.errors import Refused
from jukinet.store.journal import Mark, Origin

LINK_VERSION = 1


@dataclass(frozen=True, slots=True)
class Fresh:
    """A segment that is taken: new here, placed, and sealed by its municipality."""

    sealed: SealedSegment
    segment: Segment
    digest: bytes
    last_sequence: int
    """Last sequence number in the sender's stream."""


def greet(known: Mark | None, hello: Hello) -> Mark:
    """Takes a stream up: the mark to keep before Welcome is said.

    Raises Refused: LINK_VERSION, LINK_FENCED, LINK_FORK.
    """
    if not hello.version_min <= LINK_VERSION <= hello.version_max:
        raise Refused(errors.ERROR_REASON_LINK_VERSION)
    if known is None:
        return Mark(epoch=hello.epoch, mark=0, chain=b"", center_mark=0, moved_at=0)
    if hello.epoch < known.epoch:
        raise Refused(errors.ERROR_REASON_LINK_FENCED)
    if hello.last_sequence == known.mark and hello.last_chain != known.chain:
        raise Refused(errors.ERROR_REASON_LINK_FORK)
    return Mark(hello.epoch, known.mark, known.chain, known.center_mark, known.moved_at)


def take(
    known: Mark,
    batch: Batch,
    *,
    origins: dict[str, Origin],
    key_of: Callable[[str], Ed25519PublicKey | None],
    may_bring: Callable[[str], bool],
    now_us: int,
) -> tuple[Mark, list[Fresh]]:
    """Places a batch: the mark after it and the segments that are new here. `origins` is moved along.

    `key_of` gives a municipality's sealing key; `may_bring` tells whether this sender may bring its changes.
    Raises Refused: LINK_FENCED, LINK_GAP, LINK_FORK, LINK_SEAL, LINK_FOREIGN_SEGMENT, LINK_PROTOCOL.
    """
    if batch.epoch != known.epoch:
        raise Refused(errors.ERROR_REASON_LINK_FENCED)
    if batch.first_sequence > known.mark + 1:
        raise Refused(errors.ERROR_REASON_LINK_GAP)
    chain = batch.previous_chain
    position = batch.first_sequence - 1
    if position == known.mark and chain != known.chain:
        raise Refused(errors.ERROR_REASON_LINK_FORK)
    fresh: list[Fresh] = []
    for sealed in batch.segments:
        digest = segment_hash(sealed.segment)
        segment = _parse(sealed)
        last = position + len(segment.changes)
        chain = link_chain(chain, first_sequence=position + 1, last_sequence=last, segment=digest)
        if last > known.mark:
            if position < known.mark:
                raise Refused(errors.ERROR_REASON_LINK_FORK)
            _place(sealed, segment, digest, origins=origins, key_of=key_of, may_bring=may_bring, now_us=now_us)
            fresh.append(Fresh(sealed, segment, digest, last))
        elif last == known.mark and chain != known.chain:
            raise Refused(errors.ERROR_REASON_LINK_FORK)
        position = last
    if not fresh:
        return known, fresh
    return Mark(known.epoch, position, chain, known.center_mark, now_us), fresh


def _parse(sealed: SealedSegment) -> Segment:
    try:
        segment = Segment.FromString(sealed.segment)
    except DecodeError:
        raise Refused(errors.ERROR_REASON_LINK_PROTOCOL) from None
    if not segment.changes or len(sealed.traceparents) not in (0, len(segment.changes)):
        raise Refused(errors.ERROR_REASON_LINK_PROTOCOL)
    return segment


def _place(
    sealed: SealedSegment,
    segment: Segment,
    digest: bytes,
    *,
    origins: dict[str, Origin],
    key_of: Callable[[str], Ed25519PublicKey | None],
    may_bring: Callable[[str], bool],
    now_us: int,
) -> None:
    municipality = segment.municipality
    if not may_bring(municipality):
        raise Refused(errors.ERROR_REASON_LINK_FOREIGN_SEGMENT)
    key = key_of(municipality)
    if key is None or not seal_holds(sealed, digest, key):
        raise Refused(errors.ERROR_REASON_LINK_SEAL)
    known = origins.get(municipality, Origin(segment.epoch, 0, b"", 0))
    if segment.epoch < known.epoch:
        raise Refused(errors.ERROR_REASON_LINK_FENCED)
    if segment.first_sequence != known.sequence + 1:
        raise Refused(errors.ERROR_REASON_LINK_GAP)
    if segment.previous != known.segment_hash:
        raise Refused(errors.ERROR_REASON_LINK_FORK)
    last = known.sequence + len(segment.changes)
    origins[municipality] = Origin(segment.epoch, last, digest, now_us)


def municipalities_of(batch: Batch) -> Iterable[str]:
    """Municipalities whose segments a batch holds, without checking them."""
    return {_parse(sealed).municipality for sealed in batch.segments}
