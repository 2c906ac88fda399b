"""The municipal offices: what happened to a person becomes a submission and a line of the true registers."""

from collections import Counter
from datetime import date

from nation.people import Person
from nation.places import Municipality
from nation.register import TrueRegisters
from nation.submissions import Submission


class Offices:
    """Files submissions for all municipalities, numbers them, and keeps the registers that follow from them."""

    def __init__(self) -> None:
        self.registers = TrueRegisters()
        self.filed: list[Submission] = []
        self._numbers: Counter[str] = Counter()

    def record(self, person: Person, reason: str, *, event_date: date, filed: date, **previous: str) -> None:
        """File an entry or a correction: the whole record as it is now.

        Args: previous: the columns of what the change replaces or refers to, by their names in the CSV.
        """
        at = person.household.municipality
        record = person.identity()
        self._version(person, event_date)
        self.registers.write(record, at, version=person.version, event_date=event_date)
        self._file(at, reason, event_date, filed, record | previous)

    def delete(
        self, person: Person, reason: str, *, event_date: date, filed: date, next_municipality: str = ""
    ) -> None:
        """File a deletion: the reason and the code alone, and where to, for a move inside Japan."""
        at = person.household.municipality
        self._version(person, event_date)
        self.registers.delete(
            person.resident_code,
            at,
            reason=reason,
            version=person.version,
            event_date=event_date,
            next_municipality=next_municipality,
        )
        row = {"resident_code": person.resident_code}
        if next_municipality:
            row["next_municipality"] = next_municipality
        self._file(at, reason, event_date, filed, row)

    def replace_code(self, person: Person, code: str, reason: str, *, event_date: date, filed: date) -> None:
        """File a change of the resident code."""
        old = person.resident_code
        person.resident_code = code
        self.record(person, reason, event_date=event_date, filed=filed, previous_resident_code=old)
        at = person.household.municipality
        self.registers.retire(old, at, successor=code, version=person.version, event_date=event_date)

    def _version(self, person: Person, event_date: date) -> None:
        person.version += 1
        person.last_event = event_date

    def _file(self, at: Municipality, reason: str, event_date: date, filed: date, columns: dict[str, str]) -> None:
        self._numbers[at.code] += 1
        head = {
            "message_id": f"{filed:%Y%m%d}-{self._numbers[at.code]:07d}",
            "reason": reason,
            "event_date": event_date.isoformat(),
        }
        self.filed.append(Submission(at.code, head | columns, filed))
