"""Residents of whom nothing is told, for every reason that there is, and the questions that mean them."""

from typing import Any

from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2 import Subject
from jukinet._pb.jukinet.register.v1 import change_pb2
from jukinet._pb.jukinet.register.v1.identity_pb2 import Address, CalendarDate, PersonName

Network = Any  # the class is in network.py; tests put methods of their own into it, and no context into calls
AGENCY, PURPOSE = "municipality-131016", "B2-1-2"
"""Hears of residents of Tokyo alone, by four items and by number."""
OUTCOMES = ("nobody", "several", "protected", "deleted", "moved away", "outside")
"""Why nothing is told. "outside": the agency may not hear of residents of that prefecture."""
_NUMBERS = {outcome: number for number, outcome in enumerate((*OUTCOMES, "somebody"), start=1)}
_TWIN = 100


def enter_all(network: Network) -> None:
    """One resident for each reason, two for "several", and one who is found: "somebody"."""
    people = {outcome: network.record_of(number) for outcome, number in _NUMBERS.items()}
    people["outside"].address.CopyFrom(Address(local_government_code="271004", town="中央一丁目", block="2番3号"))
    twin = network.record_of(_TWIN, individual_number=people["several"].individual_number)
    twin.name.CopyFrom(PersonName(legal=people["several"].name.legal))
    del people["nobody"]
    changes = [_change(1, record) for record in (*people.values(), twin)]
    changes.append(_change(2, people["protected"], "PROTECTION_BEGIN"))
    changes[-1].protected = True
    changes.append(_change(2, people["deleted"], "DELETION_DEATH"))
    changes.append(_change(2, people["moved away"], "DELETION_ABROAD_MOVE_OUT"))
    network.change(*changes)
    network.sources._expected |= {"271004"}


def by_four_items(network: Network, outcome: str) -> Subject:
    """A question for the four items of the resident of whom nothing is told for this reason."""
    record = network.record_of(_NUMBERS[outcome])
    if outcome == "outside":
        record.address.CopyFrom(Address(local_government_code="271004", town="中央一丁目", block="2番3号"))
    return Subject(four_items=network.four_items(record))


def by_number(network: Network, outcome: str) -> Subject:
    """The same by individual number."""
    return Subject(individual_number=network.number_of(_NUMBERS[outcome]))


def _change(version: int, record: Any, reason: str = "ENTRY_EX_OFFICIO") -> change_pb2.Change:
    return change_pb2.Change(
        reason=change_pb2.ChangeReason.Value(f"CHANGE_REASON_{reason}"),
        event_date=CalendarDate(year=2026, month=4, day=1),
        record=record,
        version=version,
    )
