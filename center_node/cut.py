"""Cutting a record to the items that were asked for (提供する項目).

Rule: what is not wanted by name is not copied. An item that a later version adds to the record is provided to nobody
until it stands here.
"""

from collections.abc import Iterable
from typing import Final

from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.register.v1.identity_pb2 import Resident

_MESSAGES: Final = {
    inquiry.IDENTITY_FIELD_NAME: "name",
    inquiry.IDENTITY_FIELD_BIRTH_DATE: "birth_date",
    inquiry.IDENTITY_FIELD_ADDRESS: "address",
}
"""Items that are messages of their own."""
_VALUES: Final = {
    inquiry.IDENTITY_FIELD_SEX: "sex",
    inquiry.IDENTITY_FIELD_INDIVIDUAL_NUMBER: "individual_number",
    inquiry.IDENTITY_FIELD_RESIDENT_CODE: "resident_code",
}
ITEM_NUMBERS: Final = {name: number for number, name in (_MESSAGES | _VALUES).items()}
"""Number of the IdentityField of each item of the record, by its name."""


def cut(
    resident: Resident, fields: "Iterable[inquiry.IdentityField.ValueType]", *, into: inquiry.ProvidedRecord
) -> None:
    """Writes the wanted items of the record, and nothing else, into an empty answer."""
    record, provided = resident.record, into.record
    provided.SetInParent()
    for wanted in fields:
        if name := _MESSAGES.get(wanted):
            getattr(provided, name).CopyFrom(getattr(record, name))
        elif name := _VALUES.get(wanted):
            setattr(provided, name, getattr(record, name))
        elif wanted == inquiry.IDENTITY_FIELD_CHANGE:
            into.status = resident.status
            into.effective_date.CopyFrom(resident.effective_date)
