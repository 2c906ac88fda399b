"""A snapshot at its receiver: offered, staged, and taken into the register in one transaction.

Rule: whoever brings it, a snapshot counts by the signature of its municipality alone, and it never leads back: one that
ends before what is here is not taken. Until the one transaction that swaps the rows in and sets the municipality's
origin, nobody sees anything of it; after that the municipality's stream goes on at the next change.

What it changes of a register that is here counts for the change brake as on the stream; a municipality of which nothing
is here has nothing that it could alter.

Each function works in the caller's transaction.
"""

from sqlalchemy import Connection

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.errors.v1.errors_pb2 import ErrorReason
from jukinet._pb.jukinet.link.v1.snapshot_pb2 import Manifest, SignedManifest
from jukinet._pb.jukinet.register.v1.change_pb2 import Change
from jukinet.domain.brake import Count, Tally, count
from jukinet.link.apply_batch import Assembly, settle
from jukinet.link.manifest import same_chunks
from jukinet.link.reading import read_change
from jukinet.mesh.errors import Refused
from jukinet.mesh.failpoints import passing
from jukinet.store import journal, staging, swap
from jukinet.store.brakes import brake_arrived
from jukinet.store.signed_manifests import keep_manifest


def offer(connection: Connection, signed: SignedManifest, manifest: Manifest, *, source: str) -> int:
    """Takes an offer up: how many chunks are staged already. What is staged of another history goes.

    Raises Refused: LINK_FENCED, LINK_GAP.
    """
    name = manifest.municipality
    _check_leads_on(connection, manifest)
    before = staging.read_offer(connection, name)
    if before is None or not same_chunks(before.digests, manifest.chunks):
        staging.clear(connection, name)
        before = None
    staging.write_offer(connection, name, source=source, manifest=signed.manifest, seal=signed.seal)
    return len(before.digests) if before else 0


def offered(connection: Connection, municipality: str) -> tuple[staging.Offer, Manifest]:
    """The snapshot that is being brought. Raises Refused: SNAPSHOT_NOT_OFFERED."""
    found = staging.read_offer(connection, municipality)
    if found is None:
        raise Refused(errors.ERROR_REASON_SNAPSHOT_NOT_OFFERED)
    return found, Manifest.FromString(found.manifest)


def install(
    connection: Connection, municipality: str, *, assembly: Assembly, now_us: int
) -> "list[ErrorReason.ValueType | None] | Tally":
    """Swaps the staged rows in, sets the origin and keeps the manifest.

    Returns what became of the changes that were judged one by one; its tally where the change brake holds the
    municipality: then that alone is kept, and the snapshot stays staged.
    Raises Refused: SNAPSHOT_NOT_OFFERED, SNAPSHOT_CHUNK, LINK_FORK, LINK_FENCED, LINK_GAP.
    """
    found, manifest = offered(connection, municipality)
    known = _check_leads_on(connection, manifest)
    if list(found.digests) != list(manifest.chunks):
        raise Refused(errors.ERROR_REASON_SNAPSHOT_NOT_OFFERED)
    if not swap.has_residents(connection, municipality, manifest.residents):
        raise Refused(errors.ERROR_REASON_SNAPSHOT_CHUNK, detail="another number of residents")
    if swap.is_another_history(connection, municipality):
        raise Refused(errors.ERROR_REASON_LINK_FORK)
    if assembly.brake is not None:
        arrived = {municipality: _beyond(connection, municipality, known)}
        held = brake_arrived(connection, arrived, brake=assembly.brake, now_us=now_us).get(municipality)
        if held and not held.is_lifted(now_us):
            return held
    swap.set_apart(connection, municipality)
    swap.take_over(connection, municipality, now_us)
    passing("snapshot.swapped")
    changes = [read_change(*change) for change in swap.apart_changes(connection, municipality)]
    outcomes, _ = settle(connection, changes, scope=assembly.scope, now_us=now_us)
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
    staging.end_offer(connection, municipality)
    return outcomes


def resume(known: journal.Mark, *, mark: int, chain: bytes, now_us: int) -> journal.Mark:
    """The mark of a sender whose stream goes on after snapshots; never behind the one that is here."""
    if mark <= known.mark:
        return known
    return journal.Mark(known.epoch, mark, chain, known.center_mark, now_us)


def _check_leads_on(connection: Connection, manifest: Manifest) -> journal.Origin | None:
    """How far the municipality is here, if anything of it is. Raises Refused: LINK_FENCED, LINK_GAP."""
    origin = journal.read_origins(connection, [manifest.municipality]).get(manifest.municipality)
    if origin and manifest.epoch < origin.epoch:
        raise Refused(errors.ERROR_REASON_LINK_FENCED)
    if origin and manifest.sequence <= origin.sequence:
        raise Refused(errors.ERROR_REASON_LINK_GAP)
    return origin


def _beyond(connection: Connection, municipality: str, known: journal.Origin | None) -> Count:
    """What the brake counts of the changes that are not here yet."""
    if known is None:
        return Count()
    changes = swap.changes_after(connection, municipality, known.sequence)
    return count(Change.FromString(payload) if is_read else Change() for is_read, payload in changes)
