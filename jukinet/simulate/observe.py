"""What stands on a node's disk, in the words of the history log.

Reads the database, not what the program says of itself: an effect that was promised and never written shows here.
Usable on any node's database, so that tests of real processes can write histories too.
"""

import hashlib
from collections.abc import Collection, Iterable
from typing import Any

from sqlalchemy import Connection, bindparam, select

from jukinet._pb.jukinet.link.v1.link_pb2 import Segment
from jukinet._pb.jukinet.register.v1.change_pb2 import Change
from jukinet._pb.jukinet.register.v1.identity_pb2 import Resident, ResidentStatus
from jukinet.store.schema import history, marks, outbox, parked, residents, stream
from jukinet.store.statement import Prepared

Entry = dict[str, Any]


class Observer:
    """Tells what is new on a disk since the last look; what is there at the beginning is not told."""

    def __init__(self, connection: Connection) -> None:
        self._applied = self._sealed = 0
        self._parked: frozenset[str] = frozenset()
        """Digests; a database may give the number of a row that is gone to another."""
        self._marks: dict[str, tuple[int, int]] = {}
        self._highest: dict[str, int] = {}
        self._after: dict[str, str] = {}
        """Digest of the last sealed change, by municipality."""
        self.news(connection)

    def news(self, connection: Connection, forged: Collection[bytes] = ()) -> Entry:
        """What was written since the last look: the items of a `commit` event without its node.

        `forged` are the serialised changes that an intruder had sealed.
        """
        found: Entry = {}
        applied = _APPLIED.rows(connection, {"after": self._applied})
        if applied:
            self._applied = applied[-1][0]
            found["applied"] = [_entry(*row) for _, *row in applied]
            found["overtaken"] = self._overtaken(found["applied"])
        segments = _SEALED.rows(connection, {"after": self._sealed})
        if segments:
            self._sealed = segments[-1][0]
            found["last"] = self._sealed
            own = [Segment.FromString(segment) for _, segment, source in segments if not source]
            found["sealed"] = [entry for segment in own for entry in self._sealed_entries(segment, forged)]
        moved = {source: at for source, at in read_marks(connection).items() if self._marks.get(source) != at}
        if moved:
            self._marks.update(moved)
            found["marks"] = moved
        if found:
            self._look_at_parked(connection, found)
        return found

    def _look_at_parked(self, connection: Connection, found: Entry) -> None:
        """What is parked comes with a segment and goes with an effect: no other transaction changes it."""
        waiting = parked_changes(connection)
        new = [entry for entry in waiting if entry["digest"] not in self._parked]
        self._parked = frozenset(entry["digest"] for entry in waiting)
        if new:
            found["parked"] = new

    def _overtaken(self, applied: Iterable[Entry]) -> int:
        """How many of these changes came after a later one of the same resident."""
        late = 0
        for entry in applied:
            highest = self._highest.get(entry["resident"], 0)
            late += entry["version"] < highest
            self._highest[entry["resident"]] = max(highest, entry["version"])
        return late

    def _sealed_entries(self, segment: Segment, forged: Collection[bytes]) -> Iterable[Entry]:
        for payload, entry in zip(segment.changes, _entries(segment), strict=True):
            entry["after"] = self._after.get(segment.municipality, "")
            self._after[segment.municipality] = entry["digest"]
            if payload in forged:
                entry["forged"] = True
            yield entry


def read_marks(connection: Connection) -> dict[str, tuple[int, int]]:
    """Epoch and mark of each sender, by its name in the log."""
    return {name_of_uri(source): (epoch, mark) for source, epoch, mark in _MARKS.rows(connection)}


def name_of_uri(uri: str) -> str:
    """A node's name in the log: its code."""
    return uri.rpartition("/")[2]


def start_of(connection: Connection) -> Entry:
    """The items of a `started` event."""
    epoch, last = _STREAM.row(connection) or (1, 0)
    return {"epoch": epoch, "last": last, "marks": read_marks(connection)}


def restored_state(connection: Connection) -> Entry:
    """The items of a `restored` event."""
    applied = [_entry(*row) for _, *row in _APPLIED.rows(connection, {"after": 0})]
    own = [Segment.FromString(segment) for _, segment, source in _SEALED.rows(connection, {"after": 0}) if not source]
    sealed = [entry["digest"] for segment in own for entry in _entries(segment)]
    return {"applied": applied, "parked": parked_changes(connection), "sealed": sealed, **start_of(connection)}


def parked_changes(connection: Connection) -> list[Entry]:
    """What is parked, as the log has changes."""
    return [_entry(*row) for row in _PARKED.rows(connection)]


def rows_of(connection: Connection) -> list[Entry]:
    """The register's rows, as a `final` event has them."""
    found = []
    for code, version, status, holder, resident in _ROWS.rows(connection):
        record = Resident.FromString(resident).record.SerializeToString(deterministic=True)
        found.append(
            {
                "resident": code,
                "version": version,
                "status": ResidentStatus.Name(status).removeprefix("RESIDENT_STATUS_"),
                "holder": holder,
                "digest": _digest(record),
            }
        )
    return found


def _entries(segment: Segment) -> Iterable[Entry]:
    for offset, payload in enumerate(segment.changes):
        yield _entry(segment.municipality, segment.epoch, segment.first_sequence + offset, payload)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:24]


def _entry(municipality: str, epoch: int, sequence: int, payload: bytes) -> Entry:
    change = Change.FromString(payload)
    entry: Entry = {
        "municipality": municipality,
        "epoch": epoch,
        "sequence": sequence,
        "resident": change.record.resident_code,
        "version": change.version,
        "reason": int(change.reason),
        # A place is part of it: a municipality may say the same thing of the same person twice.
        "digest": _digest(f"{municipality} {epoch} {sequence} ".encode() + payload),
    }
    if change.previous_resident_code:
        entry["previous_code"] = change.previous_resident_code
    if change.next_municipality:
        entry["next_municipality"] = change.next_municipality
    if change.previous_municipality:
        entry["previous_municipality"] = change.previous_municipality
    return entry


_SEALED_CHANGE = ("municipality", "epoch", "sequence", "change")
_APPLIED = Prepared(
    select(history.c.position, *(history.c[name] for name in _SEALED_CHANGE))
    .where(history.c.position > bindparam("after"))
    .order_by(history.c.position)
)
_PARKED = Prepared(select(*(parked.c[name] for name in _SEALED_CHANGE)).order_by(parked.c.id))
_SEALED = Prepared(
    select(outbox.c.last_sequence, outbox.c.segment, outbox.c.source)
    .where(outbox.c.last_sequence > bindparam("after"))
    .order_by(outbox.c.last_sequence)
)
_MARKS = Prepared(select(marks.c.source, marks.c.epoch, marks.c.mark).order_by(marks.c.source))
_STREAM = Prepared(select(stream.c.epoch, stream.c.last_sequence))
_ROWS = Prepared(
    select(
        residents.c.resident_code, residents.c.version, residents.c.status, residents.c.holder, residents.c.resident
    ).order_by(residents.c.resident_code)
)
