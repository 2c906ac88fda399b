"""The intake: one answer a submission, everything in one transaction, repeated messages harmless."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection, Engine, func, select, update

from cs_node.intake import Answer, Intake, Item, Sealing, Stream
from cs_node.service import IntakeService
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.intake.v1.intake_pb2 import Submission, SubmitChangeResponse, SubmitChangesRequest
from jukinet._pb.jukinet.link.v1.link_pb2 import SealedSegment, Segment
from jukinet._pb.jukinet.register.v1 import change_pb2 as change
from jukinet._pb.jukinet.register.v1.identity_pb2 import (
    SEX_MALE,
    Address,
    BirthDate,
    CalendarDate,
    IdentityRecord,
    PersonName,
)
from jukinet.domain import resident_code
from jukinet.domain.submission import complete
from jukinet.link.seal import seal_holds, segment_hash
from jukinet.mesh.errors import Refused
from jukinet.store import journal
from jukinet.store.engine import open_writer
from jukinet.store.errors import StoreError
from jukinet.store.migrate import REGISTER, ensure_schema
from jukinet.store.schema import history, intake_messages, residents
from jukinet.store.writer import Writer

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
TODAY = CalendarDate(year=2026, month=4, day=1)


def code_of(number: int) -> str:
    body = f"00{number:08d}"
    return body + resident_code.check_digit(body)


def entry_of(number: int, message_id: str = "", **changed: Any) -> Submission:
    code = code_of(number)
    record = IdentityRecord(
        resident_code=code,
        name=PersonName(legal="試験太郎"),
        birth_date=BirthDate(year=1980, month=1, day=2),
        sex=SEX_MALE,
        address=Address(local_government_code="131016", town="千代田一丁目", block="1番1号"),
    )
    parts: dict[str, Any] = {
        "message_id": message_id or f"m-{number}",
        "reason": change.CHANGE_REASON_ENTRY_EX_OFFICIO,
        "event_date": TODAY,
        "resident_code": code,
        "record": record,
    }
    return Submission(**{**parts, **changed})


class Office:
    """A CS's intake on a real database."""

    def __init__(self, path: Path) -> None:
        self.engine: Engine = open_writer(f"sqlite:///{path}")
        ensure_schema(self.engine, REGISTER)
        self.writer = Writer(self.engine)
        self.why_not: errors.ErrorReason.ValueType | None = None
        self.grown: list[int] = []
        self.intake = Intake(
            writer=self.writer,
            sealing=Sealing("131016", KEY),
            why_not=lambda: self.why_not,
            on_accepted=self.grown.append,
        )

    async def submit(
        self, *submissions: Submission, traceparent: str = "", stream: Stream | None = None
    ) -> list[Answer | Exception]:
        items = [Item(each, traceparent, stream or Stream()) for each in submissions]
        futures = [self.intake.grouping.hand_in(item) for item in items]
        return list(await asyncio.gather(*futures, return_exceptions=True))  # type: ignore[arg-type]  # only exceptions

    def count(self, table: Any) -> int:
        with self.engine.connect() as connection:
            return int(connection.execute(select(func.count()).select_from(table)).scalar_one())

    def segments(self) -> list[journal.OutboxRow]:
        with self.engine.connect() as connection:
            return journal.fetch_outbox(connection, 0, max_changes=10_000, max_bytes=10**9)

    def close(self) -> None:
        self.writer.close()
        self.engine.dispose()


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    built = Office(tmp_path / "cs.db")
    running = asyncio.create_task(built.intake.grouping.run())
    yield built
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    built.close()


def reason_of(answer: Answer | Exception) -> int:
    assert isinstance(answer, Refused)
    return answer.reason


def accepted(answer: Answer | Exception) -> SubmitChangeResponse:
    assert isinstance(answer, SubmitChangeResponse)
    return answer


async def test_an_accepted_change_is_a_row_a_history_row_a_message_and_a_sealed_segment(office: Office) -> None:
    (answer,) = await office.submit(entry_of(1))
    assert (accepted(answer).version, accepted(answer).sequence, accepted(answer).epoch) == (1, 1, 1)
    assert [office.count(table) for table in (residents, history, intake_messages)] == [1, 1, 1]
    (row,) = office.segments()
    sealed = SealedSegment(segment=row.segment, seal=row.seal)
    assert seal_holds(sealed, segment_hash(row.segment), KEY.public_key())
    assert Segment.FromString(row.segment).municipality == "131016"
    assert office.grown == [1]


async def test_those_that_wait_together_share_a_segment_and_the_chain_goes_on(office: Office) -> None:
    await office.submit(*(entry_of(number) for number in range(1, 11)))
    await office.submit(entry_of(11))
    rows = office.segments()
    assert [(row.first_sequence, row.last_sequence) for row in rows][-1] == (11, 11)
    assert sum(row.last_sequence - row.first_sequence + 1 for row in rows) == 11
    hashes = [segment_hash(row.segment) for row in rows]
    assert [Segment.FromString(row.segment).previous for row in rows] == [b"", *hashes[:-1]]


async def test_a_repeated_message_gets_the_same_answer_and_writes_nothing(office: Office) -> None:
    (first,) = await office.submit(entry_of(1))
    (again,) = await office.submit(entry_of(1))
    assert accepted(again).repeated
    assert accepted(again).sequence == accepted(first).sequence
    assert office.count(history) == 1


async def test_a_repeated_message_within_one_group_is_taken_once(office: Office) -> None:
    first, again = await office.submit(entry_of(1), entry_of(1))
    assert (accepted(first).repeated, accepted(again).repeated) == (False, True)
    assert office.count(history) == 1


async def test_a_message_id_with_other_content_is_refused(office: Office) -> None:
    await office.submit(entry_of(1))
    (answer,) = await office.submit(entry_of(2, message_id="m-1"))
    assert reason_of(answer) == errors.ERROR_REASON_MESSAGE_ID_REUSED
    assert office.count(residents) == 1


async def test_a_refused_change_leaves_no_trace_and_its_neighbours_go_in(office: Office) -> None:
    wrong = entry_of(2)
    wrong.resident_code = wrong.record.resident_code = "00000000021"
    answers = await office.submit(entry_of(1), wrong, entry_of(3))
    assert reason_of(answers[1]) == errors.ERROR_REASON_RESIDENT_CODE_CHECK_DIGIT
    assert [accepted(answers[0]).sequence, accepted(answers[2]).sequence] == [1, 2]
    assert office.count(intake_messages) == 2


async def test_a_refused_message_may_come_again_corrected_under_the_same_id(office: Office) -> None:
    wrong = entry_of(1)
    wrong.event_date.year = 2999
    (refused,) = await office.submit(wrong)
    assert reason_of(refused) == errors.ERROR_REASON_EVENT_DATE
    (answer,) = await office.submit(entry_of(1))
    assert accepted(answer).version == 1


@pytest.mark.parametrize("reason", [errors.ERROR_REASON_STORAGE_FULL, errors.ERROR_REASON_LINK_FORK])
async def test_while_there_is_a_reason_nothing_new_is_taken_and_afterwards_it_is(
    office: Office, reason: "errors.ErrorReason.ValueType"
) -> None:
    office.why_not = reason
    (answer,) = await office.submit(entry_of(1))
    assert reason_of(answer) == reason
    assert office.count(residents) == 0
    office.why_not = None
    (answer,) = await office.submit(entry_of(1))
    assert accepted(answer).sequence == 1


async def test_a_change_of_a_damaged_record_is_refused_and_its_neighbours_are_taken(office: Office) -> None:
    await office.submit(entry_of(1))

    def damage(connection: Connection) -> None:
        connection.execute(update(residents).values(checksum=residents.c.checksum + 1))

    await office.writer.run(damage)
    answers = await office.submit(entry_of(1, "m-again"), entry_of(2))
    assert reason_of(answers[0]) == errors.ERROR_REASON_RECORD_DAMAGED
    assert accepted(answers[1]).sequence == 2


async def test_behind_a_change_that_finds_no_room_nothing_of_its_stream_is_taken(office: Office) -> None:
    stream, other = Stream(), Stream()
    office.why_not = errors.ERROR_REASON_STORAGE_FULL
    (answer,) = await office.submit(entry_of(1), stream=stream)
    assert reason_of(answer) == errors.ERROR_REASON_STORAGE_FULL
    office.why_not = None
    waiting = [office.intake.grouping.hand_in(Item(entry_of(n), "", each)) for n, each in ((2, stream), (3, other))]
    behind, elsewhere = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(behind, Refused)
    assert behind.reason == errors.ERROR_REASON_STORAGE_FULL
    assert isinstance(elsewhere, SubmitChangeResponse)
    again = await office.submit(entry_of(1), entry_of(2), stream=Stream())
    assert [accepted(answer).sequence for answer in again] == [2, 3]


async def test_a_refusal_for_good_holds_up_nothing_of_its_stream(office: Office) -> None:
    wrong = entry_of(1)
    wrong.event_date.year = 2999
    refused, taken = await office.submit(wrong, entry_of(2), stream=Stream())
    assert reason_of(refused) == errors.ERROR_REASON_EVENT_DATE
    assert accepted(taken).sequence == 1


async def test_a_database_that_fails_is_told_to_every_one_that_waits(office: Office) -> None:
    office.writer.close()
    answers = await office.submit(entry_of(1), entry_of(2))
    assert all(isinstance(answer, StoreError) for answer in answers)
    assert office.grown == []


@pytest.mark.parametrize("traced", [True, False])
async def test_the_trace_context_stands_beside_the_segment_not_in_it(office: Office, traced: bool) -> None:
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    await office.submit(entry_of(1), traceparent=parent if traced else "")
    (row,) = office.segments()
    assert row.traceparents == (parent if traced else "")
    assert parent.encode() not in row.segment


async def test_a_change_that_breaks_something_unforeseen_fails_alone(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_on_two(submission: Submission, **others: Any) -> change.Change:
        if submission.message_id == "m-2":
            raise OverflowError
        return complete(submission, **others)

    monkeypatch.setattr("cs_node.intake.complete", break_on_two)
    answers = await office.submit(entry_of(1), entry_of(2), entry_of(3))
    assert [accepted(answers[0]).sequence, accepted(answers[2]).sequence] == [1, 2]
    assert isinstance(answers[1], OverflowError)
    assert office.count(history) == 2


async def test_a_stopping_cs_answers_what_it_has_and_ends_its_streams(office: Office) -> None:
    service = IntakeService(office.intake)
    open_end = asyncio.Event()

    async def requests() -> AsyncIterator[SubmitChangesRequest]:
        yield SubmitChangesRequest(submission=entry_of(1))
        await open_end.wait()

    stream = service.SubmitChanges(requests(), None)  # type: ignore[arg-type]  # the context is not used
    assert (await anext(stream)).answers[0].accepted.sequence == 1
    await service.end_streams()
    with pytest.raises(Refused) as ended:
        await anext(stream)
    assert ended.value.reason == errors.ERROR_REASON_DRAINING


async def test_answers_of_one_commit_come_in_one_message_and_none_waits_for_those_behind(office: Office) -> None:
    first_is_answered, all_read, release = asyncio.Event(), asyncio.Event(), threading.Event()

    async def requests() -> AsyncIterator[SubmitChangesRequest]:
        yield SubmitChangesRequest(submission=entry_of(1))
        await first_is_answered.wait()
        for number in range(2, 5):
            yield SubmitChangesRequest(submission=entry_of(number))
        all_read.set()

    stream = IntakeService(office.intake).SubmitChanges(requests(), None)  # type: ignore[arg-type]  # not used
    assert [answer.accepted.sequence for answer in (await anext(stream)).answers] == [1]
    blocked = asyncio.wrap_future(office.writer.submit(lambda _: release.wait(10)))
    first_is_answered.set()
    await all_read.wait()
    release.set()
    await blocked
    rest = [[answer.accepted.sequence for answer in message.answers] async for message in stream]
    assert rest == [[2, 3, 4]]


async def test_a_stream_that_breaks_off_with_its_queue_full_ends(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cs_node.service._UNDER_WAY", 2)
    release = threading.Event()
    blocked = asyncio.wrap_future(office.writer.submit(lambda _: release.wait(10)))
    read = 0

    async def requests() -> AsyncIterator[SubmitChangesRequest]:
        nonlocal read
        for number in range(1, 10):
            read = number
            yield SubmitChangesRequest(submission=entry_of(number))

    stream = IntakeService(office.intake).SubmitChanges(requests(), None)  # type: ignore[arg-type]  # not used
    first = asyncio.ensure_future(anext(stream))
    while read < 4:
        await asyncio.sleep(0)
    first.cancel()
    async with asyncio.timeout(5):
        await asyncio.wait({first})
    release.set()
    await blocked
