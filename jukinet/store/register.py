"""The register of a node: current rows, append-only history, parked changes, all moved by the one `apply`.

Rule 1: nothing that was sealed is ever dropped. A change that the rules refuse is parked in the same transaction, with
its reason.
Rule 2: a change that waits for an earlier one of the same resident is tried again whenever a change of that resident is
applied. What is refused for good stays parked, until operators release it (`jukinet.store.release`).
Rule 3: a municipality's changes of one resident are applied in its own order: while one waits, the later ones wait
behind it, even where `apply` alone would take them (the resident left what this node sees, and came back).
Rule 4: a row never goes back. A change that a later one overtook goes into the history alone, if its place is there.

Works on a run of changes at once: one look-up, the rules in memory, one write a table. Only for what was overtaken the
history is read.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, bindparam, delete, literal_column, select, update

from jukinet._pb.jukinet.errors.v1 import errors_pb2
from jukinet._pb.jukinet.errors.v1.errors_pb2 import ErrorReason
from jukinet._pb.jukinet.register.v1.change_pb2 import Change
from jukinet._pb.jukinet.register.v1.identity_pb2 import Resident
from jukinet.domain.apply import ChangeRefused, apply
from jukinet.domain.arrival import Arrival
from jukinet.domain.overtaken import apply_overtaken
from jukinet.domain.refusal import refuse
from jukinet.domain.set_aside import apply_past_gap
from jukinet.store.checksum import RecordDamaged
from jukinet.store.current_rows import sound_and_damaged
from jukinet.store.kept_changes import KEPT, read_kept
from jukinet.store.rows import COLUMNS, Sealed, checksum_of_kept, columns_of, parked_row, sealed_of
from jukinet.store.schema import history, parked, residents
from jukinet.store.set_aside import gone_of, is_anything_set_aside, parked_between
from jukinet.store.statement import Prepared, Row, Rows, add, keep, one_of

_WAITING = errors_pb2.ERROR_REASON_WAITING_FOR_EARLIER_CHANGE


@dataclass(slots=True)
class Applied:
    """What became of a run of arrivals, in their order: None = applied, else why it is parked."""

    outcomes: list["ErrorReason.ValueType | None"] = field(default_factory=list)
    released: list[tuple[str, int]] = field(default_factory=list)


def apply_arrivals(connection: Connection, arrivals: Sequence[Arrival], *, scope: str, now_us: int) -> Applied:
    """Applies or parks each arrival, in order, within the caller's transaction.

    `scope` is the prefix of the local government codes that this node sees; `now_us` is microseconds since 1970.
    """
    codes = [code for arrival in arrivals for code in arrival.moved_codes]
    run = Run(connection, codes)
    outcome = Applied()
    for arrival in arrivals:
        reason, released = run.settle(arrival, scope)
        outcome.outcomes.append(reason)
        outcome.released.extend(released)
    run.write(connection, now_us)
    return outcome


def park(connection: Connection, arrivals: Sequence[tuple[Arrival, "ErrorReason.ValueType"]], *, now_us: int) -> None:
    """Keeps changes that cannot be judged here, each with its reason. `now_us` is microseconds since 1970."""
    _PARK.write(connection, [parked_row(arrival, reason, now_us) for arrival, reason in arrivals])


@dataclass(slots=True, eq=False)
class _Parked:
    """A parked change; `row_id` is 0 until it is written."""

    row_id: int
    arrival: Arrival
    reason: "ErrorReason.ValueType"


class Run:
    """The rows that one run of changes touches, as they stand while the run is worked through."""

    def __init__(self, connection: Connection, codes: Iterable[str]) -> None:
        """Loads the rows of these resident codes, what waits for them, and the rows which that in turn touches.

        The connection is kept for `take`: a change that was overtaken is judged by the history.
        """
        self._connection = connection
        self._waiting: dict[str, list[_Parked]] = {}
        wanted = set(codes)
        self._load_waiting(connection, wanted)
        self.rows, self._damaged = sound_and_damaged(connection, wanted)
        self._changed: dict[str, Resident] = {}
        self._entered: dict[str, tuple[Row, Sealed]] = {}
        self._applied: list[Arrival] = []
        self._sealed: list[Sealed] = []
        self._parked: list[_Parked] = []
        self._unparked: list[_Parked] = []
        self._refused: list[_Parked] = []
        self._anything_set_aside: bool | None = None

    def settle(self, arrival: Arrival, scope: str) -> tuple["ErrorReason.ValueType | None", Sequence[tuple[str, int]]]:
        """Applies one change, and what waited for it, or parks it.

        Returns why it is parked, None where it was applied; municipality and sequence number of what it released.
        """
        reason = _WAITING if self.is_behind(arrival) else self.take(arrival, scope)
        if reason is None:
            return None, self.release(arrival.moved_codes, scope)
        self.park(arrival, reason)
        return reason, ()

    def is_unseen(self, code: str) -> bool:
        """Tells whether nothing here has a say in a resident code: no row, sound or damaged, and nothing waits."""
        known = code in self.rows or code in self._entered or code in self._damaged
        return not known and code not in self._waiting

    def enter(self, row: Row, sealed: "Sealed") -> None:
        """Takes a change and the row, what stands in `COLUMNS`, that `apply` made of it. Its code must be unseen."""
        self._entered[sealed[0]] = row, sealed
        self._sealed.append(sealed)

    def take(self, arrival: Arrival, scope: str) -> "ErrorReason.ValueType | None":
        """Applies one change; the reason why not, when the rules refuse it."""
        if not self.are_sound(*arrival.moved_codes):
            return errors_pb2.ERROR_REASON_RECORD_DAMAGED
        self._see(arrival.moved_codes)
        try:
            written = self._judge(arrival, scope)
        except ChangeRefused as refused:
            if refused.reason != _WAITING or not self._is_anything_set_aside():
                return refused.reason
            try:
                written = self._judge_past_gap(arrival, scope)
            except ChangeRefused as after_all:
                return after_all.reason
        for resident in written:
            self.rows[resident.record.resident_code] = resident
            self._changed[resident.record.resident_code] = resident
        self._applied.append(arrival)
        self._sealed.append(sealed_of(arrival))
        return None

    def are_sound(self, *codes: str) -> bool:
        """Tells whether the rows of these resident codes, where there are any, are what was written."""
        return self._damaged.isdisjoint(codes)

    def is_behind(self, arrival: Arrival) -> bool:
        """Tells whether an earlier change of this municipality waits for the same resident."""
        return any(
            entry.arrival.municipality == arrival.municipality and entry.arrival.place < arrival.place
            for code in arrival.moved_codes
            for entry in self._waiting.get(code, ())
        )

    def park(self, arrival: Arrival, reason: "ErrorReason.ValueType") -> None:
        """Keeps a change that could not be applied."""
        entry = _Parked(0, arrival, reason)
        self._parked.append(entry)
        if reason == _WAITING:
            self._wait(entry)

    def release(self, moved: Iterable[str], scope: str) -> list[tuple[str, int]]:
        """Tries what waits under these resident codes again, lowest version first, until nothing moves.

        Returns municipality and sequence number of each change that was applied.
        """
        released: list[tuple[str, int]] = []
        codes = list(moved)
        while codes:
            waiting = self._waiting.get(codes.pop())
            for entry in sorted(waiting or (), key=lambda entry: entry.arrival.change.version):
                if self.is_behind(entry.arrival):
                    continue
                reason = self.take(entry.arrival, scope)
                if reason == _WAITING:
                    continue
                self._end_wait(entry, reason)
                codes.extend(entry.arrival.moved_codes)
                if reason is None:
                    released.append((entry.arrival.municipality, entry.arrival.sequence))
        return released

    def write(self, connection: Connection, now_us: int) -> None:
        """Writes all that the run changed: one statement a table."""
        _ENTER.write(connection, [row for row, _ in self._entered.values()])
        _KEEP_RESIDENT.write(connection, [columns_of(row) for row in self._changed.values()])
        _ADD_HISTORY.write(connection, [(*each, now_us, checksum_of_kept(each, now_us)) for each in self._sealed])
        park(connection, [(entry.arrival, entry.reason) for entry in self._parked], now_us=now_us)
        _UNPARK.write(connection, [{"row_id": entry.row_id} for entry in self._unparked])
        _REFUSE.write(connection, [{"row_id": entry.row_id, "final": entry.reason} for entry in self._refused])

    def _see(self, codes: Iterable[str]) -> None:
        """Reads the rows of these codes that were entered in this run, for a later change is to be judged by them."""
        for code in codes:
            if code in self._entered and code not in self.rows:
                row, sealed = self._entered[code]
                self.rows[code] = Resident.FromString(row[_MESSAGE])
                self._applied.append(_arrival(*sealed[2:]))

    def _judge(self, arrival: Arrival, scope: str) -> tuple[Resident, ...]:
        change = arrival.change
        code = change.record.resident_code
        row = self.rows.get(code)
        if row is not None and change.version < row.version:
            return apply_overtaken(arrival, scope=scope, current=self.rows, kept=self._history_of(code))
        return apply(change, municipality=arrival.municipality, scope=scope, current=self.rows)

    def _judge_past_gap(self, arrival: Arrival, scope: str) -> tuple[Resident, ...]:
        """Judges a change that waits: perhaps the versions that it waits for were set aside."""
        code, version = arrival.awaited_code, arrival.change.version
        row = self.rows.get(code)
        at = row.version if row else 0
        still_parked = parked_between(self._connection, code, at, version) or any(
            entry.arrival.awaited_code == code and at < entry.arrival.change.version < version for entry in self._parked
        )
        if still_parked:
            refuse(_WAITING, "version")
        made_row = [
            each.place
            for each in self._history_of(code)
            if each.change.version == at and each.municipality == arrival.municipality
        ]
        return apply_past_gap(
            arrival,
            scope=scope,
            current=self.rows,
            gone=gone_of(self._connection, code, arrival.municipality),
            since=made_row[0] if made_row else (0, 0),
        )

    def _is_anything_set_aside(self) -> bool:
        if self._anything_set_aside is None:
            self._anything_set_aside = is_anything_set_aside(self._connection)
        return self._anything_set_aside

    def _history_of(self, code: str) -> list[Arrival]:
        """What was applied under a resident code, earlier and in this run. Raises ChangeRefused: a row is damaged."""
        try:
            kept = [read_kept(row) for row in _HISTORY_OF.rows(self._connection, {"code": code})]
        except RecordDamaged:
            refuse(errors_pb2.ERROR_REASON_RECORD_DAMAGED, "version")
        before = [_arrival(each.municipality, each.epoch, each.sequence, each.change) for each in kept]
        return before + [arrival for arrival in self._applied if arrival.change.record.resident_code == code]

    def _load_waiting(self, connection: Connection, wanted: set[str]) -> None:
        """Loads what waits for these codes; adds to them the codes that it will touch when it is released."""
        new = set(wanted) if _ANY_WAITING.row(connection) else set()
        while new:
            touched: set[str] = set()
            for entry in _read_waiting(connection, new):
                self._wait(entry)
                touched.update(entry.arrival.moved_codes)
            new = touched - wanted
            wanted |= new

    def _wait(self, entry: _Parked) -> None:
        self._waiting.setdefault(entry.arrival.awaited_code, []).append(entry)

    def _end_wait(self, entry: _Parked, reason: "ErrorReason.ValueType | None") -> None:
        """Applied (None), or after all refused for good."""
        self._waiting[entry.arrival.awaited_code].remove(entry)
        if reason is None and entry.row_id:
            self._unparked.append(entry)
        elif reason is None:
            self._parked.remove(entry)
        else:
            entry.reason = reason
            if entry.row_id:
                self._refused.append(entry)


def _read_waiting(connection: Connection, codes: Iterable[str]) -> Iterable[_Parked]:
    for row_id, reason, *sealed in _WAITING_FOR.rows(connection, {"codes": sorted(codes)}):
        yield _Parked(row_id, _arrival(*sealed), reason)


def _arrival(municipality: str, epoch: int, sequence: int, payload: bytes) -> Arrival:
    return Arrival(municipality, epoch, sequence, Change.FromString(payload), payload)


_MESSAGE = COLUMNS.index("resident")
_ENTER = Rows(residents, COLUMNS)
_KEEP_RESIDENT = keep(residents, "resident_code")
_ADD_HISTORY = Rows(history, [column.name for column in history.c if column is not history.c.position])
_HISTORY_OF = Prepared(select(*KEPT).where(history.c.resident_code == bindparam("code")))
_PARK = add(parked)
_SAME_ROW = parked.c.id == bindparam("row_id")
_UNPARK = Prepared(delete(parked).where(_SAME_ROW))
_REFUSE = Prepared(update(parked).where(_SAME_ROW).values(reason=bindparam("final")))
_WAITS = parked.c.reason == literal_column(str(int(_WAITING)))
_ANY_WAITING = Prepared(select(parked.c.id).where(_WAITS).limit(1))
_WAITING_FOR = one_of(
    select(parked.c.id, parked.c.reason, parked.c.municipality, parked.c.epoch, parked.c.sequence, parked.c.change)
    .where(_WAITS)
    .order_by(parked.c.id),
    codes=parked.c.resident_code,
)
