"""What a snapshot is, without I/O: a municipality's changes in chunks, and its signature over them.

Rule 1: a snapshot is everything that a municipality sealed, from its first change to one place in its stream, in the
order of its sequence. Nothing is left out and nothing is computed from it, so whoever holds the changes makes the same
chunks: the municipality again after a crash, a prefecture for the center.
Rule 2: the municipality signs a manifest that binds its code, epoch and sequence, the hash of the segment that ends
there, the number of its resident codes and the digest of each chunk. Nothing is taken from a chunk before its digest
is the one of the manifest, nor from a manifest before its signature holds.
Rule 3: where a chunk ends depends on the changes before it alone. A later snapshot has the same chunks and more, so
it goes on where an earlier one was left.

A chunk's digest is over its content, not over its message: protobuf serialisation is not canonical.

Source: FIPS 186-5 (Ed25519), FIPS 180-4 (SHA-256).
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from struct import Struct
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from google.protobuf.message import DecodeError

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.link.v1.snapshot_pb2 import Chunk, ChunkChange, Manifest, SignedManifest
from jukinet.link.receiver import LARGEST
from jukinet.mesh.errors import Refused, check_message

CHUNK_CHANGES = 2000
CHUNK_BYTES = 900_000
"""Serialised changes of one chunk; with the frame it fits into one message of 1 MiB."""

_CONTEXT = b"jukinet snapshot manifest v1\0"
_CHUNK_CONTEXT = b"jukinet snapshot chunk v1\0"
_ENTRY = Struct(">QI")


class SealedChange(NamedTuple):
    """One change as its municipality sealed it, with its place."""

    sequence: int
    epoch: int
    change: bytes


def cut(changes: Iterable[SealedChange]) -> Iterator[Chunk]:
    """Cuts a municipality's changes into chunks. They come in the order of their sequence, without a gap."""
    chunk: list[SealedChange] = []
    size = 0
    for change in changes:
        if chunk and (len(chunk) == CHUNK_CHANGES or size + len(change.change) > CHUNK_BYTES):
            yield _chunk(chunk)
            chunk, size = [], 0
        chunk.append(change)
        size += len(change.change)
    if chunk:
        yield _chunk(chunk)


def chunk_digest(chunk: Chunk) -> bytes:
    """SHA-256 of a chunk's content, 32 bytes."""
    parts = [_CHUNK_CONTEXT + chunk.first_sequence.to_bytes(8) + len(chunk.changes).to_bytes(4)]
    for entry in chunk.changes:
        change = entry.change
        parts += (_ENTRY.pack(entry.epoch, len(change)), change)
    return hashlib.sha256(b"".join(parts)).digest()


def sign(manifest: Manifest, key: Ed25519PrivateKey) -> SignedManifest:
    """Signs a manifest with the municipality's sealing key."""
    content = manifest.SerializeToString(deterministic=True)
    return SignedManifest(manifest=content, seal=key.sign(_signed(content)))


def opened(signed: SignedManifest, key: Ed25519PublicKey | None) -> Manifest:
    """What a manifest says, once its signature holds.

    `key` is the public sealing key of the municipality that `named_in` gives, None where there is none.
    Raises Refused: LINK_SEAL, LINK_PROTOCOL.
    """
    manifest = _decoded(signed)
    if key is None:
        raise Refused(errors.ERROR_REASON_LINK_SEAL)
    try:
        key.verify(signed.seal, _signed(signed.manifest))
    except InvalidSignature:
        raise Refused(errors.ERROR_REASON_LINK_SEAL) from None
    try:
        check_message(manifest)
    except Refused:
        raise Refused(errors.ERROR_REASON_LINK_PROTOCOL, detail="malformed manifest") from None
    if max(manifest.epoch, manifest.sequence, manifest.residents) > LARGEST:
        raise Refused(errors.ERROR_REASON_LINK_PROTOCOL, detail="malformed manifest")
    return manifest


def named_in(signed: SignedManifest) -> str:
    """The municipality that a manifest names, without checking it. Raises Refused: LINK_PROTOCOL."""
    return _decoded(signed).municipality


def check_chunk(manifest: Manifest, number: int, chunk: Chunk, *, after: int) -> None:
    """Checks that this is chunk `number` of the snapshot, and that it follows change `after`.

    Raises Refused: SNAPSHOT_CHUNK.
    """
    begins, ends = chunk.first_sequence == after + 1, after + len(chunk.changes) == manifest.sequence
    known = number < len(manifest.chunks) and chunk_digest(chunk) == manifest.chunks[number]
    if not (known and begins and ends == (number == len(manifest.chunks) - 1)):
        raise Refused(errors.ERROR_REASON_SNAPSHOT_CHUNK)


def _decoded(signed: SignedManifest) -> Manifest:
    try:
        return Manifest.FromString(signed.manifest)
    except DecodeError:
        raise Refused(errors.ERROR_REASON_LINK_PROTOCOL, detail="malformed manifest") from None


def _signed(content: bytes) -> bytes:
    return _CONTEXT + hashlib.sha256(content).digest()


def _chunk(changes: Sequence[SealedChange]) -> Chunk:
    return Chunk(
        first_sequence=changes[0].sequence,
        changes=[ChunkChange(epoch=each.epoch, change=each.change) for each in changes],
    )
