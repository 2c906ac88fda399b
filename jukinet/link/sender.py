"""Sending side of a link, without I/O: `step(event) -> outputs`.

Rules:
1. The receiver alone knows how far it is. A sender goes on from the receiver's mark, whatever it sent before.
2. Nothing counts as delivered before an acknowledgement says so; a broken stream forgets everything under way.
3. A receiver that is ahead of the sender, or that holds another history under the same number, stops the sender for
   good: that is a lost disk or a second instance, and only people can tell which.
4. At most the receiver's credit is under way: so many batches, so many bytes.

The adapter feeds events and carries out outputs: `Send` a message, `Fetch` segments after a sequence number from the
outbox, keep `Progress`, `Stop` for good with a reason.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.errors.v1.errors_pb2 import ErrorReason
from jukinet._pb.jukinet.link.v1.link_pb2 import Ack, Batch, Heartbeat, Hello, SealedSegment, StreamRequest, Welcome
from jukinet.link.receiver import LINK_VERSION
from jukinet.store.journal import OutboxRow, Stream

BATCH_CHANGES = 500
BATCH_BYTES = 1_000_000  # under the 1 MiB message limit with room for the frame


@dataclass(frozen=True, slots=True)
class Send:
    """Write this message to the stream."""

    request: StreamRequest


@dataclass(frozen=True, slots=True)
class Fetch:
    """Read outbox segments after this sequence number and give them to `fetched`."""

    after: int


@dataclass(frozen=True, slots=True)
class Progress:
    """Everything up to these sequence numbers is on disk at the neighbour, and at the center."""

    neighbour_mark: int
    center_mark: int


@dataclass(frozen=True, slots=True)
class Stop:
    """End the stream and do not try again before people have looked."""

    reason: "ErrorReason.ValueType"


Output = Send | Fetch | Progress | Stop


@dataclass(slots=True)
class Sender:
    """One stream's sending state; make a new one for every connection."""

    last_sequence: int = 0
    epoch: int = 1
    _welcomed: bool = False
    _fetching: bool = False
    _next_after: int = 0
    _chain: bytes = b""
    _credit_batches: int = 1
    _credit_bytes: int = BATCH_BYTES
    _under_way: deque[tuple[int, int]] = field(default_factory=deque)
    _bytes_under_way: int = 0

    def opened(self, stream: Stream, *, first_kept: int, restored: bool = False) -> list[Output]:
        """The connection stands: says Hello."""
        self.epoch, self.last_sequence = stream.epoch, stream.last_sequence
        hello = Hello(
            epoch=stream.epoch,
            last_sequence=stream.last_sequence,
            last_chain=stream.chain,
            first_kept=first_kept,
            version_min=LINK_VERSION,
            version_max=LINK_VERSION,
            restored=restored,
        )
        return [Send(StreamRequest(hello=hello))]

    def welcomed(self, welcome: Welcome, *, chain_here: bytes | None) -> list[Output]:
        """The receiver told its mark. `chain_here` is our link chain at that mark, None when we do not hold it."""
        if welcome.version != LINK_VERSION:
            return [Stop(errors.ERROR_REASON_LINK_VERSION)]
        if welcome.mark > self.last_sequence:
            return [Stop(errors.ERROR_REASON_LINK_RECEIVER_AHEAD)]
        if chain_here is None or chain_here != welcome.chain:
            return [Stop(errors.ERROR_REASON_LINK_FORK)]
        self._welcomed = True
        self._next_after, self._chain = welcome.mark, welcome.chain
        self._take_credit(welcome.credit.batches, welcome.credit.bytes)
        return [Progress(welcome.mark, welcome.center_mark), *self._more()]

    def grown(self, last_sequence: int) -> list[Output]:
        """The outbox has changes up to this sequence number."""
        self.last_sequence = max(self.last_sequence, last_sequence)
        return self._more()

    def fetched(self, rows: Sequence[OutboxRow]) -> list[Output]:
        """The segments that the last Fetch asked for."""
        self._fetching = False
        if not rows:
            return []
        batch = Batch(
            epoch=self.epoch,
            first_sequence=rows[0].first_sequence,
            previous_chain=self._chain,
            segments=[
                SealedSegment(
                    segment=row.segment,
                    seal=row.seal,
                    traceparents=row.traceparents.split(",") if row.traceparents else (),
                )
                for row in rows
            ],
        )
        size = sum(len(row.segment) for row in rows)
        self._next_after, self._chain = rows[-1].last_sequence, rows[-1].chain
        self._under_way.append((self._next_after, size))
        self._bytes_under_way += size
        return [Send(StreamRequest(batch=batch)), *self._more()]

    def acked(self, ack: Ack) -> list[Output]:
        """The receiver has everything up to the mark on disk."""
        if ack.epoch != self.epoch or ack.mark > self._next_after:
            return [Stop(errors.ERROR_REASON_LINK_PROTOCOL)]
        while self._under_way and self._under_way[0][0] <= ack.mark:
            self._bytes_under_way -= self._under_way.popleft()[1]
        self._take_credit(ack.credit.batches, ack.credit.bytes)
        return [Progress(ack.mark, ack.center_mark), *self._more()]

    def idle(self) -> list[Output]:
        """Nothing was sent for a while: says so, so that both sides know the stream is alive."""
        return [Send(StreamRequest(heartbeat=Heartbeat(sequence=self.last_sequence)))] if self._welcomed else []

    def _take_credit(self, batches: int, size: int) -> None:
        if batches and size:
            self._credit_batches, self._credit_bytes = batches, size

    def _more(self) -> list[Output]:
        may = (
            self._welcomed
            and not self._fetching
            and self._next_after < self.last_sequence
            and len(self._under_way) < self._credit_batches
            and (not self._under_way or self._bytes_under_way < self._credit_bytes)
        )
        if not may:
            return []
        self._fetching = True
        return [Fetch(self._next_after)]
