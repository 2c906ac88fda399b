"""Sending side of a link, without I/O: `step(event) -> outputs`.

Rules:
1. The receiver alone knows how far it is. A sender goes on from the receiver's mark, whatever it sent before.
2. Nothing counts as delivered before an acknowledgement says so; a broken stream forgets everything under way.
3. A receiver that is ahead of the sender has what the sender lost. The sender says Hello as *restored*: it is given a
   new epoch, which fences every other incarnation, takes the missing changes back, and sends nothing before it has the
   receiver's whole history. A receiver with another history under the same number stops the sender for good.
4. At most the receiver's credit is under way: so many batches, so many bytes of segments. A credit of nothing is a
   pause.
5. What goes out is what was once written: each row of the outbox must continue the link chain, or nothing more is sent.

The adapter feeds events and carries out outputs in their order: `Send` a message, `Fetch` segments from the outbox,
`Adopt` an epoch durably, `Pull` own changes back and `Reapply` them, `BeginAnew` after changes that nobody keeps, note
that the sender is `Complete` again, keep `Progress`, `Stop` with a reason. After `Stop` the stream is over; whether
another one may be tried is `for_people`. After LINK_GAP the adapter brings snapshots first (`jukinet.link.bring`).
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.link.v1.link_pb2 import (
    Ack,
    Batch,
    Heartbeat,
    Hello,
    SealedSegment,
    Segment,
    Standing,
    StreamRequest,
    Welcome,
)
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
)
from jukinet.link.receiver import LINK_VERSION
from jukinet.link.seal import link_chain, segment_hash
from jukinet.store.journal import OutboxRow, Stream

BATCH_BYTES = 1_000_000
"""Segments and trace contexts of one batch; leaves room in a message of 1 MiB for 500 seals and the frame."""


@dataclass(slots=True)
class Sender:
    """One stream's sending state; make a new one for every connection."""

    last_sequence: int = 0
    epoch: int = 1
    _opened_with: Stream = field(default_factory=lambda: Stream(1, 0, b"", 0, 0, 0))
    _first_kept: int = 0
    _restored: bool = False
    _others_alone: bool = False
    _target: Welcome | None = None
    """The welcome whose mark a restored sender has not reached yet."""
    _welcomed: bool = False
    _fetching: bool = False
    _next_after: int = 0
    _chain: bytes = b""
    _acked: int = 0
    _credit_batches: int = 0
    _credit_bytes: int = 0
    _under_way: deque[tuple[int, int, bytes]] = field(default_factory=deque)
    """Of each batch: its last sequence number, its size in bytes, the link chain after it."""
    _bytes_under_way: int = 0

    @property
    def sent(self) -> int:
        """Last sequence number that this stream has brought, or found, at its receiver."""
        return self._next_after

    @property
    def pulls(self) -> bool:
        """Whether own changes are still to come back."""
        return self._target is not None

    def opened(
        self, stream: Stream, *, first_kept: int, restored: bool = False, others_alone: bool = False
    ) -> list[Output]:
        """The connection stands: says Hello. `first_kept` is the oldest change in the outbox, 0 when it is empty.

        `others_alone` says that all changes of this node come from nodes below, which can bring them again.
        """
        self.epoch, self.last_sequence = stream.epoch, stream.last_sequence
        self._opened_with, self._first_kept = stream, first_kept or stream.last_sequence + 1
        self._restored, self._others_alone = restored, others_alone
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
        renewed = self._restored and welcome.epoch > self.epoch
        if self._welcomed or self._target or not (welcome.epoch == self.epoch or renewed):
            return [Stop(errors.ERROR_REASON_LINK_PROTOCOL)]
        if welcome.version != LINK_VERSION:
            return [Stop(errors.ERROR_REASON_LINK_VERSION)]
        if welcome.mark > self._opened_with.last_sequence:
            return self._behind(welcome)
        if welcome.mark < self.last_sequence and welcome.mark + 1 < self._first_kept:
            # The receiver lost what was pruned here. Nothing of ours is missing here, so we are who we were.
            renewed_first: list[Output] = [Adopt(welcome.epoch), Complete()] if self._restored else []
            return [*renewed_first, Stop(errors.ERROR_REASON_LINK_GAP)]
        if self._is_another_history(welcome, chain_here):
            return [Stop(errors.ERROR_REASON_LINK_FORK)]
        self.epoch = welcome.epoch
        adopted: list[Output] = [Adopt(welcome.epoch), Complete()] if self._restored else []
        return adopted + self._in_step(welcome)

    def pulled(self, batch: Batch) -> list[Output]:
        """The receiver gave own changes back. The last of them tells whether its history is ours."""
        if self._target is None:
            return [Stop(errors.ERROR_REASON_LINK_PROTOCOL)]
        if batch.first_sequence > self._next_after + 1:
            return self._not_kept(self._target)
        if batch.first_sequence <= self._next_after:
            return [Stop(errors.ERROR_REASON_LINK_FORK)]
        first, chain = batch.first_sequence, self._chain
        for sealed in batch.segments:
            try:
                last = first + len(Segment.FromString(sealed.segment).changes) - 1
            except DecodeError:
                return [Stop(errors.ERROR_REASON_LINK_PROTOCOL)]
            chain = link_chain(chain, first_sequence=first, last_sequence=last, segment=segment_hash(sealed.segment))
            first = last + 1
        self._next_after, self._chain = first - 1, chain
        target = self._target
        if self._next_after < target.mark:
            return [Reapply(batch)]
        if self._next_after > target.mark or chain != target.chain:
            return [Stop(errors.ERROR_REASON_LINK_FORK)]
        self._target = None
        self.last_sequence = max(self.last_sequence, target.mark)
        return [Reapply(batch), Complete(), *self._in_step(target)]

    def pull_ended(self) -> list[Output]:
        """The receiver gave all that it has."""
        return self._not_kept(self._target) if self._target else []

    def grown(self, last_sequence: int) -> list[Output]:
        """The outbox has changes up to this sequence number."""
        self.last_sequence = max(self.last_sequence, last_sequence)
        return self._more()

    def fetched(self, rows: Sequence[OutboxRow]) -> list[Output]:
        """The segments that the last Fetch asked for."""
        self._fetching = False
        if not rows:
            return []
        if rows[0].first_sequence != self._next_after + 1:
            return [Stop(errors.ERROR_REASON_LINK_GAP)]
        previous = self._chain
        for row in rows:
            self._chain = link_chain(
                self._chain,
                first_sequence=row.first_sequence,
                last_sequence=row.last_sequence,
                segment=segment_hash(row.segment),
            )
            if self._chain != row.chain:
                return [Stop(errors.ERROR_REASON_LINK_FORK)]
        size = sum(len(row.segment) for row in rows)
        self._next_after = rows[-1].last_sequence
        self._under_way.append((self._next_after, size, self._chain))
        self._bytes_under_way += size
        return [Send(StreamRequest(batch=_batch(self.epoch, previous, rows))), *self._more()]

    def acked(self, ack: Ack) -> list[Output]:
        """The receiver has everything up to the mark on disk."""
        if self._target and (ack.epoch, ack.mark) == (self.epoch, self._target.mark):
            return []  # a sign of life while we take back what we lost
        if not self._welcomed or ack.epoch != self.epoch or not self._acked <= ack.mark <= self._next_after:
            # Beyond what was sent: another stream of ours was still being written when this one was welcomed, or
            # another instance is at work. The next welcome tells which, by its chain.
            return [Stop(errors.ERROR_REASON_LINK_PROTOCOL)]
        self._acked = ack.mark
        while self._under_way and self._under_way[0][0] <= ack.mark:
            last, size, chain = self._under_way.popleft()
            self._bytes_under_way -= size
            if last == ack.mark and chain != ack.chain:
                return [Stop(errors.ERROR_REASON_LINK_FORK)]
        self._credit_batches, self._credit_bytes = ack.credit.batches, ack.credit.bytes
        return [Progress(ack.mark, ack.center_mark), *self._more()]

    def beat(self, complete_us: int, standings: Sequence[Standing] = ()) -> list[Output]:
        """Gives a sign of life, so that both sides know the stream is alive, and how far the municipalities are.

        `complete_us` is the moment, in microseconds since 1970, up to which `grown` told of everything.
        """
        speaks = self._welcomed or self._target
        heartbeat = Heartbeat(sequence=self.last_sequence, standings=standings)
        heartbeat.complete_at.FromMicroseconds(complete_us)
        return [Send(StreamRequest(heartbeat=heartbeat))] if speaks else []

    def _behind(self, welcome: Welcome) -> list[Output]:
        """The receiver holds more than we do. Nobody else can move its mark once the epoch is new."""
        if not self._restored:
            return [Stop(errors.ERROR_REASON_LINK_RECEIVER_AHEAD)]
        self.epoch, self._target = welcome.epoch, welcome
        self._next_after, self._chain = self._opened_with.last_sequence, self._opened_with.chain
        return [Adopt(welcome.epoch), Pull(self._next_after + 1, welcome.mark)]

    def _not_kept(self, target: Welcome) -> list[Output]:
        """The receiver cannot give back what is missing. A node without a change of its own begins after it."""
        if not self._others_alone or self._next_after:
            return [Stop(errors.ERROR_REASON_LINK_NOT_KEPT)]
        self._target = None
        self.last_sequence = target.mark
        return [BeginAnew(target.mark, target.chain), Complete(), *self._in_step(target)]

    def _in_step(self, welcome: Welcome) -> list[Output]:
        """Both mean the same history up to the mark: goes on from there."""
        self._welcomed = True
        self._next_after = self._acked = welcome.mark
        self._chain = welcome.chain
        self._credit_batches, self._credit_bytes = welcome.credit.batches, welcome.credit.bytes
        return [Progress(welcome.mark, welcome.center_mark), *self._more()]

    def _is_another_history(self, welcome: Welcome, chain_here: bytes | None) -> bool:
        opened_with = self._opened_with
        if chain_here is None and welcome.mark == opened_with.last_sequence:
            chain_here = opened_with.chain
        if chain_here is None and welcome.mark + 1 == self._first_kept:
            # Our row of the mark was pruned. The first row that we kept shows by rule 5 whether it follows.
            return False
        return chain_here != welcome.chain

    def _more(self) -> list[Output]:
        room = self._credit_bytes - self._bytes_under_way
        # Less than a batch's room is left alone, or a full link would go on in ever smaller batches.
        fits = room >= BATCH_BYTES or (room > 0 and not self._under_way)
        waits = self._welcomed and not self._fetching and self._next_after < self.last_sequence
        if not (waits and fits and len(self._under_way) < self._credit_batches):
            return []
        self._fetching = True
        return [Fetch(self._next_after, min(room, BATCH_BYTES))]


def _batch(epoch: int, previous_chain: bytes, rows: Sequence[OutboxRow]) -> Batch:
    return Batch(
        epoch=epoch,
        first_sequence=rows[0].first_sequence,
        previous_chain=previous_chain,
        segments=[
            SealedSegment(
                segment=row.segment,
                seal=row.seal,
                traceparents=row.traceparents.split(",") if row.traceparents else (),
            )
            for row in rows
        ],
    )
