"""What goes wrong, drawn from the seed.

Faults that a network must heal from by itself belong to both modes. Those after which a link rightly waits for people
(a disk that went back in time unnoticed, a breached prefecture, a flipped bit) belong to safety runs alone.
"""

from collections.abc import Callable
from functools import partial

from sqlalchemy import Connection

from jukinet._pb.jukinet.link.v1.link_pb2 import Segment
from jukinet._pb.jukinet.register.v1 import change_pb2 as change
from jukinet._pb.jukinet.register.v1.identity_pb2 import CalendarDate, Resident
from jukinet.domain.resident_code import check_digit
from jukinet.link.outbox import queue
from jukinet.link.seal import link_chain, seal, segment_hash
from jukinet.simulate.nodes import CENTER, MUNICIPALITIES, PREFECTURES, Node, key_of, sealing_key
from jukinet.simulate.offices import Offices
from jukinet.simulate.process import Fate
from jukinet.simulate.timeline import MS, SECOND, Timeline
from jukinet.store import journal
from jukinet.store.register import look_up

_DAY_US = 86_400 * SECOND


class Faults:
    """Breaks things until `until`, then heals them all."""

    def __init__(
        self, timeline: Timeline, nodes: dict[str, Node], offices: Offices, *, until: int, for_people: bool
    ) -> None:
        self._timeline = timeline
        self._nodes = nodes
        self._offices = offices
        self._until = until
        self._backups: dict[str, bytes] = {}
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
            (7, self._forge),
            (5, self._back_up),
            (3, self._restore_center),
        ]
        if for_people:
            self._usual += [(4, self._roll_back), (1, self._tamper), (2, self._flip_bit)]

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
        road = self._any_below().road
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
        if road and road.sent and road.streams:
            self._timeline.count("batch repeated")
            road.streams[-1].send_up(self._timeline.random.choice(road.sent))

    def _second_instance(self) -> None:
        """The same identity speaks twice, from a copy of the disk that accepts nothing of its own."""
        original = self._any_below()
        copy = Node(self._timeline, original.name, original.road, original.find_above)
        copy.twin_of(original)
        self._timeline.count("second instance")
        self._until_then(10 * SECOND, "second instance ends", copy.stop)

    def _back_up(self) -> None:
        node = self._any()
        self._backups[node.name] = node.disk.backup()

    def _restore_center(self) -> None:
        """The center has nobody above: what it lost comes again from below."""
        if CENTER in self._backups:
            self._restore(self._nodes[CENTER])
            self._timeline.count("center restored")

    def _roll_back(self) -> None:
        """A disk goes back in time, and nothing beside the database tells: a virtual machine's snapshot."""
        name = self._timeline.random.choice(sorted(self._backups)) if self._backups else CENTER
        if name in self._backups and name != CENTER:
            self._offices.trusting = False
            self._restore(self._nodes[name])
            self._timeline.count("restored unnoticed")

    def _restore(self, node: Node) -> None:
        node.stop()
        node.restore(self._backups[node.name])
        node.restart_later()

    def _forge(self) -> None:
        """A breached municipality seals a change of somebody whom it does not hold."""
        name = self._timeline.random.choice(sorted(MUNICIPALITIES))
        node = self._nodes[name]
        victims = [
            person for person in self._offices.people if person.stays and person.version and person.holder != name
        ]
        if not victims or node.process is None or not node.process.alive:
            return
        person = self._timeline.random.choice(victims)
        rows = self._nodes[person.holder].disk.read(lambda c: look_up(c, [person.code]))
        if person.code in rows:
            forged = self._forgery(rows[person.code], name)
            self._seal_forged(node, forged)

    def _forgery(self, row: Resident, name: str) -> change.Change:
        random = self._timeline.random
        version = random.choice((1, row.version, row.version + 1, row.version + 1, row.version + 2))
        kind = random.choice(("move", "death", "entry", "transfer", "code"))
        forged = change.Change(event_date=CalendarDate(year=2026, month=4, day=1), record=row.record, version=version)
        address = forged.record.address
        match kind:
            case "move":
                forged.reason = change.CHANGE_REASON_CORRECTION_MOVE_WITHIN
                address.local_government_code, address.block = name, "999番"
            case "death":
                forged.reason = change.CHANGE_REASON_DELETION_DEATH
            case "entry":
                forged.reason = change.CHANGE_REASON_ENTRY_EX_OFFICIO
                address.local_government_code = name
            case "transfer":
                forged.reason = change.CHANGE_REASON_ENTRY_DOMESTIC_MOVE_IN
                forged.previous_municipality = row.holder
                address.local_government_code = name
            case _:
                forged.reason = change.CHANGE_REASON_CORRECTION_RESIDENT_CODE_REQUEST
                forged.previous_resident_code = row.record.resident_code
                body = f"009{random.randrange(10**7):07}"
                forged.record.resident_code = body + check_digit(body)
                address.local_government_code = name
        return forged

    def _seal_forged(self, node: Node, forged: change.Change) -> None:
        process = node.process
        assert process  # noqa: S101  # asked before
        payload = forged.SerializeToString()
        process.forged.add(payload)

        def done(outcome: int | Exception) -> None:
            if isinstance(outcome, int) and node.dialing:
                self._timeline.count("change forged")
                node.dialing.grown(outcome)

        process.submit(
            lambda connection: queue(
                connection,
                [payload],
                traceparents=[""],
                municipality=node.name,
                key=sealing_key(node.name),
                now_us=process.now_us(),
            ),
            done,
        )

    def _tamper(self) -> None:
        """A breached prefecture puts a change into a municipality's mouth, with all but the municipality's key."""
        node = self._nodes[self._timeline.random.choice(PREFECTURES)]
        if node.process and node.process.alive:
            self._timeline.count("segment tampered")
            node.process.submit(lambda connection: _put_into_mouth(connection, node), lambda _: None)

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


def _put_into_mouth(connection: Connection, node: Node) -> None:
    victim = next(name for name, above in MUNICIPALITIES.items() if above == node.name)
    origin = journal.read_origins(connection, [victim]).get(victim)
    own = journal.read_stream(connection)
    kept = journal.fetch_outbox(connection, 0, max_changes=500, max_bytes=10**6)
    if origin is None or not kept:
        return
    told = change.Change.FromString(Segment.FromString(kept[0].segment).changes[0])
    body = f"008{own.last_sequence:07}"
    told.record.resident_code, told.version = body + check_digit(body), 1
    told.reason = change.CHANGE_REASON_ENTRY_EX_OFFICIO
    told.ClearField("previous_municipality")
    told.ClearField("previous_resident_code")
    told.ClearField("next_municipality")
    told.record.address.local_government_code = victim
    sealed = seal(
        [told.SerializeToString()],
        municipality=victim,
        epoch=origin.epoch,
        first_sequence=origin.sequence + 1,
        previous=origin.segment_hash,
        key=sealing_key("nobody's"),
    )
    assert key_of(victim)  # noqa: S101  # the center knows the true one
    last = own.last_sequence + 1
    chain = link_chain(own.chain, first_sequence=last, last_sequence=last, segment=segment_hash(sealed.segment))
    journal.append_outbox(
        connection, [journal.OutboxRow(last, last, chain, sealed.segment, sealed.seal, "", "tampered", last)]
    )
    journal.write_stream(
        connection, journal.Stream(own.epoch, last, chain, own.neighbour_mark, own.center_mark, own.moved_at)
    )
