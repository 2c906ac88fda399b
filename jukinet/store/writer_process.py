"""A writer in a process of its own, for a node whose event loop would share its interpreter with it.

The node hands jobs over a pair of sockets and goes on; the process (`jukinet.store.writer_main`) runs them with a
`Writer`, so all rules of that module hold, but each job is a transaction of its own: who hands it over has put together
what is to share one. A job travels pickled: a function of a module, with `functools.partial` where it has arguments; so
do results and errors.

Rule 1: the process ends with the node, whatever ends that, for its socket closes then. What it had begun it finishes:
nobody is told of it any more, as after a crash behind a commit.
Rule 2: the node ends with the process (`watch`): what became of the last jobs only a start finds out.
Rule 3: SIGTERM and Ctrl-C go to a whole group of processes, and mean the node: it ends this one when it has drained.
"""

import asyncio
import gc
import socket
import subprocess
import sys
from collections.abc import Callable
from itertools import count
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Engine

from jukinet.mesh import failpoints
from jukinet.store.errors import StorageFailed
from jukinet.store.writer import OnCommit, WriterClosed
from jukinet.store.writer_pipe import BROKEN, HEAD, OPENED, Job, Outcome, Start, Told, packed, unpacked

_MAIN: Final = "jukinet.store.writer_main"
_BUFFER_BYTES: Final = 4 * 1024 * 1024

R = TypeVar("R")


class WriterProcess:
    """Runs jobs as `Writer` does, in the order they are handed in.

    Args:
        process: that writes.
        stream: what it tells.
        out: to it.
        on_commit: is told of every commit, with its jobs and seconds, for metrics.
    """

    def __init__(
        self,
        process: "subprocess.Popen[bytes]",
        stream: asyncio.StreamReader,
        out: asyncio.StreamWriter,
        on_commit: OnCommit | None,
    ) -> None:
        self._process = process
        self._stream = stream
        self._out = out
        self._on_commit = on_commit
        self._numbers = count()
        self._closed = False
        self._opened = asyncio.get_running_loop().create_future()
        self._waiting: dict[int, asyncio.Future[Any]] = {OPENED: self._opened}
        self._broken: StorageFailed | None = None
        self._listening = asyncio.create_task(self._listen())

    async def run(self, job: Callable[[Connection], R]) -> R:
        """Runs a job and waits until it is on disk.

        Raises:
            StoreError: the database failed, or the writer is closed.
            Exception: what the job raised.
        """
        if self._closed:
            raise WriterClosed
        number, future = next(self._numbers), asyncio.get_running_loop().create_future()
        sent = packed(Job(number, job))
        self._waiting[number] = future
        self._out.write(sent)
        result: R = await future
        return result

    async def watch(self) -> None:
        """Waits, without end, for the process to end. A part of the node: its failure ends the node.

        Raises:
            StorageFailed: the disk did not keep what it was given.
            WriterClosed: the process ended.
        """
        await asyncio.shield(self._listening)

    async def close(self) -> None:
        """Lets the process finish what was handed in, and waits for its end."""
        if not self._closed:
            self._closed = True
            self._out.write_eof()
        await asyncio.gather(self._listening, return_exceptions=True)
        self._out.close()
        await asyncio.to_thread(self._process.wait)

    async def _listen(self) -> None:
        try:
            while self._broken is None and (told := await self._told()):
                if told.jobs and self._on_commit:
                    self._on_commit(told.jobs, told.seconds)
                for outcome in told.outcomes:
                    self._settle(outcome)
        finally:
            ended, self._closed = not self._closed, True
            for future in self._waiting.values():
                if not future.done():
                    future.set_exception(self._broken or WriterClosed())
            self._opened.exception()  # looked at, for a start that failed is told by what it raised
        if ended:
            raise self._broken or WriterClosed()

    async def _told(self) -> Told | None:
        """What the process tells next; None when it ended."""
        try:
            size = HEAD.unpack(await self._stream.readexactly(HEAD.size))[0]
            told: Told = unpacked(await self._stream.readexactly(size))
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        return told

    def _settle(self, outcome: Outcome) -> None:
        error = outcome.error
        if outcome.number == BROKEN and isinstance(error, StorageFailed):
            self._broken = error
            return
        future = self._waiting.pop(outcome.number)
        if future.done():  # whoever waited was cancelled
            return
        if error is None:
            future.set_result(outcome.value)
        else:
            future.set_exception(error)

    async def opened(self) -> None:
        """Waits until the database is open. Raises what kept it from being opened."""
        await self._opened


async def begin_writer(
    open_engine: Callable[[], Engine], *, node: str = "", on_commit: OnCommit | None = None
) -> WriterProcess:
    """Begins a process that writes.

    Args:
        open_engine: makes the engine there, with `open_writer`; a function of a module, or a partial of one.
        node: SPIFFE ID of the node, for the log; empty = the process logs nothing below a warning.
        on_commit: is told of every commit, with its jobs and seconds, for metrics.

    Raises:
        StoreBusy: another process writes this database, and goes on to.
        Exception: what else `open_engine` raised.
    """
    ours, theirs = socket.socketpair()
    with theirs:
        # -P: what lies in the working directory is not the program.
        command = [sys.executable, "-P", "-c", f"from {_MAIN} import serve; serve({theirs.fileno()})"]
        process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)  # noqa: ASYNC220  # forks at once, and the command is our own
    stream, out = await asyncio.open_unix_connection(sock=ours, limit=_BUFFER_BYTES)
    writer = WriterProcess(process, stream, out, on_commit)
    out.write(packed(Start(open_engine, node, failpoints.armed(), gc.get_threshold())))
    try:
        await writer.opened()
    except BaseException:
        await writer.close()
        raise
    return writer
