"""Submitting a change file: every line is settled once, in order, whatever happens to the connection."""

import asyncio
import contextlib
import errno
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from jukinet._pb.jukinet.errors.v1 import errors_pb2
from jukinet._pb.jukinet.intake.v1.intake_pb2 import ChangeAnswer, Refusal, Submission, SubmitChangeResponse
from jukinet.cli.answers_file import AnswersFile
from jukinet.cli.change_file import ChangeFileRefused, open_change_file
from jukinet.cli.reject_file import RejectFileExists
from jukinet.cli.retry import CallRefused, DeadlinePassed
from jukinet.cli.submit import AnswerOutOfOrder, submit
from jukinet.mesh.errors import Refused
from tests.cli.intake import HEADER, Fault, Intake, deaths, dial, names_in, serving, write


@contextlib.asynccontextmanager
async def cutting_proxy(port: int, bytes_until_cut: int) -> AsyncIterator[tuple[int, list[int]]]:
    """Passes bytes on, and resets its first connections once that many came back from the server."""
    cuts = [3]
    connections: set[asyncio.Task[None]] = set()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, most: int | None) -> None:
        passed = 0
        while data := await reader.read(512):
            passed += len(data)
            if most is not None and passed > most and cuts[0]:
                cuts[0] -= 1
                break
            writer.write(data)
            await writer.drain()

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.add(asyncio.current_task())  # type: ignore[arg-type]
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", port)
        pumps = [
            asyncio.create_task(pump(reader, up_writer, None)),
            asyncio.create_task(pump(up_reader, writer, bytes_until_cut)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in pumps:
                task.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            for open_writer in (writer, up_writer):
                open_writer.transport.abort()
                with contextlib.suppress(OSError):
                    await open_writer.wait_closed()

    server = await asyncio.start_server(connect, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], cuts
    finally:
        server.close()
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)


async def test_all_lines_are_registered_in_the_order_of_the_file(
    tmp_path: Path, intake: Intake, channel: grpc.aio.Channel
) -> None:
    told: list[int] = []
    path = write(tmp_path / "f", deaths(100))
    report = await submit(path, channel, rejects_path=tmp_path / "rejects", window=7, progress=told.append)
    assert list(intake.registered) == [f"K-{number}" for number in range(100)]
    assert (report.lines, report.accepted, report.repeated, report.refused) == (100, 100, 0, {})
    assert (report.first_sequence, report.last_sequence, report.rejects) == (1, 100, None)
    assert told == list(range(1, 101))
    assert names_in(tmp_path) == ["f"]


async def test_refused_lines_come_into_the_reject_file_in_the_order_of_the_file(
    tmp_path: Path, intake: Intake, channel: grpc.aio.Channel
) -> None:
    intake.faults = {"K-3": errors_pb2.ERROR_REASON_NOT_HOLDER, "K-6": errors_pb2.ERROR_REASON_BIRTH_DATE}
    lines = deaths(10)
    lines[0] = lines[0].replace("2026", "26")
    lines[4] = "K-4,死亡"
    lines[9] = lines[9].replace("死亡", "death")
    path = write(tmp_path / "f", lines)
    report = await submit(path, channel, rejects_path=tmp_path / "rejects.csv", window=3)
    assert list(intake.registered) == ["K-1", "K-2", "K-5", "K-7", "K-8"]
    assert report.refused == {"BIRTH_DATE": 1, "INVALID_MESSAGE": 3, "NOT_HOLDER": 1}
    assert (report.lines, report.accepted) == (10, 5)
    assert report.rejects == tmp_path / "rejects.csv"
    assert stat.S_IMODE(report.rejects.stat().st_mode) == 0o600
    header, *rejects = report.rejects.read_text("utf-8").splitlines()
    assert header == HEADER + ",reject_reason,reject_message"
    assert [line.startswith(lines[n]) for line, n in zip(rejects, (0, 3, 4, 6, 9), strict=True)] == [True] * 5
    assert rejects[1] == lines[3] + ",NOT_HOLDER,birth_date: wrong text"
    assert rejects[0].startswith(lines[0] + ",INVALID_MESSAGE,event_date: ")
    assert names_in(tmp_path) == ["f", "rejects.csv"]


async def test_the_corrected_reject_file_is_submitted_as_it_is(
    tmp_path: Path, intake: Intake, channel: grpc.aio.Channel
) -> None:
    intake.faults = {"K-1": errors_pb2.ERROR_REASON_NOT_HOLDER}
    lines = deaths(3)
    lines[2] = lines[2].replace("2026-04-01", "soon")
    first = await submit(write(tmp_path / "f", lines), channel, rejects_path=tmp_path / "rejects")
    assert first.rejects
    first.rejects.write_text(first.rejects.read_text("utf-8").replace("soon", "令和8年4月1日"), "utf-8")
    second = await submit(first.rejects, channel, rejects_path=tmp_path / "rejects-2")
    assert (second.lines, second.accepted, second.rejects) == (2, 2, None)
    assert list(intake.registered) == ["K-0", "K-1", "K-2"]


async def test_a_refusal_without_text_or_of_a_newer_kind_is_kept_too(
    tmp_path: Path, intake: Intake, channel: grpc.aio.Channel
) -> None:
    intake.refusal_text = ""
    intake.faults = {"K-0": errors_pb2.ERROR_REASON_NOT_HOLDER, "K-1": errors_pb2.ErrorReason.ValueType(9999)}
    report = await submit(write(tmp_path / "f", deaths(2)), channel, rejects_path=tmp_path / "rejects")
    assert report.refused == {"NOT_HOLDER": 1, "REASON_9999": 1}
    assert report.rejects
    assert "Only the holder may report changes." in report.rejects.read_text("utf-8")
    again = await submit(report.rejects, channel, rejects_path=tmp_path / "rejects-2")
    assert again.accepted == 2


async def test_what_a_newer_contract_refuses_comes_into_the_reject_file_too(
    tmp_path: Path, intake: Intake, channel: grpc.aio.Channel
) -> None:
    def broken(message_id: str, field: str, rule: str) -> ChangeAnswer:
        refusal = Refusal(reason=errors_pb2.ERROR_REASON_INVALID_MESSAGE, message="wrong", field=field)
        refusal.broken_rules.add(field=field, rule=rule)
        return ChangeAnswer(message_id=message_id, refused=refusal)

    intake.faults = {
        "K-0": broken("K-0", "", "submission.next_municipality"),
        "K-2": broken("", "message_id", "string.pattern"),
    }
    lines = deaths(4)
    report = await submit(write(tmp_path / "f", lines), channel, rejects_path=tmp_path / "rejects")
    assert (report.accepted, report.refused) == (2, {"INVALID_MESSAGE": 2})
    assert list(intake.registered) == ["K-1", "K-3"]
    assert (tmp_path / "rejects").read_text("utf-8").splitlines()[1:] == [
        lines[0] + ",INVALID_MESSAGE,next_municipality: wrong (submission.next_municipality)",
        lines[2] + ",INVALID_MESSAGE,message_id: wrong (string.pattern)",
    ]


async def test_a_file_may_be_submitted_twice(tmp_path: Path, intake: Intake, channel: grpc.aio.Channel) -> None:
    path = write(tmp_path / "f", deaths(20))
    await submit(path, channel, rejects_path=tmp_path / "rejects")
    report = await submit(path, channel, rejects_path=tmp_path / "rejects")
    assert (report.accepted, report.repeated) == (0, 20)
    assert (report.first_sequence, report.last_sequence) == (1, 20)
    assert len(intake.registered) == 20


@pytest.mark.parametrize("fault", ["cut", "lose", "end"])
async def test_a_broken_stream_loses_and_doubles_nothing(
    tmp_path: Path, intake: Intake, channel: grpc.aio.Channel, fault: str
) -> None:
    intake.faults = {"K-0": fault, "K-17": fault, "K-40": errors_pb2.ERROR_REASON_NOT_HOLDER, "K-59": fault}
    lines = deaths(60)
    lines[18] = "K-18,nonsense,,,"
    report = await submit(write(tmp_path / "f", lines), channel, rejects_path=tmp_path / "rejects", window=8)
    wanted = [f"K-{number}" for number in range(60) if number not in (18, 40)]
    assert list(intake.registered) == wanted
    assert (report.lines, report.accepted, report.repeated) == (60, 58, 0)
    assert report.refused == {"INVALID_MESSAGE": 1, "NOT_HOLDER": 1}
    assert not intake.faults


async def test_a_cut_connection_loses_and_doubles_nothing(tmp_path: Path, intake: Intake) -> None:
    path = write(tmp_path / "f", deaths(300))
    async with serving(intake) as port, cutting_proxy(port, 3_000) as (proxy, cuts), dial(proxy) as channel:
        report = await submit(path, channel, rejects_path=tmp_path / "rejects", window=32)
    assert cuts == [0]
    assert list(intake.registered) == [f"K-{number}" for number in range(300)]
    assert (report.lines, report.accepted, report.repeated) == (300, 300, 0)
    assert len(intake.asked) > 300


async def test_a_server_that_comes_late_is_waited_for(tmp_path: Path, intake: Intake) -> None:
    async with serving(intake) as port, cutting_proxy(port, 0) as (proxy, cuts), dial(proxy) as channel:
        report = await submit(write(tmp_path / "f", deaths(3)), channel, rejects_path=tmp_path / "rejects")
    assert cuts == [0]
    assert report.accepted == 3


@pytest.mark.parametrize("fault", ["cut", "lose", "end"])
async def test_each_answer_is_told_once_and_in_order_however_often_the_stream_breaks(
    tmp_path: Path, intake: Intake, channel: grpc.aio.Channel, fault: str
) -> None:
    intake.faults = {"K-0": fault, "K-7": fault, "K-9": errors_pb2.ERROR_REASON_NOT_HOLDER, "K-19": fault}
    lines = deaths(20)
    lines[4] = "K-4,nonsense,,,"
    told: list[tuple[str, int, bool]] = []

    def answered(message_id: str, answer: SubmitChangeResponse) -> None:
        told.append((message_id, answer.sequence, answer.repeated))

    path = write(tmp_path / "f", lines)
    report = await submit(path, channel, rejects_path=tmp_path / "rejects", answered=answered, window=5)
    assert told == [(message_id, sequence, False) for message_id, sequence in intake.registered.items()]
    assert len(told) == report.accepted == 18
    told.clear()
    again = await submit(path, channel, rejects_path=tmp_path / "rejects-2", answered=answered, window=5)
    # Now the communication server takes K-9, too.
    assert told == [(message_id, seq, message_id != "K-9") for message_id, seq in in_file_order(intake.registered)]
    assert (again.accepted, again.repeated) == (1, 18)


def in_file_order(registered: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(registered.items(), key=lambda item: int(item[0].removeprefix("K-")))


async def test_until_the_deadline_every_answer_was_told(
    tmp_path: Path, intake: Intake, channel: grpc.aio.Channel
) -> None:
    intake.faults = {"K-2": "hang"}
    told: list[str] = []
    with pytest.raises(DeadlinePassed):
        await submit(
            write(tmp_path / "f", deaths(4)),
            channel,
            rejects_path=tmp_path / "rejects",
            timeout_seconds=0.3,
            answered=lambda message_id, _: told.append(message_id),
        )
    assert told == ["K-0", "K-1"]


async def test_where_an_answer_cannot_be_kept_the_submission_ends(tmp_path: Path, channel: grpc.aio.Channel) -> None:
    def full(_: str, __: SubmitChangeResponse) -> None:
        raise OSError(errno.ENOSPC, "full")

    path = write(tmp_path / "f", deaths(4))
    with pytest.raises(OSError, match="full"):
        await submit(path, channel, rejects_path=tmp_path / "rejects", answered=full)
    report = await submit(path, channel, rejects_path=tmp_path / "rejects")
    assert report.accepted + report.repeated == 4
    assert report.repeated >= 1


async def test_answers_and_refusals_of_one_file_stand_side_by_side(
    tmp_path: Path, intake: Intake, channel: grpc.aio.Channel
) -> None:
    intake.faults = {"K-1": errors_pb2.ERROR_REASON_NOT_HOLDER}
    path = write(tmp_path / "f", deaths(3))
    with AnswersFile(tmp_path / "answers", open_change_file(path)) as answers:
        await submit(path, channel, rejects_path=tmp_path / "rejects", answered=answers.add)
    _, *kept = (tmp_path / "answers").read_text("utf-8").splitlines()
    assert kept == ["K-0,1,1,1,false", "K-2,1,1,2,false"]
    _, *refused = (tmp_path / "rejects").read_text("utf-8").splitlines()
    assert [line.split(",")[0] for line in refused] == ["K-1"]
    assert names_in(tmp_path) == ["answers", "f", "rejects"]


async def test_answers_of_an_interrupted_submission_are_true_and_those_of_the_next_are_whole(
    tmp_path: Path, intake: Intake, channel: grpc.aio.Channel
) -> None:
    intake.faults = {"K-2": "hang"}
    path = write(tmp_path / "f", deaths(4))
    with pytest.raises(DeadlinePassed), AnswersFile(tmp_path / "first", open_change_file(path)) as answers:
        await submit(path, channel, rejects_path=tmp_path / "r", timeout_seconds=0.3, answered=answers.add)
    with AnswersFile(tmp_path / "second", open_change_file(path)) as answers:
        await submit(path, channel, rejects_path=tmp_path / "r", answered=answers.add)
    header, *first = (tmp_path / "first").read_text("utf-8").splitlines()
    assert first == ["K-0,1,1,1,false", "K-1,1,1,2,false"]
    whole = (tmp_path / "second").read_text("utf-8").splitlines()
    assert whole == [header, "K-0,1,1,1,true", "K-1,1,1,2,true", "K-2,1,1,3,false", "K-3,1,1,4,false"]


@pytest.mark.parametrize(
    "reason",
    [
        errors_pb2.ERROR_REASON_OVERLOADED,
        errors_pb2.ERROR_REASON_CALLER_AT_LIMIT,
        errors_pb2.ERROR_REASON_STORAGE_FULL,
    ],
)
async def test_a_loaded_server_is_asked_again(
    tmp_path: Path, intake: Intake, channel: grpc.aio.Channel, reason: errors_pb2.ErrorReason.ValueType
) -> None:
    intake.faults = {"K-1": Refused(reason), "K-2": reason}
    report = await submit(write(tmp_path / "f", deaths(4)), channel, rejects_path=tmp_path / "rejects")
    assert (report.accepted, report.refused) == (4, {})
    assert sorted(intake.registered) == ["K-0", "K-1", "K-2", "K-3"]


async def test_at_most_a_window_of_lines_is_open(tmp_path: Path, intake: Intake, channel: grpc.aio.Channel) -> None:
    intake.faults = {"K-1": "hang"}
    sent: list[str] = []

    def note(submission: Submission) -> str:
        sent.append(submission.message_id)
        return ""

    lines = deaths(50)
    lines[2] = "a,bad,line"
    with pytest.raises(DeadlinePassed):
        await submit(
            write(tmp_path / "f", lines),
            channel,
            rejects_path=tmp_path / "rejects",
            timeout_seconds=0.3,
            traceparent_for=note,
            window=5,
        )
    assert sent == ["K-0", "K-1", "K-3", "K-4", "K-5"]


async def test_each_change_takes_its_own_trace_along(tmp_path: Path, intake: Intake, channel: grpc.aio.Channel) -> None:
    def trace(submission: Submission) -> str:
        return f"00-{'1' * 32}-{int(submission.message_id[2:]):016x}-01"

    await submit(write(tmp_path / "f", deaths(3)), channel, rejects_path=tmp_path / "r", traceparent_for=trace)
    assert intake.traceparents == [f"00-{'1' * 32}-{number:016x}-01" for number in range(3)]


async def test_when_the_deadline_passes_the_report_says_how_far_it_got(
    tmp_path: Path, intake: Intake, channel: grpc.aio.Channel
) -> None:
    intake.faults = {"K-2": "hang"}
    path = write(tmp_path / "f", ["bad", *deaths(4)])
    with pytest.raises(DeadlinePassed, match="DEADLINE_EXCEEDED") as passed:
        await submit(path, channel, rejects_path=tmp_path / "rejects", timeout_seconds=0.3)
    assert passed.value.report
    assert (passed.value.report.lines, passed.value.report.accepted) == (3, 2)
    assert names_in(tmp_path) == ["f"]
    report = await submit(path, channel, rejects_path=tmp_path / "rejects")
    assert (report.accepted, report.repeated, report.refused) == (2, 2, {"INVALID_MESSAGE": 1})


async def test_a_caller_that_may_not_submit_is_told_at_once(
    tmp_path: Path, intake: Intake, channel: grpc.aio.Channel
) -> None:
    intake.faults = {"K-0": Refused(errors_pb2.ERROR_REASON_CALLER_NOT_ALLOWED)}
    with pytest.raises(CallRefused, match="PERMISSION_DENIED CALLER_NOT_ALLOWED"):
        await submit(write(tmp_path / "f", deaths(2)), channel, rejects_path=tmp_path / "rejects")


async def test_a_message_too_large_is_not_sent_for_ever(
    tmp_path: Path, intake: Intake, channel: grpc.aio.Channel
) -> None:
    intake.faults = {"K-0": Refused(errors_pb2.ERROR_REASON_MESSAGE_TOO_LARGE)}
    with pytest.raises(CallRefused, match="MESSAGE_TOO_LARGE"):
        await submit(write(tmp_path / "f", deaths(2)), channel, rejects_path=tmp_path / "rejects")


@pytest.mark.parametrize(
    "fault",
    [
        ChangeAnswer(message_id="other", accepted=SubmitChangeResponse(version=1)),
        ChangeAnswer(accepted=SubmitChangeResponse(version=1)),
        ChangeAnswer(message_id="other", refused=Refusal(reason=errors_pb2.ERROR_REASON_INVALID_MESSAGE)),
        ChangeAnswer(message_id="K-1"),
    ],
    ids=["another is accepted", "nothing is accepted", "another is refused", "neither"],
)
async def test_an_answer_that_was_not_asked_for_ends_the_submission(
    tmp_path: Path, intake: Intake, channel: grpc.aio.Channel, fault: Fault
) -> None:
    intake.faults = {"K-1": fault}
    with pytest.raises(AnswerOutOfOrder):
        await submit(write(tmp_path / "f", deaths(3)), channel, rejects_path=tmp_path / "rejects")


async def test_a_file_that_cannot_be_read_sends_nothing(
    tmp_path: Path, intake: Intake, channel: grpc.aio.Channel
) -> None:
    with pytest.raises(ChangeFileRefused):
        await submit(write(tmp_path / "f", [], "id,name"), channel, rejects_path=tmp_path / "rejects")
    assert not intake.asked


async def test_a_file_without_lines_is_reported_as_such(tmp_path: Path, channel: grpc.aio.Channel) -> None:
    report = await submit(write(tmp_path / "f", []), channel, rejects_path=tmp_path / "rejects")
    assert (report.lines, report.first_sequence, report.rejects) == (0, 0, None)


async def test_an_existing_file_is_never_overwritten(tmp_path: Path, intake: Intake, channel: grpc.aio.Channel) -> None:
    path = write(tmp_path / "f", ["bad"])
    (tmp_path / "rejects").symlink_to("nowhere")
    with pytest.raises(RejectFileExists, match="rejects"):
        await submit(path, channel, rejects_path=tmp_path / "rejects")
    with pytest.raises(NotADirectoryError):
        await submit(path, channel, rejects_path=tmp_path / "none" / "rejects")
    assert not intake.asked
