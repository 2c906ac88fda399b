"""A writer in a process of its own does what a writer does, and ends with its node as the node ends with it."""

import asyncio
import os
import pickle
import signal
import socket
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import TypeVar

import pytest
from sqlalchemy import Connection, Engine, text

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.register.v1.identity_pb2 import Resident
from jukinet.ledger.errors import LedgerCorrupt
from jukinet.mesh import failpoints
from jukinet.mesh.errors import Refused
from jukinet.store.checkpoint import Checkpoints
from jukinet.store.engine import open_reader, open_writer
from jukinet.store.errors import StorageFailed, StoreBusy, StoreError
from jukinet.store.writer import Writer, WriterClosed
from jukinet.store.writer_main import _opened, _Teller
from jukinet.store.writer_pipe import HEAD, unpacked
from jukinet.store.writer_process import WriterProcess, begin_writer

R = TypeVar("R")


def make(connection: Connection) -> None:
    connection.execute(text("CREATE TABLE notes (number INTEGER PRIMARY KEY)"))


def nothing(_: Connection) -> None:
    pass


def note(connection: Connection, number: int) -> int:
    connection.execute(text("INSERT INTO notes VALUES (:number)"), {"number": number})
    return os.getpid()


def refuse(_: Connection) -> None:
    raise Refused(errors.ERROR_REASON_STORAGE_FULL, field="a.b", detail="told to the operator", size=7)


def refused(_: Connection) -> list[Refused]:
    return [Refused(errors.ERROR_REASON_STORAGE_FULL, size=8)]


def text_of(_: Connection, resident: Resident) -> tuple[str, Resident]:
    return resident.holder, resident


def corrupt(_: Connection) -> None:
    raise LedgerCorrupt("Entry 3.", first_bad_index=3)


def kill(_: Connection) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def numbers(url: str) -> list[int]:
    reader = open_reader(url)
    try:
        with reader.connect() as connection:
            return list(connection.execute(text("SELECT number FROM notes ORDER BY number")).scalars())
    finally:
        reader.dispose()


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/node.db"


@asynccontextmanager
async def begun(url: str) -> AsyncIterator[WriterProcess]:
    writer = await begin_writer(partial(open_writer, url))
    try:
        yield writer
    finally:
        await writer.close()


async def run_one(url: str, job: Callable[[Connection], R]) -> R:
    async with begun(url) as writer:
        return await writer.run(job)


async def test_jobs_run_in_another_process_in_their_order_and_are_on_disk_when_they_are_told(url: str) -> None:
    async with begun(url) as writer:
        await writer.run(make)
        told = await asyncio.gather(*(writer.run(partial(note, number=number)) for number in range(50)))
        assert numbers(url) == [*range(50)]
    assert os.getpid() not in told
    assert len(set(told)) == 1


async def test_messages_of_the_contract_come_and_go(url: str) -> None:
    resident = Resident(holder="131016", version=7)
    assert await run_one(url, partial(text_of, resident=resident)) == ("131016", resident)


async def test_what_cannot_travel_is_refused_before_anything_is_handed_over(url: str) -> None:
    async with begun(url) as writer:
        with pytest.raises((AttributeError, pickle.PicklingError)):
            await writer.run(lambda connection: None)
        await writer.run(make)
    assert numbers(url) == []


async def test_each_job_is_a_commit_of_its_own(url: str) -> None:
    jobs: list[int] = []
    writer = await begin_writer(partial(open_writer, url), on_commit=lambda count, seconds: jobs.append(count))
    await writer.run(make)
    await asyncio.gather(*(writer.run(partial(note, number=number)) for number in range(50)))
    await writer.close()
    assert jobs == [1] * 51


async def test_a_refusal_comes_back_whole_and_leaves_the_others_alone(url: str) -> None:
    async with begun(url) as writer:
        await writer.run(make)
        told = await asyncio.gather(
            writer.run(partial(note, number=1)), writer.run(refuse), writer.run(corrupt), return_exceptions=True
        )
        assert numbers(url) == [1]
    assert isinstance(told[1], Refused)
    assert (told[1].reason, told[1].field, told[1].size) == (errors.ERROR_REASON_STORAGE_FULL, "a.b", 7)
    assert told[1].detail == "told to the operator"
    assert isinstance(told[2], LedgerCorrupt)
    assert told[2].first_bad_index == 3
    (given,) = await run_one(url, refused)
    assert (given.reason, given.size) == (errors.ERROR_REASON_STORAGE_FULL, 8)
    assert str(told[2]) == str(LedgerCorrupt("Entry 3.", first_bad_index=3))


async def test_a_drivers_error_comes_back_without_values(url: str) -> None:
    async with begun(url) as writer:
        await writer.run(make)
        await writer.run(partial(note, number=4711))
        with pytest.raises(StoreError) as failure:
            await writer.run(partial(note, number=4711))
    assert "4711" not in repr(failure.value.args) + repr(vars(failure.value))


async def test_when_the_process_is_killed_whoever_waits_and_the_node_hear_of_it(url: str) -> None:
    writer = await begin_writer(partial(open_writer, url))
    with pytest.raises(WriterClosed):
        await writer.run(kill)
    with pytest.raises(WriterClosed):
        await writer.watch()
    with pytest.raises(WriterClosed):
        await writer.run(make)
    await writer.close()


def open_on_a_disk_that_fails_between_two_commits(url: str) -> Engine:
    """For the process that writes: the first copy of the log fails as a failed fsync does."""

    def fails(self: Checkpoints) -> None:
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorname = "SQLITE_IOERR_FSYNC"
        raise error

    Checkpoints.after_commit = fails  # type: ignore[method-assign]  # of a process that does nothing else
    return open_writer(url)


async def test_a_disk_that_fails_between_two_commits_ends_the_node_at_once(url: str) -> None:
    writer = await begin_writer(partial(open_on_a_disk_that_fails_between_two_commits, url))
    await writer.run(make)
    with pytest.raises(StorageFailed, match="SQLITE_IOERR_FSYNC"):
        await writer.watch()  # nothing is asked of the writer meanwhile
    with pytest.raises(WriterClosed):
        await writer.run(partial(note, number=1))
    await writer.close()
    assert numbers(url) == []


def test_a_result_that_is_there_before_its_callback_is_told_with_its_commit(url: str) -> None:
    ours, theirs = socket.socketpair()
    teller = _Teller(theirs)
    writer = Writer(open_writer(url), on_commit=teller.committed, limit=1)
    submit = writer.submit

    def submit_and_wait(job: Callable[[Connection], R]) -> "Future[R]":
        future = submit(job)
        future.result(30)
        return future

    writer.submit = submit_and_wait  # type: ignore[method-assign]  # the writing thread is quicker than this one
    with ours, theirs, ours.makefile("rb") as stream:
        for number, job in enumerate((make, nothing)):
            teller.hand_in(writer, number, job)
            told = unpacked(stream.read(HEAD.unpack(stream.read(HEAD.size))[0]))
            assert [outcome.number for outcome in told.outcomes] == [number]
        writer.close()


async def test_a_database_that_another_process_keeps_is_refused_at_the_start(url: str) -> None:
    async with begun(url):
        with pytest.raises(StoreBusy):
            await begin_writer(partial(open_writer, url))


NODE = """
import asyncio, os, signal, sys
from functools import partial
from jukinet.mesh import failpoints
from jukinet.store.engine import open_writer
from jukinet.store.writer_process import begin_writer
from tests.store.test_writer_process import make, note

async def main():
    writer = await begin_writer(partial(open_writer, sys.argv[1]))
    await writer.run(make)
    jobs = [asyncio.ensure_future(writer.run(partial(note, number=number))) for number in range(20)]
    await asyncio.sleep(0)
    if failpoints.armed()[0]:
        await asyncio.gather(*jobs)
    os.kill(os.getpid(), signal.SIGKILL)

failpoints.arm(os.environ, parent=os.getppid())
asyncio.run(main())
"""


NODE_IN_A_LONG_JOB = """
import asyncio, os, signal, sys
from functools import partial
from pathlib import Path
from jukinet.store.engine import open_writer
from jukinet.store.writer_process import begin_writer
from tests.store.test_writer_process import make, note_when_released

async def main(url, begun, release):
    writer = await begin_writer(partial(open_writer, url))
    await writer.run(make)
    job = asyncio.ensure_future(writer.run(partial(note_when_released, number=7, begun=begun, release=release)))
    await asyncio.to_thread(Path(begun).read_bytes)
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main(*sys.argv[1:]))
"""


def note_when_released(connection: Connection, number: int, begun: str, release: str) -> None:
    """A job that takes until somebody opens the second named pipe; whoever reads the first one hears that it began."""
    note(connection, number)
    Path(begun).write_bytes(b"")
    Path(release).read_bytes()


def open_and_release(url: str, release: str) -> Engine:
    """For the process that writes: where the database is kept, lets the job end that keeps it."""
    try:
        return open_writer(url)
    except StoreBusy:
        with suppress(OSError):  # nobody reads it yet, or not any more
            os.close(os.open(release, os.O_WRONLY | os.O_NONBLOCK))
        raise


async def assert_killed(url: str, *arguments: str, script: str = NODE, **environ: str) -> None:
    """Runs a node with a writer, which ends as in a power cut."""
    command, environment = [sys.executable, "-c", script, url, *arguments], {**os.environ, **environ}
    with TemporaryFile() as told:  # a pipe would be open for as long as the process that writes lives
        node = await asyncio.create_subprocess_exec(*command, stdout=told, stderr=told, env=environment)
        code = await node.wait()
        told.seek(0)
        assert code == -signal.SIGKILL, told.read()


async def test_a_node_that_is_killed_leaves_the_database_free_and_whole_jobs_in_their_order(url: str) -> None:
    await assert_killed(url)
    async with begun(url) as writer:
        left = numbers(url)
        assert left == [*range(len(left))]
        await writer.run(partial(note, number=100))
    assert numbers(url) == [*left, 100]


async def test_a_start_waits_until_a_killed_nodes_process_has_finished_what_it_had_begun(
    url: str, tmp_path: Path
) -> None:
    begun, release = str(tmp_path / "begun"), str(tmp_path / "release")
    for pipe in (begun, release):
        os.mkfifo(pipe)
    await assert_killed(url, begun, release, script=NODE_IN_A_LONG_JOB)
    writer = await begin_writer(partial(open_and_release, url, release))
    assert numbers(url) == [7]
    await writer.close()


async def test_a_power_cut_in_the_process_ends_its_node_too(url: str) -> None:
    await assert_killed(url, **{failpoints.VARIABLE: f"writer.before_commit:6:{os.getpid()}"})
    async with begun(url):
        assert numbers(url) == [*range(4)]  # the first transaction made the table, the sixth came to nothing


@pytest.mark.parametrize("busy", [0, 3])
def test_a_process_waits_for_the_database_of_a_killed_node(url: str, busy: int) -> None:
    attempts: list[int] = []

    def open_engine() -> Engine:
        attempts.append(1)
        if len(attempts) <= busy:
            raise StoreBusy("node.db")
        return open_writer(url)

    _opened(open_engine).dispose()
    assert len(attempts) == busy + 1


def test_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jukinet.store.writer_main._BUSY_SECONDS", 0.1)

    def open_engine() -> Engine:
        raise StoreBusy("node.db")

    with pytest.raises(StoreBusy):
        _opened(open_engine)


async def test_a_terminal_that_ends_all_processes_does_not_end_this_one_before_its_node(url: str) -> None:
    async with begun(url) as writer:
        await writer.run(make)
        for each in (signal.SIGINT, signal.SIGTERM):
            writer._process.send_signal(each)
        await writer.run(partial(note, number=1))
    assert numbers(url) == [1]
