"""A node's connection to the neighbour above it: drives the sans-IO sender over grpc.aio.

Dials out, keeps one stream, and after a failure comes back with full jitter between 0.2 and 60 seconds, so that a
restarted center is not met by all its neighbours in the same second.
"""

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass

import grpc
from sqlalchemy import Connection, Engine

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.errors.v1.errors_pb2 import ErrorReason
from jukinet._pb.jukinet.link.v1.link_pb2 import StreamRequest, StreamResponse
from jukinet._pb.jukinet.link.v1.link_pb2_grpc import LinkServiceStub
from jukinet.link.sender import BATCH_BYTES, BATCH_CHANGES, Fetch, Output, Progress, Send, Sender, Stop
from jukinet.mesh.clock import now_us
from jukinet.mesh.errors import reason_of
from jukinet.store import journal
from jukinet.store.writer import Writer

log = logging.getLogger(__name__)

_BACKOFF_FIRST = 0.2  # seconds
_BACKOFF_LAST = 60.0  # seconds
_HEARTBEAT = 10.0  # seconds of silence before a sign of life
_PROGRESS_EVERY = 0.2  # seconds between durable notes of how far the neighbours are

_Call = grpc.aio.StreamStreamCall[StreamRequest, StreamResponse]


class LinkStopped(Exception):
    """The link ended for a reason that only people can mend; the node goes on without it."""

    def __init__(self, reason: "ErrorReason.ValueType") -> None:
        super().__init__(f"link stopped: {errors.ErrorReason.Name(reason)}; follow its runbook in docs/operations.md")
        self.reason = reason


@dataclass(slots=True)
class UplinkState:
    """What the operator sees of the link."""

    connected: bool = False
    last_error: "ErrorReason.ValueType" = errors.ERROR_REASON_UNSPECIFIED
    neighbour_mark: int = 0
    center_mark: int = 0


class Uplink:
    """Sends a node's outbox to the neighbour above.

    `open_channel` makes a new channel for every attempt, so that renewed certificates are used.
    `on_center_marks` is told which sources' changes reached the center's disk.
    """

    def __init__(
        self,
        *,
        writer: Writer,
        reader: Engine,
        open_channel: Callable[[], grpc.aio.Channel],
        on_center_marks: Callable[[dict[str, int]], None],
    ) -> None:
        self._writer = writer
        self._reader = reader
        self._open_channel = open_channel
        self._on_center_marks = on_center_marks
        self._grown = asyncio.Event()
        self._last_sequence = 0
        self._noted = Progress(0, 0)
        self.state = UplinkState()

    def outbox_grew(self, last_sequence: int) -> None:
        """Tells the link that the outbox holds committed changes up to this sequence number."""
        self._last_sequence = max(self._last_sequence, last_sequence)
        self._grown.set()

    async def run(self) -> None:
        """Keeps the link up until it is cancelled. Raises LinkStopped where only people can help."""
        backoff = _BACKOFF_FIRST
        while True:
            welcomed = False
            try:
                async with self._open_channel() as channel:
                    call: _Call = LinkServiceStub(channel).Stream()  # type: ignore[assignment]  # sync stub type, aio channel
                    try:
                        await self._converse(call)
                    finally:
                        welcomed = self.state.connected
                        self.state.connected = False
                        call.cancel()
            except grpc.aio.AioRpcError as error:
                self._note_failure(reason_of(error) or errors.ERROR_REASON_DEPENDENCY_UNAVAILABLE)
            backoff = _BACKOFF_FIRST if welcomed else min(backoff * 2, _BACKOFF_LAST)
            await asyncio.sleep(random.uniform(0, backoff))  # noqa: S311  # jitter, not a secret

    def _note_failure(self, reason: "ErrorReason.ValueType") -> None:
        self.state.last_error = reason
        name = errors.ErrorReason.Name(reason)
        if reason in _FOR_PEOPLE:
            log.error("link stopped", extra={"reason": name})
            raise LinkStopped(reason)
        log.warning("link lost", extra={"reason": name})

    async def _converse(self, call: _Call) -> None:
        sender = Sender()
        stream, first_kept = await asyncio.to_thread(self._read, _opening)
        self.outbox_grew(stream.last_sequence)
        for output in sender.opened(stream, first_kept=first_kept):
            await self._carry_out(output, sender, call)
        listening = asyncio.create_task(self._listen(sender, call))
        watching = asyncio.create_task(self._watch(sender, call))
        noting = asyncio.create_task(self._note_progress())
        try:
            done, _ = await asyncio.wait({listening, watching, noting}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in (listening, watching, noting):
                task.cancel()
            await asyncio.gather(listening, watching, noting, return_exceptions=True)

    async def _listen(self, sender: Sender, call: _Call) -> None:
        while True:
            response = await call.read()
            if response is grpc.aio.EOF:
                if await call.code() is not grpc.StatusCode.OK:
                    raise grpc.aio.AioRpcError(
                        await call.code(), await call.initial_metadata(), await call.trailing_metadata()
                    )
                return
            kind = response.WhichOneof("message")  # type: ignore[union-attr]  # EOF is excluded above
            if kind == "welcome":
                welcome = response.welcome  # type: ignore[union-attr]
                chain = await asyncio.to_thread(
                    self._read, lambda connection: journal.chain_at(connection, welcome.mark)
                )
                outputs = sender.welcomed(welcome, chain_here=chain)
                self.state.connected = True
            elif kind == "ack":
                outputs = sender.acked(response.ack)  # type: ignore[union-attr]
            else:
                continue
            for output in outputs:
                await self._carry_out(output, sender, call)

    async def _watch(self, sender: Sender, call: _Call) -> None:
        while True:
            try:
                await asyncio.wait_for(self._grown.wait(), _HEARTBEAT)
            except TimeoutError:
                outputs = sender.idle()
            else:
                self._grown.clear()
                outputs = sender.grown(self._last_sequence)
            for output in outputs:
                await self._carry_out(output, sender, call)

    async def _carry_out(self, output: Output, sender: Sender, call: _Call) -> None:
        pending: list[Output] = [output]
        while pending:
            match pending.pop(0):
                case Send(request):
                    await call.write(request)
                case Fetch(after):
                    rows = await asyncio.to_thread(
                        self._read,
                        lambda connection, after=after: journal.fetch_outbox(
                            connection, after, max_changes=BATCH_CHANGES, max_bytes=BATCH_BYTES
                        ),
                    )
                    pending = [*sender.fetched(rows), *pending]
                case Progress(neighbour_mark, center_mark):
                    self.state.neighbour_mark = max(self.state.neighbour_mark, neighbour_mark)
                    self.state.center_mark = max(self.state.center_mark, center_mark)
                case Stop(reason):
                    self._note_failure(reason)

    async def _note_progress(self) -> None:
        """Keeps the neighbours' marks on disk, at most every 0.2 s: they only say what may be pruned one day."""
        while True:
            now = Progress(self.state.neighbour_mark, self.state.center_mark)
            if now != self._noted:
                moved = await self._writer.run(
                    lambda connection, now=now: journal.record_progress(
                        connection,
                        neighbour_mark=now.neighbour_mark,
                        center_mark=now.center_mark,
                        now_us=now_us(),
                    )
                )
                self._noted = now
                if moved:
                    self._on_center_marks(moved)
            await asyncio.sleep(_PROGRESS_EVERY)

    def _read(self, query):  # type: ignore[no-untyped-def]
        with self._reader.connect() as connection:
            return query(connection)


def _opening(connection: Connection) -> tuple[journal.Stream, int]:
    return journal.read_stream(connection), journal.first_kept(connection)


_FOR_PEOPLE = frozenset(
    {
        errors.ERROR_REASON_LINK_FENCED,
        errors.ERROR_REASON_LINK_FORK,
        errors.ERROR_REASON_LINK_RECEIVER_AHEAD,
        errors.ERROR_REASON_LINK_VERSION,
        errors.ERROR_REASON_LINK_SEAL,
        errors.ERROR_REASON_LINK_FOREIGN_SEGMENT,
    }
)
