"""The one thread of a node that writes, with group commit.

Rule 1: a job's result is handed out only after the transaction that holds its effect is on disk; an acknowledgement
that is sent earlier is a lie after a crash.
Rule 2: a job that raises fails alone. The transaction that it shared is rolled back, and each job of it runs again in
one of its own. Jobs therefore must not have effects outside the database.
Rule 3: when a commit fails, nobody may run again: the database may have kept it. Whoever waits is told of a failure and
asks again; message ids, marks and checkpoints make that harmless.
Rule 4: after a failed fsync nothing more is written, and the process ends (`watch`). The kernel may have dropped what
it could not write, and a second fsync would succeed over the hole. A disk that is only full ends nothing.

Jobs that wait together share one transaction, up to 256 jobs or 5 ms of work; a job that finds the thread idle is
committed at once, so an unloaded node adds no waiting time.
"""

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from enum import Enum
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import StatementError

from jukinet.mesh.failpoints import passing
from jukinet.store.checkpoint import Checkpoints
from jukinet.store.errors import StorageFailed, StoreError, is_lost, of_driver, without_values

log = logging.getLogger(__name__)

GROUP_JOBS = 256
GROUP_SECONDS = 0.005

R = TypeVar("R")
OnCommit = Callable[[int, float], None]
"""Is told of a commit: its jobs and seconds."""
_Entry = tuple[Callable[[Connection], Any], "Future[Any]"]


class WriterClosed(StoreError):
    """The node is stopping; what was asked for may or may not be on disk."""

    def __init__(self) -> None:
        super().__init__("the writer is closed")


class Transactions(Protocol):
    """Where jobs run in durable transactions: a `Writer`, or one in a process of its own."""

    async def run(self, job: Callable[[Connection], R]) -> R:
        """Runs a job and waits until it is on disk. Raises StoreError, and what the job raised."""


class Writer:
    """Runs jobs, in the order they are handed in, in durable transactions.

    Args:
        engine: of `open_writer`.
        on_commit: is told of every commit, with its jobs and seconds, for metrics.
        limit: of the jobs that share a transaction.
    """

    def __init__(self, engine: Engine, on_commit: OnCommit | None = None, *, limit: int = GROUP_JOBS) -> None:
        self._engine = engine
        self._on_commit = on_commit
        self._limit = limit
        self._checkpoints = Checkpoints(engine)
        self._jobs: queue.SimpleQueue[_Entry | None] = queue.SimpleQueue()
        self._closed = False
        self._closing = threading.Lock()
        self._last_taken = False
        self.broken: Future[None] = Future()
        """Fails with StorageFailed after a failed fsync; never done otherwise."""
        self._connection: Connection | None = None
        self._thread = threading.Thread(target=self._loop, name="jukinet-writer", daemon=True)
        self._thread.start()

    def submit(self, job: Callable[[Connection], R]) -> "Future[R]":
        """Hands a job in; the future has its result after the commit. If cancelled while it waits, it does not run."""
        future: Future[R] = Future()
        with self._closing:
            if self._closed:
                future.set_exception(WriterClosed())
            else:
                self._jobs.put((job, future))
        return future

    async def run(self, job: Callable[[Connection], R]) -> R:
        """Runs a job and waits until it is on disk.

        Raises:
            StoreError: the database failed, or the writer is closed.
            Exception: what the job raised.
        """
        return await asyncio.wrap_future(self.submit(job))

    async def empty_log(self) -> None:
        """Returns when SQLite's write-ahead log holds nothing that was committed before.

        Raises StoreError: the database failed, or the writer is closed.
        """
        self._checkpoints.empty_next()
        await self.run(_nothing)  # after this one's commit the log is emptied,
        await self.run(_nothing)  # before this one begins

    async def watch(self) -> None:
        """Waits, without end, for a failed fsync. A part of the node: its failure ends the process.

        Raises:
            StorageFailed: the disk did not keep what it was given.
        """
        await asyncio.shield(asyncio.wrap_future(self.broken))

    def close(self) -> None:
        """Finishes what was handed in and ends the thread."""
        with self._closing:
            if not self._closed:
                self._closed = True
                self._jobs.put(None)
        self._thread.join()

    def _loop(self) -> None:
        while not self._last_taken:
            first = self._jobs.get()
            if first is None:
                break
            self._work_off(self._with_waiting(first))
            if not self.broken.done():
                self._tend(self._checkpoints.after_commit)
            passing("writer.tended")
        self._tend(self._let_go)

    def _let_go(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _with_waiting(self, first: _Entry) -> Iterator[_Entry]:
        """The job and those that wait with it, as far as one transaction may go."""
        started = time.perf_counter()
        entry: _Entry | None = first
        taken = 0
        while entry is not None:
            taken += 1
            if entry[1].set_running_or_notify_cancel():
                yield entry
            if taken == self._limit or time.perf_counter() - started >= GROUP_SECONDS:
                return
            try:
                entry = self._jobs.get_nowait()
            except queue.Empty:
                return
        self._last_taken = True

    def _work_off(self, entries: Iterator[_Entry]) -> None:
        group, error, stage = self._attempt(entries)
        if error is None:
            return
        if stage is _Stage.JOBS and (len(group) > 1 or is_lost(error)):
            self._work_off_apart(iter(group))
        elif stage is _Stage.JOBS:
            _fail(group, error)
        else:
            _fail([*group, *entries], error)

    def _work_off_apart(self, entries: Iterator[_Entry]) -> None:
        for entry in entries:
            _, error, stage = self._attempt(iter([entry]))
            if error is not None:
                _fail([entry], error)
                if stage is _Stage.BEGIN:  # The database is out of reach, for the others as well.
                    _fail(entries, error)

    def _attempt(self, entries: Iterator[_Entry]) -> tuple[list[_Entry], BaseException | None, "_Stage"]:
        """Runs jobs in one transaction: those that it began, and what went wrong at which stage."""
        group: list[_Entry] = []
        results: list[Any] = []
        stage = _Stage.BEGIN
        started = time.perf_counter()
        try:
            if self.broken.done():
                self.broken.result()
            # Kept from one transaction to the next: to take one from the engine costs as much as ten statements.
            connection = self._connection = self._connection or self._engine.connect()
            with connection.begin():
                stage = _Stage.JOBS
                passing("writer.begun")
                for entry in entries:
                    group.append(entry)
                    results.append(entry[0](connection))
                stage = _Stage.COMMIT
                passing("writer.before_commit")
        except BaseException as error:  # Whatever it is, somebody waits to hear of it.
            self._tend(self._let_go)
            self._look_at(error.orig if isinstance(error, StatementError) else None)
            return group, error, stage
        passing("writer.after_commit")
        for (_, future), result in zip(group, results, strict=True):
            future.set_result(result)
        passing("writer.told")
        if self._on_commit:
            self._tend(self._on_commit, len(group), time.perf_counter() - started)
        return group, None, stage

    def _tend(self, duty: Callable[..., None], *arguments: Any) -> None:
        """Does what no job waits for; its failure must not end the thread."""
        try:
            duty(*arguments)
        except Exception as error:
            log.warning("after a commit: %s", type(error).__name__)
            self._look_at(error)

    def _look_at(self, original: BaseException | None) -> None:
        """Lets nothing more be written when a driver's error tells of a failed fsync."""
        failure = of_driver(original)
        if isinstance(failure, StorageFailed) and not self.broken.done():
            log.critical("the disk failed and the node ends", extra={"error_type": type(original).__name__})
            self.broken.set_exception(failure)


def _nothing(_connection: Connection) -> None:
    pass


class _Stage(Enum):
    BEGIN = 1
    JOBS = 2
    COMMIT = 3


def _fail(entries: Iterable[_Entry], error: BaseException) -> None:
    for _, future in entries:
        future.set_exception(without_values(error) if isinstance(error, StatementError) else error)
