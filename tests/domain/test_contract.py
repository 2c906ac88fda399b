"""What is plain breaks no rule of the contract, as protovalidate judges it."""

import hashlib
from collections.abc import Callable, Iterator
from datetime import date
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor
from hypothesis import given, settings
from hypothesis import strategies as st

from jukinet._pb.jukinet.register.v1.change_pb2 import CHANGE_REASON_ENTRY_EX_OFFICIO, Change
from jukinet._pb.jukinet.register.v1.identity_pb2 import (
    SEX_MALE,
    Address,
    BirthDate,
    CalendarDate,
    IdentityRecord,
    PersonName,
)
from jukinet.cli.change_columns import submission_of
from jukinet.domain.contract import is_plain
from jukinet.domain.submission import complete
from jukinet.mesh.errors import Refused, check_message
from nation import residents

RULES = "e2142c09b374a82584a8a1826980439312082289ea58d40537d35c2f8001ea80"
"""Digest of the rules that `is_plain` knows. Where it fails: hold `jukinet/domain/contract.py` against the protos."""

TEXTS = (
    "",
    "山",
    "あ" * 99,
    "あ" * 100,
    "あ" * 101,
    "𠮷" * 200,
    "𠮷" * 201,
    "a\n",
    "\x00",
    "\x7f",
    "\x1f",
    "\x80",
    " ",
    "e\u0301",
)
DIGITS = (
    "",
    "131016",
    "00000000011",
    "000000000011",
    "131016\n",
    "１３１０１６",
    "²" * 6,
    "-31016",
    "1" * 10,
    "1" * 13,
    "٣" * 11,
)
NUMBERS = (-1, 0, 1, 2, 3, 4, 6, 12, 13, 20, 21, 28, 29, 30, 31, 32, 1867, 1868, 1900, 2000, 2023, 2024, 9999, 10000)
VERSIONS = (0, 1, 2, 2**63 - 1, 2**63, 2**64 - 1)
FIELDS: dict[str, tuple[Any, ...]] = {
    "reason": tuple(range(-1, 23)),
    "version": VERSIONS,
    **dict.fromkeys(
        ("previous_individual_number", "previous_resident_code", "next_municipality", "previous_municipality"), DIGITS
    ),
    **{f"event_date.{part}": NUMBERS for part in ("year", "month", "day")},
    **{f"record.birth_date.{part}": NUMBERS for part in ("year", "month", "day")},
    **{f"record.name.{field.name}": TEXTS for field in PersonName.DESCRIPTOR.fields},
    **{f"record.address.{part}": TEXTS for part in ("town", "block", "building")},
    **dict.fromkeys(("record.address.local_government_code", "record.resident_code"), DIGITS),
    "record.individual_number": DIGITS,
    "record.sex": (-1, 0, 1, 2, 3, 4),
}
MESSAGES = ("event_date", "record", "record.name", "record.birth_date", "record.address")


def plain() -> Change:
    return Change(
        reason=CHANGE_REASON_ENTRY_EX_OFFICIO,
        event_date=CalendarDate(year=2024, month=4, day=1),
        record=IdentityRecord(
            resident_code="00000000011",
            name=PersonName(legal="試験　太郎"),
            birth_date=BirthDate(year=1980, month=2, day=28),
            sex=SEX_MALE,
            address=Address(local_government_code="131016", town="丸の内"),
            individual_number="000000000011",
        ),
        version=1,
    )


def breaks_a_rule(change: Change) -> bool:
    try:
        check_message(change)
    except Refused:
        return True
    return False


def at(change: Change, path: str) -> tuple[Any, str]:
    *parents, name = path.split(".")
    message: Any = change
    for parent in parents:
        message = getattr(message, parent)
    return message, name


@st.composite
def changes(draw: Callable[[Any], Any]) -> Change:
    """A plain change with some fields at the edges of their rules, or beyond, and some messages left out."""
    change = plain()
    for path in draw(st.lists(st.sampled_from(sorted(FIELDS)), max_size=4, unique=True)):
        message, name = at(change, path)
        setattr(message, name, draw(st.sampled_from(FIELDS[path])))
    for path in draw(st.lists(st.sampled_from(MESSAGES), max_size=1)):
        message, name = at(change, path)
        message.ClearField(name)
    return change


@settings(max_examples=1000, deadline=None)
@given(change=changes())
def test_no_change_is_plain_that_breaks_a_rule(change: Change) -> None:
    assert not is_plain(change) or not breaks_a_rule(change)


@pytest.mark.parametrize("path", sorted(FIELDS))
def test_each_field_alone_is_held_to_its_rules(path: str) -> None:
    for value in FIELDS[path]:
        change = plain()
        message, name = at(change, path)
        setattr(message, name, value)
        assert not is_plain(change) or not breaks_a_rule(change), value


@pytest.mark.parametrize("path", MESSAGES)
def test_a_change_without_what_is_required_is_not_plain(path: str) -> None:
    change = plain()
    message, name = at(change, path)
    message.ClearField(name)
    assert breaks_a_rule(change)
    assert not is_plain(change)


@pytest.mark.parametrize("kind", ["event_date", "birth_date"])
def test_no_day_is_plain_that_is_not_in_the_calendar(kind: str) -> None:
    for year in (0, 1900, 2023, 2024):
        for month in range(14):
            for day in range(33):
                change = plain()
                told = change.event_date if kind == "event_date" else change.record.birth_date
                told.year, told.month, told.day = year, month, day
                assert not is_plain(change) or not breaks_a_rule(change), (year, month, day)


def test_nearly_all_residents_of_a_first_load_are_plain() -> None:
    on = date(2026, 4, 1)
    people = [submission_of(each.row) for each in residents(["131016"], count=500, seed=1, on=on)]
    loaded = [complete(each, municipality="131016", today=on, current={}) for each in people]
    assert sum(map(is_plain, loaded)) > 0.98 * len(loaded)


def test_the_rules_are_those_that_were_looked_at() -> None:
    assert hashlib.sha256("\n".join(_rules(Change.DESCRIPTOR)).encode()).hexdigest() == RULES


def _rules(message: Descriptor) -> Iterator[str]:
    yield f"{message.full_name} {message.GetOptions().SerializeToString(deterministic=True).hex()}"
    for field in message.fields:
        options = field.GetOptions().SerializeToString(deterministic=True).hex()
        yield f"{field.name} {field.number} {field.type} {options}"
        if field.message_type:
            yield from _rules(field.message_type)
        if field.enum_type:
            yield " ".join(f"{value.name}={value.number}" for value in field.enum_type.values)
