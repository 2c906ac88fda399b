"""The dialling side of a link in the simulation: `jukinet.link.uplink` without sockets and tasks.

Drives the product's `Sender` and carries out what it says, with the product's own times. As the product's lock has it,
each event is worked off to its last output before the next one counts.
"""

from collections import deque
from collections.abc import Callable
from functools import partial

from sqlalchemy import Connection

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.errors.v1.errors_pb2 import ErrorReason
from jukinet._pb.jukinet.link.v1.link_pb2 import Batch, StreamResponse, Welcome
from jukinet.link.outputs import (
    Adopt,
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
from jukinet.link.pulse import HEARTBEAT, SILENCE
from jukinet.link.receiver import BATCH_CHANGES
from jukinet.link.sender import Sender
from jukinet.link.uplink import BACKOFF_FIRST, BACKOFF_LAST
from jukinet.mesh.errors import Refused, name_of
from jukinet.simulate.network import Road, Stream
from jukinet.simulate.process import Process
from jukinet.simulate.restoring import Restoring
from jukinet.simulate.serving import Serving
from jukinet.simulate.timeline import MS, SECOND
from jukinet.store import journal

_NOT_SHARED = frozenset(
    {errors.ERROR_REASON_LINK_FENCED, errors.ERROR_REASON_LINK_FORK, errors.ERROR_REASON_LINK_NOT_KEPT}
)
_PROGRESS_EVERY = 1  # seconds; the product's is shorter, and every note is a commit that takes time to simulate
_AWAY = errors.ERROR_REASON_DEPENDENCY_UNAVAILABLE


class Dialing:
    """Sends the outbox of one process up a road.

    `restoring` knows whether the node lost something. `find_server` gives the serving part above, None while nobody is
    there; `relay` is told which sources' changes reached the center; `on_stop` why the link waits for people.
    """

    def __init__(
        self,
        process: Process,
        road: Road,
        *,
        source: str,
        max_changes: int,
        restoring: Restoring,
        find_server: Callable[[], Serving | None],
        relay: Callable[[dict[str, int]], None],
        on_stop: Callable[["ErrorReason.ValueType"], None],
    ) -> None:
        self._process = process
        self._road = road
        self._source = source
        self._max_changes = min(max_changes, BATCH_CHANGES)
        self._restoring = restoring
        self._find_server = find_server
        self._relay = relay
        self._on_stop = on_stop
        self.stream: Stream | None = None
        self.stopped_for: ErrorReason.ValueType | None = None
        """Why the link waits for people, if so."""
        self._sender = Sender()
        self._events: deque[Callable[[], list[Output]]] = deque()
        self._outputs: deque[Output] = deque()
        self._writing = False
        """Whether an output waits for its commit."""
        self._coming_back = False
        """Whether this stream began a restore."""
        self._last_sequence = 0
        self._backoff = BACKOFF_FIRST
        self._near = self._far = self._near_at_dial = 0
        self._dialled_at = self._heard_at = self._said_at = 0
        self._noting = False

    @property
    def not_shared(self) -> "ErrorReason.ValueType | None":
        """Why no new change may be accepted: the receiver does not share this history."""
        return self.stopped_for if self.stopped_for in _NOT_SHARED else None

    def begin(self) -> None:
        """Dials, after the process has come up."""
        self._process.later(self._process.timeline.between(MS, 50 * MS), "dials", self._dial)

    def grown(self, last_sequence: int) -> None:
        """The outbox has committed changes up to this sequence number."""
        self._last_sequence = max(self._last_sequence, last_sequence)
        if self.stream:
            self._said_at = self._process.timeline.now
            self._work_off(lambda: self._sender.grown(self._last_sequence))

    def hear(self, stream: Stream, response: StreamResponse) -> None:
        """The neighbour said something."""
        if self.stream is not stream or not self._process.alive:
            return
        self._heard_at = self._process.timeline.now
        match response.WhichOneof("message"):
            case "welcome":
                self._work_off(lambda: self._welcomed(response.welcome))
            case "ack":
                self._work_off(lambda: self._sender.acked(response.ack))
            case _:
                pass

    def given_back(self, stream: Stream, batch: Batch | None) -> None:
        """The neighbour gave own changes back; None is the end of them."""
        if self.stream is stream and self._process.alive:
            self._work_off(self._sender.pull_ended if batch is None else partial(self._sender.pulled, batch))

    def lost(self, stream: Stream, reason: "ErrorReason.ValueType | None") -> None:
        """The stream ended."""
        if self.stream is not stream or not self._process.alive:
            return
        self.stream = None
        if self._coming_back and self._restoring.restored:
            self._process.timeline.count("restore cut off")
        self._events.clear()
        self._outputs.clear()
        reason = reason or _AWAY
        if reason == errors.ERROR_REASON_LINK_RECEIVER_AHEAD:
            self._restoring.doubt(lambda _: self._again(reason))
        else:
            self._again(reason)

    def _again(self, reason: "ErrorReason.ValueType") -> None:
        timeline = self._process.timeline
        if for_people(reason):
            self.stopped_for = reason
            timeline.count(f"stopped for people: {name_of(reason)}")
            self._on_stop(reason)
            return
        if reason == errors.ERROR_REASON_LINK_SUPERSEDED:
            self._backoff = BACKOFF_LAST
        elif self._near > self._near_at_dial or timeline.now - self._dialled_at > BACKOFF_LAST * SECOND:
            self._backoff = BACKOFF_FIRST
        self._process.later(timeline.random.uniform(0, self._backoff) * SECOND, "dials again", self._dial)
        self._backoff = min(self._backoff * 2, BACKOFF_LAST)

    def _dial(self) -> None:
        timeline = self._process.timeline
        self._dialled_at = self._heard_at = self._said_at = timeline.now
        self._near_at_dial = self._near
        server = self._find_server()
        stream = self.stream = Stream(self._road, self, server)
        if server is None or not self._road.passable:
            stream.broken = True
            timeline.after(timeline.between(MS, SECOND), "no connection", lambda: self.lost(stream, _AWAY))
            return
        stream.source = self._source
        self._road.streams.append(stream)
        self._sender, self._writing, self._coming_back = Sender(), False, False
        own, first_kept = self._process.disk.read(lambda c: (journal.read_stream(c), journal.first_kept(c)))
        self._last_sequence = max(self._last_sequence, own.last_sequence)
        self._work_off(lambda: self._sender.opened(own, first_kept=first_kept, restored=self._restoring.restored))
        self._watch(stream)

    def _welcomed(self, welcome: Welcome) -> list[Output]:
        chain = self._process.disk.read(lambda connection: journal.chain_at(connection, welcome.mark))
        outputs = self._sender.welcomed(welcome, chain_here=chain)
        if not any(isinstance(output, Stop) for output in outputs):
            self._events.append(lambda: self._sender.grown(self._last_sequence))
        return outputs

    def _watch(self, stream: Stream) -> None:
        """Looks every two seconds whether the neighbour is silent, or has not heard from us for long."""
        now = self._process.timeline.now
        if self.stream is not stream:
            return
        if now - self._heard_at > SILENCE * SECOND:
            stream.close()
            self.lost(stream, None)
            return
        if now - self._said_at > HEARTBEAT * SECOND:
            self._said_at = now
            self._work_off(lambda: self._sender.beat(now))
        self._process.later(2 * SECOND, "watches", lambda: self._watch(stream))

    def _work_off(self, event: Callable[[], list[Output]]) -> None:
        self._events.append(event)
        self._go_on()

    def _go_on(self) -> None:
        while self.stream and not self._writing:
            if self._outputs:
                self._carry_out(self.stream, self._outputs.popleft())
            elif self._events:
                self._outputs.extend(self._events.popleft()())
            else:
                return

    def _carry_out(self, stream: Stream, output: Output) -> None:
        match output:
            case Send(request):
                stream.send_up(request)
            case Fetch(after, max_bytes):
                rows = self._process.disk.read(partial(self._fetch, after, max_bytes))
                self._outputs.extendleft(reversed(self._sender.fetched(rows)))
            case Adopt(epoch):
                self._coming_back = True
                self._write(stream, partial(self._restoring.adopt, epoch))
            case Pull(first, last):
                stream.pull(first, last)
            case Reapply(batch):
                self._write(stream, partial(self._restoring.put_back, batch))
            case Complete():
                self._write(stream, self._restoring.complete)
            case Progress(near, far):
                self._note(near, far)
            case Stop(reason):
                stream.close()
                self.lost(stream, reason)

    def _write(self, stream: Stream, step: Callable[[Callable[[Exception | None], None]], None]) -> None:
        """Lets everything else of this stream wait for a commit."""
        self._writing = True

        def done(failure: Exception | None) -> None:
            if self.stream is not stream:
                return
            self._writing = False
            if failure is None:
                self._go_on()
                return
            stream.close()
            self.lost(stream, failure.reason if isinstance(failure, Refused) else _AWAY)

        step(done)

    def _fetch(self, after: int, max_bytes: int, connection: Connection) -> list[journal.OutboxRow]:
        return journal.fetch_outbox(connection, after, max_changes=self._max_changes, max_bytes=max_bytes)

    def _note(self, near: int, far: int) -> None:
        timeline = self._process.timeline
        if (near, far) > (self._near, self._far):
            timeline.log("acked", node=self._road.below, by=self._road.above, mark=near, center_mark=far)
        self._near, self._far = max(self._near, near), max(self._far, far)
        if not self._noting:
            self._noting = True
            self._process.later(_PROGRESS_EVERY * SECOND, "notes progress", self._note_progress)

    def _note_progress(self) -> None:
        self._noting = False
        near, far, at = self._near, self._far, self._process.now_us()

        def noted(outcome: object) -> None:
            self._restoring.acknowledged(near)
            if isinstance(outcome, dict) and outcome:
                self._relay(outcome)
            elif isinstance(outcome, Exception):
                self._process.later(HEARTBEAT * SECOND, "notes progress again", self._note_progress)

        self._process.submit(
            lambda c: journal.record_progress(c, neighbour_mark=near, center_mark=far, now_us=at), noted
        )
