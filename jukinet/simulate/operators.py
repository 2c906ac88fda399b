"""The operators: they keep backups, put disks back, and follow the runbooks of docs/operations.md.

What they do is part of the run: a link that stopped for people goes on only because a runbook was followed.
"""

from functools import partial

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.errors.v1.errors_pb2 import ErrorReason
from jukinet.simulate.disk import Marker
from jukinet.simulate.nodes import CENTER, MUNICIPALITIES, Node
from jukinet.simulate.offices import Offices
from jukinet.simulate.timeline import MS, SECOND, Timeline

_LOOKS_EVERY = 500 * MS


class Operators:
    """The people of all nodes; `acted_at` is when one of them last did something."""

    def __init__(self, timeline: Timeline, nodes: dict[str, Node], offices: Offices) -> None:
        self._timeline = timeline
        self._nodes = nodes
        self._offices = offices
        self._backups: dict[str, list[bytes]] = {}
        self._copies: dict[str, list[Node]] = {}
        self.acted_at = 0
        for node in nodes.values():
            node.on_stop = partial(self._stopped, node)

    def back_up(self, node: Node) -> None:
        """Copies the database of a node in use; the last copies are kept."""
        self._backups[node.name] = [*self._backups.get(node.name, ()), node.disk.backup()][-3:]

    @property
    def with_copies(self) -> list[Node]:
        """The nodes of which there is a backup."""
        return [self._nodes[name] for name in sorted(self._backups)]

    def put_back(self, node: Node) -> None:
        """Puts an old copy in the place of the database; the marker stays, is lost too, or is an empty file."""
        marker = self._timeline.random.choice((node.marker, node.marker, Marker(None), Marker(b"")))
        self._timeline.count("center restored" if node.name == CENTER else "restored from a backup")
        self._replace(node, self._timeline.random.choice(self._backups[node.name]), marker)

    def put_back_unnoticed(self, node: Node) -> None:
        """The whole machine goes back to its last copy, with what lies beside the database."""
        self._timeline.count("restored unnoticed")
        self._offices.trusting = False
        node.stop()
        node.restore(self._backups[node.name][-1], marker=Marker(None))
        node.believe()
        node.restart_later()

    def begin_anew(self, node: Node) -> None:
        """The disk is lost: an empty one, and an empty file in the place of the marker, as the runbook asks for."""
        self._timeline.count("disk lost")
        self._replace(node, None, Marker(b""))

    def start_second(self, original: Node) -> None:
        """The same identity speaks twice, from a copy of the disk that accepts nothing of its own."""
        copy = Node(self._timeline, original.name, original.road, original.find_above)
        copy.twin_of(original)
        self._copies.setdefault(original.name, []).append(copy)
        self._timeline.count("second instance")
        self._timeline.after(self._timeline.between(SECOND, 12 * SECOND), "second instance ends", copy.stop)

    def _replace(self, node: Node, image: bytes | None, marker: Marker) -> None:
        node.stop()
        node.restore(image, marker=marker)
        self.acted_at = self._timeline.now
        node.restart_later()
        if node.name in MUNICIPALITIES:
            self._offices.hold(node.name)
            self._look(node, node.process)

    def _look(self, node: Node, dead: object) -> None:
        """Once the CS is whole again, its municipality submits again what it was answered."""
        process = node.process
        if process is not dead and process and process.alive and node.takes:
            self.acted_at = self._timeline.now
            self._offices.submit_again(node.name)
        else:
            self._timeline.after(_LOOKS_EVERY, "operator looks", lambda: self._look(node, dead))

    def _stopped(self, node: Node, reason: "ErrorReason.ValueType") -> None:
        process = node.process
        mend = {
            errors.ERROR_REASON_LINK_FORK: self._take_the_history_above,
            errors.ERROR_REASON_LINK_FENCED: self._make_it_the_one,
        }.get(reason)
        if mend:
            self._timeline.after(
                self._timeline.between(SECOND, 5 * SECOND),
                f"{node.name} is mended",
                lambda: mend(node) if node.process is process else None,
            )

    def _take_the_history_above(self, node: Node) -> None:
        """Runbook LINK_FORK."""
        self._timeline.count("fork mended")
        self._replace(node, None, Marker(b""))

    def _make_it_the_one(self, node: Node) -> None:
        """Runbook LINK_FENCED, where the other instance is the one that has to go."""
        self._timeline.count("fenced one made current")
        for copy in self._copies.pop(node.name, ()):
            copy.stop()
        node.stop()
        node.marker = Marker(b"")
        self.acted_at = self._timeline.now
        node.restart_later()
