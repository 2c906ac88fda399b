"""What is plain breaks no rule of the contract, as protovalidate judges it, whatever kind of message it is."""

import hashlib
from collections.abc import Callable, Iterator
from datetime import date
from typing import Any

import protovalidate
import pytest
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given, settings
from hypothesis import strategies as st

from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2 import (
    IDENTITY_FIELD_CHANGE,
    IDENTITY_FIELD_NAME,
    FourItems,
    InquireBatchRequest,
    InquireRequest,
    InquiryContext,
    OperatorProof,
    Subject,
    VerifyIdentityRequest,
)
from jukinet._pb.jukinet.intake.v1.intake_pb2 import Submission, SubmitChangeRequest, SubmitChangesRequest
from jukinet._pb.jukinet.link.v1.link_pb2 import Batch, Heartbeat, SealedSegment, Segment, StreamRequest
from jukinet._pb.jukinet.provision.v1.provision_pb2 import ProvideRequest, Question, SignedTickets
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
from jukinet.domain.contract import JUDGES, is_plain
from jukinet.domain.submission import complete
from nation import residents

RULES = "86df9abbf26e0ac17fcc1f88c18a66e5e942455425a85002d91293871221c080"
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
    " \u3000",
    " a",
    "\u200b",
    "e\u0301",
)
DIGITS = (
    "",
    "131016",
    "130001",
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
TRACES = ("", "00-" + "1" * 32 + "-" + "2" * 16 + "-01", "00-")
MESSAGE_IDS = ("", "a", "A.b_c-9", "a" * 64, "a" * 65, "a\n", "a b", "é", "٣")
RECORD: dict[str, tuple[Any, ...]] = {
    **{f"birth_date.{part}": NUMBERS for part in ("year", "month", "day")},
    **{f"name.{field.name}": TEXTS for field in PersonName.DESCRIPTOR.fields},
    **{f"address.{part}": TEXTS for part in ("town", "block", "building")},
    **dict.fromkeys(("address.local_government_code", "resident_code", "individual_number"), DIGITS),
    "sex": (-1, 0, 1, 2, 3, 4),
}
EVENT: dict[str, tuple[Any, ...]] = {
    "reason": tuple(range(-1, 25)),
    **dict.fromkeys(
        ("previous_individual_number", "previous_resident_code", "next_municipality", "previous_municipality"), DIGITS
    ),
    **{f"event_date.{part}": NUMBERS for part in ("year", "month", "day")},
    **{f"record.{path}": values for path, values in RECORD.items()},
}
SUBMISSION: dict[str, tuple[Any, ...]] = {
    **EVENT,
    "message_id": MESSAGE_IDS,
    "resident_code": DIGITS,
    "transfer_version": VERSIONS,
    "protected": (False, True),
}
COUNTS = (0, 1, 2, 500, 501)
SEALED = SealedSegment(segment=b"1", seal=b"1" * 64)
SEGMENTS = (
    SealedSegment(seal=b"1" * 64),
    SealedSegment(segment=b"1" * 2**20, seal=b"1" * 64),
    SealedSegment(segment=b"1" * (2**20 + 1), seal=b"1" * 64),
    SealedSegment(segment=b"1", seal=b"1" * 63),
    SealedSegment(segment=b"1", seal=b"1" * 65),
    SealedSegment(segment=b"1"),
    SealedSegment(segment=b"1", seal=b"1" * 64, traceparents=[""] * 500),
    SealedSegment(segment=b"1", seal=b"1" * 64, traceparents=[""] * 501),
)
KEYS = (*([b"1" * 64] * count for count in COUNTS), [b"1" * 63], [b"1" * 64, b"1" * 65], [b""])

RECORD_MESSAGES = ("event_date", "record", "record.name", "record.birth_date", "record.address")

Fields = dict[str, tuple[Any, ...]]
KINDS: dict[str, tuple[Message, Fields, tuple[str, ...]]] = {}
"""Of each kind that `is_plain` knows: one that is plain, values at the edges of each field's rules and beyond, and the
messages within that may be missing."""


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


def submission() -> Submission:
    change = plain()
    return Submission(
        message_id="1",
        reason=change.reason,
        event_date=change.event_date,
        resident_code=change.record.resident_code,
        record=change.record,
    )


def put(message: Message, path: str, value: Any) -> None:
    """Sets a field; None clears it."""
    *parents, name = path.split(".")
    within: Any = message
    for parent in parents:
        within = getattr(within, parent)
    if value is None or isinstance(value, list):
        within.ClearField(name)
    if isinstance(value, list):
        getattr(within, name).extend(value)
    elif isinstance(value, Message):
        getattr(within, name).CopyFrom(value)
    elif value is not None:
        setattr(within, name, value)


def under(name: str, fields: Fields) -> Fields:
    return {f"{name}.{path}": values for path, values in fields.items()}


KINDS["Change"] = (plain(), {**EVENT, "version": VERSIONS, "protected": (False, True)}, RECORD_MESSAGES)
SUBMITTED = ("submission", *(f"submission.{name}" for name in RECORD_MESSAGES))
KINDS["SubmitChangeRequest"] = (
    SubmitChangeRequest(submission=submission()),
    under("submission", SUBMISSION),
    SUBMITTED,
)
KINDS["SubmitChangesRequest"] = (
    SubmitChangesRequest(submission=submission()),
    {**under("submission", SUBMISSION), "traceparent": TRACES},
    SUBMITTED,
)
KINDS["StreamRequest"] = (
    StreamRequest(batch=Batch(epoch=1, first_sequence=1, segments=[SEALED])),
    {
        "batch.epoch": VERSIONS,
        "batch.first_sequence": VERSIONS,
        "batch.previous_chain": (b"", b"1", b"1" * 32),
        "batch.segments": (*([SEALED] * count for count in COUNTS), *([SEALED, each] for each in SEGMENTS)),
        "heartbeat": (Heartbeat(),),
    },
    ("batch",),
)
KINDS["Segment"] = (
    Segment(municipality="131016", epoch=1, first_sequence=1, changes=[b"1"]),
    {
        "municipality": DIGITS,
        "epoch": VERSIONS,
        "first_sequence": VERSIONS,
        "previous": (b"", b"1", b"1" * 32),
        "changes": tuple([b"1"] * count for count in COUNTS),
        "message_keys": KEYS,
    },
    (),
)
REQUEST_ID = "01234567-89ab-4def-8123-456789abcdef"


def proof_of(signature: bytes) -> OperatorProof:
    return OperatorProof(signed_at=Timestamp(seconds=1), logged_on_at=Timestamp(seconds=1), signature=signature)


CONTEXT: Fields = {
    "request_id": (
        "",
        REQUEST_ID,
        REQUEST_ID.upper(),
        REQUEST_ID + "\n",
        REQUEST_ID[:-1],
        "٣" + REQUEST_ID[1:],
        *(f"01234567-89ab-{each}def-8123-456789abcdef" for each in "0789af"),
    ),
    "purpose": ("", "B1-77.12", "B6-1-2-3*.4", "B7-1", "B1-1-2-3-4", "B1-1234", "B1-1\n", "B1-٣", "B1-1.", "B1-1*"),
    **dict.fromkeys(("case_reference", "operator"), TEXTS),
    "operator_proof": (*(proof_of(each) for each in (b"", b"1" * 63, b"1" * 64, b"1" * 65)), OperatorProof()),
}
ITEMS: Fields = {
    "name": TEXTS,
    "sex": RECORD["sex"],
    **{path: values for path, values in RECORD.items() if path.startswith(("birth_date", "address"))},
}
SUBJECT: Fields = {**under("four_items", ITEMS), "individual_number": DIGITS}
ASKED: tuple[Any, ...] = ([], [1], [1, 1], [0], [8], [-1], [7, 6, 5, 4, 3, 2, 1], [1, 2, 3, 4, 5, 6, 7, 1])
TICKETS = (b"", b"1", b"1" * 131072, b"1" * 131073)
SIGNATURES = (b"", b"1" * 63, b"1" * 64, b"1" * 65)
HELD = (b"", b"1", b"1" * 31, b"1" * 32, b"1" * 33)
ITEMS_MESSAGES = ("birth_date", "address")


def context() -> InquiryContext:
    return InquiryContext(
        request_id=REQUEST_ID,
        purpose="B1-77.12",
        case_reference="case 1",
        operator="operator 1",
        operator_proof=proof_of(b"1" * 64),
    )


def four_items() -> FourItems:
    record = plain().record
    return FourItems(name=record.name.legal, birth_date=record.birth_date, sex=record.sex, address=record.address)


def question(traceparent: str = "") -> Question:
    return Question(subject=Subject(individual_number="000000000011"), traceparent=traceparent)


def questions() -> Iterator[Question]:
    """Questions with one part of their subject at the edge of its rule, or beyond, or left out."""
    for path, values in SUBJECT.items():
        for value in values:
            asked = question()
            if path.startswith("four_items"):
                asked.subject.four_items.CopyFrom(four_items())
            put(asked, f"subject.{path}", value)
            yield asked
    for path in ITEMS_MESSAGES:
        asked = Question(subject=Subject(four_items=four_items()))
        put(asked, f"subject.four_items.{path}", None)
        yield asked


SEALS = ("", "2027-04-01", "2027-04-02", "2027-13-01", "x")
KINDS["InquireRequest"] = (
    InquireRequest(
        context=context(),
        subject=Subject(four_items=four_items()),
        fields=[IDENTITY_FIELD_NAME, IDENTITY_FIELD_CHANGE],
    ),
    {
        **under("context", CONTEXT),
        **under("subject", SUBJECT),
        "fields": ASKED,
        "sealed_until": SEALS,
        "for_watch": (False, True),
        "held": HELD,
    },
    ("context", "subject", "subject.four_items", *(f"subject.four_items.{name}" for name in ITEMS_MESSAGES)),
)
KINDS["InquireBatchRequest"] = (
    InquireBatchRequest(context=context(), subjects=[question().subject], fields=[IDENTITY_FIELD_NAME]),
    {
        **under("context", CONTEXT),
        "fields": ASKED,
        "subjects": (
            [Subject()],
            *([question().subject] * count for count in (0, 1, 2, 256, 257)),
            *([question().subject, asked.subject] for asked in questions()),
        ),
        "job": HELD,
        "sealed_until": SEALS,
        "for_watch": (False, True),
        "held": ([], *([each] for each in HELD), [b"1" * 32, b""], [b""] * 257),
    },
    ("context",),
)
KINDS["VerifyIdentityRequest"] = (
    VerifyIdentityRequest(context=context(), four_items=four_items()),
    {**under("context", CONTEXT), **under("four_items", ITEMS), "sealed_until": SEALS},
    ("context", "four_items", *(f"four_items.{name}" for name in ITEMS_MESSAGES)),
)
KINDS["ProvideRequest"] = (
    ProvideRequest(tickets=SignedTickets(tickets=b"1", signature=b"1" * 64), questions=[question()]),
    {
        "tickets.tickets": TICKETS,
        "tickets.signature": SIGNATURES,
        "questions": (
            [Question()],
            *([Question(subject=question().subject, held=each)] for each in HELD),
            *([question()] * count for count in (0, 1, 2, 256, 257)),
            *([question(), question(trace)] for trace in TRACES),
            *([question(), asked] for asked in questions()),
        ),
    },
    ("tickets",),
)
EACH_FIELD = [(kind, path) for kind, (_, fields, _) in KINDS.items() for path in sorted(fields)]
EACH_MESSAGE = [(kind, path) for kind, (_, _, messages) in KINDS.items() for path in messages]


def breaks_a_rule(message: Message) -> bool:
    return bool(protovalidate.collect_violations(message))


def one_of(kind: str) -> Message:
    """A plain message of a kind."""
    message = type(KINDS[kind][0])()
    message.CopyFrom(KINDS[kind][0])
    return message


@st.composite
def messages(draw: Callable[[Any], Any]) -> Message:
    """A plain message with some fields at the edges of their rules, or beyond, and some messages left out."""
    kind = draw(st.sampled_from(sorted(KINDS)))
    _, fields, within = KINDS[kind]
    message = one_of(kind)
    for path in draw(st.lists(st.sampled_from(sorted(fields)), max_size=4, unique=True)):
        put(message, path, draw(st.sampled_from(fields[path])))
    for path in draw(st.lists(st.sampled_from(within), max_size=1)) if within else ():
        put(message, path, None)
    return message


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_what_is_taken_here_for_plain_is_plain(kind: str) -> None:
    assert is_plain(one_of(kind))


@settings(max_examples=2000)
@given(message=messages())
def test_no_message_is_plain_that_breaks_a_rule(message: Message) -> None:
    assert not is_plain(message) or not breaks_a_rule(message)


@pytest.mark.parametrize(("kind", "path"), EACH_FIELD)
def test_each_field_alone_is_held_to_its_rules(kind: str, path: str) -> None:
    for value in KINDS[kind][1][path]:
        message = one_of(kind)
        put(message, path, value)
        assert not is_plain(message) or not breaks_a_rule(message), value


@pytest.mark.parametrize(("kind", "path"), EACH_MESSAGE)
def test_a_message_without_what_is_required_is_not_plain(kind: str, path: str) -> None:
    message = one_of(kind)
    put(message, path, None)
    assert not is_plain(message)


def test_no_kind_is_judged_that_is_not_tried_here() -> None:
    assert {kind.__name__ for kind in JUDGES} == KINDS.keys()


def test_a_message_of_another_kind_is_left_to_protovalidate() -> None:
    assert not is_plain(Heartbeat())


@pytest.mark.parametrize("kind", ["event_date", "birth_date"])
def test_no_day_is_plain_that_is_not_in_the_calendar(kind: str) -> None:
    for year in (0, 1900, 2023, 2024):
        for month in range(14):
            for day in range(33):
                change = plain()
                told = change.event_date if kind == "event_date" else change.record.birth_date
                told.year, told.month, told.day = year, month, day
                assert not is_plain(change) or not breaks_a_rule(change), (year, month, day)


def test_a_birth_of_which_only_the_year_is_known_keeps_no_message_from_being_plain() -> None:
    """One of a thousand is; protovalidate would judge the sixty-three others of its message again."""
    for known in ({}, {"year": 1930}, {"year": 1930, "month": 5}):
        change = plain()
        change.record.birth_date.CopyFrom(BirthDate(**known))
        assert is_plain(change)
        assert not breaks_a_rule(change)


def test_nearly_all_residents_of_a_first_load_are_plain() -> None:
    on = date(2026, 4, 1)
    people = [submission_of(each.row) for each in residents(["131016"], count=500, seed=1, on=on)]
    loaded = [complete(each, municipality="131016", today=on, current={}) for each in people]
    assert sum(map(is_plain, loaded)) > 0.98 * len(loaded)


def test_the_rules_are_those_that_were_looked_at() -> None:
    rules = "\n".join(rule for kind in KINDS for rule in _rules(KINDS[kind][0].DESCRIPTOR))
    assert hashlib.sha256(rules.encode()).hexdigest() == RULES


def _rules(message: Any) -> Iterator[str]:
    yield f"{message.full_name} {message.GetOptions().SerializeToString(deterministic=True).hex()}"
    for oneof in message.oneofs:
        yield f"{oneof.name} {oneof.GetOptions().SerializeToString(deterministic=True).hex()}"
    for field in message.fields:
        options = field.GetOptions().SerializeToString(deterministic=True).hex()
        yield f"{field.name} {field.number} {field.type} {options}"
        if field.message_type:
            yield from _rules(field.message_type)
        if field.enum_type:
            yield " ".join(f"{value.name}={value.number}" for value in field.enum_type.values)
