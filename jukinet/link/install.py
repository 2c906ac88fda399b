"""A snapshot at its receiver: offered, taken chunk by chunk, and ended.

Rule: whoever brings it, a snapshot counts by the signature of its municipality alone, and it never leads back: one that
ends before what is here is not taken. Each chunk is judged like a batch of the stream (`jukinet.store.chunk`), so no
transaction is longer than that, and the streams of others go on in between. When the last one is in, the municipality's
origin is set, and its stream goes on at the next change.

What it changes of a register that is here counts for the change brake as on the stream; a municipality of which nothing
is here has nothing that it could alter.

Each function works in the caller's transaction.
"""

from collections.abc import Sequence

from sqlalchemy import Connection

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.link.v1.snapshot_pb2 import Chunk, Manifest, SignedManifest
from jukinet._pb.jukinet.register.v1.change_pb2 import Change
from jukinet.domain.brake import Count, Tally, count
from jukinet.link.apply_batch import Assembly
from jukinet.link.manifest import check_chunk
from jukinet.mesh.errors import Refused
from jukinet.mesh.failpoints import passing
from jukinet.store import journal, snapshots
from jukinet.store.brakes import brake_arrived, read_held
from jukinet.store.chunk import not_here, take_chunk
from jukinet.store.rows import ReadChange
from jukinet.store.sealed_changes import last_change
from jukinet.store.signed_manifests import keep_manifest


def offer(connection: Connection, signed: SignedManifest, manifest: Manifest, *, source: str) -> int:
    """Takes an offer up: how many of its chunks are in the register by an earlier one.

    Raises Refused: LINK_FENCED, LINK_GAP.
    """
    name = manifest.municipality
    _check_leads_on(connection, manifest)
    last = last_change(connection, name)
    if last is not None and last > (manifest.epoch, manifest.sequence):
        raise Refused(errors.ERROR_REASON_LINK_GAP)
    return snapshots.write_offer(
        connection, name, source=source, manifest=signed.manifest, seal=signed.seal, digests=manifest.chunks
    )


def take(
    connection: Connection,
    municipality: str,
    number: int,
    chunk: Chunk,
    changes: Sequence[ReadChange],
    *,
    assembly: Assembly,
    now_us: int,
) -> Tally | None:
    """Takes chunk `number` of the snapshot that is being brought; `changes` is what was read of it.

    `now_us` is microseconds since 1970. Returns the tally where the change brake holds the municipality: then that
    alone is kept. Raises Refused, before anything is written: SNAPSHOT_NOT_OFFERED, SNAPSHOT_CHUNK, LINK_FORK,
    LINK_FENCED, LINK_GAP.
    """
    found, manifest = _offered(connection, municipality)
    if number != len(found.digests):
        raise Refused(errors.ERROR_REASON_SNAPSHOT_NOT_OFFERED)
    check_chunk(manifest, number, chunk, after=found.last_sequence)
    known = _check_leads_on(connection, manifest)
    new = not_here(connection, municipality, changes)
    if assembly.brake is not None:
        arrived = {municipality: _counted(new, known)}
        held = brake_arrived(connection, arrived, brake=assembly.brake, now_us=now_us).get(municipality)
        if held and not held.is_lifted(now_us):
            return held
    take_chunk(connection, municipality, new, scope=assembly.scope, now_us=now_us)
    passing("snapshot.applied")
    snapshots.note_chunk(
        connection,
        municipality,
        number=number,
        digest=manifest.chunks[number],
        last_sequence=changes[-1].sequence,
    )
    return None


def install(connection: Connection, municipality: str, *, now_us: int) -> None:
    """Ends a snapshot all of whose chunks are in: sets the origin and keeps the manifest.

    `now_us` is microseconds since 1970. Raises Refused: SNAPSHOT_NOT_OFFERED, LINK_FENCED, LINK_GAP; LINK_HELD where
    the change brake holds the municipality.
    """
    found, manifest = _offered(connection, municipality)
    _check_leads_on(connection, manifest)
    held = read_held(connection).get(municipality)
    if held and not held.is_lifted(now_us):
        raise Refused(errors.ERROR_REASON_LINK_HELD)
    if list(found.digests) != list(manifest.chunks):
        raise Refused(errors.ERROR_REASON_SNAPSHOT_NOT_OFFERED)
    origin = journal.Origin(manifest.epoch, manifest.sequence, manifest.segment_hash, now_us)
    journal.write_origin(connection, municipality, origin)
    keep_manifest(
        connection,
        municipality,
        epoch=manifest.epoch,
        sequence=manifest.sequence,
        manifest=found.manifest,
        seal=found.seal,
        now_us=now_us,
    )
    snapshots.end_offer(connection, municipality)


def resume(known: journal.Mark, *, mark: int, chain: bytes, now_us: int) -> journal.Mark:
    """The mark of a sender whose stream goes on after snapshots; never behind the one that is here."""
    if mark <= known.mark:
        return known
    return journal.Mark(known.epoch, mark, chain, known.center_mark, now_us)


def _offered(connection: Connection, municipality: str) -> tuple[snapshots.Offer, Manifest]:
    found = snapshots.read_offer(connection, municipality)
    if found is None:
        raise Refused(errors.ERROR_REASON_SNAPSHOT_NOT_OFFERED)
    return found, Manifest.FromString(found.manifest)


def _check_leads_on(connection: Connection, manifest: Manifest) -> journal.Origin | None:
    """How far the municipality is here, if anything of it is. Raises Refused: LINK_FENCED, LINK_GAP."""
    origin = journal.read_origins(connection, [manifest.municipality]).get(manifest.municipality)
    if origin and manifest.epoch < origin.epoch:
        raise Refused(errors.ERROR_REASON_LINK_FENCED)
    if origin and manifest.sequence <= origin.sequence:
        raise Refused(errors.ERROR_REASON_LINK_GAP)
    return origin


def _counted(changes: Sequence[ReadChange], known: journal.Origin | None) -> Count:
    """What the brake counts of changes that are not here yet."""
    if known is None:
        return Count()
    return count(Change.FromString(change.payload) if change.fault is None else Change() for change in changes)
