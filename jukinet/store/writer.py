"""The one thread of a node that writes, with group commit.

Rule: a job's result is handed out only after the transaction that holds its effect is on disk; an acknowledgement that
is sent earlier is a lie after a crash. Jobs that wait together share one transaction, up to 256 jobs or 5 ms of work; a
job that finds the thread idle is committed at once, so an unloaded node adds no waiting time.

A job that raises must not spoil its neighbours: the whole transaction is rolled back and each job runs again in one of
its own, so only the one that raised fails. Jobs therefore must not have effects outside the database.
"""

import asyncio
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from jukinet.store.errors import StoreError, without_values

GROUP_JOBS = 256
GROUP_SECONDS = 0.005

_Job = Callable[[Connection], Any]
R = TypeVar("R")


class WriterClosed(StoreError):
    """The node is stopping; the job was not run."""

    def __init__(self) -> None:
        super().__init__("the writer is closed")


class Writer:
    """Runs jobs, in the order they are handed in, in durable transactions.

    `on_commit(jobs, seconds)` is told of every group commit, for metrics.
    """

    def __init__(self, engine: Engine, on_commit: Callable[[int, float], None] | None = None) -> None:
        self._engine = engine
        self._on_commit = on_commit
        self._jobs: queue.SimpleQueue[tuple[_Job, Future[Any]] | None] = queue.SimpleQueue()
        self._closed = False
        self._closing = threading.Lock()
        self._thread = threading.Thread(target=self._loop, name="jukinet-writer", daemon=True)
        self._thread.start()

    def submit(self, job: Callable[[Connection], R]) -> "Future[R]":
        """Hands a job in; the future has its result after the commit."""
        future: Future[R] = Future()
        with self._closing:
            if self._closed:
                future.set_exception(WriterClosed())
            else:
                self._jobs.put((job, future))
        return future

    async def run(self, job: Callable[[Connection], R]) -> R:
        """Runs a job and waits until it is on disk. Raises what the job raised, or StoreError."""
        return await asyncio.wrap_future(self.submit(job))

    def close(self) -> None:
        """Finishes what was handed in and ends the thread."""
        with self._closing:
            if not self._closed:
                self._closed = True
                self._jobs.put(None)
        self._thread.join()

    def _loop(self) -> None:
        last = False
        while not last:
            first = self._jobs.get()
            if first is None:
                return
            if first[1].set_running_or_notify_cancel():
                last = self._commit_group(first)

    def _commit_group(self, first: tuple[_Job, Future[Any]]) -> bool:
        started = time.perf_counter()
        group = [first]
        results: list[Any] = []
        last = False
        try:
            with self._engine.begin() as connection:
                results.append(first[0](connection))
                while len(group) < GROUP_JOBS and time.perf_counter() - started < GROUP_SECONDS:
                    try:
                        entry = self._jobs.get_nowait()
                    except queue.Empty:
                        break
                    if entry is None:
                        last = True
                        break
                    if entry[1].set_running_or_notify_cancel():
                        group.append(entry)
                        results.append(entry[0](connection))
        except BaseException as error:
            self._after_failure(group, error)
        else:
            if self._on_commit:
                self._on_commit(len(group), time.perf_counter() - started)
            for (_, future), result in zip(group, results, strict=True):
                future.set_result(result)
        return last

    def _after_failure(self, group: list[tuple[_Job, Future[Any]]], error: BaseException) -> None:
        if len(group) == 1:
            group[0][1].set_exception(_presentable(error))
            return
        for job, future in group:
            try:
                with self._engine.begin() as connection:
                    result = job(connection)
            except BaseException as own:
                future.set_exception(_presentable(own))
            else:
                future.set_result(result)


def _presentable(error: BaseException) -> BaseException:
    return without_values(error) if isinstance(error, DBAPIError) else error
