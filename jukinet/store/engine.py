"""Opening a node's database so that a commit means what the protocol promises.

Rule 1: a commit is on disk before it returns. SQLite: WAL with `synchronous=FULL`; PostgreSQL: `synchronous_commit=on`.
Rule 2: one process and one connection write. SQLite before 3.51.3 can corrupt a WAL file when two connections write or
checkpoint at the same moment. The connection that writes holds a lock for as long as it lives (a lock file; an advisory
lock of PostgreSQL), so whoever loses the connection loses the right to write with it, and must win the lock again.
Rule 3: a transaction that the database gave up is never taken for a committed one.
"""

import fcntl
import logging
import os
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Dialect, Engine, create_engine, event, make_url
from sqlalchemy.engine import URL, ExceptionContext
from sqlalchemy.exc import StatementError
from sqlalchemy.pool import QueuePool, StaticPool

from jukinet.store.errors import StoreBusy, StoreError, without_values
from jukinet.store.statement import no_text, run_on_driver

log = logging.getLogger(__name__)

BUSY_TIMEOUT_MS = 10_000
_CONNECT_SECONDS = 10
_FIXED_SQLITE = (3, 51, 3)
_WAL_KEPT_BYTES = 16 * 1024 * 1024  # the WAL file is cut to this when it starts anew
_ADVISORY_KEY = 0x6A756B69  # "juki": one writing process a PostgreSQL database
_LOCK_NOT_AVAILABLE = "55P03"

_WRITER_PRAGMAS: Mapping[str, str | int] = {
    "journal_mode": "wal",
    "synchronous": 2,  # FULL
    "foreign_keys": 1,
    "temp_store": 2,  # in memory: no personal data in temporary files
    "secure_delete": 1,
    "journal_size_limit": _WAL_KEPT_BYTES,
    # In pages. Whoever waits for a commit would wait for the copy too: the writer copies sooner, between two commits.
    "wal_autocheckpoint": 4096,
    # In KiB where negative. A large transaction moves pages of every index; one that outgrows the cache writes many of
    # them to the log several times.
    "cache_size": -65536,
}
_READER_PRAGMAS = {"query_only": 1, "temp_store": 2, "cache_size": -16384}

# Keepalives: a server that lost sight of this process must free its lock within a minute.
_WRITER_SETTINGS = (
    "-c synchronous_commit=on -c tcp_keepalives_idle=20 -c tcp_keepalives_interval=10 -c tcp_keepalives_count=3"
)
# One snapshot a transaction, as SQLite gives it.
_READER_SETTINGS = "-c default_transaction_read_only=on -c default_transaction_isolation=repeatable\\ read"


def open_writer(url: str) -> Engine:
    """Opens the one connection that writes and checkpoints.

    Args:
        url: `sqlite:////absolute/path.db` or `postgresql://user@host/database`.

    Returns:
        An engine with that connection; `dispose` closes it and frees the database for another process.

    Raises:
        StoreBusy: another process writes this database.
        StoreError: the database cannot be opened.
        ValueError: any other kind of database.
    """
    parsed = make_url(url)
    engine = _sqlite_writer(parsed) if _is_sqlite(parsed) else _postgresql_writer(parsed)
    event.listen(engine, "commit", _refuse_lost_transaction)
    failure: StoreError | None = None
    try:
        engine.connect().close()
    except StatementError as error:
        failure = without_values(error)
    except StoreError as error:
        failure = error
    if failure:
        engine.dispose()
        raise failure
    return engine


def open_reader(url: str) -> Engine:
    """Makes an engine whose connections can only read; each transaction sees one state of the database.

    Args:
        url: as in `open_writer`. Nothing is opened yet.

    Raises:
        ValueError: any other kind of database.
    """
    parsed = make_url(url)
    if _is_sqlite(parsed):
        return _sqlite_reader(parsed)
    return _psycopg(parsed, _READER_SETTINGS)


def _is_sqlite(url: URL) -> bool:
    kind = url.get_backend_name()
    if kind not in ("sqlite", "postgresql"):
        raise ValueError(f"{kind} databases are not supported; write sqlite:////path.db or postgresql://host/name")
    return kind == "sqlite"


def _psycopg(url: URL, settings: str, **more: Any) -> Engine:
    engine = create_engine(
        url.set(drivername="postgresql+psycopg"),
        hide_parameters=True,
        connect_args={"options": settings, "connect_timeout": _CONNECT_SECONDS},
        **more,
    )
    event.listen(engine, "handle_error", _take_for_damage)
    return engine


def _take_for_damage(context: ExceptionContext) -> StatementError | None:
    """Makes of a text that is none, which psycopg tells by an error that is none of its own, a failed statement."""
    error = context.original_exception
    return no_text(error) if isinstance(error, UnicodeDecodeError) else None


def _sqlite_writer(url: URL) -> Engine:
    path = _sqlite_path(url)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = _FileLock(path)
    if sqlite3.sqlite_version_info < _FIXED_SQLITE:
        log.info("SQLite %s can corrupt a WAL file that two connections write; here one writes", sqlite3.sqlite_version)

    def connect() -> sqlite3.Connection:
        lock.take()
        if not path.exists():  # An existing file stays closed: closing it would free SQLite's own locks on it.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        path.chmod(0o600)
        connection = _connected(str(path), _WRITER_PRAGMAS)
        _write_again(connection)
        return connection

    engine = create_engine(url.set(database=str(path)), creator=connect, hide_parameters=True, poolclass=StaticPool)
    event.listen(engine, "begin", lambda connection: run_on_driver(connection, "BEGIN IMMEDIATE"))
    event.listen(engine, "engine_disposed", lambda _engine: lock.free())
    return engine


def _write_again(connection: sqlite3.Connection) -> None:
    """Copies the whole log into the database before anything is acknowledged again.

    After a failed fsync the log may be right in memory and missing on disk, and what is read from it would be taken
    for safe. The copy is written and synced anew. Without room for it a node starts all the same, to be read.
    """
    try:
        held_back, _pages, _copied = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.Error as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_FULL:
            connection.close()
            raise
        held_back = True
    if held_back:
        log.warning("the write-ahead log could not be emptied before the first commit")


def _sqlite_reader(url: URL) -> Engine:
    path = _sqlite_path(url)

    def connect() -> sqlite3.Connection:
        return _connected(f"{path.as_uri()}?mode=ro", _READER_PRAGMAS)

    engine = create_engine(url.set(database=str(path)), creator=connect, hide_parameters=True, poolclass=QueuePool)
    event.listen(engine, "begin", lambda connection: run_on_driver(connection, "BEGIN"))
    return engine


def _connected(database: str, pragmas: Mapping[str, str | int]) -> sqlite3.Connection:
    connection = sqlite3.connect(
        database,
        uri=database.startswith("file:"),
        isolation_level=None,
        check_same_thread=False,
        timeout=BUSY_TIMEOUT_MS / 1e3,
    )
    try:
        for name, value in pragmas.items():
            connection.execute(f"PRAGMA {name}={value}")
            (in_force,) = connection.execute(f"PRAGMA {name}").fetchone()
            if in_force != value:
                raise StoreError(f"PRAGMA {name} is {in_force}, not {value}")
    except BaseException:
        connection.close()
        raise
    return connection


def _sqlite_path(url: URL) -> Path:
    if not url.database or url.database == ":memory:":
        raise ValueError("a node's SQLite database is a file: write sqlite:////absolute/path.db")
    return Path(url.database).resolve()


class _FileLock:
    """Which process may write an SQLite database. The file stays: if removed, two processes could hold two locks."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self._handle: int | None = None

    def take(self) -> None:
        if self._handle is not None:
            return
        handle = os.open(f"{self._database}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            raise StoreBusy(self._database.name) from None
        self._handle = handle

    def free(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def _postgresql_writer(url: URL) -> Engine:
    engine = _psycopg(url, _WRITER_SETTINGS, poolclass=StaticPool)
    event.listen(engine, "do_connect", _connect_and_lock)
    return engine


def _connect_and_lock(dialect: Dialect, _record: Any, arguments: list[Any], named: dict[str, Any]) -> Any:
    """Connects and wins the advisory lock, which lives as long as the connection."""
    connection: Any = dialect.connect(*arguments, **named)
    try:
        # A server frees the lock of a process that has just ended a moment later: so wait a little.
        connection.execute("SET lock_timeout = '2s'")
        connection.execute("SELECT pg_advisory_lock(%s)", (_ADVISORY_KEY,))
        connection.execute("RESET lock_timeout")
        if connection.execute("SHOW fsync").fetchone() == ("off",):
            log.warning("PostgreSQL runs with fsync=off: a power cut can lose what it acknowledged")
        connection.commit()
    except BaseException as error:
        connection.close()
        if getattr(error, "sqlstate", None) == _LOCK_NOT_AVAILABLE:
            raise StoreBusy("this PostgreSQL database") from None
        raise
    return connection


def _refuse_lost_transaction(connection: Connection) -> None:
    """SQLite ends a transaction by itself after some errors; PostgreSQL answers COMMIT of a failed one with ROLLBACK.

    Neither driver tells, so a job that swallowed the error would be acknowledged though nothing is on disk.
    """
    driver: Any = connection.connection.driver_connection
    if connection.dialect.name == "sqlite":
        lost = not driver.in_transaction
    else:
        lost = driver.info.transaction_status.name not in ("INTRANS", "IDLE")  # idle: nothing was asked of it
    if lost:
        raise StoreError("transaction lost")


def wal_bytes(url: str | URL) -> int:
    """Size of the write-ahead log of an SQLite database, in bytes; 0 for PostgreSQL."""
    parsed = make_url(url)
    if not _is_sqlite(parsed):
        return 0
    try:
        return os.stat(f"{parsed.database}-wal").st_size
    except FileNotFoundError:
        return 0


def disk_space(url: str) -> tuple[int, int] | None:
    """Free and total bytes of the file system that an SQLite database lies on.

    None for PostgreSQL, which guards its own.
    """
    parsed = make_url(url)
    if not _is_sqlite(parsed):
        return None
    stat = os.statvfs(_sqlite_path(parsed).parent)
    return stat.f_bavail * stat.f_frsize, stat.f_blocks * stat.f_frsize
