"""A node's connection to the neighbour above it: drives the sans-IO sender over grpc.aio.

Dials out, keeps one stream, and after a failure comes back with full jitter between 0.2 and 20 seconds, so that a
restarted center is not met by all its neighbours in the same second.

Within a stream four tasks wait: for the neighbour, for the outbox to grow, for a mark to note, for what is to be pulled
back. Each event is worked off under one lock, from the sender's step to the last write that it asks for: gRPC takes one
write at a time, and batches must leave in the order in which the sender made them.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Sequence

import grpc
from sqlalchemy import Engine

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.errors.v1.errors_pb2 import ErrorReason
from jukinet._pb.jukinet.link.v1.link_pb2 import PullRequest, Standing, StreamRequest, StreamResponse, Welcome
from jukinet._pb.jukinet.link.v1.link_pb2_grpc import LinkServiceStub
from jukinet.link.bring import Snapshots
from jukinet.link.outputs import (
    Adopt,
    BeginAnew,
    Complete,
    Fetch,
    Output,
    Progress,
    Pull,
    Reapply,
    Send,
    Stop,
    for_people,
)
from jukinet.link.progress import Progressed
from jukinet.link.pulse import HEARTBEAT, SILENCE, Owed
from jukinet.link.receiver import BATCH_CHANGES
from jukinet.link.restore import Restore
from jukinet.link.sender import Sender
from jukinet.mesh.client import streaming
from jukinet.mesh.clock import now_us
from jukinet.mesh.errors import Refused, name_of, reason_of
from jukinet.mesh.failpoints import passing
from jukinet.mesh.tls import TlsError
from jukinet.store import journal
from jukinet.store.errors import StorageFull, StoreError
from jukinet.store.reading import read_soon
from jukinet.store.writer import Writer

log = logging.getLogger(__name__)

BACKOFF_FIRST = 0.2  # seconds
BACKOFF_LAST = 20.0  # seconds; a healed network is to be in step again within a minute
PULL_SECONDS = 24 * 3600.0  # as long as it takes: a whole prefecture may come back

_Call = grpc.aio.StreamStreamCall[StreamRequest, StreamResponse]


class LinkStopped(Exception):
    """The link ended for a reason that only people can mend; the node goes on without it."""

    def __init__(self, reason: "ErrorReason.ValueType") -> None:
        super().__init__(f"link stopped: {name_of(reason)}; follow its runbook in docs/operations.md")
        self.reason = reason


class _Ended(Exception):
    """The stream is over, by our own decision or without one."""

    def __init__(self, reason: "ErrorReason.ValueType") -> None:
        super().__init__(name_of(reason))
        self.reason = reason


class Uplink:
    """Sends a node's outbox to the neighbour above.

    `open_channel` makes a new channel for every attempt, so that renewed certificates are used.
    `restore` knows whether this node lost something, and puts back what the neighbour gives; `snapshots` brings what a
    stream cannot; `others_alone` is that of `Sender.opened`; `standings` says how far the municipalities below are.
    `on_center_marks` is told which sources' changes reached the center's disk.
    """

    def __init__(
        self,
        *,
        writer: Writer,
        reader: Engine,
        open_channel: Callable[[], grpc.aio.Channel],
        restore: Restore,
        snapshots: Snapshots,
        others_alone: bool,
        standings: Callable[[], Sequence[Standing]],
        on_center_marks: Callable[[dict[str, int]], None],
    ) -> None:
        self._reader = reader
        self._open_channel = open_channel
        self._restore = restore
        self._wanted: asyncio.Queue[Pull] = asyncio.Queue()
        self._snapshots = snapshots
        self._others_alone = others_alone
        self._standings = standings
        self._progress = Progressed(writer=writer, restore=restore, on_center_marks=on_center_marks)
        self.state = self._progress.state
        self._channel: grpc.aio.Channel | None = None
        self._known = asyncio.Event()  # set once the node above said where it stands
        self._grown = asyncio.Event()
        self._turn = asyncio.Lock()
        self._last_sequence = 0
        self._beaten_at = 0.0

    def outbox_grew(self, last_sequence: int) -> None:
        """Tells the link that the outbox holds committed changes up to this sequence number."""
        self._last_sequence = max(self._last_sequence, last_sequence)
        self._grown.set()

    def beat_soon(self) -> None:
        """Lets the next sign of life go at once."""
        self._beaten_at = 0.0
        self._grown.set()

    async def run(self) -> None:
        """Keeps the link up until it is cancelled. Raises LinkStopped where only people can help."""
        backoff = BACKOFF_FIRST
        while True:
            began, mark = time.monotonic(), self.state.neighbour_mark
            reason = await self._attempt()
            self.state.last_error = reason
            if for_people(reason):
                log.error("link stopped", extra={"reason": name_of(reason)})
                raise LinkStopped(reason)
            log.warning("link lost", extra={"reason": name_of(reason)})
            if reason == errors.ERROR_REASON_LINK_SUPERSEDED:
                backoff = BACKOFF_LAST  # two instances must not throw each other out many times a second
            elif self.state.neighbour_mark > mark or time.monotonic() - began > BACKOFF_LAST:
                backoff = BACKOFF_FIRST
            await asyncio.sleep(random.uniform(0, backoff))  # noqa: S311  # jitter, not a secret
            backoff = min(backoff * 2, BACKOFF_LAST)

    async def held_above(self, municipality: str, through: int) -> bool:
        """Whether the node above holds a municipality up to there; if not, begins to bring its snapshot."""
        if self._channel is None or not self.state.connected:
            return False
        return await self._snapshots.held_above(self._channel, municipality, through)

    async def _attempt(self) -> "ErrorReason.ValueType":
        """One stream, from the connection to its end: why it ended."""
        try:
            async with self._open_channel() as channel:
                reason = await self._stream(channel)
                if reason == errors.ERROR_REASON_LINK_GAP:
                    self.state.last_error = reason
                    await self._snapshots.bring_all(channel)
                return reason
        except Refused as refused:  # what came back, or is to be brought, does not fit to what is here
            return refused.reason
        except grpc.aio.AioRpcError as failure:
            return reason_of(failure) or errors.ERROR_REASON_DEPENDENCY_UNAVAILABLE
        except StorageFull:
            return errors.ERROR_REASON_STORAGE_FULL
        except (StoreError, TlsError, TimeoutError):
            return errors.ERROR_REASON_DEPENDENCY_UNAVAILABLE

    async def _stream(self, channel: grpc.aio.Channel) -> "ErrorReason.ValueType":
        try:
            async with streaming(LinkServiceStub(channel).Stream()) as call:
                self._channel = channel
                try:
                    await self._converse(call, channel)
                finally:
                    self.state.connected, self.state.owed, self._channel = False, Owed(), None
        except _Ended as ended:
            if ended.reason == errors.ERROR_REASON_LINK_RECEIVER_AHEAD:
                await self._restore.doubt()
            return ended.reason
        except grpc.aio.AioRpcError as failure:
            return reason_of(failure) or errors.ERROR_REASON_DEPENDENCY_UNAVAILABLE
        return errors.ERROR_REASON_DEPENDENCY_UNAVAILABLE

    async def _converse(self, call: _Call, channel: grpc.aio.Channel) -> None:
        passing("uplink.dialled")
        sender, self._wanted, self._known = Sender(), asyncio.Queue(), asyncio.Event()
        restored = self._restore.restored
        stream, first_kept = await read_soon(
            self._reader, lambda conn: (journal.read_stream(conn), journal.first_kept(conn))
        )
        self._last_sequence = max(self._last_sequence, stream.last_sequence)
        self._beaten_at = time.monotonic()
        greeting = sender.opened(stream, first_kept=first_kept, restored=restored, others_alone=self._others_alone)
        tasks = {
            asyncio.create_task(self._listen(sender, call, greeting)),
            asyncio.create_task(self._watch(sender, call)),
            asyncio.create_task(self._pull_back(sender, call, channel)),
            asyncio.create_task(self._snapshots.attend(channel, self._known)),
            asyncio.create_task(self._progress.note()),
        }
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            if not task.cancelled():  # gRPC cancels who waits for a call that it gives up itself
                task.result()

    async def _listen(self, sender: Sender, call: _Call, greeting: list[Output]) -> None:
        await self._carry_out(greeting, sender, call)
        while True:
            async with asyncio.timeout(SILENCE):
                response = await call.read()
            if not isinstance(response, StreamResponse):
                return
            async with self._turn:
                self.state.owed.heard(response.ack.mark)
                match response.WhichOneof("message"):
                    case "welcome":
                        outputs = await self._welcomed(sender, response.welcome)
                    case "ack":
                        passing("uplink.acked")
                        if response.ack.manifest_wanted:
                            self._snapshots.manifest_wanted.set()
                        self.state.parked_above += sum(not notice.released for notice in response.ack.parked)
                        outputs = sender.acked(response.ack)
                    case _:
                        outputs = []
                await self._carry_out(outputs, sender, call)

    async def _welcomed(self, sender: Sender, welcome: Welcome) -> list[Output]:
        passing("uplink.welcomed")
        chain = await read_soon(self._reader, lambda connection: journal.chain_at(connection, welcome.mark))
        outputs = sender.welcomed(welcome, chain_here=chain)
        if not any(isinstance(output, Stop) for output in outputs):
            self.state.connected = True
            self.state.last_error = errors.ERROR_REASON_UNSPECIFIED
            self.beat_soon()  # the outbox may have grown since the greeting
            self._known.set()
        return outputs

    async def _watch(self, sender: Sender, call: _Call) -> None:
        while True:
            step = await self._occasion(sender)
            async with self._turn:
                await self._carry_out(step(), sender, call)

    async def _pull_back(self, sender: Sender, call: _Call, channel: grpc.aio.Channel) -> None:
        """Takes back own changes, batch by batch; between two of them the stream shows that it is alive."""
        while True:
            wanted = await self._wanted.get()
            request = PullRequest(first_sequence=wanted.first_sequence, last_sequence=wanted.last_sequence)
            async with streaming(LinkServiceStub(channel).Pull(request, timeout=PULL_SECONDS)) as pull:
                async for response in pull:
                    async with self._turn:
                        await self._carry_out(sender.pulled(response.batch), sender, call)
                    if not sender.pulls:
                        break
            async with self._turn:
                await self._carry_out(sender.pull_ended(), sender, call)

    async def _occasion(self, sender: Sender) -> Callable[[], list[Output]]:
        """Waits until the outbox grows, or until a sign of life is due."""
        try:
            # Not wait_for: before Python 3.12 it loses a cancellation that comes together with the event.
            async with asyncio.timeout_at(self._beaten_at + HEARTBEAT):
                await self._grown.wait()
        except TimeoutError:
            return await self._sign_of_life(sender)
        self._grown.clear()
        return lambda: sender.grown(self._last_sequence)

    async def _sign_of_life(self, sender: Sender) -> Callable[[], list[Output]]:
        self._beaten_at = time.monotonic()
        # In this order: the sequence number must cover all that was taken in, and all standings.
        standings, complete = self._standings(), now_us()
        stream = await read_soon(self._reader, journal.read_stream)
        self._last_sequence = max(self._last_sequence, stream.last_sequence)
        return lambda: [*sender.grown(self._last_sequence), *sender.beat(complete, standings)]

    async def _carry_out(self, outputs: list[Output], sender: Sender, call: _Call) -> None:
        pending = list(outputs)
        while pending:
            match pending.pop(0):
                case Send(request):
                    await _write(call, request)
                    self.state.owed.said(sender.sent, time.monotonic())
                    passing("uplink.sent")
                case Fetch(after, max_bytes):
                    rows = await self._fetch(after, max_bytes)
                    passing("uplink.fetched")
                    pending = [*sender.fetched(rows), *pending]
                case Adopt() | Reapply() | BeginAnew() | Complete() as step:
                    await self._restore.carry_out(step)
                case Pull() as wanted:
                    self._wanted.put_nowait(wanted)
                case Progress(neighbour_mark, center_mark):
                    self._progress.moved(neighbour_mark, center_mark)
                case Stop(reason):
                    raise _Ended(reason)

    async def _fetch(self, after: int, max_bytes: int) -> list[journal.OutboxRow]:
        return await read_soon(
            self._reader,
            lambda connection: journal.fetch_outbox(connection, after, max_changes=BATCH_CHANGES, max_bytes=max_bytes),
        )


async def _write(call: _Call, request: StreamRequest) -> None:
    try:
        await call.write(request)
    except asyncio.InvalidStateError:
        await call.read()  # the call is over; this raises why
        raise _Ended(errors.ERROR_REASON_DEPENDENCY_UNAVAILABLE) from None
