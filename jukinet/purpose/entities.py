"""Rows and agencies as Cedar entities, and a question as a Cedar request: what `policies.cedar` may speak of."""

from collections.abc import Iterable, Sequence
from datetime import date
from typing import TYPE_CHECKING, Final

from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2
from jukinet.purpose.agencies import Agency
from jukinet.purpose.statute import StatuteRow, StatuteTable

if TYPE_CHECKING:
    from jukinet.purpose.decision import Question

_NO_ROW: Final = "no such row"
_FIELDS: Final = {number: name for name, number in inquiry_pb2.IdentityField.items()}
_METHODS: Final = {number: name for name, number in inquiry_pb2.InquiryMethod.items()}
_FIELDS_OF_EVERY_ROW: Final = (
    inquiry_pb2.IDENTITY_FIELD_NAME,
    inquiry_pb2.IDENTITY_FIELD_BIRTH_DATE,
    inquiry_pb2.IDENTITY_FIELD_SEX,
    inquiry_pb2.IDENTITY_FIELD_ADDRESS,
    inquiry_pb2.IDENTITY_FIELD_CHANGE,
)


def entities_of(table: StatuteTable, agencies: Iterable[Agency]) -> Sequence[dict[str, object]]:
    """Gives all entities that a question under this edition may meet.

    Args:
        table: the edition.
        agencies: all listings of the directory.
    """
    rows = [_row_entity(table, row) for row in table.rows.values()]
    return [_no_row_entity(), *rows, *map(_agency_entity, agencies)]


def request_of(question: "Question", row: StatuteRow | None) -> dict[str, object]:
    """Gives the Cedar request of a question.

    Args:
        question: as it was asked.
        row: that it names; None when the edition has none such.
    """
    return {
        "principal": {"type": "Agency", "id": question.agency},
        "action": {"type": "Action", "id": "provide"},
        "resource": {"type": "Row", "id": row.key if row else _NO_ROW},
        "context": {
            "day": _day_number(question.day),
            "fields": [_FIELDS.get(field, "") for field in question.fields],
            "method": _METHODS.get(question.method, ""),
            "provision": question.provision,
        },
    }


def _row_entity(table: StatuteTable, row: StatuteRow) -> dict[str, object]:
    allowance = table.allowance(row)
    fields = list(_FIELDS_OF_EVERY_ROW)
    if allowance.individual_number:
        fields.append(inquiry_pb2.IDENTITY_FIELD_INDIVIDUAL_NUMBER)
    if allowance.resident_code:
        fields.append(inquiry_pb2.IDENTITY_FIELD_RESIDENT_CODE)
    return {
        "uid": {"type": "Row", "id": row.key},
        "attrs": {
            "table": row.table,
            "inForce": row.status == "in_force",
            "bodies": list(row.bodies),
            "fields": [_FIELDS[field] for field in fields],
            "individualNumber": allowance.individual_number,
            "residentCode": allowance.resident_code,
            "provisions": sorted(allowance.provisions),
            "validFrom": _day_number(row.valid_from),
            "validTo": _day_number(row.valid_to),
        },
        "parents": [],
    }


def _no_row_entity() -> dict[str, object]:
    # Stands for every row that does not exist, so that the policies can still say who may not ask at all.
    return {
        "uid": {"type": "Row", "id": _NO_ROW},
        "attrs": {
            "table": 0,
            "inForce": False,
            "bodies": [],
            "fields": [],
            "individualNumber": False,
            "residentCode": False,
            "provisions": [],
            "validFrom": 0,
            "validTo": 0,
        },
        "parents": [],
    }


def _agency_entity(agency: Agency) -> dict[str, object]:
    return {
        "uid": {"type": "Agency", "id": agency.spiffe_id},
        "attrs": {
            "kind": agency.kind,
            "bodies": sorted(agency.bodies),
            "rows": [{"__entity": {"type": "Row", "id": key}} for key in sorted(agency.rows)],
            "validFrom": _day_number(agency.valid_from),
            "validTo": _day_number(agency.valid_to),
        },
        "parents": [],
    }


def _day_number(day: date) -> int:
    return day.year * 10_000 + day.month * 100 + day.day
