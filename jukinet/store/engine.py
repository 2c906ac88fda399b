"""Opening a node's database so that a commit means what the protocol promises.

SQLite: WAL, `synchronous=FULL` (a commit is on disk before it returns), one connection that writes and checkpoints,
readers that can only read. SQLite before 3.51.3 can corrupt a WAL file when two connections write or checkpoint at the
same moment; one writer connection and one process a file rule that out. PostgreSQL: `synchronous_commit=on`, psycopg 3.
"""

import fcntl
import logging
import os
import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.engine import URL
from sqlalchemy.pool import QueuePool, StaticPool

from jukinet.store.errors import StoreBusy

log = logging.getLogger(__name__)

_BUSY_TIMEOUT_MS = 10_000
_ADVISORY_KEY = 0x6A756B69  # "juki": one writing process a PostgreSQL database


def open_writer(url: str) -> Engine:
    """Engine with the one connection that writes and checkpoints.

    Raises StoreBusy when another process writes this database.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return _sqlite_writer(parsed)
    engine = create_engine(_psycopg(parsed), hide_parameters=True, poolclass=StaticPool)
    _lock_postgresql(engine)
    return engine


def open_reader(url: str) -> Engine:
    """Engine whose connections can only read."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return _sqlite_reader(parsed)
    return create_engine(
        _psycopg(parsed),
        hide_parameters=True,
        connect_args={"options": "-c default_transaction_read_only=on"},
    )


def _psycopg(url: URL) -> URL:
    return url.set(drivername="postgresql+psycopg")


def _sqlite_writer(url: URL) -> Engine:
    path = _sqlite_path(url)
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = _lock_file(path)
    if sqlite3.sqlite_version_info < (3, 51, 3):
        log.info("SQLite library is older than 3.51.3; safe here because one connection writes")

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(
            path, isolation_level=None, check_same_thread=False, timeout=_BUSY_TIMEOUT_MS / 1e3
        )
        os.chmod(path, 0o600)
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            "temp_store=MEMORY",
            "secure_delete=ON",
        ):
            connection.execute(f"PRAGMA {pragma}")
        return connection

    engine = create_engine("sqlite://", creator=connect, hide_parameters=True, poolclass=StaticPool)
    event.listen(engine, "begin", _begin_immediate)
    event.listen(engine, "engine_disposed", lambda _engine: os.close(lock))
    return engine


def _sqlite_reader(url: URL) -> Engine:
    path = _sqlite_path(url)

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"file:{path}?mode=ro",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            timeout=_BUSY_TIMEOUT_MS / 1e3,
        )
        connection.execute("PRAGMA query_only=ON")
        connection.execute("PRAGMA temp_store=MEMORY")
        return connection

    engine = create_engine("sqlite://", creator=connect, hide_parameters=True, poolclass=QueuePool)
    event.listen(engine, "begin", _begin_deferred)
    return engine


def _begin_immediate(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _begin_deferred(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")


def _sqlite_path(url: URL) -> Path:
    if not url.database or url.database == ":memory:":
        raise ValueError("a node's SQLite database is a file: write sqlite:////absolute/path.db")
    return Path(url.database)


def _lock_file(path: Path) -> int:
    handle = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise StoreBusy(f"another process has {path.name} open for writing; stop it first") from None
    return handle


def _lock_postgresql(engine: Engine) -> None:
    with engine.connect() as connection:
        got = connection.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": _ADVISORY_KEY}).scalar_one()
        connection.execute(text("SET synchronous_commit = on"))
        connection.commit()
    if not got:
        engine.dispose()
        raise StoreBusy("another process has this PostgreSQL database open for writing; stop it first")


def wal_bytes(url: str) -> int:
    """Size of the write-ahead log of an SQLite database, in bytes; 0 for PostgreSQL."""
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return 0
    wal = Path(f"{_sqlite_path(parsed)}-wal")
    return wal.stat().st_size if wal.exists() else 0


def free_bytes(url: str) -> int | None:
    """Free space where an SQLite database lies, in bytes; None for PostgreSQL, which guards its own."""
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return None
    stat: Any = os.statvfs(_sqlite_path(parsed).parent)
    return int(stat.f_bavail * stat.f_frsize)
