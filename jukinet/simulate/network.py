"""The roads between neighbours: streams that deliver in order, late, or not at all.

A stream is what gRPC gives: what arrives arrives in order, and a broken stream may have delivered any beginning of what
was sent. One direction of a road can be closed alone: what is on it waits, as TCP keeps repeating it. When a stream
breaks, what was still under way is lost, or comes later than the next stream's greeting: a receiver may have read it
before it was told that another stream took over.
"""

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from jukinet._pb.jukinet.errors.v1.errors_pb2 import ErrorReason
from jukinet._pb.jukinet.link.v1.link_pb2 import Batch, StreamRequest, StreamResponse
from jukinet.simulate.timeline import MS, SECOND, Timeline

SLOWEST = 400 * MS


class Below(Protocol):
    """The dialling end of a stream."""

    def hear(self, stream: "Stream", response: StreamResponse) -> None:
        """A message came down."""

    def given_back(self, stream: "Stream", batch: Batch | None) -> None:
        """A batch of own changes came back; None is the end of them."""

    def lost(self, stream: "Stream", reason: "ErrorReason.ValueType | None") -> None:
        """The stream ended."""


class Above(Protocol):
    """The serving end of a stream."""

    def hear(self, stream: "Stream", request: StreamRequest) -> None:
        """A message came up."""

    def pull(self, stream: "Stream", first: int, last: int) -> None:
        """The sender asks for its own changes back."""

    def lost(self, stream: "Stream") -> None:
        """The connection is gone."""


class Gate:
    """One direction of a road: open or closed."""

    def __init__(self) -> None:
        self.open = True
        self._waiting: list[Callable[[], None]] = []

    def wait(self, go_on: Callable[[], None]) -> None:
        """Calls back when the direction is open again."""
        self._waiting.append(go_on)

    def set(self, *, open_: bool) -> None:
        """Opens or closes the direction."""
        self.open = open_
        if open_:
            waiting, self._waiting = self._waiting, []
            for go_on in waiting:
                go_on()


class Pipe:
    """One direction of one stream: in order, each message with a delay of its own."""

    def __init__(self, timeline: Timeline, label: str, gate: Gate, deliver: Callable[[Any], None]) -> None:
        self._timeline = timeline
        self._label = label
        self._gate = gate
        self._deliver = deliver
        self._under_way: deque[Any] = deque()
        self._armed = False

    def put(self, message: Any) -> None:
        """Sends a message."""
        self._under_way.append(message)
        self._arm()

    def drop(self) -> list[Any]:
        """Loses what is under way, and gives it to whoever wants to bring it later."""
        lost, self._under_way = list(self._under_way), deque()
        return lost

    def _arm(self) -> None:
        if self._under_way and not self._armed:
            self._armed = True
            self._timeline.after(self._timeline.between(MS, SLOWEST), self._label, self._pump)

    def _pump(self) -> None:
        self._armed = False
        if not self._gate.open:
            self._armed = True
            self._gate.wait(self._reopened)
            return
        if self._under_way:
            self._deliver(self._under_way.popleft())
        self._arm()

    def _reopened(self) -> None:
        self._armed = False
        self._arm()


class Road:
    """The way from one node to its neighbour above."""

    def __init__(self, timeline: Timeline, below: str, above: str) -> None:
        self.timeline = timeline
        self.below, self.above = below, above
        self.up, self.down = Gate(), Gate()
        self.streams: list[Stream] = []
        self.sent: list[StreamRequest] = []
        """Batches that ever went up, for somebody who repeats them."""

    @property
    def passable(self) -> bool:
        """Whether a connection can be made."""
        return self.up.open and self.down.open


class Stream:
    """One connection from `below` to `above`: the stream, and beside it what is pulled back."""

    def __init__(self, road: Road, below: Below, above: Above | None) -> None:
        self.road = road
        self.source = ""
        """SPIFFE ID of the sender, as its certificate says."""
        self.above = above
        self.superseded = False
        self._below = below
        timeline = self._timeline = road.timeline
        self.broken = False
        self._up = Pipe(timeline, f"{road.below} up", road.up, self._arrive_above)
        self._down = Pipe(timeline, f"{road.below} down", road.down, self._arrive_below)
        self._asking = Pipe(timeline, f"{road.below} pulls", road.up, self._asked_above)
        self._back = Pipe(timeline, f"{road.below} back", road.down, lambda batch: below.given_back(self, batch))

    def send_up(self, request: StreamRequest) -> None:
        """Writes to the receiver; a write to a broken call goes nowhere."""
        if request.HasField("batch"):
            self.road.sent.append(request)
        if not self.broken:
            self._up.put(request)

    def send_down(self, response: StreamResponse) -> None:
        """Writes to the sender."""
        if not self.broken:
            self._down.put(response)

    def pull(self, first: int, last: int) -> None:
        """Asks the receiver for own changes."""
        if not self.broken:
            self._asking.put((first, last))

    def give_back(self, batch: Batch | None) -> None:
        """Gives the sender own changes back; None is the end of them."""
        if not self.broken:
            self._back.put(batch)

    def refuse(self, reason: "ErrorReason.ValueType | None") -> None:
        """The receiver ends the call; the sender hears of it after what was said before."""
        if not self.broken:
            self._up.drop()
            self._down.put(reason)

    def close(self) -> None:
        """The sender ends the call."""
        self._end()
        self._timeline.after(self._timeline.between(MS, SLOWEST), "closed above", self._lost_above)

    def break_(self, *, late: bool = False, silent: bool = False) -> None:
        """Cuts the connection.

        `late`: what was under way up arrives later all the same. `silent`: neither end is told; only silence tells.
        """
        if self.broken:
            return
        under_way = self._end()
        if late:
            for request in under_way:
                delay = self._timeline.between(MS, 4 * SECOND)
                self._timeline.after(delay, "late frame", partial(self._arrive_above, request))
        if not silent:
            for end in (lambda: self._below.lost(self, None), self._lost_above):
                self._timeline.after(self._timeline.between(MS, 2 * SECOND), "reset", end)

    def _end(self) -> list[StreamRequest]:
        self.broken = True
        if self in self.road.streams:
            self.road.streams.remove(self)
        for pipe in (self._down, self._asking, self._back):
            pipe.drop()
        return self._up.drop()

    def _arrive_above(self, request: StreamRequest) -> None:
        if self.above:
            self.above.hear(self, request)

    def _asked_above(self, wanted: tuple[int, int]) -> None:
        if self.above:
            self.above.pull(self, *wanted)

    def _lost_above(self) -> None:
        if self.above:
            self.above.lost(self)

    def _arrive_below(self, message: Any) -> None:
        if isinstance(message, StreamResponse):
            self._below.hear(self, message)
        else:
            self._end()
            self._below.lost(self, message)
