"""A commit means what the protocol promises, and one process writes."""

import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from jukinet.store.engine import disk_space, open_reader, open_writer, wal_bytes
from jukinet.store.errors import StoreBusy, StoreError
from jukinet.store.reading import read, read_soon

_OPEN = """
import sys
from jukinet.store.engine import open_writer
from jukinet.store.errors import StoreBusy
try:
    open_writer(sys.argv[1])
except StoreBusy as busy:
    print(busy)
else:
    print("opened")
"""


def opened_elsewhere(url: str) -> str:
    """What another process says when it opens the database for writing."""
    done = subprocess.run([sys.executable, "-c", _OPEN, url], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.strip()


def scalar(engine: Engine, statement: str) -> Any:
    with engine.connect() as connection:
        return connection.execute(text(statement)).scalar_one()


def make_table(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE notes (id INTEGER PRIMARY KEY, note TEXT NOT NULL)"))


def add_note(engine: Engine, number: int) -> None:
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO notes VALUES (:id, 'x')"), {"id": number})


def test_a_commit_is_on_disk_before_it_returns(engine: Engine) -> None:
    if engine.dialect.name == "sqlite":
        assert scalar(engine, "PRAGMA journal_mode") == "wal"
        assert scalar(engine, "PRAGMA synchronous") == 2
    else:
        assert scalar(engine, "SHOW synchronous_commit") == "on"


def test_deleted_rows_leave_no_trace_in_an_sqlite_file(sqlite_url: str) -> None:
    engine = open_writer(sqlite_url)
    assert scalar(engine, "PRAGMA secure_delete") == 1
    assert scalar(engine, "PRAGMA temp_store") == 2
    engine.dispose()


def test_a_setting_that_the_file_system_refuses_is_not_taken_for_granted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jukinet.store.engine._WRITER_PRAGMAS", {"journal_mode": "wal2"})
    with pytest.raises(StoreError, match="PRAGMA journal_mode"):
        open_writer(f"sqlite:///{tmp_path}/node.db")


def test_an_sqlite_database_is_readable_by_its_owner_alone(sqlite_url: str, tmp_path: Path) -> None:
    (tmp_path / "node.db").touch(0o644)
    engine = open_writer(sqlite_url)
    make_table(engine)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == dict.fromkeys(("node.db", "node.db-wal", "node.db-shm", "node.db.lock"), 0o600)
    engine.dispose()


def test_a_new_folder_for_the_database_is_closed_to_others(tmp_path: Path) -> None:
    open_writer(f"sqlite:///{tmp_path}/new/node.db").dispose()
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700


def test_a_second_process_is_refused(database_url: str) -> None:
    engine = open_writer(database_url)
    assert "another process has" in opened_elsewhere(database_url)
    engine.dispose()
    assert opened_elsewhere(database_url) == "opened"


def test_a_second_writer_in_the_same_process_is_refused(database_url: str) -> None:
    engine = open_writer(database_url)
    with pytest.raises(StoreBusy):
        open_writer(database_url)
    engine.dispose()
    engine.dispose()
    open_writer(database_url).dispose()


def test_a_second_writer_by_another_path_is_refused(sqlite_url: str, tmp_path: Path) -> None:
    engine = open_writer(sqlite_url)
    (tmp_path / "other").symlink_to(tmp_path)
    with pytest.raises(StoreBusy):
        open_writer(f"sqlite:///{tmp_path}/other/node.db")
    engine.dispose()


def test_an_engine_that_was_closed_must_win_the_database_again(sqlite_url: str) -> None:
    engine = open_writer(sqlite_url)
    make_table(engine)
    engine.dispose()
    successor = open_writer(sqlite_url)
    with pytest.raises(StoreBusy):
        add_note(engine, 1)
    successor.dispose()


def locks(server_url: str) -> int:
    with psycopg.connect(server_url) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = database "
            "WHERE locktype = 'advisory' AND datname = current_database() AND granted"
        ).fetchone()
    assert row
    return int(row[0])


def test_the_right_to_write_outlives_commits_and_failures(postgresql_url: str) -> None:
    engine = open_writer(postgresql_url)
    make_table(engine)
    add_note(engine, 1)
    with pytest.raises(DBAPIError):
        add_note(engine, 1)
    assert locks(postgresql_url) == 1
    engine.dispose()


def test_a_lost_connection_must_win_the_right_to_write_again(postgresql_url: str) -> None:
    engine = open_writer(postgresql_url)
    make_table(engine)
    cut(postgresql_url)
    with pytest.raises(DBAPIError):
        add_note(engine, 1)
    add_note(engine, 1)
    assert locks(postgresql_url) == 1
    cut(postgresql_url)
    with pytest.raises(DBAPIError):
        add_note(engine, 2)
    successor = open_writer(postgresql_url)
    with pytest.raises(StoreBusy):
        add_note(engine, 2)
    successor.dispose()
    add_note(engine, 2)
    engine.dispose()


def cut(url: str) -> None:
    """Ends the sessions of others in this database."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


def test_a_restarted_server_gives_the_right_to_write_anew(postgresql_server: Any, postgresql_url: str) -> None:
    engine = open_writer(postgresql_url)
    make_table(engine)
    postgresql_server.restart()
    assert locks(postgresql_url) == 0
    with pytest.raises(DBAPIError):
        add_note(engine, 1)
    add_note(engine, 1)
    assert locks(postgresql_url) == 1
    engine.dispose()


def test_a_server_that_forgets_at_a_power_cut_is_named(postgresql_url: str, caplog: pytest.LogCaptureFixture) -> None:
    open_writer(postgresql_url).dispose()
    assert "fsync=off" in caplog.text


def test_a_reader_cannot_write(engine: Engine, database_url: str) -> None:
    make_table(engine)
    reader = open_reader(database_url)
    with pytest.raises(DBAPIError):
        add_note(reader, 1)
    assert scalar(engine, "SELECT count(*) FROM notes") == 0
    reader.dispose()


def test_a_reader_sees_one_state_for_a_whole_transaction(engine: Engine, database_url: str) -> None:
    make_table(engine)
    reader = open_reader(database_url)
    count = text("SELECT count(*) FROM notes")
    with reader.connect() as connection:
        assert connection.execute(count).scalar_one() == 0
        add_note(engine, 1)
        assert connection.execute(count).scalar_one() == 0
    assert scalar(reader, "SELECT count(*) FROM notes") == 1
    reader.dispose()


def test_a_stopped_node_can_be_read(database_url: str) -> None:
    engine = open_writer(database_url)
    make_table(engine)
    add_note(engine, 1)
    engine.dispose()
    reader = open_reader(database_url)
    assert scalar(reader, "SELECT count(*) FROM notes") == 1
    reader.dispose()


async def test_a_node_that_stopped_leaves_all_of_it_in_one_file(sqlite_url: str, tmp_path: Path) -> None:
    """Whoever copies the file of a stopped node has everything, though he forgets the log beside it."""
    writer, reader = open_writer(sqlite_url), open_reader(sqlite_url)
    make_table(writer)
    await read_soon(reader, lambda connection: connection.execute(text("SELECT id FROM notes")).all())
    add_note(writer, 7)
    assert wal_bytes(writer.url) > 0
    reader.dispose()
    writer.dispose()
    assert wal_bytes(writer.url) == 0
    copy = shutil.copy(sqlite_url.removeprefix("sqlite:///"), tmp_path / "copy.db")
    copied = open_reader(f"sqlite:///{copy}")
    assert scalar(copied, "SELECT count(*) FROM notes") == 1
    copied.dispose()


def test_a_path_may_hold_any_character(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/100% 東京#1/node.db"
    engine = open_writer(url)
    make_table(engine)
    reader = open_reader(url)
    assert scalar(reader, "SELECT count(*) FROM notes") == 0
    reader.dispose()
    engine.dispose()


def test_a_failed_read_quotes_nothing(engine: Engine, database_url: str) -> None:
    reader = open_reader(database_url)
    with pytest.raises(StoreError) as caught:
        read(
            reader, lambda connection: connection.execute(text("SELECT CAST('山田花子' AS no_such_type) FROM nowhere"))
        )
    assert "山田" not in repr(caught.value) + str(caught.value)
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None
    reader.dispose()


def test_a_read_returns_what_was_asked_and_passes_other_failures_on(engine: Engine, database_url: str) -> None:
    reader = open_reader(database_url)
    assert read(reader, lambda connection: connection.execute(text("SELECT 7")).scalar_one()) == 7
    with pytest.raises(KeyError):
        read(reader, lambda _connection: os.environ["JUKINET_ABSENT"])
    reader.dispose()


def test_a_read_survives_a_restart_of_the_database(postgresql_server: Any, postgresql_url: str) -> None:
    reader = open_reader(postgresql_url)
    assert scalar(reader, "SELECT 7") == 7
    postgresql_server.restart()
    assert read(reader, lambda connection: connection.execute(text("SELECT 7")).scalar_one()) == 7
    reader.dispose()


def test_a_transaction_that_the_database_gave_up_is_not_taken_for_committed(engine: Engine) -> None:
    make_table(engine)

    def swallow_a_failure() -> None:
        with engine.begin() as connection:
            connection.execute(text("INSERT INTO notes VALUES (1, 'x')"))
            if engine.dialect.name == "sqlite":
                connection.execute(text("ROLLBACK"))  # as SQLite does by itself when its disk is full
            else:
                with pytest.raises(DBAPIError):
                    connection.execute(text("INSERT INTO notes VALUES (1, 'x')"))

    with pytest.raises(StoreError, match="transaction lost"):
        swallow_a_failure()
    assert scalar(engine, "SELECT count(*) FROM notes") == 0


def test_a_database_that_is_not_there_is_an_error_without_its_values(tmp_path: Path) -> None:
    (tmp_path / "node.db").write_bytes(b"not a database, but long enough to be looked at" * 100)
    with pytest.raises(StoreError, match="SQLITE_NOTADB"):
        open_writer(f"sqlite:///{tmp_path}/node.db")
    with pytest.raises(StoreError):
        open_writer(f"postgresql://nobody:secret@/none?host={tmp_path}")
    reader = open_reader(f"sqlite:///{tmp_path}/absent.db")
    with pytest.raises(StoreError, match="SQLITE_CANTOPEN"):
        read(reader, lambda connection: connection.execute(text("SELECT 1")))


@pytest.mark.parametrize("url", ["mysql://host/db", "sqlite://", "sqlite:///:memory:"])
def test_other_databases_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match="write"):
        open_writer(url)
    with pytest.raises(ValueError, match="write"):
        open_reader(url)


def test_space_is_told_for_sqlite_and_left_to_postgresql(sqlite_url: str, tmp_path: Path) -> None:
    assert wal_bytes(sqlite_url) == 0
    engine = open_writer(sqlite_url)
    make_table(engine)
    assert wal_bytes(sqlite_url) == (tmp_path / "node.db-wal").stat().st_size > 0
    free, total = disk_space(sqlite_url) or (0, 0)
    assert 0 < free <= total == os.statvfs(tmp_path).f_blocks * os.statvfs(tmp_path).f_frsize
    assert wal_bytes("postgresql://host/db") == 0
    assert disk_space("postgresql://host/db") is None
    engine.dispose()


def test_an_old_sqlite_library_is_named(sqlite_url: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        open_writer(sqlite_url).dispose()
    assert (sqlite3.sqlite_version in caplog.text) == (sqlite3.sqlite_version_info < (3, 51, 3))
