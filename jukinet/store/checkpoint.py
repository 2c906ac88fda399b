"""Keeping SQLite's write-ahead log short.

SQLite copies the log into the database at a commit once it has 1,000 pages, and starts it anew at a moment when nobody
reads from it. Under steady reading there is no such moment, and the log would grow without end. So above a limit the
writer, which alone may checkpoint, waits shortly for the readers to move on.
"""

import logging

from sqlalchemy import Engine

from jukinet.store.engine import BUSY_TIMEOUT_MS, wal_bytes

log = logging.getLogger(__name__)

WAL_LIMIT_BYTES = 16 * 1024 * 1024
_PATIENCE_MS = 100


class Checkpoints:
    """Empties the log of one writer's database whenever it has outgrown the limit. Does nothing for PostgreSQL."""

    def __init__(self, engine: Engine, *, limit_bytes: int = WAL_LIMIT_BYTES) -> None:
        self._engine = engine
        self._limit = limit_bytes
        self._due_at = limit_bytes
        self._asked_for = False

    def empty_next(self) -> None:
        """Has the log emptied after the next commit, however short it is; again until no reader is in the way.

        May be called from any thread.
        """
        self._asked_for = True

    def after_commit(self) -> None:
        """To be called by the writing thread between two transactions.

        A reader that does not move on is waited for once each time that the log has grown by the limit again.
        """
        if self._engine.dialect.name != "sqlite":
            return
        size = wal_bytes(self._engine.url)
        if size < self._due_at and not self._asked_for:
            self._due_at = min(self._due_at, size + self._limit)
            return
        asked_for, self._asked_for = self._asked_for, False
        connection = self._engine.raw_connection()
        try:
            cursor = connection.cursor()
            cursor.execute(f"PRAGMA busy_timeout={_PATIENCE_MS}")
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            held_back, _pages, _copied = cursor.fetchall()[0]
            cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
        finally:
            connection.close()
        size = wal_bytes(self._engine.url)
        if held_back:
            self._asked_for = self._asked_for or asked_for
            log.warning("a reader keeps the write-ahead log at %d bytes", size)
        self._due_at = size + self._limit
