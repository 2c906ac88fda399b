"""SQLite's write-ahead log stays short, whoever reads meanwhile."""

import threading
from collections.abc import Iterator
from itertools import pairwise

import pytest
from sqlalchemy import Engine, text

from jukinet.store.checkpoint import COPY_PAGES, Checkpoints
from jukinet.store.engine import open_reader, open_writer, wal_bytes

LIMIT = 1024 * 1024
PAGE_BYTES = 4096


@pytest.fixture
def engine(sqlite_url: str) -> Iterator[Engine]:
    opened = open_writer(sqlite_url)
    with opened.begin() as connection:
        connection.execute(text("CREATE TABLE blobs (data BLOB)"))
    yield opened
    opened.dispose()


def grow(engine: Engine) -> None:
    """Adds somewhat less than the limit to the log."""
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO blobs VALUES (zeroblob(:size))"), {"size": LIMIT * 3 // 4})


def test_the_log_is_emptied_above_its_limit_and_left_alone_below(engine: Engine, sqlite_url: str) -> None:
    checkpoints = Checkpoints(engine, limit_bytes=LIMIT)
    grow(engine)
    checkpoints.after_commit()
    assert 0 < wal_bytes(sqlite_url) < LIMIT
    grow(engine)
    checkpoints.after_commit()
    assert wal_bytes(sqlite_url) == 0


@pytest.mark.parametrize("pages", [4, 100])
def test_the_log_begins_anew_at_as_many_pages_however_many_a_commit_writes(
    engine: Engine, sqlite_url: str, pages: int
) -> None:
    checkpoints, copied_at = Checkpoints(engine), []
    for number in range(8 * COPY_PAGES // pages):
        with engine.begin() as connection:
            connection.execute(text("INSERT INTO blobs VALUES (zeroblob(:size))"), {"size": pages * PAGE_BYTES})
        copying = checkpoints._commits + 1 >= checkpoints._copy_at
        checkpoints.after_commit()
        if copying:
            copied_at.append(number)
    between = [pages * (late - early) for early, late in pairwise(copied_at)]
    assert 5 <= len(between) <= 14
    assert all(COPY_PAGES / 2 < each < COPY_PAGES * 1.1 for each in between[1:])
    assert 0 < wal_bytes(sqlite_url) < 2.2 * COPY_PAGES * PAGE_BYTES


@pytest.mark.parametrize("pages", [40, 100, 200])
def test_a_log_that_grows_faster_than_before_is_soon_copied_between_commits_again(
    engine: Engine, sqlite_url: str, pages: int
) -> None:
    checkpoints = Checkpoints(engine)
    checkpoints._copy_at = 10_000  # after a quiet night
    for _ in range(16 * COPY_PAGES // pages):
        with engine.begin() as connection:
            connection.execute(text("INSERT INTO blobs VALUES (zeroblob(:size))"), {"size": pages * PAGE_BYTES})
        checkpoints.after_commit()
    assert COPY_PAGES / 2 < pages * checkpoints._copy_at < COPY_PAGES * 1.1
    assert 0 < wal_bytes(sqlite_url) < 2.2 * COPY_PAGES * PAGE_BYTES


def test_a_reader_that_does_not_move_on_is_waited_for_only_when_the_log_has_grown_again(
    engine: Engine, sqlite_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoints = Checkpoints(engine, limit_bytes=LIMIT)
    reader = open_reader(sqlite_url)
    with reader.connect() as stuck:
        stuck.execute(text("SELECT count(*) FROM blobs")).scalar_one()
        for _ in range(6):
            grow(engine)
            checkpoints.after_commit()
    assert caplog.text.count("a reader keeps") == 3  # at 1.6, 3.2 and 4.8 times the limit
    stuck_at = wal_bytes(sqlite_url)
    assert stuck_at > LIMIT
    for _ in range(20):
        grow(engine)
        checkpoints.after_commit()
    assert wal_bytes(sqlite_url) < stuck_at + 2 * LIMIT
    reader.dispose()


def test_steady_reading_does_not_let_the_log_grow_without_end(engine: Engine, sqlite_url: str) -> None:
    checkpoints, reader = Checkpoints(engine, limit_bytes=LIMIT), open_reader(sqlite_url)
    reading, done = threading.Event(), threading.Event()

    def read_steadily() -> None:
        """Some transaction always reads: the next one begins before the last one ends."""
        older = reader.connect()
        while not done.is_set():
            newer = reader.connect()
            newer.execute(text("SELECT count(*) FROM blobs")).scalar_one()
            older.close()
            older = newer
            reading.set()
        older.close()

    thread = threading.Thread(target=read_steadily)
    thread.start()
    assert reading.wait(30)
    sizes = []
    for _ in range(40):
        grow(engine)
        checkpoints.after_commit()
        sizes.append(wal_bytes(sqlite_url))
    done.set()
    thread.join()
    reader.dispose()
    assert max(sizes) < 4 * LIMIT


def test_a_log_is_emptied_when_that_is_asked_for_however_short_it_is(engine: Engine, sqlite_url: str) -> None:
    checkpoints = Checkpoints(engine)
    grow(engine)
    checkpoints.after_commit()
    assert wal_bytes(sqlite_url) > 0
    checkpoints.empty_next()
    checkpoints.after_commit()
    assert wal_bytes(sqlite_url) == 0
    grow(engine)
    checkpoints.after_commit()
    assert wal_bytes(sqlite_url) > 0


def test_a_log_that_a_reader_keeps_is_emptied_when_he_has_gone(engine: Engine, sqlite_url: str) -> None:
    checkpoints, reader = Checkpoints(engine), open_reader(sqlite_url)
    grow(engine)
    with reader.connect() as connection:
        connection.execute(text("SELECT count(*) FROM blobs")).scalar_one()
        grow(engine)
        checkpoints.empty_next()
        checkpoints.after_commit()
        assert wal_bytes(sqlite_url) > 0
    reader.dispose()
    checkpoints.after_commit()
    assert wal_bytes(sqlite_url) == 0


def test_postgresql_keeps_its_own_log(postgresql_url: str) -> None:
    engine = open_writer(postgresql_url)
    Checkpoints(engine, limit_bytes=0).after_commit()
    engine.dispose()
