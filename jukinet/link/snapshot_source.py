"""What a snapshot is made of, read from the register of who brings it: chunks, manifests, where the outbox begins."""

from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection, func, select

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.link.v1 import snapshot_pb2 as pb
from jukinet.link.manifest import CHUNK_CHANGES, SealedChange, chunk_digest, cut, sign
from jukinet.mesh.errors import Refused
from jukinet.mesh.identity import Identity, parse_identity
from jukinet.store import journal
from jukinet.store.outbox_start import kept_after
from jukinet.store.schema import residents
from jukinet.store.sealed_changes import next_changes
from jukinet.store.signed_manifests import read_manifest


@dataclass(frozen=True, slots=True)
class Outbox:
    """Where this node's outbox begins: in its own stream, and in the stream of each municipality that it brings."""

    epoch: int
    sequence: int
    chain: bytes
    begins: dict[str, int]
    held: dict[str, int]
    """By municipality, the last change that is here."""


def read_outbox(connection: Connection, own: Identity) -> Outbox:
    """Where the outbox of a CS or a prefecture node begins."""
    sequence, chain = journal.outbox_start_of(connection)
    held = {name: origin.sequence for name, origin in journal.read_origins(connection).items()}
    if own.kind == "municipality":
        begins = {own.name: sequence}
    else:
        kept = kept_after(connection)
        begins = held | {parse_identity(source).name: first for source, first in kept.items()}
    return Outbox(journal.read_stream(connection).epoch, sequence, chain, begins, held)


def make_manifest(connection: Connection, municipality: str, key: Ed25519PrivateKey) -> pb.SignedManifest | None:
    """The manifest of the municipality whose CS this is, as it stands; None without a change.

    Raises Refused: SNAPSHOT_CHUNK where changes lack.
    """
    origin = journal.read_origins(connection, [municipality]).get(municipality)
    if origin is None:
        return None
    digests, after, epoch = [], 0, 0
    while after < origin.sequence:
        chunk = next_chunk(connection, municipality, epoch=epoch, after=after, until=origin.sequence)
        if chunk is None:
            raise Refused(errors.ERROR_REASON_SNAPSHOT_CHUNK)
        digests.append(chunk_digest(chunk))
        after, epoch = after + len(chunk.changes), chunk.changes[-1].epoch
    manifest = pb.Manifest(
        municipality=municipality,
        epoch=origin.epoch,
        sequence=origin.sequence,
        segment_hash=origin.segment_hash,
        residents=connection.execute(select(func.count()).select_from(residents)).scalar_one(),
        chunks=digests,
    )
    return sign(manifest, key)


def next_chunk(connection: Connection, municipality: str, *, epoch: int, after: int, until: int) -> pb.Chunk | None:
    """The chunk after a municipality's change `after`, which was of incarnation `epoch`; None where changes lack."""
    rows = next_changes(connection, municipality, epoch=epoch, after=after, until=until, limit=CHUNK_CHANGES)
    if rows and rows[-1][0] != after + len(rows):  # they are in order, and none comes twice
        return None
    return next(cut(map(SealedChange._make, rows)), None)


def kept_manifest(connection: Connection, municipality: str) -> tuple[int, tuple[int, bytes, bytes] | None]:
    """How far a municipality is held here; place, bytes and seal of the manifest that it left here, if any."""
    origin = journal.read_origins(connection, [municipality]).get(municipality)
    return origin.sequence if origin else 0, read_manifest(connection, municipality)
