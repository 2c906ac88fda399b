"""The register of a node: current rows, append-only history, parked changes, all moved by the one `apply`.

Works on a run of changes at once: one look-up, the rules in memory, one write a table. A change that the rules refuse
is parked in the same transaction with its reason; nothing that was sealed is ever dropped. A parked change waits for an
earlier one of the same resident and is tried again whenever a change of that resident is applied.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, bindparam, delete, func, insert, select

from jukinet._pb.jukinet.errors.v1.errors_pb2 import ErrorReason
from jukinet._pb.jukinet.register.v1.change_pb2 import Change
from jukinet._pb.jukinet.register.v1.identity_pb2 import Resident, ResidentStatus
from jukinet.domain.address import search_key as address_key
from jukinet.domain.apply import ChangeRefused, apply
from jukinet.domain.person_name import search_key as name_key
from jukinet.store.schema import history, parked, residents
from jukinet.store.upsert import upsert

_LOOK_UP = 500  # bound variables of one look-up


@dataclass(frozen=True, slots=True)
class Arrival:
    """One change as it stands in its municipality's stream."""

    municipality: str
    epoch: int
    sequence: int
    change: Change
    payload: bytes


@dataclass(slots=True)
class Applied:
    """What became of a run of arrivals, in their order: None = applied, else why it is parked."""

    outcomes: list["ErrorReason.ValueType | None"] = field(default_factory=list)
    released: list[tuple[str, int]] = field(default_factory=list)


def apply_arrivals(connection: Connection, arrivals: Sequence[Arrival], *, scope: str, now_us: int) -> Applied:
    """Applies or parks each arrival, in order, within the caller's transaction.

    `scope` is the prefix of the local government codes that this node sees; `now_us` is microseconds since 1970.
    """
    codes = [code for arrival in arrivals for code in _moved_codes(arrival.change)]
    run = Run(connection, codes)
    outcome = Applied()
    for arrival in arrivals:
        reason = run.take(arrival, scope)
        outcome.outcomes.append(reason)
        if reason is None:
            outcome.released.extend(run.release(arrival, scope))
        else:
            run.park(arrival, reason)
    run.write(connection, now_us)
    return outcome


class Run:
    """The rows that one run of changes touches, as they stand while the run is worked through."""

    def __init__(self, connection: Connection, codes: Iterable[str]) -> None:
        """Loads the rows and the parked changes of these resident codes."""
        wanted = sorted(code for code in set(codes) if code)
        self.rows = look_up(connection, wanted)
        self._waiting = _waiting(connection, wanted)
        self._changed: dict[str, Resident] = {}
        self._applied: list[Arrival] = []
        self._parked: dict[tuple[str, int, int], tuple[Arrival, ErrorReason.ValueType]] = {}
        self._unparked: list[int] = []

    def take(self, arrival: Arrival, scope: str) -> "ErrorReason.ValueType | None":
        """Applies one change; the reason why not, when the rules refuse it."""
        try:
            written = apply(arrival.change, municipality=arrival.municipality, scope=scope, current=self.rows)
        except ChangeRefused as refused:
            return refused.reason
        for resident in written:
            self.rows[resident.record.resident_code] = resident
            self._changed[resident.record.resident_code] = resident
        self._applied.append(arrival)
        return None

    def park(self, arrival: Arrival, reason: "ErrorReason.ValueType") -> None:
        """Keeps a change that could not be applied."""
        self._parked[(arrival.municipality, arrival.epoch, arrival.sequence)] = (arrival, reason)
        self._waiting.setdefault(_awaited_code(arrival.change), []).append((0, arrival))

    def release(self, arrival: Arrival, scope: str) -> list[tuple[str, int]]:
        """Tries the parked changes of the arrival's resident again, lowest version first, until none moves."""
        released: list[tuple[str, int]] = []
        codes = _moved_codes(arrival.change)
        while codes:
            waiting = self._waiting.get(codes.pop())
            if not waiting:
                continue
            for entry in sorted(waiting, key=lambda item: item[1].change.version):
                row_id, candidate = entry
                if self.take(candidate, scope) is None:
                    waiting.remove(entry)
                    self._unpark(row_id, candidate)
                    released.append((candidate.municipality, candidate.sequence))
                    codes.extend(_moved_codes(candidate.change))
        return released

    def write(self, connection: Connection, now_us: int) -> None:
        """Writes all that the run changed: one statement a table."""
        if self._changed:
            columns = [_columns(row) for row in self._changed.values()]
            connection.execute(_KEEP_RESIDENT[connection.dialect.name], columns)
        if self._applied:
            connection.execute(insert(history), [_history_row(arrival, now_us) for arrival in self._applied])
        if self._parked:
            rows = [_parked_row(arrival, reason, now_us) for arrival, reason in self._parked.values()]
            connection.execute(insert(parked), rows)
        if self._unparked:
            statement = delete(parked).where(parked.c.id == bindparam("row_id"))
            connection.execute(statement, [{"row_id": row_id} for row_id in self._unparked])

    def _unpark(self, row_id: int, arrival: Arrival) -> None:
        if row_id:
            self._unparked.append(row_id)
        else:
            del self._parked[(arrival.municipality, arrival.epoch, arrival.sequence)]


def _awaited_code(change: Change) -> str:
    """The code under whose row the change can go on: the old one where the change replaces it."""
    return change.previous_resident_code or change.record.resident_code


def _moved_codes(change: Change) -> list[str]:
    codes = (change.record.resident_code, change.previous_resident_code)
    return [code for code in codes if code]


def look_up(connection: Connection, codes: Iterable[str]) -> dict[str, Resident]:
    """Current rows by resident code; a code without a row is left out."""
    found: dict[str, Resident] = {}
    for run in _runs(sorted(codes)):
        query = select(residents.c.resident_code, residents.c.resident).where(residents.c.resident_code.in_(run))
        for code, row in connection.execute(query):
            found[code] = Resident.FromString(row)
    return found


def counts_by_status(connection: Connection) -> dict[str, int]:
    """Number of current rows by the name of their status."""
    query = select(residents.c.status, func.count()).group_by(residents.c.status)
    return {
        ResidentStatus.Name(status).removeprefix("RESIDENT_STATUS_"): count
        for status, count in connection.execute(query)
    }


def _waiting(connection: Connection, codes: Iterable[str]) -> dict[str, list[tuple[int, Arrival]]]:
    found: dict[str, list[tuple[int, Arrival]]] = defaultdict(list)
    for run in _runs(sorted(codes)):
        query = select(parked).where(parked.c.resident_code.in_(run)).order_by(parked.c.id)
        for row in connection.execute(query):
            change = Change.FromString(row.change)
            found[row.resident_code].append(
                (row.id, Arrival(row.municipality, row.epoch, row.sequence, change, row.change))
            )
    return dict(found)


def _runs(codes: list[str]) -> Iterable[list[str]]:
    return (codes[start : start + _LOOK_UP] for start in range(0, len(codes), _LOOK_UP))


_KEEP_RESIDENT = upsert(residents, "resident_code")


def _columns(row: Resident) -> dict[str, object]:
    record = row.record
    born, when = record.birth_date, row.effective_date
    return {
        "resident_code": record.resident_code,
        "version": row.version,
        "status": row.status,
        "holder": row.holder,
        "effective_date": f"{when.year:04}-{when.month:02}-{when.day:02}",
        "birth_date": f"{born.year:04}-{born.month:02}-{born.day:02}",
        "sex": record.sex,
        "name_key": name_key(record.name.legal),
        "alias_key": name_key(record.name.alias) if record.name.alias else "",
        "address_key": address_key(record.address),
        "individual_number": record.individual_number,
        "resident": row.SerializeToString(),
    }


def _history_row(arrival: Arrival, now_us: int) -> dict[str, object]:
    return {
        "resident_code": arrival.change.record.resident_code,
        "version": arrival.change.version,
        "municipality": arrival.municipality,
        "epoch": arrival.epoch,
        "sequence": arrival.sequence,
        "change": arrival.payload,
        "applied_at": now_us,
    }


def _parked_row(arrival: Arrival, reason: "ErrorReason.ValueType", now_us: int) -> dict[str, object]:
    return {
        "resident_code": _awaited_code(arrival.change),
        "municipality": arrival.municipality,
        "epoch": arrival.epoch,
        "sequence": arrival.sequence,
        "version": arrival.change.version,
        "reason": reason,
        "change": arrival.payload,
        "parked_at": now_us,
    }
