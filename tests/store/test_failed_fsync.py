"""A failed fsync ends the writer: nothing is written behind it, and a new process begins by writing the log again."""

import asyncio
import platform
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import text

from jukinet.store.engine import open_writer, wal_bytes
from jukinet.store.errors import StorageFailed
from jukinet.store.writer import Writer

_FAILING_DISK = """
import asyncio, sys
from pathlib import Path
from sqlalchemy import text
from jukinet.store.engine import open_reader, open_writer
from jukinet.store.reading import read
from jukinet.store.writer import Writer
sys.path.insert(0, sys.argv[2])
from failing_disk import fail_from_now_on

engine = open_writer(sys.argv[1])
writer = Writer(engine)
def job(words):
    return lambda connection: connection.execute(text(words))
writer.submit(job("CREATE TABLE notes (id INTEGER PRIMARY KEY)")).result()
writer.submit(job("INSERT INTO notes VALUES (1)")).result()
fail_from_now_on()
print(repr(writer.submit(job("INSERT INTO notes VALUES (2)")).exception()))
print(repr(writer.submit(job("INSERT INTO notes VALUES (3)")).exception()))
try:
    asyncio.run(writer.watch())
except Exception as failure:
    print(repr(failure))
count = text("SELECT count(*) FROM notes")
print(read(open_reader(sys.argv[1]), lambda connection: connection.execute(count).scalar_one()))
"""

needs_seccomp = pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"), reason="needs seccomp on Linux, x86-64"
)


@needs_seccomp
def test_after_a_failed_fsync_nothing_is_written_and_the_node_is_told_to_end(sqlite_url: str) -> None:
    faults = Path(__file__).parents[1] / "faults"
    done = subprocess.run(
        [sys.executable, "-c", _FAILING_DISK, sqlite_url, str(faults)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    *failures, count = done.stdout.splitlines()
    assert failures == [repr(StorageFailed("OperationalError SQLITE_IOERR_FSYNC"))] * 3
    assert count == "1"


def test_an_io_error_of_postgresql_ends_the_writer_as_a_failed_fsync_does(postgresql_url: str) -> None:
    engine = open_writer(postgresql_url)
    writer = Writer(engine)
    words = text("DO $$ BEGIN RAISE EXCEPTION 'could not write' USING ERRCODE = 'io_error'; END $$")
    told = [writer.submit(lambda connection: connection.execute(words)).exception(30)]
    told.append(writer.submit(lambda connection: connection.execute(text("SELECT 1"))).exception(30))
    assert [repr(each) for each in told] == [repr(StorageFailed("IoError 58030"))] * 2
    with pytest.raises(StorageFailed):
        asyncio.run(asyncio.wait_for(writer.watch(), 30))
    writer.close()
    engine.dispose()


def test_a_writer_begins_by_copying_the_log_into_the_database(sqlite_url: str) -> None:
    path = Path(sqlite_url.removeprefix("sqlite:///"))
    script = (
        "import os, sys; from sqlalchemy import text; from jukinet.store.engine import open_writer\n"
        "connection = open_writer(sys.argv[1]).connect()\n"
        "with connection.begin(): connection.execute(text('CREATE TABLE notes (id INTEGER PRIMARY KEY)'))\n"
        "os._exit(0)  # leaves the log behind, as a crash does\n"
    )
    subprocess.run([sys.executable, "-c", script, sqlite_url], check=True, timeout=60)
    assert wal_bytes(sqlite_url) > 0
    engine = open_writer(sqlite_url)
    writer = Writer(engine)
    assert wal_bytes(sqlite_url) == 0
    assert b"notes" in path.read_bytes()
    writer.submit(lambda connection: connection.execute(text("INSERT INTO notes VALUES (1)"))).result(30)
    writer.close()
    engine.dispose()
