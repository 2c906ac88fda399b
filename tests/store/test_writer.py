"""Group commit: what is handed out is on disk, and who fails, fails alone."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.exc import StatementError

from jukinet.store.engine import open_writer
from jukinet.store.errors import StoreBusy, StoreError
from jukinet.store.writer import GROUP_JOBS, Writer, WriterClosed

Job = Callable[[Connection], Any]


class Gate:
    """A job that keeps the writer busy until it is opened, so that others wait together."""

    def __init__(self) -> None:
        self.reached, self.opened = threading.Event(), threading.Event()

    def __call__(self, _connection: Connection) -> None:
        self.reached.set()
        assert self.opened.wait(30)


def note(number: int, words: str = "x") -> Job:
    def insert(connection: Connection) -> int:
        connection.execute(text("INSERT INTO notes VALUES (:id, :note)"), {"id": number, "note": words})
        return number

    return insert


def numbers(url: str) -> list[int]:
    """What another connection finds."""
    query = "SELECT id FROM notes ORDER BY id"
    if url.startswith("sqlite"):
        found = sqlite3.connect(url.removeprefix("sqlite:///"))
        rows = found.execute(query).fetchall()
        found.close()
        return [row[0] for row in rows]
    with psycopg.connect(url) as connection:
        return [row[0] for row in connection.execute(query)]


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    opened = open_writer(database_url)
    with opened.begin() as connection:
        connection.execute(text("CREATE TABLE notes (id INTEGER PRIMARY KEY, note VARCHAR(100) NOT NULL)"))
    yield opened
    opened.dispose()


@pytest.fixture
def writer(engine: Engine) -> Iterator[Writer]:
    opened = Writer(engine)
    yield opened
    opened.close()


def test_a_result_is_handed_out_only_when_another_connection_finds_it(writer: Writer, database_url: str) -> None:
    for number in range(20):
        assert writer.submit(note(number)).result(30) == number
        assert numbers(database_url) == list(range(number + 1))


@pytest.fixture
def one_group(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long it takes, what waits goes into one transaction."""
    monkeypatch.setattr("jukinet.store.writer.GROUP_SECONDS", 3600)


def commits_of(engine: Engine, jobs: list[Job], *, limit: int = GROUP_JOBS) -> list[int]:
    """How many jobs each commit holds; the first job holds the writer up until all the others wait."""
    commits: list[int] = []
    writer, gate = Writer(engine, on_commit=lambda jobs, _seconds: commits.append(jobs), limit=limit), Gate()
    futures = [writer.submit(gate)]
    assert gate.reached.wait(30)
    futures += [writer.submit(job) for job in jobs]
    gate.opened.set()
    writer.close()
    for future in futures:
        future.result(0)
    return commits


@pytest.mark.usefixtures("one_group")
def test_what_waits_together_shares_a_commit_in_order(engine: Engine, database_url: str) -> None:
    order: list[int] = []

    def job(number: int) -> Job:
        return lambda _connection: order.append(number)

    assert commits_of(engine, [job(number) for number in range(40)]) == [41]
    assert order == list(range(40))


@pytest.mark.usefixtures("one_group")
def test_a_group_has_a_limit(engine: Engine) -> None:
    assert commits_of(engine, [note(number) for number in range(GROUP_JOBS)]) == [GROUP_JOBS, 1]


@pytest.mark.usefixtures("one_group")
def test_the_limit_may_be_one_job(engine: Engine) -> None:
    assert commits_of(engine, [note(number) for number in range(3)], limit=1) == [1, 1, 1, 1]


def test_a_group_ends_after_a_time(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jukinet.store.writer.GROUP_SECONDS", 0)
    assert commits_of(engine, [note(1), note(2)]) == [1, 1, 1]


def together(engine: Engine, jobs: list[Job]) -> list[Any]:
    """Runs jobs in one transaction, and gives for each its result or what it raised."""
    writer, gate = Writer(engine), Gate()
    futures = [writer.submit(gate)]
    assert gate.reached.wait(30)
    futures += [writer.submit(job) for job in jobs]
    gate.opened.set()
    writer.close()
    return [future.exception() or future.result() for future in futures[1:]]


@pytest.mark.usefixtures("one_group")
def test_a_job_that_raises_fails_alone(engine: Engine, database_url: str) -> None:
    def fail(connection: Connection) -> None:
        note(7)(connection)
        raise KeyError("mine")

    answers = together(engine, [note(1), fail, note(2)])
    assert answers[0] == 1
    assert isinstance(answers[1], KeyError)
    assert answers[2] == 2
    assert numbers(database_url) == [1, 2]


@pytest.mark.usefixtures("one_group")
def test_a_row_that_the_database_refuses_fails_alone_and_is_not_quoted(engine: Engine, database_url: str) -> None:
    answers = together(engine, [note(1), note(1, "山田花子"), note(2)])
    assert answers[0] == 1
    assert answers[2] == 2
    refused = answers[1]
    assert isinstance(refused, StoreError)
    assert refused.__cause__ is refused.__context__ is None
    assert "山田" not in repr(refused)
    assert "(1)" not in repr(refused)
    assert refused.kind in ("IntegrityError SQLITE_CONSTRAINT_PRIMARYKEY", "UniqueViolation 23505")
    assert numbers(database_url) == [1, 2]


def test_a_value_that_the_database_cannot_take_is_not_quoted(writer: Writer) -> None:
    future = writer.submit(note("山田花子"))  # type: ignore[arg-type]
    failure = future.exception(30)
    assert isinstance(failure, StoreError)
    assert "山田" not in repr(failure)


@pytest.mark.usefixtures("one_group")
def test_when_a_commit_fails_everybody_hears_of_it_and_nobody_runs_again(engine: Engine, database_url: str) -> None:
    ran: list[int] = []
    event.listen(engine, "commit", _refuse_to_commit, once=True)

    def job(number: int) -> Job:
        def run(connection: Connection) -> None:
            ran.append(number)
            note(number)(connection)

        return run

    answers = together(engine, [job(1), job(2)])
    assert [type(answer) for answer in answers] == [StoreError, StoreError]
    assert ran == [1, 2]
    assert numbers(database_url) == []


def _refuse_to_commit(_connection: Connection) -> None:
    raise StatementError("", None, None, OSError())


def test_a_restarted_database_fails_no_job_that_had_not_been_committed(
    postgresql_server: Any, postgresql_url: str
) -> None:
    engine = open_writer(postgresql_url)
    writer = Writer(engine)
    writer.submit(lambda connection: connection.execute(text("CREATE TABLE notes (id INTEGER, note TEXT)"))).result(30)
    writer.submit(note(1)).result(30)
    postgresql_server.restart()
    assert writer.submit(note(2)).result(30) == 2
    assert numbers(postgresql_url) == [1, 2]
    writer.close()
    engine.dispose()


@pytest.mark.usefixtures("one_group")
def test_when_another_process_took_the_database_over_nobody_writes(postgresql_server: Any, postgresql_url: str) -> None:
    engine = open_writer(postgresql_url)
    postgresql_server.restart()
    successor = open_writer(postgresql_url)
    answers = together(engine, [note(1), note(2), note(3)])
    assert [type(answer) for answer in answers] == [StoreBusy] * 3
    writer = Writer(engine)
    assert isinstance(writer.submit(note(4)).exception(30), StoreBusy)
    writer.close()
    successor.dispose()
    engine.dispose()


async def test_a_cancelled_job_that_still_waits_does_not_run(writer: Writer, database_url: str) -> None:
    gate = Gate()
    blocking = asyncio.create_task(writer.run(gate))
    await asyncio.to_thread(gate.reached.wait, 30)
    waiting = asyncio.create_task(writer.run(note(1)))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    kept = asyncio.create_task(writer.run(note(2)))
    await asyncio.sleep(0)
    gate.opened.set()
    await blocking
    assert await kept == 2
    assert numbers(database_url) == [2]


async def test_a_job_that_runs_when_it_is_cancelled_is_kept_whole(writer: Writer, database_url: str) -> None:
    gate = Gate()

    def job(connection: Connection) -> None:
        note(1)(connection)
        gate(connection)
        note(2)(connection)

    running = asyncio.create_task(writer.run(job))
    await asyncio.to_thread(gate.reached.wait, 30)
    running.cancel()
    gate.opened.set()
    assert await writer.run(note(3)) == 3
    assert numbers(database_url) == [1, 2, 3]


async def test_closing_finishes_what_was_handed_in(engine: Engine, database_url: str) -> None:
    writer = Writer(engine)
    futures = [writer.submit(note(number)) for number in range(300)]
    writer.close()
    writer.close()
    assert [future.result(0) for future in futures] == list(range(300))
    assert numbers(database_url) == list(range(300))
    with pytest.raises(WriterClosed):
        await writer.run(note(300))


def test_closing_an_idle_writer_ends_it(engine: Engine) -> None:
    writer = Writer(engine)
    writer.submit(lambda _connection: None).result(30)
    writer.close()
    assert not writer._thread.is_alive()


def test_a_broken_metric_stops_no_write(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    def broken(_jobs: int, _seconds: float) -> None:
        raise ZeroDivisionError

    writer = Writer(engine, on_commit=broken)
    assert writer.submit(note(1)).result(30) == 1
    assert writer.submit(note(2)).result(30) == 2
    writer.close()
    assert "ZeroDivisionError" in caplog.text
