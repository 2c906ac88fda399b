"""Keeping SQLite's write-ahead log short.

The writer, which alone may checkpoint, copies the log into the database about when it has `COPY_PAGES` pages: after it
has told those who waited for the last commit, and mostly while the next jobs gather. How many pages the log has only a
copy tells, so their number a commit is taken from the last one. SQLite starts the log anew at a moment when nobody
reads from it. Under steady reading there is no such moment, and the log would grow without end. So above a limit the
writer waits shortly for the readers to move on. SQLite itself copies, within a commit, only beyond that limit: what it
copied by itself would hide from the writer how fast the log grows.
"""

import logging

from sqlalchemy import Engine

from jukinet.store.engine import BUSY_TIMEOUT_MS, wal_bytes

log = logging.getLogger(__name__)

WAL_LIMIT_BYTES = 16 * 1024 * 1024
COPY_PAGES = 800
"""Take a few milliseconds, and hold most pages that are written often several times: each is copied once."""
FIRST_COPY_COMMITS = 16
"""A busy ledger writes some 50 pages a commit; a change that comes alone some 15."""
_PAGE_BYTES = 4096
_PATIENCE_MS = 100


class Checkpoints:
    """Copies the log of one writer's database, and empties it above the limit. Does nothing for PostgreSQL."""

    def __init__(self, engine: Engine, *, limit_bytes: int = WAL_LIMIT_BYTES) -> None:
        self._engine = engine
        self._limit = limit_bytes
        self._due_at = limit_bytes
        self._asked_for = False
        self._commits = 0
        self._copy_at = FIRST_COPY_COMMITS

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
        self._commits += 1
        if size < self._due_at and not self._asked_for:
            self._due_at = min(self._due_at, size + self._limit)
            if self._commits >= self._copy_at:
                self._checkpoint("PASSIVE", size)
            return
        asked_for, self._asked_for = self._asked_for, False
        held_back = self._checkpoint("TRUNCATE", size)
        size = wal_bytes(self._engine.url)
        if held_back:
            self._asked_for = self._asked_for or asked_for
            log.warning("a reader keeps the write-ahead log at %d bytes", size)
        self._due_at = size + self._limit

    def _checkpoint(self, kind: str, size: int) -> bool:
        """Copies the log, whose file has so many bytes; returns whether a reader was in the way."""
        connection = self._engine.raw_connection()
        try:
            cursor = connection.cursor()
            cursor.execute(f"PRAGMA busy_timeout={_PATIENCE_MS}")
            cursor.execute(f"PRAGMA wal_checkpoint({kind})")
            held_back, pages, _copied = cursor.fetchall()[0]
            cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
        finally:
            connection.close()
        # None are told of a log that was emptied; before, it filled its file.
        self._copy_at = max(1, COPY_PAGES * self._commits // max(pages or size // _PAGE_BYTES, 1))
        self._commits = 0
        return bool(held_back)
