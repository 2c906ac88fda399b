"""The true registers: what each node must hold once every submission has arrived.

Kept by hand beside the life events, with none of the network's code, so that a comparison with a node judges the node.
Rules, in the words of this module:
1. A node knows the persons that a municipality of its scope has ever reported, and of each the last report.
2. A deletion leaves the record as it was; a change of the resident code leaves the old code behind, retired.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from types import MappingProxyType

from nation.places import Municipality

CENTER = "center"
ACTIVE = "ACTIVE"
RETIRED = "RETIRED"
_STATUS_AFTER_DELETION = {
    "DELETION_DOMESTIC_MOVE_OUT": "MOVED_OUT",
    "DELETION_ABROAD_MOVE_OUT": "MOVED_ABROAD",
    "DELETION_DEATH": "DECEASED",
    "DELETION_NATURALIZATION": "DELETED",
    "DELETION_LOSS_OF_NATIONALITY": "DELETED",
    "DELETION_EX_OFFICIO": "DELETED",
}


@dataclass(frozen=True, slots=True)
class TrueResident:
    """What a register must hold of one resident code; the names are those of `register.v1.Resident`."""

    resident_code: str
    version: int
    status: str
    holder: str
    effective_date: str
    record: Mapping[str, str]
    next_municipality: str = ""
    successor_code: str = ""

    def as_json(self, scope: str) -> dict[str, object]:
        """Write the resident as one line of `truth.jsonl`, with the node whose register holds it."""
        return {
            "scope": scope,
            "resident_code": self.resident_code,
            "version": self.version,
            "status": self.status,
            "holder": self.holder,
            "effective_date": self.effective_date,
            "next_municipality": self.next_municipality,
            "successor_code": self.successor_code,
            "record": dict(self.record),
        }


class TrueRegisters:
    """The expected register of each municipality, each prefecture and the center."""

    def __init__(self) -> None:
        self._registers: dict[str, dict[str, TrueResident]] = {}

    def write(self, record: Mapping[str, str], at: Municipality, *, version: int, event_date: date) -> None:
        """Write the record of a resident as it is after an entry or a correction."""
        self._put(at, TrueResident(record["resident_code"], version, ACTIVE, at.code, event_date.isoformat(), record))

    def delete(
        self, code: str, at: Municipality, *, reason: str, version: int, event_date: date, next_municipality: str = ""
    ) -> None:
        """Mark a resident as deleted for a reason; the record stays."""
        status = _STATUS_AFTER_DELETION[reason]
        record = self._registers[at.code][code].record
        self._put(at, TrueResident(code, version, status, at.code, event_date.isoformat(), record, next_municipality))

    def retire(self, code: str, at: Municipality, *, successor: str, version: int, event_date: date) -> None:
        """Leave a replaced resident code behind."""
        old = self._registers[at.code][code]
        resident = TrueResident(
            code, version, RETIRED, at.code, event_date.isoformat(), old.record, successor_code=successor
        )
        self._put(at, resident)

    def _put(self, at: Municipality, resident: TrueResident) -> None:
        for scope in (at.code, at.prefecture, CENTER):
            self._registers.setdefault(scope, {})[resident.resident_code] = resident

    def scopes(self) -> list[str]:
        """List the nodes: municipality and prefecture codes in order, then `center`."""
        return sorted(self._registers)

    def of(self, scope: str) -> Mapping[str, TrueResident]:
        """Show the register of one node by resident code; `scope` is a six-digit code or `center`."""
        return MappingProxyType(self._registers.get(scope, {}))

    def __iter__(self) -> Iterator[tuple[str, TrueResident]]:
        """Walk through all registers in order of scope and resident code."""
        for scope in self.scopes():
            register = self._registers[scope]
            for code in sorted(register):
                yield scope, register[code]
