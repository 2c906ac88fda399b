"""What an intruder does in one breached node, with all that the node has, and nothing of the others' keys."""

from sqlalchemy import Connection

from jukinet._pb.jukinet.link.v1.link_pb2 import Segment, StreamRequest
from jukinet._pb.jukinet.register.v1 import change_pb2 as change
from jukinet._pb.jukinet.register.v1.identity_pb2 import CalendarDate, Resident
from jukinet.domain.resident_code import check_digit
from jukinet.link.outbox import queue
from jukinet.link.seal import link_chain, seal, segment_hash
from jukinet.simulate.nodes import MUNICIPALITIES, PREFECTURES, Node, key_of, sealing_key
from jukinet.simulate.offices import Offices
from jukinet.simulate.timeline import Timeline
from jukinet.store import journal
from jukinet.store.current_rows import look_up


class Intruder:
    """Somebody who holds one node for a moment."""

    def __init__(self, timeline: Timeline, nodes: dict[str, Node], offices: Offices) -> None:
        self._timeline = timeline
        self._nodes = nodes
        self._offices = offices

    def forge(self) -> None:
        """A breached municipality seals a change of somebody whom it does not hold."""
        name = self._timeline.random.choice(sorted(MUNICIPALITIES))
        node = self._nodes[name]
        victims = [
            person for person in self._offices.people if person.stays and person.version and person.holder != name
        ]
        if not victims or node.process is None or not node.process.alive or not node.takes:
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

    def tamper(self) -> None:
        """A breached prefecture puts a change into a municipality's mouth, with all but the municipality's key."""
        node = self._nodes[self._timeline.random.choice(PREFECTURES)]
        if node.process and node.process.alive:
            self._timeline.count("segment tampered")
            node.process.submit(lambda connection: _put_into_mouth(connection, node), lambda _: None)

    def lie(self) -> None:
        """A breached node tells of another past: its last batch again, upon a chain that never was."""
        road = self._timeline.random.choice([node.road for node in self._nodes.values() if node.road])
        if road.streams and road.sent and road.sent[-1].batch.first_sequence > 1:
            told = StreamRequest()
            told.CopyFrom(road.sent[-1])
            told.batch.previous_chain = bytes(32)
            self._timeline.count("other past told")
            road.streams[-1].send_up(told)


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
