"""A snapshot at its receiver: offered, staged, and taken into the register in one transaction.

Rule: whoever brings it, a snapshot counts by the signature of its municipality alone, and it never leads back: one that
ends before what is here is not taken. Until the one transaction that swaps the rows in and sets the municipality's
origin, nobody sees anything of it; after that the municipality's stream goes on at the next change.

Each function works in the caller's transaction.
"""

from sqlalchemy import Connection

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.errors.v1.errors_pb2 import ErrorReason
from jukinet._pb.jukinet.link.v1.snapshot_pb2 import Manifest, SignedManifest
from jukinet.link.apply_batch import settle
from jukinet.link.manifest import same_chunks
from jukinet.link.reading import read_change
from jukinet.mesh.errors import Refused
from jukinet.mesh.failpoints import passing
from jukinet.store import journal, staging, swap
from jukinet.store.brakes import read_held
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
    connection: Connection, municipality: str, *, scope: str, now_us: int
) -> list["ErrorReason.ValueType | None"]:
    """Swaps the staged rows in, sets the origin and keeps the manifest.

    `scope` and `now_us` are those of `apply_arrivals`. Returns what became of the changes that were judged one by one.
    Raises Refused: SNAPSHOT_NOT_OFFERED, SNAPSHOT_CHUNK, LINK_FORK, LINK_FENCED, LINK_GAP; LINK_HELD where the change
    brake holds the municipality.
    """
    found, manifest = offered(connection, municipality)
    _check_leads_on(connection, manifest)
    held = read_held(connection).get(municipality)
    if held and not held.is_lifted(now_us):
        raise Refused(errors.ERROR_REASON_LINK_HELD)
    if list(found.digests) != list(manifest.chunks):
        raise Refused(errors.ERROR_REASON_SNAPSHOT_NOT_OFFERED)
    if not swap.has_residents(connection, municipality, manifest.residents):
        raise Refused(errors.ERROR_REASON_SNAPSHOT_CHUNK, detail="another number of residents")
    if swap.is_another_history(connection, municipality):
        raise Refused(errors.ERROR_REASON_LINK_FORK)
    swap.set_apart(connection, municipality)
    swap.take_over(connection, municipality, now_us)
    passing("snapshot.swapped")
    changes = [read_change(*change) for change in swap.apart_changes(connection, municipality)]
    outcomes, _ = settle(connection, changes, scope=scope, now_us=now_us)
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


def _check_leads_on(connection: Connection, manifest: Manifest) -> None:
    origin = journal.read_origins(connection, [manifest.municipality]).get(manifest.municipality)
    if origin is None:
        return
    if manifest.epoch < origin.epoch:
        raise Refused(errors.ERROR_REASON_LINK_FENCED)
    if manifest.sequence <= origin.sequence:
        raise Refused(errors.ERROR_REASON_LINK_GAP)
