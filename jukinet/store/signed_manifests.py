"""The newest signed manifest of each municipality that a node holds: by it the node gives a register on."""

from sqlalchemy import Connection, bindparam, select

from jukinet.store.schema import manifests
from jukinet.store.statement import Prepared, keep


def keep_manifest(
    connection: Connection, municipality: str, *, epoch: int, sequence: int, manifest: bytes, seal: bytes, now_us: int
) -> None:
    """Keeps a manifest, unless a later one is here. `now_us` is microseconds since 1970."""
    before = read_manifest(connection, municipality)
    if before is None or before[0] < sequence:
        values = {"municipality": municipality, "epoch": epoch, "sequence": sequence}
        _KEEP.write(connection, [{**values, "manifest": manifest, "seal": seal, "kept_at": now_us}])


def read_manifest(connection: Connection, municipality: str) -> tuple[int, bytes, bytes] | None:
    """Sequence number, manifest and seal; None where there is none."""
    row = _ROW.row(connection, {"m": municipality})
    return (row[0], bytes(row[1]), bytes(row[2])) if row else None


_KEEP = keep(manifests, "municipality")
_ROW = Prepared(
    select(manifests.c.sequence, manifests.c.manifest, manifests.c.seal).where(
        manifests.c.municipality == bindparam("m")
    )
)
