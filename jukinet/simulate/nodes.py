"""The nodes of the simulated nation: which parts run in a process, and what outlives it.

A node is a disk and, while it runs, a process on it with the parts that its kind has: intake, serving side, dialling
side. A second instance of the same identity on a copy of the disk is another node for the simulation.
"""

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from sqlalchemy import Connection

from cs_node.intake import Answer, Item, Sealing, accept
from jukinet._pb.jukinet.intake.v1.intake_pb2 import Submission, SubmitChangeResponse
from jukinet._pb.jukinet.link.v1.link_pb2 import Credit
from jukinet.domain.brake import Brake
from jukinet.link.apply_batch import Assembly
from jukinet.mesh.errors import Refused
from jukinet.mesh.identity import Identity
from jukinet.simulate.dialing import Dialing
from jukinet.simulate.disk import Disk
from jukinet.simulate.network import Road
from jukinet.simulate.observe import restored_state
from jukinet.simulate.process import Process
from jukinet.simulate.serving import Serving
from jukinet.simulate.timeline import MS, SECOND, Timeline

CHIYODA, CHUO, YOKOHAMA = "131016", "131024", "141003"
TOKYO, KANAGAWA = "130001", "140007"
CENTER = "center"
MUNICIPALITIES = {CHIYODA: TOKYO, CHUO: TOKYO, YOKOHAMA: KANAGAWA}
PREFECTURES = (TOKYO, KANAGAWA)
_WIDE_BRAKE = Brake(deletions=10**9, floor=10**9)
"""It counts as the product does, and holds nobody."""
_CREDIT = Credit(batches=4, bytes=4_000_000)

Heard = Callable[[Answer | Exception], None]


@cache
def sealing_key(municipality: str) -> Ed25519PrivateKey:
    """The sealing key of a simulated municipality."""
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(municipality.encode()).digest())


@cache
def key_of(municipality: str) -> Ed25519PublicKey | None:
    """What a node's key directory says."""
    return sealing_key(municipality).public_key() if municipality in MUNICIPALITIES else None


class Node:
    """One instance of a node. `above` finds the serving side of the neighbour above."""

    def __init__(
        self, timeline: Timeline, name: str, road: Road | None, find_above: Callable[[], Serving | None]
    ) -> None:
        self.timeline = timeline
        self.name = name
        self.road = road
        self.disk = Disk()
        self.skew = 0
        self.process: Process | None = None
        self.serving: Serving | None = None
        self.dialing: Dialing | None = None
        self.faults_end = False
        """Set when nothing may stay down any more."""
        self.find_above = find_above
        self._waiting: list[tuple[Item, Heard]] = []
        self._calling = False

    @property
    def scope(self) -> str:
        """Prefix of the codes that the node sees."""
        if self.name == CENTER:
            return ""
        return self.name if self.name in MUNICIPALITIES else self.name[:2]

    @property
    def identity(self) -> Identity:
        """Who it is to others."""
        if self.name == CENTER:
            return Identity("center", "")
        return Identity("municipality" if self.name in MUNICIPALITIES else "prefecture", self.name)

    def start(self, *, told: bool = True) -> None:
        """Starts a process on the disk; the history is `told` of the disks that count."""
        process = self.process = Process(self.timeline, self.name, self.disk, self._died, skew=self.skew, told=told)
        self._waiting, self._calling = [], False
        self.dialing = None
        if self.road:
            most = self.timeline.random.choice((1, 2, 3, 5, 500))
            self.dialing = Dialing(process, self.road, source=self.identity.uri, max_changes=most)
        if self.name not in MUNICIPALITIES:
            assembly = Assembly(scope=self.scope, forwards=self.road is not None, key_of=key_of, brake=_WIDE_BRAKE)
            grown = self.dialing.grown if self.dialing else _nothing
            self.serving = Serving(process, assembly, _CREDIT, grown)
        if self.dialing:
            self.dialing.find_server = self.find_above
            self.dialing.relay = self.serving
            self.dialing.begin()

    def stop(self, *, silent: bool = False) -> None:
        """Ends the process; `silent` as a power cut does, with nobody told."""
        if self.process and self.process.alive:
            self.process.die()
            self._gone(silent=silent)

    def restart_later(self) -> None:
        """Starts again after a while, if nothing else has started it."""
        dead = self.process
        longest = SECOND if self.faults_end else 8 * SECOND
        self.timeline.after(
            self.timeline.between(100 * MS, longest),
            f"{self.name} starts",
            lambda: self.start() if self.process is dead else None,
        )

    def restore(self, image: bytes) -> None:
        """Puts the disk back to what a backup holds. The node is down."""
        self.disk.close()
        self.disk = Disk(image)
        self.timeline.log("restored", node=self.name, **self.disk.read(restored_state))

    def twin_of(self, original: "Node") -> None:
        """Becomes a second instance of the same identity, on a copy of its disk."""
        self.disk.close()
        self.disk = Disk(original.disk.backup())
        self.start(told=False)

    @property
    def listening(self) -> Serving | None:
        """The serving side, while somebody is there."""
        return self.serving if self.process and self.process.alive else None

    def ask(self, submission: Submission, heard: Heard) -> None:
        """A municipal system hands a submission in; nobody answers while the node is down."""
        process = self.process
        if process is None or not process.alive:
            return
        if self.dialing and self.dialing.not_shared:
            heard(Refused(self.dialing.not_shared))
            return
        self._waiting.append((Item(submission, ""), heard))
        if not self._calling:
            self._calling = True
            process.later(self.timeline.between(MS, 200 * MS), "takes in", self._take_in)

    def _take_in(self) -> None:
        process = self.process
        assert process  # noqa: S101  # it calls
        self._calling = False
        group, self._waiting = self._waiting, []
        items = [item for item, _ in group]
        at = process.now_us()
        today = datetime.fromtimestamp(at / 1e6, UTC).date()
        sealing = Sealing(self.name, sealing_key(self.name))

        def job(connection: Connection) -> list[Answer]:
            return accept(connection, items, sealing, today=today, at_us=at)

        def done(outcome: list[Answer] | Exception) -> None:
            answers = [outcome] * len(group) if isinstance(outcome, Exception) else outcome
            last = max((answer.sequence for answer in answers if isinstance(answer, SubmitChangeResponse)), default=0)
            if last and self.dialing:
                self.dialing.grown(last)
            for (_, heard), answer in zip(group, answers, strict=True):
                heard(answer)

        process.submit(job, done)

    def _died(self, _process: Process) -> None:
        self._gone(silent=False)
        self.restart_later()

    def _gone(self, *, silent: bool) -> None:
        streams = list(self.road.streams) if self.road else []
        for stream in streams:
            if self.dialing and self.dialing.stream is stream:
                stream.break_(late=self.timeline.random.random() < 0.5, silent=silent)
        if self.serving:
            self.serving.cut_all(silent=silent)


def _nothing(_last: int) -> None:
    pass
