"""Receiving side of a link, without I/O.

Rules (reliability: an acknowledgement is a promise):
1. A hello is answered only after its epoch is on disk: a newer epoch fences the older one *before* its sender learns
   anything. An older epoch is refused. A sender that was restored gets a new epoch each time that it asks: no other
   incarnation of it can move the mark that it is told.
2. A batch is taken only if its epoch is the one in force, it begins right after the mark (segments at or before the
   mark are repetitions and are dropped), and its link chain continues ours. Segments are atomic: a mark never lies
   within one.
3. A segment is taken only if its municipality may come by this sender, its seal verifies with that municipality's key,
   and it continues that municipality's own stream: next sequence number, hash of the segment before. One that lies
   before the end of that stream is a repetition, as after a snapshot: it is forwarded and has no effect.
4. Whatever is refused leaves the state as it was. The caller keeps the new state in the transaction that holds the
   effect and acknowledges after the commit.

A sender with less history than we have is welcomed all the same: the mark in the welcome tells it that it lost data,
and it takes back by `Pull` what it lost. We could not tell its loss from a fork, because we keep one hash of its past,
the one at the mark; the sender can, when it has all that we have.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from google.protobuf.message import DecodeError

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.link.v1.link_pb2 import Batch, Hello, SealedSegment, Segment
from jukinet.link.seal import link_chain, seal_holds, segment_hash
from jukinet.mesh.errors import Refused, check_message
from jukinet.store.journal import Mark, Origin

LINK_VERSION = 1
BATCH_CHANGES = 500
"""Changes of one batch: what one transaction of a receiver applies."""
LARGEST = 2**63 - 1
"""Largest number that a database column keeps; the wire could carry twice as much."""


@dataclass(frozen=True, slots=True)
class Fresh:
    """A segment that is taken: new here, placed, and sealed by its municipality."""

    sealed: SealedSegment
    segment: Segment
    digest: bytes
    last_sequence: int
    """Last sequence number in the sender's stream."""
    repeated: bool = False
    """Whether its municipality's changes are here already, over another hop or by a snapshot."""


@dataclass(frozen=True, slots=True)
class Placed:
    """Where a batch stands: what is new of it, and the state to keep with its effect."""

    mark: Mark
    fresh: list[Fresh]
    origins: dict[str, Origin]
    """Of the municipalities that have fresh segments that are no repetitions."""


def greet(known: Mark | None, hello: Hello, *, now_us: int) -> Mark:
    """Takes a stream up: the mark to keep before Welcome is said.

    `known` is None for a sender that was never seen; `now_us` is microseconds since 1970. Raises Refused:
    LINK_VERSION, LINK_FENCED, LINK_FORK, LINK_PROTOCOL.
    """
    if not hello.version_min <= LINK_VERSION <= hello.version_max:
        raise Refused(errors.ERROR_REASON_LINK_VERSION)
    if hello.epoch > LARGEST or bool(hello.last_sequence) != bool(hello.last_chain):
        raise Refused(errors.ERROR_REASON_LINK_PROTOCOL)
    epoch = _epoch(known, hello, now_us)
    if known is None:
        return Mark(epoch=epoch, mark=0, chain=b"", center_mark=0, moved_at=0)
    if hello.last_sequence == known.mark and hello.last_chain != known.chain:
        raise Refused(errors.ERROR_REASON_LINK_FORK)
    return Mark(epoch, known.mark, known.chain, known.center_mark, known.moved_at)


def _epoch(known: Mark | None, hello: Hello, now_us: int) -> int:
    """The epoch in force from now on: a new one for a restored sender, even for one that nobody here has heard of.

    We may have lost our own disk as well, or gone back to an old one, and what its older incarnation sent may still be
    under way. So the new one is no less than the time: no number is given again that only lost disks knew of. A clock
    that is wrong changes nothing but that.
    """
    in_force = known.epoch if known else 0
    if not hello.restored:
        if hello.epoch < in_force:
            raise Refused(errors.ERROR_REASON_LINK_FENCED)
        return hello.epoch
    epoch = max(in_force + 1, hello.epoch + 1, now_us)
    if epoch > LARGEST:
        raise Refused(errors.ERROR_REASON_LINK_PROTOCOL)
    return epoch


def municipalities_of(batch: Batch) -> set[str]:
    """Municipalities whose segments a batch holds, without checking them. Raises Refused: LINK_PROTOCOL."""
    return {_decoded(sealed).municipality for sealed in batch.segments}


def take(
    known: Mark,
    batch: Batch,
    *,
    origins: Mapping[str, Origin],
    key_of: Callable[[str], Ed25519PublicKey | None],
    may_bring: Callable[[str], bool],
    now_us: int,
) -> Placed:
    """Places a batch.

    `origins` says how far the batch's municipalities are here; one that was never seen is left out. `key_of` gives a
    municipality's sealing key; `may_bring` tells whether this sender may bring its changes; `now_us` is microseconds
    since 1970. Raises Refused: LINK_FENCED, LINK_GAP, LINK_FORK, LINK_SEAL, LINK_FOREIGN_SEGMENT, LINK_PROTOCOL.
    """
    _check_frame(known, batch)
    mark, chain = batch.first_sequence - 1, batch.previous_chain
    _check_same_history(known, mark, chain)
    fresh: list[Fresh] = []
    moved: dict[str, Origin] = {}
    for sealed, segment, digest in _opened(batch):
        before, mark = mark, mark + len(segment.changes)
        chain = link_chain(chain, first_sequence=before + 1, last_sequence=mark, segment=digest)
        if mark <= known.mark:
            _check_same_history(known, mark, chain)
        elif before < known.mark:
            raise Refused(errors.ERROR_REASON_LINK_FORK)
        else:
            name = segment.municipality
            _check_origin(sealed, segment, digest, key_of=key_of, may_bring=may_bring)
            origin = moved.get(name, origins.get(name, Origin(segment.epoch, 0, b"", 0)))
            repeated = _is_repeated(origin, segment, digest)
            if not repeated:
                moved[name] = _continued(origin, segment, digest, now_us)
            fresh.append(Fresh(sealed, segment, digest, mark, repeated))
    if not fresh:
        return Placed(known, fresh, moved)
    return Placed(Mark(known.epoch, mark, chain, known.center_mark, now_us), fresh, moved)


def _check_frame(known: Mark, batch: Batch) -> None:
    if batch.epoch < known.epoch:
        raise Refused(errors.ERROR_REASON_LINK_FENCED)
    chain_fits = len(batch.previous_chain) == (32 if batch.first_sequence > 1 else 0)
    if batch.epoch > known.epoch or not batch.first_sequence or not chain_fits:
        # A newer epoch begins with a hello, so that it is on disk before it counts.
        raise Refused(errors.ERROR_REASON_LINK_PROTOCOL)
    if batch.first_sequence > known.mark + 1:
        raise Refused(errors.ERROR_REASON_LINK_GAP)


def _check_same_history(known: Mark, sequence: int, chain: bytes) -> None:
    """Where the batch passes the mark, both histories must be one."""
    if sequence == known.mark and chain != known.chain:
        raise Refused(errors.ERROR_REASON_LINK_FORK)


def _opened(batch: Batch) -> Iterator[tuple[SealedSegment, Segment, bytes]]:
    changes = 0
    for sealed in batch.segments:
        segment = _parse(sealed)
        changes += len(segment.changes)
        if changes > BATCH_CHANGES:
            raise Refused(errors.ERROR_REASON_LINK_PROTOCOL, detail="too many changes in a batch")
        yield sealed, segment, segment_hash(sealed.segment)


def _decoded(sealed: SealedSegment) -> Segment:
    try:
        return Segment.FromString(sealed.segment)
    except DecodeError:
        raise Refused(errors.ERROR_REASON_LINK_PROTOCOL, detail="malformed segment") from None


def _parse(sealed: SealedSegment) -> Segment:
    segment = _decoded(sealed)
    try:
        check_message(segment)
    except Refused:
        raise Refused(errors.ERROR_REASON_LINK_PROTOCOL, detail="malformed segment") from None
    aside = (len(sealed.traceparents), len(segment.message_keys))
    if segment.epoch > LARGEST or any(count not in (0, len(segment.changes)) for count in aside):
        raise Refused(errors.ERROR_REASON_LINK_PROTOCOL, detail="malformed segment")
    return segment


def _check_origin(
    sealed: SealedSegment,
    segment: Segment,
    digest: bytes,
    *,
    key_of: Callable[[str], Ed25519PublicKey | None],
    may_bring: Callable[[str], bool],
) -> None:
    if not may_bring(segment.municipality):
        raise Refused(errors.ERROR_REASON_LINK_FOREIGN_SEGMENT)
    key = key_of(segment.municipality)
    if key is None or not seal_holds(sealed, digest, key):
        raise Refused(errors.ERROR_REASON_LINK_SEAL)


def _is_repeated(origin: Origin, segment: Segment, digest: bytes) -> bool:
    """Whether the municipality's stream is further already. Where the segment ends with it, it must be the same one."""
    last = segment.first_sequence + len(segment.changes) - 1
    if last == origin.sequence and digest != origin.segment_hash:
        raise Refused(errors.ERROR_REASON_LINK_FORK)
    return last <= origin.sequence and segment.epoch <= origin.epoch


def _continued(origin: Origin, segment: Segment, digest: bytes, now_us: int) -> Origin:
    if segment.epoch < origin.epoch:
        raise Refused(errors.ERROR_REASON_LINK_FENCED)
    if segment.first_sequence != origin.sequence + 1:
        raise Refused(errors.ERROR_REASON_LINK_GAP)
    if segment.previous != origin.segment_hash:
        raise Refused(errors.ERROR_REASON_LINK_FORK)
    return Origin(segment.epoch, origin.sequence + len(segment.changes), digest, now_us)
