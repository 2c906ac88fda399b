"""What is staged of snapshots: a municipality's changes chunk by chunk, and the rows that they make by themselves.

Rule 1: nothing that is staged is seen by anybody but the staging. It becomes part of the register in one transaction
(`jukinet.store.swap`), which therefore has nothing left to compute.
Rule 2: chunks are staged in their order, each in one transaction with the rows that it moves. So what is on disk is
the beginning of the snapshot, and a sender that was cut off goes on with the next chunk.
Rule 3: the rows are made by the one `apply`, from the municipality's changes alone. A resident whose changes do not
stand by themselves (the person came from elsewhere in what this node sees, or a change breaks a rule) is set *apart*:
those changes go through the ordinary rules, beside what other municipalities sealed, when the snapshot is taken in.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, delete, func, select, update

from jukinet._pb.jukinet.register.v1.change_pb2 import Change
from jukinet._pb.jukinet.register.v1.identity_pb2 import Resident
from jukinet.domain.apply import ChangeRefused, apply
from jukinet.domain.person_name import SEARCH_KEY_VERSION
from jukinet.store.rows import columns_of
from jukinet.store.schema import residents, snapshot_chunks, snapshots, staged_changes, staged_residents
from jukinet.store.statement import Prepared, add, keep, one_of

_SWEEP_ROWS = 2000


@dataclass(frozen=True, slots=True)
class Offer:
    """The snapshot of a municipality that is being brought."""

    source: str
    manifest: bytes
    seal: bytes
    digests: Sequence[bytes]
    """Of the chunks that are staged."""
    last_sequence: int
    """Of the last change that is staged."""


class ReadChange(NamedTuple):
    """One change of a chunk, read and checked as far as that needs nothing else."""

    sequence: int
    epoch: int
    resident_code: str
    """Empty where the change cannot be read."""
    previous_code: str
    version: int
    payload: bytes
    """As sealed."""
    row: dict[str, object] | None
    """The columns of `residents` that it makes where nobody has its code yet; None where it makes none."""

    @property
    def codes(self) -> list[str]:
        """The codes whose rows it moves."""
        return [code for code in (self.resident_code, self.previous_code) if code]


def read_offer(connection: Connection, municipality: str) -> Offer | None:
    """The snapshot of a municipality that is being brought; None where none is, or another version staged it."""
    row = _OFFER.row(connection, {"m": municipality})
    if row is None or row[3:] != (SEARCH_KEY_VERSION, 0):
        return None
    chunks = _CHUNKS.rows(connection, {"m": municipality})
    last = chunks[-1][1] if chunks else 0
    source, manifest, seal = row[:3]
    return Offer(source, bytes(manifest), bytes(seal), [bytes(digest) for digest, _ in chunks], last)


def write_offer(connection: Connection, municipality: str, *, source: str, manifest: bytes, seal: bytes) -> None:
    """Keeps a snapshot as the one that is being brought; what is staged stays."""
    values = {"municipality": municipality, "source": source, "manifest": manifest, "seal": seal}
    _KEEP_OFFER.write(connection, [{**values, "keys_version": SEARCH_KEY_VERSION, "over": 0}])


def end_offer(connection: Connection, municipality: str) -> None:
    """Ends a snapshot, installed or given up; `sweep` removes what is staged of it."""
    _END_OFFER.write(connection, [{"m": municipality}])


def clear(connection: Connection, municipality: str) -> None:
    """Removes all that is staged of a municipality."""
    for table in (staged_changes, staged_residents, snapshot_chunks, snapshots):
        connection.execute(delete(table).where(table.c.municipality == municipality))


def sweep(connection: Connection) -> bool:
    """Removes a part of what is staged of snapshots that are over. Returns whether anything is left."""
    row = connection.execute(select(snapshots.c.municipality).where(snapshots.c.over == 1).limit(1)).first()
    if row is None:
        return False
    for table, key in (
        (staged_changes, staged_changes.c.sequence),
        (staged_residents, staged_residents.c.resident_code),
    ):
        of_it = table.c.municipality == row.municipality
        part = select(key).where(of_it).order_by(key).limit(_SWEEP_ROWS).subquery()
        last = connection.execute(select(func.max(part.c[key.name]))).scalar_one()
        if last is not None:
            connection.execute(delete(table).where(of_it, key <= last))
            return True
    clear(connection, row.municipality)
    return True


def stage(
    connection: Connection,
    municipality: str,
    number: int,
    digest: bytes,
    changes: Sequence[ReadChange],
    *,
    scope: str,
) -> None:
    """Stages the next chunk, in the caller's transaction. `scope` is that of `apply`."""
    register = _Register(connection, municipality, {code for change in changes for code in change.codes})
    for change in changes:
        if change.resident_code:
            register.take(change, scope)
    register.write(connection)
    _ADD_CHANGES.write(connection, [_change_row(municipality, change) for change in changes])
    last = changes[-1].sequence
    _ADD_CHUNK.write(
        connection, [{"municipality": municipality, "number": number, "digest": digest, "last_sequence": last}]
    )


class _Register:
    """The staged rows that one chunk moves, as they stand while it is worked through."""

    def __init__(self, connection: Connection, municipality: str, codes: set[str]) -> None:
        self._municipality = municipality
        found = _STAGED.rows(connection, {"m": municipality, "codes": sorted(codes)})
        self._known = {code for code, _, _ in found}
        self._apart = {code for code, apart, _ in found if apart}
        self._rows: dict[str, bytes] = {code: row for code, apart, row in found if not apart}
        self._moved: dict[str, dict[str, object]] = {}

    def take(self, change: ReadChange, scope: str) -> None:
        """Applies one change."""
        codes = change.codes
        if not self._apart.isdisjoint(codes):
            self._set_apart(codes)
        elif change.row is not None and not any(code in self._rows for code in codes):
            self._move(change.resident_code, change.row)
        else:
            current = {code: Resident.FromString(self._rows[code]) for code in codes if code in self._rows}
            sealed = Change.FromString(change.payload)
            try:
                rows = apply(sealed, municipality=self._municipality, scope=scope, current=current)
            except ChangeRefused:
                self._set_apart(codes)
                return
            for row in rows:
                self._move(row.record.resident_code, columns_of(row))

    def write(self, connection: Connection) -> None:
        """Writes what the chunk moved."""
        before = [{"m": self._municipality, "code": code} for code in self._moved if code in self._known]
        _DROP_STAGED.write(connection, before)
        named = {"municipality": self._municipality}
        _ADD_STAGED.write(
            connection,
            [{**_NOTHING, **named, **row, "apart": int(code in self._apart)} for code, row in self._moved.items()],
        )

    def _move(self, code: str, columns: dict[str, object]) -> None:
        row = columns["resident"]
        assert isinstance(row, bytes)  # noqa: S101  # `columns_of` made it
        self._rows[code], self._moved[code] = row, columns

    def _set_apart(self, codes: Sequence[str]) -> None:
        for code in codes:
            self._apart.add(code)
            self._rows.pop(code, None)
            self._moved[code] = {"resident_code": code}


def _change_row(municipality: str, change: ReadChange) -> dict[str, object]:
    return {
        "municipality": municipality,
        "sequence": change.sequence,
        "epoch": change.epoch,
        "resident_code": change.resident_code,
        "previous_code": change.previous_code,
        "version": change.version,
        "change": change.payload,
    }


_NOTHING: dict[str, object] = {column.name: None for column in residents.c}
_OFFER = Prepared(
    select(
        snapshots.c.source, snapshots.c.manifest, snapshots.c.seal, snapshots.c.keys_version, snapshots.c.over
    ).where(snapshots.c.municipality == bindparam("m"))
)
_KEEP_OFFER = keep(snapshots, "municipality")
_END_OFFER = Prepared(update(snapshots).where(snapshots.c.municipality == bindparam("m")).values(over=1))
_CHUNKS = Prepared(
    select(snapshot_chunks.c.digest, snapshot_chunks.c.last_sequence)
    .where(snapshot_chunks.c.municipality == bindparam("m"))
    .order_by(snapshot_chunks.c.number)
)
_ADD_CHUNK = add(snapshot_chunks)
_ADD_CHANGES = add(staged_changes)
_ADD_STAGED = add(staged_residents)
_DROP_STAGED = Prepared(
    delete(staged_residents).where(
        staged_residents.c.municipality == bindparam("m"), staged_residents.c.resident_code == bindparam("code")
    )
)
_STAGED = one_of(
    select(staged_residents.c.resident_code, staged_residents.c.apart, staged_residents.c.resident).where(
        staged_residents.c.municipality == bindparam("m")
    ),
    codes=staged_residents.c.resident_code,
)
