"""A submission as the columns of a change file that state it: the reverse of what `jukinet submit` reads."""

from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf.message import Message

from jukinet._pb.jukinet.intake.v1.intake_pb2 import Submission
from jukinet._pb.jukinet.register.v1 import identity_pb2
from jukinet.cli.change_columns import COLUMNS, Column
from jukinet.domain.calendar import format_date
from jukinet.domain.change import REASONS

_SEXES = {identity_pb2.SEX_MALE: "male", identity_pb2.SEX_FEMALE: "female", identity_pb2.SEX_UNKNOWN: "unknown"}
_WRITTEN: Mapping[str, Callable[[Any], str]] = {
    "reason": lambda reason: REASONS[reason].name,
    "event_date": format_date,
    "birth_date": format_date,
    "sex": _SEXES.__getitem__,
    "protected": lambda _: "yes",
    "was_wrong": lambda _: "yes",
}


def values_of(submission: Submission) -> dict[str, str]:
    """English column name -> value, for all columns in their order; dates in ISO 8601, names in English."""
    return {column.name: _value(submission, column) for column in COLUMNS}


def _value(submission: Submission, column: Column) -> str:
    value: Any = submission
    for step in column.path:
        if isinstance(getattr(value, step), Message) and not value.HasField(step):
            return ""
        value = getattr(value, step)
    return _WRITTEN.get(column.name, str)(value) if value else ""
