"""What goes wrong, drawn from the seed.

Faults that a network heals from by itself, or with the operators' runbooks, belong to both modes. A disk that goes back
in time with nobody knowing, a breached prefecture and a flipped bit belong to safety runs alone.
"""

from collections.abc import Callable
from functools import partial

from jukinet._pb.jukinet.link.v1.link_pb2 import StreamRequest
from jukinet.simulate.breach import Intruder
from jukinet.simulate.network import Road
from jukinet.simulate.nodes import PREFECTURES, Node
from jukinet.simulate.offices import Offices
from jukinet.simulate.operators import Operators
from jukinet.simulate.process import Fate
from jukinet.simulate.timeline import MS, SECOND, Timeline

_DAY_US = 86_400 * SECOND


class Faults:
    """Breaks things until `until`, then heals them all."""

    def __init__(
        self,
        timeline: Timeline,
        nodes: dict[str, Node],
        offices: Offices,
        operators: Operators,
        *,
        until: int,
        for_people: bool,
    ) -> None:
        self._timeline = timeline
        self._nodes = nodes
        self._offices = offices
        self._operators = operators
        self._until = until
        intruder = Intruder(timeline, nodes, offices)
        self._usual: list[tuple[int, Callable[[], None]]] = [
            (10, self._crash),
            (10, self._commit_fault),
            (8, self._reset),
            (5, self._partition),
            (8, self._disk_full),
            (5, self._slow_disk),
            (4, self._clock),
            (5, self._replay),
            (5, self._second_instance),
            (7, intruder.forge),
            (8, self._back_up),
            (7, self._put_back),
            (3, self._lose_disk),
        ]
        if for_people:
            self._usual += [(6, self._roll_back), (2, intruder.tamper), (3, intruder.lie), (2, self._flip_bit)]

    def begin(self) -> None:
        """Lets the first fault come."""
        self._timeline.after(self._timeline.between(300 * MS, 2 * SECOND), "fault", self._break)
        self._timeline.after(self._until - self._timeline.now, "faults end", self._heal)

    def _break(self) -> None:
        if self._timeline.now >= self._until:
            return
        weights = [weight for weight, _ in self._usual]
        (_, fault) = self._timeline.random.choices(self._usual, weights)[0]
        fault()
        self._timeline.after(self._timeline.between(100 * MS, 3 * SECOND), "fault", self._break)

    def _heal(self) -> None:
        for node in self._nodes.values():
            node.faults_end = True
            node.disk.fill(full=False)
            if node.road:
                node.road.up.set(open_=True)
                node.road.down.set(open_=True)
            if node.process is None or not node.process.alive:
                node.restart_later()
            else:
                node.process.slow, node.process.fate = 0, None

    def _any(self) -> Node:
        return self._timeline.random.choice(list(self._nodes.values()))

    def _any_below(self) -> Node:
        return self._timeline.random.choice([node for node in self._nodes.values() if node.road])

    def _until_then(self, longest: float, label: str, undo: Callable[[], None]) -> None:
        self._timeline.after(self._timeline.between(100 * MS, longest), label, undo)

    def _crash(self) -> None:
        node = self._any()
        if node.process and node.process.alive:
            self._timeline.count("crash at any moment")
            node.stop(silent=self._timeline.random.random() < 0.3)
            node.restart_later()

    def _commit_fault(self) -> None:
        node = self._any()
        if node.process and node.process.alive:
            node.process.fate = self._timeline.random.choice(list(Fate))

    def _reset(self) -> None:
        road = self._any_below().road
        for stream in list(road.streams) if road else []:
            self._timeline.count("connection cut")
            chance = self._timeline.random.random
            stream.break_(late=chance() < 0.5, silent=chance() < 0.3)

    def _partition(self) -> None:
        self._close(self._any_below().road)

    def _close(self, road: Road | None) -> None:
        if road is None:
            return
        gates = self._timeline.random.choice(([road.up], [road.down], [road.up, road.down]))
        self._timeline.count("partition" if len(gates) == 2 else "one-way partition")
        for gate in gates:
            gate.set(open_=False)
            self._until_then(15 * SECOND, "heals", partial(gate.set, open_=True))

    def _disk_full(self) -> None:
        node = self._any()
        disk = node.disk
        disk.fill(full=True)
        self._until_then(6 * SECOND, "has room", lambda: disk.fill(full=False) if node.disk is disk else None)

    def _slow_disk(self) -> None:
        process = self._any().process
        if process:
            process.slow = self._timeline.between(50 * MS, 2 * SECOND)
            self._timeline.count("disk slow")
            self._until_then(8 * SECOND, "is quick again", lambda: setattr(process, "slow", 0))

    def _clock(self) -> None:
        node = self._any()
        node.skew = self._timeline.random.randint(-_DAY_US, _DAY_US)
        if node.process:
            node.process.skew = node.skew
        self._timeline.count("clock jumped")

    def _replay(self) -> None:
        road = self._any_below().road
        if road and road.sent:
            self._bring(road, self._timeline.random.choice(road.sent))

    def _bring(self, road: Road | None, request: StreamRequest) -> None:
        if road and road.streams:
            self._timeline.count("batch repeated")
            road.streams[-1].send_up(request)

    def _second_instance(self) -> None:
        self._operators.start_second(self._any_below())

    def _back_up(self) -> None:
        self._operators.back_up(self._any())

    def _put_back(self) -> None:
        """A disk goes back to an old copy; perhaps its machine was thought dead and goes on speaking."""
        if nodes := self._operators.with_copies:
            node = self._timeline.random.choice(nodes)
            if node.road and self._timeline.random.random() < 0.5:
                self._operators.start_second(node)
            self._operators.put_back(node)

    def _lose_disk(self) -> None:
        self._operators.begin_anew(self._any())

    def _roll_back(self) -> None:
        """A disk goes back in time, and nothing beside the database tells: a virtual machine's snapshot."""
        if nodes := [node for node in self._operators.with_copies if node.road]:
            node = self._timeline.random.choice(nodes)
            chance = self._timeline.random.random
            if chance() < 0.3:
                self._operators.start_second(node)
            if chance() < 0.3:
                self._close(node.road)
            self._go_back(node)

    def _go_back(self, node: Node) -> None:
        """What the machine sent before may be under way, and meet what it sends under the same numbers now."""
        for request in node.road.sent[-8:] if node.road else ():
            delay = self._timeline.between(SECOND, 10 * SECOND)
            self._timeline.after(delay, "frame of before", partial(self._bring, node.road, request))
        self._operators.put_back_unnoticed(node)

    def _flip_bit(self) -> None:
        """A bit of a stored segment turns at a prefecture."""
        node = self._nodes[self._timeline.random.choice(PREFECTURES)]
        rows = node.disk.execute("SELECT last_sequence, segment FROM outbox ORDER BY last_sequence DESC LIMIT 1")
        for last, segment in rows:
            assert isinstance(segment, bytes)  # noqa: S101  # the column's type
            changed = segment[:-1] + bytes([segment[-1] ^ 1])
            node.disk.execute("UPDATE outbox SET segment = ? WHERE last_sequence = ?", changed, last)
            self._timeline.count("bit flipped")
            self._offices.trusting = False
