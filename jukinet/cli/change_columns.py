"""The columns of a change file (異動データ) and the submission that one line of them states.

Each column stands for one field of `Submission`; its header may be written in English or in Japanese. An empty value is
an absent one. Values are taken as they stand: names are never trimmed or normalised.

Rule: no text made here repeats a value, because these texts reach terminals, reject files and reports.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import protovalidate
from google.protobuf.message import Message

from jukinet._pb.jukinet.errors.v1 import errors_pb2
from jukinet._pb.jukinet.intake.v1.intake_pb2 import Submission
from jukinet._pb.jukinet.register.v1 import identity_pb2
from jukinet.domain import calendar
from jukinet.domain.change import REASONS, Act, reason_named
from jukinet.domain.refusal import ChangeRefused

_SEXES: Final = {
    "male": identity_pb2.SEX_MALE,
    "female": identity_pb2.SEX_FEMALE,
    "unknown": identity_pb2.SEX_UNKNOWN,
    "男": identity_pb2.SEX_MALE,
    "女": identity_pb2.SEX_FEMALE,
    "不明": identity_pb2.SEX_UNKNOWN,
}
_VERSION: Final = re.compile("[0-9]{1,20}")


class LineRefused(Exception):
    """The line states no lawful submission; `column` is the English name of the column at fault, or empty."""

    def __init__(self, column: str, message: str) -> None:
        super().__init__(message)
        self.column = column
        self.reason = errors_pb2.ERROR_REASON_INVALID_MESSAGE


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its two headers, the path of its field in `Submission`, and how a value is read.

    `read` raises ValueError or ChangeRefused for a value that it cannot read; `expects` then says what it could.
    """

    name: str
    japanese: str
    path: tuple[str, ...]
    read: Callable[[str], Any]
    expects: str


def _read_sex(text: str) -> int:
    if text not in _SEXES:
        raise ValueError
    return _SEXES[text]


def _read_yes(text: str) -> bool:
    if text not in ("yes", "有"):
        raise ValueError
    return True


def _read_version(text: str) -> int:
    if not _VERSION.fullmatch(text):
        raise ValueError
    return int(text)


def _column(
    name: str,
    japanese: str,
    path: str = "",
    *,
    read: Callable[[str], Any] = str,
    expects: str = "a text in Unicode",
) -> Column:
    return Column(name, japanese, tuple((path or name).split(".")), read, expects)


COLUMNS: Final = (
    _column("message_id", "電文番号"),
    _column(
        "reason",
        "異動事由",
        read=lambda text: reason_named(text).reason,
        expects="one of the change reasons, by its English id or its Japanese name",
    ),
    _column(
        "event_date",
        "異動年月日",
        read=calendar.parse_date,
        expects="a date of the calendar such as 2026-04-01 or 令和8年4月1日",
    ),
    _column("resident_code", "住民票コード"),
    _column("name", "氏名", "record.name.legal"),
    _column("furigana", "振り仮名", "record.name.furigana"),
    _column("former_surname", "旧氏", "record.name.former_surname"),
    _column("former_surname_furigana", "旧氏の振り仮名", "record.name.former_surname_furigana"),
    _column("alias", "通称", "record.name.alias"),
    _column("alias_furigana", "通称の振り仮名", "record.name.alias_furigana"),
    _column(
        "birth_date",
        "生年月日",
        "record.birth_date",
        read=calendar.parse_birth_date,
        expects="a date such as 1948-05-03, 昭和23年5月3日 or, with unknown parts, 1948-00-00",
    ),
    _column(
        "sex",
        "性別",
        "record.sex",
        read=_read_sex,
        expects="male, female or unknown, or 男, 女 or 不明",
    ),
    _column("local_government_code", "市区町村コード", "record.address.local_government_code"),
    _column("town", "町字", "record.address.town"),
    _column("block", "番地", "record.address.block"),
    _column("building", "方書", "record.address.building"),
    _column("individual_number", "個人番号", "record.individual_number"),
    _column("previous_individual_number", "変更前の個人番号"),
    _column("previous_resident_code", "変更前の住民票コード"),
    _column("next_municipality", "転出先市区町村コード"),
    _column("previous_municipality", "転出元市区町村コード"),
    _column(
        "transfer_version",
        "転出証明書の更新順番号",
        read=_read_version,
        expects="a whole number, as the move-out certificate shows it",
    ),
    _column("protected", "支援措置", read=_read_yes, expects="yes or 有, or empty"),
    _column("was_wrong", "誤記の修正", read=_read_yes, expects="yes or 有, or empty"),
)
"""All columns, in the order in which files are usually written."""

REQUIRED: Final = ("message_id", "reason", "event_date", "resident_code")
"""Columns that no change can do without; a file that has no use for one of the others may leave it out."""

BY_NAME: Final = {column.name: column for column in COLUMNS}
BY_HEADER: Final = BY_NAME | {column.japanese: column for column in COLUMNS}


def submission_of(values: Mapping[str, str]) -> Submission:
    """Make the submission that one line states, and check it against the rules of the contract.

    Args:
        values: English column name → value; an absent column is the same as an empty value.

    Raises:
        LineRefused: a value cannot be read, or the submission breaks a rule of the contract.
    """
    submission = Submission()
    for name, text in values.items():
        if text:
            _set(submission, BY_NAME[name], text)
    facts = REASONS.get(submission.reason)
    # Entries and corrections carry the record even if none of its columns is filled: then the missing item is named.
    if submission.HasField("record") or (facts and facts.act not in (Act.DELETION, Act.PROTECTION)):
        submission.record.resident_code = submission.resident_code
    violations = [violation.proto for violation in protovalidate.collect_violations(submission)]
    # A rule of one field says more than a rule of the whole submission that fails with it.
    for violation in sorted(violations, key=lambda violation: violation.field is None):
        column = _column_of_violation(violation)
        missing = violation.field is not None and not values.get(column)
        raise LineRefused(column, "a value is needed here" if missing else violation.message)
    return submission


def column_at(path: str) -> str:
    """Name the column that stands for a field.

    Args:
        path: field path in a submission, such as `record.birth_date`, or in a request that holds one.

    Returns:
        English column name; empty when no column stands for the field.
    """
    parts = tuple(part for part in path.split(".") if part and part != "submission")
    if not parts or parts == ("record",):
        return ""
    if parts == ("record", "resident_code"):
        return "resident_code"
    # A path may end above the column's field (a missing address) or below it (the month of a date).
    return next((c.name for c in COLUMNS if c.path[: len(parts)] == parts or parts[: len(c.path)] == c.path), "")


def _set(submission: Submission, column: Column, text: str) -> None:
    target: Any = submission
    for step in column.path[:-1]:
        target = getattr(target, step)
    try:
        value = column.read(text)
        if isinstance(value, Message):
            getattr(target, column.path[-1]).CopyFrom(value)
        else:
            setattr(target, column.path[-1], value)
    # What was raised may quote the value, so it goes no further.
    except (ValueError, ChangeRefused):
        raise LineRefused(column.name, f"the value is not {column.expects}") from None


def _column_of_violation(violation: Any) -> str:
    if violation.field is not None:
        return column_at(".".join(element.field_name for element in violation.field.elements))
    # A rule of the whole submission is named after the field that it is about.
    return column_at(violation.rule_id.removeprefix("submission."))
