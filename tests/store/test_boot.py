"""A node finds at its start whether its database is the one with which it last ran."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine

from jukinet.store import journal
from jukinet.store.boot import Boot, MarkerFile, write_boot_id


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the marker lies."""
    return tmp_path / "register.boot"


def started(engine: Engine, path: Path) -> Boot:
    """A node's start, as far as marker and database go."""
    boot = Boot(MarkerFile(path))
    with engine.begin() as connection:
        boot_id = boot.begin(connection)
        if boot_id:
            write_boot_id(connection, boot_id)
    if boot_id:
        boot.settled()
    return boot


def sent(last: int) -> Callable[[Connection], None]:
    def write(connection: Connection) -> None:
        stream = journal.read_stream(connection)
        journal.write_stream(connection, replace(stream, last_sequence=last, chain=bytes(32)))

    return write


def do(engine: Engine, job: Callable[[Connection], None]) -> None:
    with engine.begin() as connection:
        job(connection)


def test_a_new_node_is_not_restored_nor_is_its_next_start(engine: Engine, path: Path) -> None:
    assert not started(engine, path).restored
    do(engine, sent(3))
    assert not started(engine, path).restored


def test_a_crash_at_any_step_of_the_first_start_is_no_restore(engine: Engine, path: Path) -> None:
    with engine.begin() as connection:
        assert Boot(MarkerFile(path)).begin(connection)  # the marker is written, the database is not
    assert not started(engine, path).restored
    boot = Boot(MarkerFile(path))
    with engine.begin() as connection:
        write_boot_id(connection, boot.begin(connection) or "")  # both are, and the marker does not know it yet
    assert not started(engine, path).restored


def test_a_marker_with_an_empty_database_is_a_restore(engine: Engine, path: Path) -> None:
    started(engine, path)
    do(engine, lambda connection: write_boot_id(connection, ""))
    assert started(engine, path).restored


def test_a_marker_with_another_database_is_a_restore(engine: Engine, path: Path) -> None:
    started(engine, path)
    do(engine, lambda connection: write_boot_id(connection, "f" * 32))
    assert started(engine, path).restored


def test_a_database_that_sent_something_and_has_no_marker_is_a_restore(engine: Engine, path: Path) -> None:
    started(engine, path)
    do(engine, sent(1))
    path.unlink()
    assert started(engine, path).restored
    assert started(engine, path).restored, "and stays one until it is complete"


def test_less_in_the_database_than_was_acknowledged_is_a_restore(engine: Engine, path: Path) -> None:
    boot = started(engine, path)
    do(engine, sent(3))
    boot.acknowledged(3)
    assert not started(engine, path).restored
    do(engine, sent(2))
    assert started(engine, path).restored


def test_an_empty_file_for_a_marker_lets_an_empty_database_wait_for_its_neighbour(engine: Engine, path: Path) -> None:
    path.touch()
    assert started(engine, path).restored
