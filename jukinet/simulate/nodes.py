"""The nodes of the simulated nation: which parts run in a process, and what outlives it.

A node is a disk, a marker beside it and, while it runs, a process on them with the parts that its kind has: intake,
serving side, dialling side. A second instance of the same identity on a copy of the disk is another node for the
simulation.
"""

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache, partial
from typing import cast

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from sqlalchemy import Connection

from cs_node.intake import Answer, Item, Sealing, accept
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.errors.v1.errors_pb2 import ErrorReason
from jukinet._pb.jukinet.intake.v1.intake_pb2 import Submission, SubmitChangeResponse
from jukinet._pb.jukinet.link.v1.link_pb2 import Credit
from jukinet.domain.brake import Brake
from jukinet.link.apply_batch import Assembly
from jukinet.link.reapply import Reapplied, reapply_below, reapply_own
from jukinet.mesh.errors import Refused
from jukinet.mesh.identity import Identity
from jukinet.simulate.dialing import Dialing
from jukinet.simulate.disk import Disk, Marker
from jukinet.simulate.network import Road
from jukinet.simulate.observe import restored_state
from jukinet.simulate.process import Process
from jukinet.simulate.restoring import Restoring
from jukinet.simulate.serving import Serving
from jukinet.simulate.timeline import MS, SECOND, Timeline
from jukinet.store import journal
from jukinet.store.boot import Boot, write_boot_id

CHIYODA, CHUO, YOKOHAMA = "131016", "131024", "141003"
TOKYO, KANAGAWA = "130001", "140007"
CENTER = "center"
MUNICIPALITIES = {CHIYODA: TOKYO, CHUO: TOKYO, YOKOHAMA: KANAGAWA}
PREFECTURES = (TOKYO, KANAGAWA)
_WIDE_BRAKE = Brake(deletions=10**9, floor=10**9)
"""It counts as the product does, and holds nobody."""
_DIES_IN_START = 0.02
_CREDIT = Credit(batches=4, bytes=4_000_000)

Heard = Callable[[Answer | Exception], None]


@cache
def sealing_key(municipality: str) -> Ed25519PrivateKey:
    """The sealing key of a simulated municipality."""
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(municipality.encode()).digest())


class _Remembering:
    """A public key that verifies each seal once, for every hop asks the same; what is refused is refused each time."""

    def __init__(self, key: Ed25519PublicKey) -> None:
        self._key = key
        self._verified: set[tuple[bytes, bytes]] = set()

    def verify(self, signature: bytes, data: bytes) -> None:
        """As the key's own `verify`. Raises InvalidSignature."""
        if (signature, data) not in self._verified:
            self._key.verify(signature, data)
            self._verified.add((signature, data))


@cache
def key_of(municipality: str) -> Ed25519PublicKey | None:
    """What a node's key directory says."""
    if municipality not in MUNICIPALITIES:
        return None
    return cast("Ed25519PublicKey", _Remembering(sealing_key(municipality).public_key()))


def forget_seals() -> None:
    """Lets a new run verify all that it meets."""
    key_of.cache_clear()


class Node:
    """One instance of a node. `above` finds the serving side of the neighbour above."""

    def __init__(
        self, timeline: Timeline, name: str, road: Road | None, find_above: Callable[[], Serving | None]
    ) -> None:
        self.timeline = timeline
        self.name = name
        self.road = road
        self.disk = Disk()
        self.marker = Marker()
        self.skew = 0
        self.process: Process | None = None
        self.serving: Serving | None = None
        self.dialing: Dialing | None = None
        self.faults_end = False
        """Set when nothing may stay down any more."""
        self.find_above = find_above
        self.on_stop: Callable[[ErrorReason.ValueType], None] = _nothing
        """Told when the link above waits for people."""
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
        boot = self._boot() if self.road else None
        process = self.process = Process(
            self.timeline, self.name, self.disk, self._died, boot, skew=self.skew, told=told
        )
        self._waiting, self._calling = [], False
        self.serving = self.dialing = None
        if self.name not in MUNICIPALITIES:
            assembly = self._assembly()
            self.serving = Serving(process, assembly, _CREDIT, grown=self._grown, why_not=self._why_not_settled)
        if self.road and boot:
            self.dialing = Dialing(
                process,
                self.road,
                source=self.identity.uri,
                max_changes=self.timeline.random.choice((1, 2, 3, 5, 500)),
                restoring=Restoring(process, boot, self._reapplied(), self._end_streams),
                find_server=self.find_above,
                relay=self._center_marks_moved,
                on_stop=self.on_stop,
            )
            self.dialing.begin()

    def _boot(self) -> Boot:
        """The start's comparison of marker and database; it may die in the middle, and is then begun again."""
        while True:
            boot = Boot(self.marker)
            dies = self.timeline.random.random()
            with self.disk.connection.begin() as transaction:
                boot_id = boot.begin(self.disk.connection)
                if boot_id and dies < _DIES_IN_START:
                    transaction.rollback()
                elif boot_id:
                    write_boot_id(self.disk.connection, boot_id)
            if not boot_id:
                return boot
            if dies > 2 * _DIES_IN_START:
                boot.settled()
                return boot
            self.timeline.count("crash in a start")

    def _assembly(self) -> Assembly:
        return Assembly(scope=self.scope, forwards=self.road is not None, key_of=key_of, brake=_WIDE_BRAKE)

    def _reapplied(self) -> Reapplied:
        if self.name in MUNICIPALITIES:
            return partial(reapply_own, municipality=self.name, key=sealing_key(self.name).public_key())
        return partial(reapply_below, assembly=self._assembly())

    def _why_not_settled(self) -> "ErrorReason.ValueType | None":
        return errors.ERROR_REASON_RESTORING if self.process and self.process.restoring else None

    def _why_not(self) -> "ErrorReason.ValueType | None":
        return self._why_not_settled() or (self.dialing.not_shared if self.dialing else None)

    def _end_streams(self) -> None:
        if self.serving:
            self.serving.end_streams(errors.ERROR_REASON_RESTORING)

    def _center_marks_moved(self, by_source: dict[str, int]) -> None:
        if self.serving:
            self.serving.center_marks_moved(by_source)

    def _grown(self, last: int) -> None:
        if self.dialing:
            self.dialing.grown(last)

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

    def restore(self, image: bytes | None, *, marker: Marker) -> None:
        """Puts another disk in: what a backup holds, or an empty one, and what lies beside it. The node is down."""
        self.disk.close()
        self.disk, self.marker = Disk(image), marker
        self.timeline.log("restored", node=self.name, **self.disk.read(restored_state))

    def believe(self) -> None:
        """Lets the marker fit the database, as where both went back in time together."""
        boot = Boot(self.marker)
        with self.disk.connection.begin():
            last = journal.read_stream(self.disk.connection)
            write_boot_id(self.disk.connection, boot.renew("", last.neighbour_mark))
        boot.settled()

    def twin_of(self, original: "Node") -> None:
        """Becomes a second instance of the same identity, on a copy of its disk and of what lies beside it."""
        self.disk.close()
        self.disk, self.marker = Disk(original.disk.backup()), Marker(original.marker.content)
        self.start(told=False)

    @property
    def takes(self) -> bool:
        """Whether a running CS takes new changes."""
        return self._why_not() is None

    @property
    def listening(self) -> Serving | None:
        """The serving side, while somebody is there."""
        return self.serving if self.process and self.process.alive else None

    def ask(self, submission: Submission, heard: Heard) -> None:
        """A municipal system hands a submission in; nobody answers while the node is down."""
        process = self.process
        if process is None or not process.alive:
            return
        if reason := self._why_not():
            heard(Refused(reason))
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
        if reason := self._why_not():
            for _, heard in group:
                heard(Refused(reason))
            return
        items = [item for item, _ in group]
        at = process.now_us()
        today = datetime.fromtimestamp(at / 1e6, UTC).date()
        sealing = Sealing(self.name, sealing_key(self.name))

        def job(connection: Connection) -> list[Answer]:
            return accept(connection, items, sealing, today=today, at_us=at)

        def done(outcome: list[Answer] | Exception) -> None:
            answers = [outcome] * len(group) if isinstance(outcome, Exception) else outcome
            last = max((answer.sequence for answer in answers if isinstance(answer, SubmitChangeResponse)), default=0)
            if last:
                self._grown(last)
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
                stream.break_(late=self.timeline.random.random() < 0.7, silent=silent)
        if self.serving:
            self.serving.cut_all(silent=silent)


def _nothing(_: object) -> None:
    pass
