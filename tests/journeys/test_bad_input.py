"""What a municipality may do wrong: a change is refused with its exact reason, and nothing is lost or half written."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import grpc
import pytest

from jukinet._pb.jukinet.intake.v1.intake_pb2 import Submission, SubmitChangeRequest
from jukinet._pb.jukinet.intake.v1.intake_pb2_grpc import IntakeServiceStub
from jukinet._pb.jukinet.register.v1 import identity_pb2
from jukinet.mesh.clock import today_in_japan
from jukinet.mesh.errors import error_id_of, name_of, violations_of
from jukinet.mesh.identity import Identity
from tests.journeys.mistakes import corrected, wrong_digit

Network = Any  # the fixture's own class lives in conftest.py
CHIYODA, OKUTAMA = "131016", "133086"
CS = "municipality-131016"
SYSTEM = Identity("municipal-system", CHIYODA)
INVALID = ("INVALID_MESSAGE", grpc.StatusCode.INVALID_ARGUMENT)


def _on(day: Any) -> identity_pb2.CalendarDate:
    return identity_pb2.CalendarDate(year=day.year, month=day.month, day=day.day)


def _renamed(n: Network, record: identity_pb2.IdentityRecord) -> Submission:
    moved = corrected(record)
    moved.name.legal = "別人　太郎"
    submission: Submission = n.submission("CORRECTION_MOVE_WITHIN", moved)
    return submission


def _entry(n: Network, **parts: Any) -> Any:
    return n.submission("ENTRY_EX_OFFICIO", n.person(CHIYODA, **parts))


def _address(code: str) -> identity_pb2.Address:
    return identity_pb2.Address(local_government_code=code, town="本町")


def _changed(submission: Submission, **parts: Any) -> Submission:
    submission.MergeFrom(Submission(**parts))
    return submission


def _without_record(submission: Submission) -> Submission:
    submission.ClearField("record")
    return submission


def _born(n: Network, ahead: int) -> Any:
    day = today_in_japan() + timedelta(days=ahead)
    return _entry(n, birth_date=identity_pb2.BirthDate(year=day.year, month=day.month, day=day.day))


def _of_code(n: Network, code: str) -> Any:
    return n.submission("ENTRY_EX_OFFICIO", n.person(CHIYODA, resident_code=code))


WRONG: dict[str, tuple[Callable[[Network, Any], Any], str, str]] = {
    # what is wrong: (submission, reason, field); `held` is a resident of Chiyoda
    "check digit of the code": (
        lambda n, held: _of_code(n, wrong_digit(n.code())),
        "RESIDENT_CODE_CHECK_DIGIT",
        "record.resident_code",
    ),
    "check digit of the number": (
        lambda n, held: _entry(n, individual_number=wrong_digit(n.number())),
        "INDIVIDUAL_NUMBER_CHECK_DIGIT",
        "record.individual_number",
    ),
    "letters in the code": (lambda n, held: _of_code(n, "0012345678X"), "INVALID_MESSAGE", "submission.resident_code"),
    "30 February": (
        lambda n, held: n.submission(
            "DELETION_DEATH", held, event_date=identity_pb2.CalendarDate(year=2026, month=2, day=30)
        ),
        "INVALID_MESSAGE",
        "submission.event_date",
    ),
    "tomorrow": (
        lambda n, held: n.submission("DELETION_DEATH", held, event_date=_on(today_in_japan() + timedelta(days=1))),
        "EVENT_DATE",
        "event_date",
    ),
    "a plan two years ahead": (
        lambda n, held: n.submission(
            "DELETION_ABROAD_MOVE_OUT", held, event_date=_on(today_in_japan() + timedelta(days=731))
        ),
        "EVENT_DATE",
        "event_date",
    ),
    "born after the event": (lambda n, held: _born(n, 1), "BIRTH_DATE", "record.birth_date"),
    "a move that renames": (_renamed, "CHANGE_NOT_COVERED", "record.name"),
    "a move to where one is": (
        lambda n, held: n.submission("CORRECTION_MOVE_WITHIN", held),
        "CHANGE_NOT_COVERED",
        "record",
    ),
    "another previous number": (
        lambda n, held: n.submission(
            "CORRECTION_INDIVIDUAL_NUMBER_REQUEST",
            _with(held, individual_number=n.number()),
            previous_individual_number=n.number(),
        ),
        "PREVIOUS_VALUE",
        "previous_individual_number",
    ),
    "a resident of another municipality": (
        lambda n, held: n.submission("CORRECTION_MOVE_WITHIN", corrected(n.person(CHIYODA))),
        "RESIDENT_UNKNOWN",
        "record.resident_code",
    ),
    "an address in another municipality": (
        lambda n, held: _entry(n, address=_address(OKUTAMA)),
        "ADDRESS_ELSEWHERE",
        "record.address.local_government_code",
    ),
    "no such municipality": (
        lambda n, held: _entry(n, address=_address("131017")),
        "LOCAL_GOVERNMENT_CODE",
        "record.address.local_government_code",
    ),
    "here already": (
        lambda n, held: n.submission("ENTRY_EX_OFFICIO", held),
        "RESIDENT_EXISTS",
        "record.resident_code",
    ),
    "a move-out to oneself": (
        lambda n, held: n.submission("DELETION_DOMESTIC_MOVE_OUT", held, next_municipality=CHIYODA),
        "TRANSFER_MISMATCH",
        "next_municipality",
    ),
    "a move-in without its certificate": (
        lambda n, held: n.submission("ENTRY_DOMESTIC_MOVE_IN", n.person(CHIYODA), previous_municipality=OKUTAMA),
        "INVALID_MESSAGE",
        "submission",
    ),
    "no reason": (lambda n, held: n.submission("UNSPECIFIED", held), "INVALID_MESSAGE", "submission.reason"),
    "a reason that does not exist": (
        lambda n, held: _changed(n.submission("UNSPECIFIED", held), reason=99),
        "INVALID_MESSAGE",
        "submission.reason",
    ),
    "a control character in the name": (
        lambda n, held: _entry(n, name=identity_pb2.PersonName(legal="試験\x1b[2J")),
        "INVALID_MESSAGE",
        "submission.record.name.legal",
    ),
    "a mark of direction in the name": (
        lambda n, held: _entry(n, name=identity_pb2.PersonName(legal="試\u202e験")),
        "INVISIBLE_CHARACTER",
        "record.name.legal",
    ),
    "a name of 201 characters": (
        lambda n, held: _entry(n, name=identity_pb2.PersonName(legal="長" * 201)),
        "INVALID_MESSAGE",
        "submission.record.name.legal",
    ),
    "no record": (
        lambda n, held: _without_record(_entry(n)),
        "INVALID_MESSAGE",
        "submission",
    ),
}


def _with(record: identity_pb2.IdentityRecord, **parts: Any) -> identity_pb2.IdentityRecord:
    copy = identity_pb2.IdentityRecord()
    copy.CopyFrom(record)
    copy.MergeFrom(identity_pb2.IdentityRecord(**parts))
    return copy


@pytest.mark.parametrize("what", WRONG)
async def test_a_wrong_change_is_refused_with_its_reason_and_field_and_leaves_no_trace(
    network: Network, refused: Any, what: str
) -> None:
    make, reason, field = WRONG[what]
    held = await network.enter(CHIYODA)
    submission, before = make(network, held), network.digest(CS)
    with refused() as refusal:
        await network.submit(CHIYODA, submission)
    assert refusal.name == reason
    assert violations_of(refusal.error)[0].field == field
    assert error_id_of(refusal.error)
    assert network.digest(CS) == before


async def test_a_repeated_message_gets_the_same_answer_and_writes_nothing(network: Network) -> None:
    submission = network.submission("ENTRY_EX_OFFICIO", network.person(CHIYODA))
    first = await network.submit(CHIYODA, submission)
    before = network.digest(CS)
    again = await network.submit(CHIYODA, submission)
    assert (again.version, again.sequence, again.epoch) == (first.version, first.sequence, first.epoch)
    assert (first.repeated, again.repeated) == (False, True)
    assert network.digest(CS) == before


async def test_a_message_id_with_other_content_is_refused(network: Network, refused: Any) -> None:
    submission = network.submission("ENTRY_EX_OFFICIO", network.person(CHIYODA))
    await network.submit(CHIYODA, submission)
    before = network.digest(CS)
    submission.record.address.block = "2番"
    with refused() as refusal:
        await network.submit(CHIYODA, submission)
    assert (refusal.name, refusal.code) == ("MESSAGE_ID_REUSED", grpc.StatusCode.ALREADY_EXISTS)
    assert network.digest(CS) == before


async def test_a_refused_message_keeps_its_id_for_its_corrected_form(network: Network, refused: Any) -> None:
    person = network.person(CHIYODA)
    submission = network.submission("ENTRY_EX_OFFICIO", person)
    submission.record.individual_number = wrong_digit(person.individual_number)
    with refused():
        await network.submit(CHIYODA, submission)
    submission.record.individual_number = person.individual_number
    assert not (await network.submit(CHIYODA, submission)).repeated


async def test_a_municipality_can_enter_nobody_who_lives_elsewhere(network: Network) -> None:
    """A CS sees its own residents alone and takes the entry; the prefecture, which sees both, parks it for good."""
    record = await network.enter(OKUTAMA)
    stolen = corrected(record, local_government_code=CHIYODA)
    wanted = {node: _row(network, node, record.resident_code) for node in ("prefecture-130001", "center")}
    answer = await network.submit(CHIYODA, network.submission("ENTRY_EX_OFFICIO", stolen))
    await network.arrived(CHIYODA)
    for node, row in wanted.items():
        assert _row(network, node, record.resident_code) == row
        assert row["holder"] == OKUTAMA
        (parked,) = [row for row in network.rows(node, "parked") if row["resident_code"] == record.resident_code]
        assert (parked["municipality"], parked["sequence"]) == (CHIYODA, answer.sequence)
        assert name_of(parked["reason"]) in ("RESIDENT_EXISTS", "VERSION_CONFLICT")


def _row(network: Network, node: str, code: str) -> Any:
    (row,) = [row for row in network.rows(node, "residents") if row["resident_code"] == code]
    return row


async def test_another_municipalitys_system_is_not_taken(network: Network, refused: Any) -> None:
    request = SubmitChangeRequest(submission=network.submission("ENTRY_EX_OFFICIO", network.person(CHIYODA)))
    before = network.digest(CS)
    async with network.channel(CS, Identity("municipal-system", OKUTAMA)) as channel:
        with refused() as refusal:
            await IntakeServiceStub(channel).SubmitChange(request, timeout=5)
    assert (refusal.name, refusal.code) == ("CALLER_NOT_ALLOWED", grpc.StatusCode.PERMISSION_DENIED)
    assert network.digest(CS) == before


async def test_a_call_without_a_deadline_is_refused(network: Network, refused: Any) -> None:
    request = SubmitChangeRequest(submission=network.submission("ENTRY_EX_OFFICIO", network.person(CHIYODA)))
    async with network.channel(CS, SYSTEM) as channel:
        with refused() as refusal:
            await IntakeServiceStub(channel).SubmitChange(request)
    assert refusal.name == "DEADLINE_REQUIRED"


@pytest.mark.parametrize(
    ("size", "reason"),
    # gRPC itself refuses what is far too large: before it is in memory, and so without a reason of ours.
    [(1024 * 1024 + 1, "MESSAGE_TOO_LARGE"), (2 * 1024 * 1024, "")],
)
async def test_a_message_over_the_limit_is_refused(network: Network, refused: Any, size: int, reason: str) -> None:
    before = network.digest(CS)
    async with network.channel(CS, SYSTEM) as channel:
        with refused() as refusal:
            await channel.unary_unary("/jukinet.intake.v1.IntakeService/SubmitChange")(b"\0" * size, timeout=5)
    assert (refusal.name, refusal.code) == (reason, grpc.StatusCode.RESOURCE_EXHAUSTED)
    assert network.digest(CS) == before


async def test_bytes_that_are_no_message_are_refused(network: Network, refused: Any) -> None:
    async with network.channel(CS, SYSTEM) as channel:
        with refused() as refusal:
            await channel.unary_unary("/jukinet.intake.v1.IntakeService/SubmitChange")(b"\xff" * 20, timeout=5)
    assert (refusal.name, refusal.code) == INVALID
