"""Whether a node may apply a change: a second implementation of A3, A6 and A7, from the law alone.

A node sees the changes of the municipalities in its scope. The center sees all: there versions are 1, 2, 3 without a
hole. A prefecture and a CS see a part; a hole is lawful only before an entry of somebody who was outside.

Source: Act art. 22, 24, 30-4, 30-6; Rules art. 11 (numbers of the reasons in its order).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MOVE_IN, BIRTH, EX_OFFICIO = 1, 3, 6
MOVE_OUT, ABROAD, DEATH = 7, 8, 9
CODE_CHANGES = (19, 20)


@dataclass(frozen=True, slots=True)
class Change:
    """One change as the log states it."""

    municipality: str
    epoch: int
    sequence: int
    resident: str
    version: int
    reason: int
    digest: str
    previous_code: str
    next_municipality: str
    previous_municipality: str

    @property
    def place(self) -> tuple[str, int, int]:
        """Where it stands in its municipality's stream."""
        return self.municipality, self.epoch, self.sequence

    @property
    def is_entry(self) -> bool:
        """記載."""
        return self.reason <= 6

    @property
    def status(self) -> str:
        """What the record is afterwards."""
        if 7 <= self.reason <= 12:
            return {MOVE_OUT: "MOVED_OUT", ABROAD: "MOVED_ABROAD", DEATH: "DECEASED"}.get(self.reason, "DELETED")
        return "ACTIVE"


def change_of(entry: Mapping[str, Any]) -> Change:
    """Reads a change of the log. Raises KeyError when an item is missing."""
    return Change(
        entry["municipality"],
        entry["epoch"],
        entry["sequence"],
        entry["resident"],
        entry["version"],
        entry["reason"],
        entry["digest"],
        entry.get("previous_code", ""),
        entry.get("next_municipality", ""),
        entry.get("previous_municipality", ""),
    )


class Custody:
    """Who holds whom, as one node may see it."""

    def __init__(self, scope: str) -> None:
        self.scope = scope
        self.kept: dict[str, dict[int, Change]] = {}
        """Resident code -> version -> change that was applied under it."""
        self.retired: dict[str, Change] = {}

    def fault(self, change: Change) -> str:
        """Why the change may not be applied here; empty when it may."""
        if not change.municipality.startswith(self.scope):
            return "A6: a change of a municipality outside of what the node sees"
        changes_code = change.reason in CODE_CHANGES and change.previous_code
        code = change.previous_code if changes_code else change.resident
        if changes_code and self._was_somebodys(change):
            return "A7: a new code was somebody's before"
        if code in self.retired and change.version > self.retired[code].version:
            return "A7: a retired code was used"
        kept = self.kept.get(code, {})
        if change.version in kept:
            return "A3: a version was applied twice"
        above = min((version for version in kept if version > change.version), default=0)
        if above and self.scope in ("", change.municipality):
            return "A3: versions went back"
        fault = self._follows(change, kept)
        if fault or above != change.version + 1 or changes_code:
            return fault
        return self._follows(kept[above], {change.version: change})

    def apply(self, change: Change) -> None:
        """Takes the change into the model, lawful or not."""
        self.kept.setdefault(change.resident, {})[change.version] = change
        if change.previous_code:
            self.retired[change.previous_code] = change

    def rows(self) -> dict[str, tuple[int, str, str]]:
        """What the register must hold: resident code -> version, status, holder (A8: a fold of what was applied)."""
        latest = {code: versions[max(versions)] for code, versions in self.kept.items()}
        rows = {code: (last.version, last.status, last.municipality) for code, last in latest.items()}
        for code, last in self.retired.items():
            rows[code] = (last.version, "RETIRED", last.municipality)
        return rows

    def _follows(self, change: Change, kept: Mapping[int, Change]) -> str:
        below = max((version for version in kept if version < change.version), default=0)
        before = kept.get(below)
        if not change.is_entry:
            return _fault_of_holder(change, before)
        if before is None:
            if change.version > 1 and not self._may_come_from_outside(change):
                return "A3: versions before an entry are missing"
            return ""
        if below == change.version - 1:
            return _fault_of_return(change, before)
        if not (self._went_outside(before) and self._may_come_from_outside(change)):
            return "A3: versions before an entry are missing"
        return ""

    def _was_somebodys(self, change: Change) -> bool:
        """Whether a new code was given before. A prefecture may have seen later changes under it first."""
        under = self.kept.get(change.resident, {})
        if self.scope in ("", change.municipality):
            return bool(under)
        return any(version <= change.version for version in under)

    def _may_come_from_outside(self, change: Change) -> bool:
        if not self.scope or change.reason == BIRTH:
            return False
        return change.reason != MOVE_IN or not change.previous_municipality.startswith(self.scope)

    def _went_outside(self, before: Change) -> bool:
        if before.status == "MOVED_OUT":
            return not before.next_municipality.startswith(self.scope)
        return before.status in ("MOVED_ABROAD", "DELETED")


def _fault_of_holder(change: Change, before: Change | None) -> str:
    if before is None or before.version != change.version - 1:
        return "A3: the version before is missing"
    if before.municipality != change.municipality:
        return "A6: a change by a municipality that does not hold the resident"
    return "" if before.status == "ACTIVE" else "A6: a change of a record that was deleted"


def _fault_of_return(change: Change, before: Change) -> str:
    if before.status == "ACTIVE":
        return "A7: an entry of a resident whom another municipality holds"
    if change.reason == EX_OFFICIO and before.municipality == change.municipality:
        return ""
    match before.status:
        case "DECEASED":
            return "A6: an entry of a deceased resident"
        case "MOVED_OUT":
            fits = change.reason == MOVE_IN and before.next_municipality == change.municipality
            if not (fits and change.previous_municipality == before.municipality):
                return "A6: an entry without the move-out that names this municipality"
        case _:
            if change.reason == MOVE_IN:
                return "A6: a move-in without a move-out"
    return ""
