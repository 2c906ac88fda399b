"""The process that writes for a node (`jukinet.store.writer_process`)."""

import gc
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any, BinaryIO, Final

from sqlalchemy import Connection, Engine

from jukinet.mesh import failpoints
from jukinet.mesh.logging import configure_logging
from jukinet.store.errors import StoreBusy
from jukinet.store.writer import Writer
from jukinet.store.writer_pipe import BROKEN, HEAD, OPENED, Outcome, Start, Told, packed, unpacked

_BUSY_SECONDS: Final = 2.0
"""How long a new process waits for the database: that of a node that was killed finishes what it had begun."""
_BUSY_AGAIN_SECONDS: Final = 0.02


def serve(pipe: int) -> None:
    """The process that writes, with the socket of this number to its node."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    try:
        with socket.socket(fileno=pipe) as opened:
            _serve(opened)
    except ConnectionError:
        pass  # the node is gone, and there is nobody to tell


class _Teller:
    """Tells the node what became of its jobs, those of one commit together."""

    def __init__(self, pipe: socket.socket) -> None:
        self._pipe = pipe
        # A job may be done before its callback is there: its commit is told of after that all the same.
        self._lock = threading.RLock()
        self._outcomes: list[Outcome] = []

    def hand_in(self, writer: Writer, number: int, job: Callable[[Connection], Any]) -> None:
        """Hands a job to the writer, and has its result told with its commit."""
        with self._lock:
            writer.submit(job).add_done_callback(partial(self.note, number))

    def note(self, number: int, future: "Future[Any]") -> None:
        """Keeps a result until its commit is told of; an error is told at once."""
        error = future.exception()
        if error is None:
            self._outcomes.append(Outcome(number, future.result()))
        else:
            self.tell(Told([Outcome(number, None, error)]))

    def committed(self, jobs: int, seconds: float) -> None:
        """Tells of a commit, and of the results that waited for it."""
        with self._lock:
            outcomes, self._outcomes = self._outcomes, []
        self.tell(Told(outcomes, jobs, seconds))

    def tell(self, told: Told) -> None:
        """Raises ConnectionError when the node is gone."""
        try:
            sent = packed(told)
        except Exception:  # whoever waits would wait for ever: so the node hears that this process ended
            os._exit(1)
        with self._lock:
            self._pipe.sendall(sent)


def _serve(pipe: socket.socket) -> None:
    """Opens the database, runs jobs until the node closes the socket."""
    teller = _Teller(pipe)
    with pipe.makefile("rb") as stream:
        start: Start | None = _next(stream)
        if start is None:
            return
        gc.set_threshold(*start.garbage)
        if start.node:
            configure_logging(start.node)
        failpoints.take_over(start.armed)
        try:
            engine = _opened(start.open_engine)
        except Exception as error:
            teller.tell(Told([Outcome(OPENED, None, error)]))
            return
        writer = Writer(engine, on_commit=teller.committed, limit=1)
        writer.broken.add_done_callback(partial(teller.note, BROKEN))
        teller.tell(Told([Outcome(OPENED, None)]))
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
    head = stream.read(HEAD.size)
    if len(head) < HEAD.size:
        return None
    size = HEAD.unpack(head)[0]
    raw = stream.read(size)
    return unpacked(raw) if len(raw) == size else None
