"""A writer in a process of its own, for a node whose event loop would share its interpreter with it.

The node hands jobs over a pair of sockets and goes on; the process runs them with a `Writer`, so all rules of that
module hold, but each job is a transaction of its own: who hands it over has put together what is to share one. A job
travels pickled: a function of a module, with `functools.partial` where it has arguments; so do results and errors. Both
ends are one program of one user, and nobody else has the sockets.

Rule 1: the process ends with the node, whatever ends that, for its socket closes then. What it had begun it finishes:
nobody is told of it any more, as after a crash behind a commit.
Rule 2: the node ends with the process (`watch`): what became of the last jobs only a start finds out.
Rule 3: SIGTERM and Ctrl-C go to a whole group of processes, and mean the node: it ends this one when it has drained.
"""

import asyncio
import gc
import io
import os
import pickle
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from itertools import count
from typing import Any, BinaryIO, Final, NamedTuple, TypeVar

from google.protobuf import descriptor_pool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from sqlalchemy import Connection, Engine

from jukinet.mesh import failpoints
from jukinet.mesh.logging import configure_logging
from jukinet.store.errors import StorageFailed, StoreBusy
from jukinet.store.writer import OnCommit, Writer, WriterClosed

_HEAD: Final = struct.Struct(">I")
"""Length in bytes of what follows."""
_BUFFER_BYTES: Final = 4 * 1024 * 1024
_BUSY_SECONDS: Final = 2.0
"""How long a new process waits for the database: that of a node that was killed finishes what it had begun."""
_BUSY_AGAIN_SECONDS: Final = 0.02
_GARBAGE_OBJECTS: Final = 20_000
_OPENED: Final = -1
"""In the place of a job's number: the database is open, or cannot be opened."""
_BROKEN: Final = -2
"""The disk failed, and nothing more is written."""

R = TypeVar("R")


class _Outcome(NamedTuple):
    """What became of a job."""

    number: int
    value: Any
    error: BaseException | None = None


class _Start(NamedTuple):
    """What the process begins with."""

    open_engine: Callable[[], Engine]
    node: str
    armed: tuple[str | None, int, int]


class _Told(NamedTuple):
    """What the process tells at once: what became of jobs, and of the commit that they shared."""

    outcomes: list[_Outcome]
    jobs: int = 0
    seconds: float = 0.0


class _Pickler(pickle.Pickler):
    """Lets exceptions and messages of the contract travel.

    An exception goes without its traceback and its causes, and is made again without its constructor. The class of a
    message is known by the name that the contract gives it, which is no place that Python could import it from.
    """

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, Message):
            return _parsed, (obj.DESCRIPTOR.full_name, obj.SerializeToString())
        if isinstance(obj, BaseException):
            return _made_again, (type(obj), obj.args, dict(vars(obj)))
        return NotImplemented


def _parsed(name: str, raw: bytes) -> Message:
    parsed: Message = GetMessageClass(descriptor_pool.Default().FindMessageTypeByName(name)).FromString(raw)
    return parsed


def _made_again(kind: type[BaseException], arguments: tuple[Any, ...], state: dict[str, Any]) -> BaseException:
    error = kind.__new__(kind, *arguments)
    vars(error).update(state)
    return error


def _packed(told: object) -> bytes:
    buffer = io.BytesIO()
    _Pickler(buffer, pickle.HIGHEST_PROTOCOL).dump(told)
    return _HEAD.pack(buffer.tell()) + buffer.getvalue()


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
        self._waiting: dict[int, asyncio.Future[Any]] = {_OPENED: self._opened}
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
        packed = _packed((number, job))
        self._waiting[number] = future
        self._out.write(packed)
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

    async def _told(self) -> _Told | None:
        """What the process tells next; None when it ended."""
        try:
            size = _HEAD.unpack(await self._stream.readexactly(_HEAD.size))[0]
            told: _Told = pickle.loads(await self._stream.readexactly(size))  # noqa: S301  # from our own process
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        return told

    def _settle(self, outcome: _Outcome) -> None:
        error = outcome.error
        if outcome.number == _BROKEN and isinstance(error, StorageFailed):
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
        command = [sys.executable, "-P", "-c", f"from {__name__} import serve; serve({theirs.fileno()})"]
        process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)  # noqa: ASYNC220  # forks at once, and the command is our own
    stream, out = await asyncio.open_unix_connection(sock=ours, limit=_BUFFER_BYTES)
    writer = WriterProcess(process, stream, out, on_commit)
    out.write(_packed(_Start(open_engine, node, failpoints.armed())))
    try:
        await writer.opened()
    except BaseException:
        await writer.close()
        raise
    return writer


class _Teller:
    """Tells the node what became of its jobs, those of one commit together."""

    def __init__(self, pipe: socket.socket) -> None:
        self._pipe = pipe
        # A job may be done before its callback is there: its commit is told of after that all the same.
        self._lock = threading.RLock()
        self._outcomes: list[_Outcome] = []

    def hand_in(self, writer: Writer, number: int, job: Callable[[Connection], Any]) -> None:
        """Hands a job to the writer, and has its result told with its commit."""
        with self._lock:
            writer.submit(job).add_done_callback(partial(self.note, number))

    def note(self, number: int, future: "Future[Any]") -> None:
        """Keeps a result until its commit is told of; an error is told at once."""
        error = future.exception()
        if error is None:
            self._outcomes.append(_Outcome(number, future.result()))
        else:
            self.tell(_Told([_Outcome(number, None, error)]))

    def committed(self, jobs: int, seconds: float) -> None:
        """Tells of a commit, and of the results that waited for it."""
        with self._lock:
            outcomes, self._outcomes = self._outcomes, []
        self.tell(_Told(outcomes, jobs, seconds))

    def tell(self, told: _Told) -> None:
        """Raises ConnectionError when the node is gone."""
        try:
            packed = _packed(told)
        except Exception:  # whoever waits would wait for ever: so the node hears that this process ended
            os._exit(1)
        with self._lock:
            self._pipe.sendall(packed)


def _serve(pipe: socket.socket) -> None:
    """Opens the database, runs jobs until the node closes the socket."""
    teller = _Teller(pipe)
    with pipe.makefile("rb") as stream:
        start: _Start | None = _next(stream)
        if start is None:
            return
        if start.node:
            configure_logging(start.node)
        failpoints.take_over(start.armed)
        try:
            engine = _opened(start.open_engine)
        except Exception as error:
            teller.tell(_Told([_Outcome(_OPENED, None, error)]))
            return
        writer = Writer(engine, on_commit=teller.committed, limit=1)
        writer.broken.add_done_callback(partial(teller.note, _BROKEN))
        teller.tell(_Told([_Outcome(_OPENED, None)]))
        gc.freeze()
        while told := _next(stream):
            teller.hand_in(writer, *told)
    writer.close()
    engine.dispose()


def _opened(open_engine: Callable[[], Engine]) -> Engine:
    """Raises what `open_engine` raises."""
    until = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            return open_engine()
        except StoreBusy:
            if time.monotonic() >= until:
                raise
        time.sleep(_BUSY_AGAIN_SECONDS)


def _next(stream: BinaryIO) -> Any:
    """What the node sends next; None when it ended, in the middle of a job too."""
    head = stream.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return None
    size = _HEAD.unpack(head)[0]
    raw = stream.read(size)
    return pickle.loads(raw) if len(raw) == size else None  # noqa: S301  # from the node


def serve(pipe: int) -> None:
    """The process that writes, with the socket of this number to its node."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    gc.set_threshold(_GARBAGE_OBJECTS)
    try:
        with socket.socket(fileno=pipe) as opened:
            _serve(opened)
    except ConnectionError:
        pass  # the node is gone, and there is nobody to tell
