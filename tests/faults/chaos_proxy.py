"""A TCP proxy that breaks connections at a chosen byte: cut, reset, half-close, stall, delay, slow drip.

It knows nothing of what it carries but where TLS records end (RFC 8446, section 5.1: a header of five bytes, of which
the last two are the length of the rest). A fault can so strike exactly at the end of a record or a byte beside it,
though records differ in length from session to session.
"""

import asyncio
import socket
import struct
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from types import TracebackType
from typing import Self

_HEADER = 5
_PIECE = 65536
_DRIP = 16
"""Bytes of one drop."""


class Way(Enum):
    """A direction of a connection: up from the one that dialled, down to it."""

    UP = "up"
    DOWN = "down"


class Kind(Enum):
    """What happens at the byte."""

    CUT = "cut"
    """Both sides see the connection end."""
    RESET = "reset"
    """Both sides see it reset (RST); what was under way is lost."""
    HALF_CLOSE = "half-close"
    """Whom this way leads to sees its end; the other way goes on."""
    STALL = "stall"
    """Nothing more goes this way, and nobody is told."""
    DELAY = "delay"
    """Each further piece waits `seconds`."""
    DRIP = "drip"
    """Each further sixteen bytes wait `seconds`."""


@dataclass(frozen=True)
class Fault:
    """Strikes when so many bytes of a way have passed: `byte` after the end of the record number `record`.

    Records count from 1; 0 is the beginning of the connection. `byte` is at least -1 after a record.
    """

    kind: Kind
    way: Way
    record: int = 0
    byte: int = 0
    seconds: float = 0.0


@dataclass
class Stream:
    """One way of one connection: how many bytes passed, and where its records end, as far as their headers came."""

    passed: int = 0
    seen: int = 0
    ends: list[int] = field(default_factory=list)
    _header: bytes = b""

    def see(self, piece: bytes) -> None:
        """Reads the headers of records in what came."""
        at = 0
        while at < len(piece):
            end = self.ends[-1] if self.ends else 0
            if self.seen < end:
                step = min(end - self.seen, len(piece) - at)
            else:
                step = min(_HEADER - len(self._header), len(piece) - at)
                self._header += piece[at : at + step]
                if len(self._header) == _HEADER:
                    self.ends.append(end + _HEADER + int.from_bytes(self._header[3:], "big"))
                    self._header = b""
            at += step
            self.seen += step

    def point(self, fault: Fault) -> int | None:
        """After how many bytes a fault strikes; None while its record has not begun."""
        if fault.record > len(self.ends):
            return None
        return (self.ends[fault.record - 1] if fault.record else 0) + fault.byte


class Session:
    """One connection through the proxy."""

    def __init__(self, fault: Fault | None) -> None:
        self.fault = fault
        self.struck = False
        self.streams = {way: Stream() for way in Way}


class ChaosProxy:
    """Listens on loopback and carries every connection to `target`.

    Args:
        target: host:port of the real server.
        next_fault: asked for each new connection; None lets it be.
    """

    def __init__(self, target: str, next_fault: Callable[[], Fault | None]) -> None:
        self._target = target.rpartition(":")
        self._next_fault = next_fault
        self.sessions: list[Session] = []
        self.struck: Counter[Fault] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.address = "{}:{}".format(*self._server.sockets[0].getsockname())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """Ends the connections that stand."""
        for task in self._tasks:
            task.cancel()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._carry(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, below: asyncio.StreamReader, to_below: asyncio.StreamWriter) -> None:
        session = Session(self._next_fault())
        self.sessions.append(session)
        host, _, port = self._target
        try:
            above, to_above = await asyncio.open_connection(host, int(port))
        except OSError:
            to_below.transport.abort()
            return
        writers = (to_below, to_above)
        for writer in writers:
            writer.transport.set_write_buffer_limits(0)  # so that `drain` waits until all is with the kernel
        ways = [
            asyncio.ensure_future(self._pass_on(session, Way.UP, below, to_above, writers)),
            asyncio.ensure_future(self._pass_on(session, Way.DOWN, above, to_below, writers)),
        ]
        try:
            # gRPC never goes on in one way alone.
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            for writer in writers:
                writer.transport.abort()
            for ended in await asyncio.gather(*ways, return_exceptions=True):
                if isinstance(ended, Exception) and not isinstance(ended, (OSError, _Over)):
                    raise ended

    async def _pass_on(
        self,
        session: Session,
        way: Way,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        writers: tuple[asyncio.StreamWriter, ...],
    ) -> None:
        stream, fault = session.streams[way], session.fault
        mine = fault if fault is not None and fault.way is way else None
        while piece := await reader.read(_PIECE):
            stream.see(piece)
            point = stream.point(mine) if mine else None
            if mine and point is not None and point <= stream.passed + len(piece):
                before = max(point - stream.passed, 0)
                await _give(stream, writer, piece[:before])
                if not session.struck:
                    session.struck = True
                    self.struck[mine] += 1
                await _strike(mine, writers, writer)
                await _give(stream, writer, piece[before:], mine)
            else:
                await _give(stream, writer, piece)
        if writer.can_write_eof():
            writer.write_eof()


class _Over(Exception):
    """The connection ends here."""


async def _give(stream: Stream, writer: asyncio.StreamWriter, piece: bytes, fault: Fault | None = None) -> None:
    drop = _DRIP if fault and fault.kind is Kind.DRIP else _PIECE
    for at in range(0, len(piece), drop):
        if fault:
            await asyncio.sleep(fault.seconds)
        part = piece[at : at + drop]
        writer.write(part)
        await writer.drain()
        stream.passed += len(part)


async def _strike(fault: Fault, writers: tuple[asyncio.StreamWriter, ...], writer: asyncio.StreamWriter) -> None:
    """What a fault does at its byte; raises _Over where nothing is to be passed on any more."""
    match fault.kind:
        case Kind.RESET:
            for each in writers:
                linger = struct.pack("ii", 1, 0)
                each.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            raise _Over
        case Kind.CUT:
            raise _Over
        case Kind.HALF_CLOSE:
            writer.write_eof()
            await asyncio.Event().wait()  # until the other way is over, and its end is told
        case Kind.STALL:
            await asyncio.Event().wait()
        case Kind.DELAY | Kind.DRIP:
            pass
