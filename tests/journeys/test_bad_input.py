"""What a municipality may do wrong: every row is refused with its exact reason, and nothing is lost or half written."""

import asyncio
import csv
import io
import json
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest

from jukinet._pb.jukinet.intake.v1.intake_pb2 import (
    Submission,
    SubmitChangeRequest,
    SubmitChangesRequest,
    SubmitChangesResponse,
)
from jukinet._pb.jukinet.intake.v1.intake_pb2_grpc import IntakeServiceStub
from jukinet._pb.jukinet.register.v1 import identity_pb2
from jukinet.mesh.client import streaming
from jukinet.mesh.clock import today_in_japan
from jukinet.mesh.errors import error_id_of, name_of, violations_of
from jukinet.mesh.identity import Identity
from tests.change_columns import values_of
from tests.journeys.load import answers_of

Network = Any  # the fixture's own class lives in conftest.py
CHIYODA, OKUTAMA = "131016", "133086"
CS = "municipality-131016"
SYSTEM = Identity("municipal-system", CHIYODA)
INVALID = ("INVALID_MESSAGE", grpc.StatusCode.INVALID_ARGUMENT)

# ---- one change over gRPC -------------------------------------------------------------------------------------------


def wrong_digit(code: str) -> str:
    """The same digits with another check digit."""
    return code[:-1] + str((int(code[-1]) + 1) % 10)


def corrected(record: identity_pb2.IdentityRecord, **address: str) -> identity_pb2.IdentityRecord:
    """The record with another address."""
    copy = identity_pb2.IdentityRecord()
    copy.CopyFrom(record)
    for name, value in {"block": "9番", **address}.items():
        setattr(copy.address, name, value)
    return copy


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


async def test_a_refused_change_does_not_end_the_stream_and_the_others_go_in(network: Network) -> None:
    good, bad, last = (network.submission("ENTRY_EX_OFFICIO", network.person(CHIYODA)) for _ in range(3))
    bad.record.individual_number = wrong_digit(bad.record.individual_number)
    async with network.channel(CS, SYSTEM) as channel:
        requests = [SubmitChangesRequest(submission=each) for each in (good, bad, last)]
        answers = [
            each async for each in answers_of(IntakeServiceStub(channel).SubmitChanges(iter(requests), timeout=5))
        ]
    assert [answer.message_id for answer in answers] == [good.message_id, bad.message_id, last.message_id]
    assert [answer.WhichOneof("result") for answer in answers] == ["accepted", "refused", "accepted"]
    assert name_of(answers[1].refused.reason) == "INDIVIDUAL_NUMBER_CHECK_DIGIT"
    assert answers[1].refused.field == "record.individual_number"
    assert answers[2].accepted.sequence == answers[0].accepted.sequence + 1


async def test_an_element_that_breaks_the_contract_is_refused_in_its_place_and_the_others_go_in(
    network: Network,
) -> None:
    first, bad, between, unnamed, last = (
        network.submission("ENTRY_EX_OFFICIO", network.person(CHIYODA)) for _ in range(5)
    )
    bad.event_date.month = 2
    bad.event_date.day = 30
    unnamed.message_id = "電文 一"
    requests = [SubmitChangesRequest(submission=each) for each in (first, bad, between, unnamed, last)]
    requests.insert(3, SubmitChangesRequest(submission=between, traceparent="00"))
    requests.insert(4, SubmitChangesRequest())
    async with network.channel(CS, SYSTEM) as channel:
        answers = [
            each async for each in answers_of(IntakeServiceStub(channel).SubmitChanges(iter(requests), timeout=5))
        ]
    named = [each.message_id for each in (first, bad, between, between)]
    assert [answer.message_id for answer in answers] == [*named, "", "", last.message_id]
    assert [name_of(answer.refused.reason) for answer in answers if answer.HasField("refused")] == [INVALID[0]] * 4
    assert [answer.refused.field for answer in answers] == ["", "event_date", "", "traceparent", "", "message_id", ""]
    rules = [[(each.field, each.rule) for each in answer.refused.broken_rules] for answer in answers]
    assert rules[3:6] == [[("traceparent", "string.pattern")], [("", "required")], [("message_id", "string.pattern")]]
    sequence = answers[0].accepted.sequence
    assert [answer.accepted.sequence for answer in answers] == [sequence, 0, sequence + 1, 0, 0, 0, sequence + 2]


@pytest.mark.parametrize(
    ("raw", "reason"),
    [(b"\xff" * 20, "INVALID_MESSAGE"), (b"\0" * (1024 * 1024 + 1), "MESSAGE_TOO_LARGE")],
    ids=["no message", "too large"],
)
async def test_what_is_no_element_ends_the_stream_after_the_answers_to_all_before_it(
    network: Network, refused: Any, raw: bytes, reason: str
) -> None:
    entries = [network.submission("ENTRY_EX_OFFICIO", network.person(CHIYODA)) for _ in range(20)]
    sent = [SubmitChangesRequest(submission=each).SerializeToString() for each in entries]
    async with network.channel(CS, SYSTEM) as channel:
        stream = channel.stream_stream(
            "/jukinet.intake.v1.IntakeService/SubmitChanges", response_deserializer=SubmitChangesResponse.FromString
        )
        answers = []
        with refused() as refusal:
            async with streaming(stream(iter([*sent[:19], raw, sent[19]]), timeout=5)) as call:
                async for answer in answers_of(call):
                    answers.append(answer)
    assert refusal.name == reason
    assert [answer.message_id for answer in answers] == [each.message_id for each in entries[:19]]
    assert all(answer.HasField("accepted") for answer in answers)


async def test_an_element_that_grpc_does_not_take_ends_the_stream_and_what_was_not_answered_may_come_again(
    network: Network, refused: Any
) -> None:
    entries = [network.submission("ENTRY_EX_OFFICIO", network.person(CHIYODA)) for _ in range(20)]
    sent = [SubmitChangesRequest(submission=each).SerializeToString() for each in entries]
    async with network.channel(CS, SYSTEM) as channel:
        stream = channel.stream_stream(
            "/jukinet.intake.v1.IntakeService/SubmitChanges", response_deserializer=SubmitChangesResponse.FromString
        )
        before = 0
        with refused() as refusal:
            async with streaming(stream(iter([*sent, b"\0" * (2 * 1024 * 1024)]), timeout=5)) as call:
                async for _ in answers_of(call):
                    before += 1
        assert (refusal.name, refusal.code) == ("", grpc.StatusCode.RESOURCE_EXHAUSTED)
        answers = [each async for each in answers_of(stream(iter(sent), timeout=5))]
    assert all(answer.accepted.repeated for answer in answers[:before])
    assert [answer.message_id for answer in answers if answer.HasField("accepted")] == [e.message_id for e in entries]


# ---- a file over the command line -----------------------------------------------------------------------------------


async def jukinet_submit(network: Network, path: Path, code: int) -> tuple[dict[str, Any], str]:
    """Runs the program as a clerk does; gives what it printed as JSON and what it told on standard error."""
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "jukinet.cli", "submit", str(path), "--json", "--seconds", "20"),
        *("--mesh", str(network.mesh.root), "--municipality", CHIYODA),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, told = (str(each, "utf-8") for each in await program.communicate())
    assert program.returncode == code, told
    return (json.loads(out) if out else {}), told


def line(submission: Submission, **wrong: str) -> dict[str, str]:
    """A line of a change file; `wrong` are other values of its columns."""
    return {**values_of(submission), **wrong}


def write_csv(path: Path, lines: list[dict[str, str]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)
    return path


async def test_the_good_lines_of_a_file_go_in_and_the_bad_ones_come_back_to_be_corrected(
    network: Network, tmp_path: Path
) -> None:
    held = await network.enter(CHIYODA)
    people = [network.person(CHIYODA) for _ in range(6)]
    entries = [network.submission("ENTRY_EX_OFFICIO", person) for person in people]
    move = network.submission("CORRECTION_MOVE_WITHIN", corrected(held))
    right = [line(each) for each in (entries[0], *entries[1:5], move, entries[5])]
    code, number = people[1].resident_code, people[2].individual_number
    wrong = [
        right[0],
        line(entries[1], resident_code=wrong_digit(code)),
        line(entries[2], individual_number=wrong_digit(number)),
        line(entries[3], event_date="2026-02-30"),
        line(entries[4], local_government_code=OKUTAMA),
        line(move, name="別人　太郎"),
        right[6],
    ]
    path = write_csv(tmp_path / "changes.csv", wrong)
    # A line that lost its last field.
    text = path.read_text("utf-8").splitlines(keepends=True)
    broken = network.submission("ENTRY_EX_OFFICIO", network.person(CHIYODA))
    text.insert(3, ",".join(list(values_of(broken).values())[:-1]) + "\r\n")
    path.write_text("".join(text), "utf-8", newline="")

    report, told = await jukinet_submit(network, path, code=1)
    assert (report["lines"], report["accepted"], report["repeated"]) == (8, 2, 0)
    assert report["refused"] == {
        "ADDRESS_ELSEWHERE": 1,
        "CHANGE_NOT_COVERED": 1,
        "INDIVIDUAL_NUMBER_CHECK_DIGIT": 1,
        "INVALID_MESSAGE": 2,
        "RESIDENT_CODE_CHECK_DIGIT": 1,
    }
    codes = {row["resident_code"] for row in network.rows(CS, "residents")}
    assert {people[0].resident_code, people[5].resident_code} <= codes
    assert not codes & {person.resident_code for person in people[1:5]}

    rejects = tmp_path / "changes.rejects.csv"
    assert report["rejects"] == str(rejects)
    rows = list(csv.reader(io.StringIO(rejects.read_text("utf-8"))))
    fields = len(right[0])
    assert rows[0] == [*right[0], "reject_reason", "reject_message"]
    assert [(row[0], row[-2], row[-1].partition(":")[0]) for row in rows[1:]] == [
        (entries[1].message_id, "RESIDENT_CODE_CHECK_DIGIT", "resident_code"),
        (broken.message_id, "INVALID_MESSAGE", f"the line has {fields - 1} fields, the header {fields}"),
        (entries[2].message_id, "INDIVIDUAL_NUMBER_CHECK_DIGIT", "individual_number"),
        (entries[3].message_id, "INVALID_MESSAGE", "event_date"),
        (entries[4].message_id, "ADDRESS_ELSEWHERE", "local_government_code"),
        (move.message_id, "CHANGE_NOT_COVERED", "name"),
    ]
    assert told.splitlines()[:6] == [
        "line 3, resident_code: RESIDENT_CODE_CHECK_DIGIT",
        "line 4: INVALID_MESSAGE",
        "line 5, individual_number: INDIVIDUAL_NUMBER_CHECK_DIGIT",
        "line 6, event_date: INVALID_MESSAGE",
        "line 7, local_government_code: ADDRESS_ELSEWHERE",
        "line 8, name: CHANGE_NOT_COVERED",
    ]

    # The same again changes nothing; corrected, every one of them goes in.
    again, before = tmp_path / "again.csv", network.digest(CS)
    again.write_bytes(rejects.read_bytes())
    report, _ = await jukinet_submit(network, again, code=1)
    assert (report["lines"], report["accepted"], report["repeated"]) == (6, 0, 0)
    assert network.digest(CS) == before
    mended = write_csv(tmp_path / "mended.csv", [*right[1:3], line(broken), *right[3:6]])
    report, _ = await jukinet_submit(network, mended, code=0)
    assert (report["lines"], report["accepted"], report["refused"], report["rejects"]) == (6, 6, {}, None)
    await network.arrived(CHIYODA)
    for node in (CS, "prefecture-130001", "center"):
        codes = {row["resident_code"] for row in network.rows(node, "residents")}
        assert {person.resident_code for person in people} <= codes


async def test_a_file_in_another_encoding_is_refused_as_a_whole_and_nothing_is_sent(
    network: Network, tmp_path: Path
) -> None:
    entries = [network.submission("ENTRY_EX_OFFICIO", network.person(CHIYODA)) for _ in range(2)]
    path = write_csv(tmp_path / "changes.csv", [line(each) for each in entries])
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], lines[2].replace("試験".encode(), b"\xff\xfe")]))
    before = network.digest(CS)
    report, told = await jukinet_submit(network, path, code=2)
    assert report == {}
    assert "line 3: byte" in told
    assert "fits neither UTF-8 nor CP932" in told
    assert network.digest(CS) == before
    assert not (tmp_path / "changes.rejects.csv").exists()
