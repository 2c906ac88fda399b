"""A full disk, or one that fails: nothing is half-written, and writing goes on once it can."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, func, select, text

from jukinet.store.engine import open_writer
from jukinet.store.errors import StorageFull, StoreError
from jukinet.store.migrate import REGISTER, ensure_schema
from jukinet.store.register import apply_arrivals
from jukinet.store.schema import history, residents
from jukinet.store.writer import Writer

BATCH = 20
Take = Callable[[int], Callable[[Connection], None]]


@pytest.fixture
def take(change: Callable[..., Any], arrive: Callable[..., Any]) -> Take:
    """The n-th batch of new residents, with long addresses."""

    def batch(number: int) -> Callable[[Connection], None]:
        people = range(number * BATCH, (number + 1) * BATCH)
        arrivals = [arrive(change(person, 1, town="長い町名" * 40)) for person in people]

        def job(connection: Connection) -> None:
            assert apply_arrivals(connection, arrivals, scope="", now_us=0).outcomes == [None] * BATCH

        return job

    return batch


def batches_on_disk(engine: Engine) -> float:
    """How many batches are there; each must be there whole."""
    with engine.connect() as connection:
        assert connection.execute(text("PRAGMA integrity_check")).scalar_one() == "ok"
        counts = {
            connection.execute(select(func.count()).select_from(table)).scalar_one() for table in (residents, history)
        }
    (count,) = counts
    return float(count) / BATCH


def fill(writer: Writer, take: Take, first: int) -> int:
    """Takes batches until the disk is full; how many were acknowledged."""
    for number in range(first, first + 1000):
        failure = writer.submit(take(number)).exception(30)
        if failure is not None:
            assert isinstance(failure, StorageFull), failure
            return number - first
    raise AssertionError("the disk was never full")


def test_a_full_database_keeps_what_was_acknowledged_and_goes_on_when_there_is_room(
    sqlite_url: str, take: Take
) -> None:
    engine = open_writer(sqlite_url)
    ensure_schema(engine, REGISTER)
    limit(engine, 200)
    writer = Writer(engine)
    taken = fill(writer, take, 0)
    assert taken > 0
    assert batches_on_disk(engine) == taken
    limit(engine, 100_000)
    writer.submit(take(500)).result(30)
    assert batches_on_disk(engine) == taken + 1
    writer.close()
    engine.dispose()


def limit(engine: Engine, pages: int) -> None:
    with engine.connect() as connection:
        connection.execute(text(f"PRAGMA max_page_count={pages}"))


@pytest.mark.usefixtures("one_group")
def test_on_a_full_disk_each_job_hears_its_own_fate(sqlite_url: str, take: Take) -> None:
    engine = open_writer(sqlite_url)
    ensure_schema(engine, REGISTER)
    limit(engine, 200)
    writer = Writer(engine)
    futures = [writer.submit(take(number)) for number in range(60)]
    futures.append(writer.submit(needs_no_room))
    failures = [future.exception(30) for future in futures]
    acknowledged = [failure for failure in failures[:60] if failure is None]
    assert {type(failure) for failure in failures[:60]} == {StorageFull, type(None)}
    assert failures[60] is None
    assert batches_on_disk(engine) == len(acknowledged)
    writer.close()
    engine.dispose()


def needs_no_room(connection: Connection) -> None:
    connection.execute(text("SELECT 1"))


@pytest.fixture
def one_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jukinet.store.writer.GROUP_SECONDS", 3600)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of two megabytes."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = os.geteuid() == 0 and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk], check=False, capture_output=True
    )
    if not mounted or mounted.returncode:
        pytest.skip("needs the right to mount a small tmpfs")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


def test_a_full_file_system_keeps_what_was_acknowledged_and_goes_on_when_there_is_room(
    small_disk: Path, take: Take
) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(700_000))
    engine = open_writer(f"sqlite:///{small_disk}/node.db")
    ensure_schema(engine, REGISTER)
    writer = Writer(engine)
    taken = fill(writer, take, 0)
    assert batches_on_disk(engine) == taken
    ballast.unlink()
    taken += fill(writer, take, 100)
    assert taken > 1
    writer.close()
    engine.dispose()
    again = open_writer(f"sqlite:///{small_disk}/node.db")
    assert batches_on_disk(again) == taken
    again.dispose()


_BROKEN_DISK = """
import resource, sys
from sqlalchemy import text
from jukinet.store.engine import open_writer
from jukinet.store.writer import Writer
engine = open_writer(sys.argv[1])
writer = Writer(engine)
def job(size):
    return lambda connection: connection.execute(text("INSERT INTO blobs VALUES (zeroblob(:size))"), {"size": size})
writer.submit(lambda connection: connection.execute(text("CREATE TABLE blobs (data BLOB)"))).result()
writer.submit(job(1000)).result()
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))  # writes behind this fail
print(repr(writer.submit(job(1_000_000)).exception()))
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
writer.submit(job(1000)).result()
print(writer.submit(lambda connection: connection.execute(text("SELECT count(*) FROM blobs")).scalar_one()).result())
writer.close()
"""


def test_a_disk_that_fails_loses_nothing_that_was_acknowledged(sqlite_url: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _BROKEN_DISK, sqlite_url], capture_output=True, text=True, check=True, timeout=60
    )
    failure, count = done.stdout.splitlines()
    assert failure == repr(StoreError("OperationalError SQLITE_IOERR_WRITE"))
    assert count == "2"
