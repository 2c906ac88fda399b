"""Refusal of a change: the one way in which the domain says no.

The reason is a name from the error catalogue (`protos/jukinet/errors/v1/errors.proto`), the text the catalogue's own.
Neither holds a value of the refused change, so a refusal may be logged, counted and sent to whoever asked.
"""

from typing import NoReturn

from jukinet._pb.jukinet.errors.v1 import errors_pb2

_TEXTS: dict[int, str] = {
    value.number: value.GetOptions().Extensions[errors_pb2.facts].message
    for value in errors_pb2.ErrorReason.DESCRIPTOR.values
}


class ChangeRefused(Exception):
    """The change may not be applied; `reason` says why, `field` names the field at fault, the text says what to do."""

    def __init__(self, reason: errors_pb2.ErrorReason.ValueType, field: str = "") -> None:
        super().__init__(_TEXTS[reason])
        self.reason = reason
        self.field = field


def refuse(reason: errors_pb2.ErrorReason.ValueType, field: str = "") -> NoReturn:
    """Refuse the change that is being checked.

    Args:
        reason: the reason of the error catalogue.
        field: path of the field at fault, such as `record.birth_date`; empty when it is not one field.

    Raises:
        ChangeRefused: always.
    """
    raise ChangeRefused(reason, field)
