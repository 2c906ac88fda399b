"""Digests of a municipality's rows as of a place in its stream, for the consistency check (整合性確認).

Rule 1: what belongs to a municipality's digest is decided by its own changes alone: each resident code that it ever
sealed a change of, with the row that its last change left. Where another municipality has taken the person over since,
that row is made again from the history, for the present one is the other's; and a protection (支援措置) counts in the
rows whose changes state it. So CS, prefecture and center hold the same set, though each sees another part.
Rule 2: a digest is as of a place (epoch, sequence), in one transaction with the municipality's origin. A node that is
further undoes what came after; one that is not there yet has no digest. Digests of different places are never compared.
Rule 3: a bucket's digest is a keyed hash over its rows in order. Hashes that are added or XORed could be made to agree.
Rule 4: a resident code without a present row is in no digest, whatever the history says of it.

Source: reliability protocol, anti-entropy (2.10); BLAKE2: RFC 7693.
"""

import hashlib
import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import DecodeError
from sqlalchemy import Connection, Row, and_, bindparam, or_, select

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.errors.v1.errors_pb2 import ErrorReason
from jukinet._pb.jukinet.register.v1.change_pb2 import Change
from jukinet._pb.jukinet.register.v1.identity_pb2 import Resident
from jukinet.domain.apply import row_after
from jukinet.domain.change import resident_codes
from jukinet.domain.refusal import ChangeRefused
from jukinet.mesh.errors import Refused
from jukinet.store import journal
from jukinet.store.checksum import is_sound
from jukinet.store.kept_changes import KEPT, KeptChange, look_at_kept
from jukinet.store.rows import as_its_holder_left_it, columns_of
from jukinet.store.schema import history, parked, residents, set_aside
from jukinet.store.snapshots import half_in
from jukinet.store.statement import Prepared, one_of

BUCKETS = 4096
DIGEST_BYTES = 32
_CODE_BYTES = 11
_ROWS_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Place:
    """A place in one municipality's stream: its change `sequence` of incarnation `epoch`."""

    municipality: str
    epoch: int
    sequence: int


@dataclass(frozen=True, slots=True)
class HeldRow:
    """One row of a municipality as a node holds it."""

    code: str
    version: int
    message: bytes
    """Serialised `Resident`."""
    misfiled: dict[str, Any] | None = None
    """The columns beside the message, where they are not those that the message makes: it is not found as it stands."""
    damaged: bool = False
    """It is not what was written, or the change of the history is not that it was made from again."""

    def digest(self, key: bytes) -> bytes:
        """Keyed digest of code, version and the whole message; of the columns too where they do not fit.

        That of a damaged row is no other row's, even where its checksum alone is damaged.
        """
        code = self.code.encode()
        content = hashlib.blake2b(self.message, digest_size=DIGEST_BYTES)
        if self.misfiled is not None:
            content.update(repr(sorted(self.misfiled.items())).encode())
        if self.damaged:
            content.update(b"damaged")
        stated = len(code).to_bytes(2) + code + self.version.to_bytes(8) + content.digest()
        return hashlib.blake2b(stated, key=key, digest_size=DIGEST_BYTES, person=b"row").digest()


@dataclass(slots=True)
class Digest:
    """The digests of one municipality's rows as of a place."""

    root: bytes = b""
    buckets: bytes = b""
    """`BUCKETS` digests of `DIGEST_BYTES` each."""
    rows: int = 0
    parked: int = 0
    misfiled: int = 0


def bucket_of(code: str) -> int:
    """The bucket of a resident code; any text has one, for what stands in a damaged row must have its place too."""
    return zlib.crc32(code.encode()) % BUCKETS


def places(connection: Connection) -> list[Place]:
    """How far each municipality is that sent changes or holds a row here, by code; none whose first snapshot comes."""
    known = {
        code: Place(code, origin.epoch, origin.sequence) for code, origin in journal.read_origins(connection).items()
    }
    holders = set(connection.execute(select(residents.c.holder).distinct()).scalars())
    strangers = holders - known.keys()
    return sorted(
        [*known.values(), *(Place(code, 0, 0) for code in strangers - half_in(connection, strangers))],
        key=lambda place: place.municipality,
    )


def digest(connection: Connection, key: bytes, at: Place, *, stopped: Callable[[], bool]) -> Digest:
    """Digests a municipality's rows in the caller's transaction, which must see one state of the database.

    Args:
        connection: of `open_reader`.
        key: 32 bytes, the same for all that is compared.
        at: whose rows and as of which change.
        stopped: asked from time to time; the work is given up when it says so.

    Raises:
        Refused: NOT_AT_PLACE.
        Stopped: the caller gave up.
    """
    found = Digest(parked=len(_parked(connection, at)))
    filled = [bytearray() for _ in range(BUCKETS)]
    width = _CODE_BYTES + DIGEST_BYTES
    for row in rows(connection, at, stopped=stopped):
        found.rows += 1
        found.misfiled += row.misfiled is not None
        filled[bucket_of(row.code)] += row.code.encode()[:_CODE_BYTES].ljust(_CODE_BYTES) + row.digest(key)
    found.buckets = b"".join(
        _hash(key, b"bucket", b"".join(sorted(bytes(each[n : n + width]) for n in range(0, len(each), width))))
        for each in filled
    )
    found.root = _hash(key, b"root", found.buckets)
    return found


class Stopped(Exception):
    """Whoever asked does not wait for the answer any more."""


@dataclass(slots=True)
class NamedRow:
    """A row of one bucket, or a parked change in the place of one, for the search of what differs."""

    code: str
    version: int = 0
    digest: bytes = b""
    misfiled: bool = False
    damaged: bool = False
    parked: "ErrorReason.ValueType" = field(default=errors.ERROR_REASON_UNSPECIFIED)


def rows_in(
    connection: Connection, key: bytes, at: Place, buckets: Collection[int], *, stopped: Callable[[], bool]
) -> list[NamedRow]:
    """The rows of some buckets by resident code, with what is parked or set aside; otherwise as `digest`."""
    wanted = frozenset(buckets)
    named = {
        row.code: NamedRow(row.code, row.version, row.digest(key), row.misfiled is not None, row.damaged)
        for row in rows(connection, at, stopped=stopped, wanted=lambda code: bucket_of(code) in wanted)
    }
    for codes, reason in _parked(connection, at):
        for code in codes:
            if bucket_of(code) in wanted:
                named.setdefault(code, NamedRow(code)).parked = reason
    for codes, reason, version in _set_aside(connection, at):
        for code in codes:
            # A row that has gone on since is explained by it no more.
            if bucket_of(code) in wanted and (code not in named or named[code].version < version):
                named.setdefault(code, NamedRow(code)).parked = reason
    return sorted(named.values(), key=lambda row: row.code)


def rows(
    connection: Connection,
    at: Place,
    *,
    stopped: Callable[[], bool],
    wanted: Callable[[str], bool] = lambda _code: True,
) -> Iterator[HeldRow]:
    """The rows of a municipality as of a place whose resident codes are wanted, in no order.

    Raises:
        Refused: NOT_AT_PLACE.
        Stopped: as in `digest`.
    """
    origin = journal.read_origins(connection, [at.municipality]).get(at.municipality)
    if (at.epoch, at.sequence) > ((origin.epoch, origin.sequence) if origin else (0, 0)):
        raise Refused(errors.ERROR_REASON_NOT_AT_PLACE)
    touched = _touched_after(connection, at)
    held = select(*residents.c).where(residents.c.holder == at.municipality)
    for part in _parts(connection, held, {}, stopped):
        for row in part:
            if row.resident_code not in touched and wanted(row.resident_code):
                yield _present(row)
    earlier: dict[str, tuple[KeptChange, bool]] = {}
    values = {"municipality": at.municipality, "epoch": at.epoch, "sequence": at.sequence}
    for part in _parts(connection, _TAKEN_OVER, values, stopped):
        for row in part:
            if row.resident_code not in touched and wanted(row.resident_code):
                _keep_last(earlier, row)
    for last in _LAST_OF.rows(connection, {**values, "codes": sorted(filter(wanted, touched))}):
        _keep_last(earlier, last)
    for code, (kept, sound) in earlier.items():
        yield HeldRow(code, kept.version, _row_after(kept.change, at.municipality), damaged=not sound)


def _touched_after(connection: Connection, at: Place) -> set[str]:
    """Codes whose rows the municipality's changes after the place have moved."""
    values = {"municipality": at.municipality, "epoch": at.epoch, "sequence": at.sequence}
    touched = set()
    for code, payload in _AFTER.rows(connection, values):
        touched.update({code, _read(payload).previous_resident_code} - {""})
    return touched


def _parked(connection: Connection, at: Place) -> list[tuple[tuple[str, ...], "ErrorReason.ValueType"]]:
    """What is parked of the municipality up to the place: the codes that each change names, and why."""
    values = {"municipality": at.municipality, "epoch": at.epoch, "sequence": at.sequence}
    waiting = []
    for reason, payload in _PARKED.rows(connection, values):
        waiting.append((resident_codes(_read(payload)), reason))
    return waiting


def _set_aside(connection: Connection, at: Place) -> list[tuple[tuple[str, ...], "ErrorReason.ValueType", int]]:
    """What two operators set aside of the municipality up to the place: the codes, why it was parked, its version."""
    values = {"municipality": at.municipality, "epoch": at.epoch, "sequence": at.sequence}
    gone = []
    for reason, version, payload in _GONE.rows(connection, values):
        gone.append((resident_codes(_read(payload)), reason, version))
    return gone


def _parts(
    connection: Connection, query: Any, values: dict[str, Any], stopped: Callable[[], bool]
) -> Iterator[Sequence[Row[Any]]]:
    result = connection.execute(query, values, execution_options={"yield_per": _ROWS_AT_ONCE})
    for part in result.partitions():
        if stopped():
            result.close()
            raise Stopped
        yield part


def _present(row: Row[Any]) -> HeldRow:
    columns = row._asdict()
    message = bytes(columns.pop("resident"))
    damaged = not is_sound(message, columns.pop("checksum"))
    try:
        made: dict[str, Any] = columns_of(Resident.FromString(message))
        del made["resident"], made["checksum"]
        message = as_its_holder_left_it(message)
    except DecodeError:
        made = {}
    return HeldRow(row.resident_code, row.version, message, None if columns == made else columns, damaged)


def _keep_last(last: dict[str, tuple[KeptChange, bool]], row: Any) -> None:
    kept, sound = look_at_kept(row)
    if kept.resident_code not in last or last[kept.resident_code][0].version < kept.version:
        last[kept.resident_code] = kept, sound


def _row_after(payload: bytes, municipality: str) -> bytes:
    try:
        return row_after(Change.FromString(payload), municipality).SerializeToString()
    except (DecodeError, ChangeRefused):
        return payload  # a damaged history is a difference like any other


def _read(payload: bytes) -> Change:
    try:
        return Change.FromString(payload)
    except DecodeError:
        return Change()


def _hash(key: bytes, what: bytes, content: bytes) -> bytes:
    return hashlib.blake2b(content, key=key, digest_size=DIGEST_BYTES, person=what).digest()


def _until(table: Any) -> Any:
    return and_(
        table.c.municipality == bindparam("municipality"),
        or_(
            table.c.epoch < bindparam("epoch"),
            and_(table.c.epoch == bindparam("epoch"), table.c.sequence <= bindparam("sequence")),
        ),
    )


_SEALED = select(*KEPT).where(_until(history))
_TAKEN_OVER = _SEALED.join(residents, residents.c.resident_code == history.c.resident_code).where(
    residents.c.holder != bindparam("municipality")
)
_LAST_OF = one_of(
    _SEALED.join(residents, residents.c.resident_code == history.c.resident_code), codes=history.c.resident_code
)
_AFTER = Prepared(
    select(history.c.resident_code, history.c.change).where(
        history.c.municipality == bindparam("municipality"),
        or_(
            history.c.epoch > bindparam("epoch"),
            and_(history.c.epoch == bindparam("epoch"), history.c.sequence > bindparam("sequence")),
        ),
    )
)
_PARKED = Prepared(select(parked.c.reason, parked.c.change).where(_until(parked)))
_GONE = Prepared(select(set_aside.c.reason, set_aside.c.version, set_aside.c.change).where(_until(set_aside)))
