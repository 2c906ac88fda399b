"""Seals and chain hashes: who said what, and after what.

Rule (design.md rule 4, invariant A5): nothing is applied that its municipality did not seal. The municipality closes
each run of changes with one Ed25519 signature over the hash of the run; the run names the municipality, the epoch,
the first sequence number and the hash of the run before it, so one signature binds all of its history. The sealed
bytes are stored and forwarded as they are: protobuf serialisation is not canonical, and an older node would drop
fields it does not know.

Two chains: the *origin chain* (hash of the previous segment inside the sealed bytes) proves the municipality's own
order at any distance; the *link chain* covers what one sender sent over one hop, from whichever municipality, and
shows at the handshake whether both sides mean the same history by the same sequence number.

Source: FIPS 186-5 (Ed25519), FIPS 180-4 (SHA-256).
"""

import hashlib
from collections.abc import Iterator, Sequence

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from jukinet._pb.jukinet.link.v1.link_pb2 import SealedSegment, Segment

SEGMENT_CHANGES = 500
SEGMENT_BYTES = 900_000
"""Serialised changes of one segment. A segment is never cut again on its way, so with its seal, its message keys, its
trace contexts and the frame it must fit into one message of 1 MiB; a single change has at most about 6 KiB."""

_SEAL_CONTEXT = b"jukinet segment seal v1\0"
_LINK_CONTEXT = b"jukinet link chain v1\0"


def segment_hash(segment: bytes) -> bytes:
    """SHA-256 of a serialised segment, 32 bytes."""
    return hashlib.sha256(segment).digest()


def link_chain(previous: bytes, *, first_sequence: int, last_sequence: int, segment: bytes) -> bytes:
    """Link chain hash after one more segment, 32 bytes. `previous` is empty at the beginning; `segment` is its hash."""
    return hashlib.sha256(
        _LINK_CONTEXT + previous.rjust(32, b"\0") + first_sequence.to_bytes(8) + last_sequence.to_bytes(8) + segment
    ).digest()


def cut(changes: Sequence[bytes]) -> Iterator[tuple[int, int]]:
    """Cuts a run of serialised changes into segments that fit into one message.

    Yields begin and end of each, as slice indexes. Changes of great length would otherwise make a segment that no
    receiver takes, and the link would stand for ever.
    """
    begin = size = 0
    for index, change in enumerate(changes):
        if index > begin and (index - begin == SEGMENT_CHANGES or size + len(change) > SEGMENT_BYTES):
            yield begin, index
            begin, size = index, 0
        size += len(change)
    if begin < len(changes):
        yield begin, len(changes)


def seal(
    changes: Sequence[bytes],
    *,
    municipality: str,
    epoch: int,
    first_sequence: int,
    previous: bytes,
    key: Ed25519PrivateKey,
    message_keys: Sequence[bytes] = (),
    traceparents: Sequence[str] = (),
) -> SealedSegment:
    """Closes a run of serialised changes with the municipality's signature. `cut` tells how long a run may be."""
    segment = Segment(
        municipality=municipality,
        epoch=epoch,
        first_sequence=first_sequence,
        previous=previous,
        changes=changes,
        message_keys=message_keys,
    ).SerializeToString()
    signature = key.sign(_SEAL_CONTEXT + segment_hash(segment))
    return SealedSegment(segment=segment, seal=signature, traceparents=traceparents if any(traceparents) else ())


def seal_holds(sealed: SealedSegment, digest: bytes, key: Ed25519PublicKey) -> bool:
    """Whether the seal over the segment with hash `digest` was made with the municipality's key."""
    try:
        key.verify(sealed.seal, _SEAL_CONTEXT + digest)
    except InvalidSignature:
        return False
    return True
