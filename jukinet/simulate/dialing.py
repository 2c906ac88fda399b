"""The dialling side of a link in the simulation: `jukinet.link.uplink` without sockets and tasks.

Drives the product's `Sender` and carries out what it says, with the product's own times.
"""

from collections.abc import Callable
from functools import partial

from sqlalchemy import Connection

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.errors.v1.errors_pb2 import ErrorReason
from jukinet._pb.jukinet.link.v1.link_pb2 import StreamResponse, Welcome
from jukinet.link.sender import BATCH_CHANGES, Fetch, Output, Progress, Send, Sender, Stop, for_people
from jukinet.link.uplink import BACKOFF_FIRST, BACKOFF_LAST, HEARTBEAT, SILENCE
from jukinet.mesh.errors import name_of
from jukinet.simulate.network import Road, Stream
from jukinet.simulate.process import Process
from jukinet.simulate.serving import Serving
from jukinet.simulate.timeline import MS, SECOND
from jukinet.store import journal

_NOT_SHARED = frozenset(
    {errors.ERROR_REASON_LINK_FENCED, errors.ERROR_REASON_LINK_FORK, errors.ERROR_REASON_LINK_RECEIVER_AHEAD}
)
_PROGRESS_EVERY = 1  # seconds; the product's is shorter, and every note is a commit that takes time to simulate
_AWAY = errors.ERROR_REASON_DEPENDENCY_UNAVAILABLE


class Dialing:
    """Sends the outbox of one process up a road.

    `find_server` gives the serving part above, None while nobody is there; `relay` is told which sources' changes
    reached the center.
    """

    def __init__(self, process: Process, road: Road, *, source: str, max_changes: int) -> None:
        self._process = process
        self._road = road
        self._source = source
        self._max_changes = min(max_changes, BATCH_CHANGES)
        self.find_server: Callable[[], Serving | None] = lambda: None
        self.relay: Serving | None = None
        self.stream: Stream | None = None
        self.stopped_for: ErrorReason.ValueType | None = None
        """Why the link waits for people, if so."""
        self._sender = Sender()
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
            self._carry_out(self._sender.grown(self._last_sequence))

    def hear(self, stream: Stream, response: StreamResponse) -> None:
        """The neighbour said something."""
        if self.stream is not stream or not self._process.alive:
            return
        self._heard_at = self._process.timeline.now
        match response.WhichOneof("message"):
            case "welcome":
                self._carry_out(self._welcomed(response.welcome))
            case "ack":
                self._carry_out(self._sender.acked(response.ack))
            case _:
                pass

    def lost(self, stream: Stream, reason: "ErrorReason.ValueType | None") -> None:
        """The stream ended."""
        if self.stream is not stream or not self._process.alive:
            return
        self.stream = None
        reason = reason or _AWAY
        timeline = self._process.timeline
        # The simulated nodes have no marker and no Pull: one that was put back to a backup waits for people.
        if for_people(reason) or reason == errors.ERROR_REASON_LINK_RECEIVER_AHEAD:
            self.stopped_for = reason
            timeline.count(f"stopped for people: {name_of(reason)}")
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
        server = self.find_server()
        stream = self.stream = Stream(self._road, self, server)
        if server is None or not self._road.passable:
            stream.broken = True
            timeline.after(timeline.between(MS, SECOND), "no connection", lambda: self.lost(stream, _AWAY))
            return
        stream.source = self._source
        self._road.streams.append(stream)
        self._sender = Sender()
        own, first_kept = self._process.disk.read(lambda c: (journal.read_stream(c), journal.first_kept(c)))
        self._last_sequence = max(self._last_sequence, own.last_sequence)
        self._carry_out(self._sender.opened(own, first_kept=first_kept))
        self._watch(stream)

    def _welcomed(self, welcome: Welcome) -> list[Output]:
        chain = self._process.disk.read(lambda connection: journal.chain_at(connection, welcome.mark))
        outputs = self._sender.welcomed(welcome, chain_here=chain)
        if not any(isinstance(output, Stop) for output in outputs):
            outputs += self._sender.grown(self._last_sequence)
        return outputs

    def _watch(self, stream: Stream) -> None:
        """Looks every second whether the neighbour is silent, or has not heard from us for long."""
        now = self._process.timeline.now
        if self.stream is not stream:
            return
        if now - self._heard_at > SILENCE * SECOND:
            stream.close()
            self.lost(stream, None)
            return
        if now - self._said_at > HEARTBEAT * SECOND:
            self._said_at = now
            self._carry_out(self._sender.idle())
        self._process.later(2 * SECOND, "watches", lambda: self._watch(stream))

    def _carry_out(self, outputs: list[Output]) -> None:
        pending = list(outputs)
        while pending and (stream := self.stream):
            match pending.pop(0):
                case Send(request):
                    stream.send_up(request)
                case Fetch(after, max_bytes):
                    rows = self._process.disk.read(partial(self._fetch, after, max_bytes))
                    pending = [*self._sender.fetched(rows), *pending]
                case Progress(near, far):
                    self._note(near, far)
                case Stop(reason):
                    stream.close()
                    self.lost(stream, reason)

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
        self._process.submit(
            lambda c: journal.record_progress(c, neighbour_mark=near, center_mark=far, now_us=at), self._noted
        )

    def _noted(self, outcome: object) -> None:
        if isinstance(outcome, dict) and outcome and self.relay:
            self.relay.center_marks_moved(outcome)
        elif isinstance(outcome, Exception):
            self._process.later(HEARTBEAT * SECOND, "notes progress again", self._note_progress)
