"""The register and its history end alike in whatever order the municipalities' streams reach a node.

Municipalities live their residents' lives through `complete` and `apply` at their own CS. Each one's changes reach the
prefecture and the center in the order in which it made them; between municipalities any interleaving may happen, so the
two sides of a move, and whole chains of moves, race.
"""

import datetime
from collections import deque
from collections.abc import Iterable

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, precondition, rule

from jukinet._pb.jukinet.errors.v1 import errors_pb2
from jukinet._pb.jukinet.intake.v1 import intake_pb2
from jukinet._pb.jukinet.register.v1 import change_pb2, identity_pb2
from jukinet.domain.apply import apply
from jukinet.domain.arrival import Arrival
from jukinet.domain.change import reason_named, resident_codes
from jukinet.domain.overtaken import apply_overtaken
from jukinet.domain.refusal import ChangeRefused
from jukinet.domain.resident_code import generate
from jukinet.domain.submission import complete

# Three of Tokyo, one of Yokohama, one of Osaka.
MUNICIPALITIES = ("131016", "131024", "131032", "141003", "271004")
TODAY = datetime.date(2026, 10, 1)
DAY = identity_pb2.CalendarDate(year=2026, month=9, day=1)

Rows = dict[str, identity_pb2.Resident]


class Node:
    """A register that keeps what waits and tries it again after each change that it applies.

    With `in_line` a municipality's later change of a person waits behind its earlier one, as in the store.
    """

    def __init__(self, scope: str, *, in_line: bool = True) -> None:
        self.scope = scope
        self.in_line = in_line
        self.rows: Rows = {}
        self.history: list[Arrival] = []
        self.waiting: list[Arrival] = []
        self.refused: list[tuple[Arrival, int]] = []

    def receive(self, arrival: Arrival) -> None:
        self.waiting.append(arrival)
        while self._apply_one():
            pass

    def _apply_one(self) -> bool:
        """Apply or refuse the first of those kept that has its turn."""
        behind: set[tuple[str, str]] = set()
        for place, arrival in enumerate(self.waiting):
            persons = {(arrival.municipality, code) for code in resident_codes(arrival.change)}
            if not persons & behind:
                try:
                    written = self._judge(arrival)
                except ChangeRefused as refused:
                    if refused.reason != errors_pb2.ERROR_REASON_WAITING_FOR_EARLIER_CHANGE:
                        self.refused.append((self.waiting.pop(place), refused.reason))
                        return True
                else:
                    self.rows.update({row.record.resident_code: row for row in written})
                    self.history.append(arrival)
                    del self.waiting[place]
                    return True
            if self.in_line:
                behind |= persons
        return False

    def _judge(self, arrival: Arrival) -> tuple[identity_pb2.Resident, ...]:
        change = arrival.change
        code = change.record.resident_code
        if code in self.rows and change.version < self.rows[code].version:
            kept = [each for each in self.history if each.change.record.resident_code == code]
            return apply_overtaken(arrival, scope=self.scope, current=self.rows, kept=kept)
        return apply(change, municipality=arrival.municipality, scope=self.scope, current=self.rows)


def frozen(rows: Rows) -> dict[str, bytes]:
    return {code: row.SerializeToString(deterministic=True) for code, row in rows.items()}


def latest_of(registers: Iterable[Node]) -> Rows:
    """Each code's row of the latest version that one of these registers has."""
    latest: Rows = {}
    for register in registers:
        for code, row in register.rows.items():
            if code not in latest or row.version > latest[code].version:
                latest[code] = row
    return latest


def places(history: Iterable[Arrival]) -> list[tuple[str, int]]:
    return sorted((arrival.municipality, arrival.sequence) for arrival in history)


class Lives(RuleBasedStateMachine):
    """Residents are born, move, leave, return, change and die, while their changes are under way."""

    settled = Bundle("settled")
    leaving = Bundle("leaving")
    away = Bundle("away")

    @initialize()
    def begin(self) -> None:
        self.registers = {municipality: Node(municipality) for municipality in MUNICIPALITIES}
        self.streams: dict[str, deque[Arrival]] = {municipality: deque() for municipality in MUNICIPALITIES}
        self.for_prefecture: dict[str, deque[Arrival]] = {municipality: deque() for municipality in MUNICIPALITIES}
        self.truth, self.center, self.hasty_center = Node(""), Node(""), Node("", in_line=False)
        self.prefecture, self.hasty_prefecture = Node("13"), Node("13", in_line=False)
        self.born = 0

    def submit(self, at: str, reason: str, code: str, **fields: object) -> change_pb2.Change:
        """Let the municipality make the change; a CS and the truth, which sees all in order, must take it."""
        made = intake_pb2.Submission(
            message_id="m",
            reason=reason_named(reason).reason,
            event_date=DAY,
            resident_code=code,
            **fields,  # type: ignore[arg-type]
        )
        register = self.registers[at]
        change = complete(made, municipality=at, today=TODAY, current=register.rows)
        arrival = Arrival(at, 1, len(register.history) + 1, change, b"")
        register.receive(arrival)
        self.truth.receive(arrival)
        assert not any(node.waiting or node.refused for node in (register, self.truth))
        self.streams[at].append(arrival)
        self.for_prefecture[at].append(arrival)
        return change

    def to_center(self, at: str) -> None:
        arrival = self.streams[at].popleft()
        self.center.receive(arrival)
        self.hasty_center.receive(arrival)

    def to_prefecture(self, at: str) -> None:
        arrival = self.for_prefecture[at].popleft()
        self.prefecture.receive(arrival)
        self.hasty_prefecture.receive(arrival)

    def record_at(self, at: str, code: str, town: str = "本町") -> identity_pb2.IdentityRecord:
        return identity_pb2.IdentityRecord(
            resident_code=code,
            name=identity_pb2.PersonName(legal="山田 一"),
            birth_date=identity_pb2.BirthDate(year=2026, month=9, day=1),
            sex=identity_pb2.SEX_MALE,
            address=identity_pb2.Address(local_government_code=at, town=town),
        )

    def fresh_code(self) -> str:
        self.born += 1
        return generate(lambda count: str(self.born).zfill(count), prefix="00")

    @rule(target=settled, at=st.sampled_from(MUNICIPALITIES))
    def birth(self, at: str) -> tuple[str, str]:
        code = self.fresh_code()
        self.submit(at, "ENTRY_BIRTH", code, record=self.record_at(at, code))
        return code, at

    @rule(target=settled, person=consumes(settled), town=st.sampled_from(["一番町", "二番町", "三番町"]))
    def move_within(self, person: tuple[str, str], town: str) -> tuple[str, str]:
        code, at = person
        changed = self.record_at(at, code, town)
        if self.registers[at].rows[code].record != changed:
            self.submit(at, "CORRECTION_MOVE_WITHIN", code, record=changed)
        return person

    @rule(target=settled, person=consumes(settled))
    def change_code(self, person: tuple[str, str]) -> tuple[str, str]:
        code, at = person
        new = self.fresh_code()
        changed = identity_pb2.IdentityRecord()
        changed.CopyFrom(self.registers[at].rows[code].record)
        changed.resident_code = new
        self.submit(at, "CORRECTION_RESIDENT_CODE_REQUEST", new, record=changed, previous_resident_code=code)
        return new, at

    @rule(target=leaving, person=consumes(settled), to=st.sampled_from(MUNICIPALITIES))
    def move_out(self, person: tuple[str, str], to: str) -> tuple[str, str, str, int]:
        code, at = person
        to = to if to != at else MUNICIPALITIES[MUNICIPALITIES.index(at) - 1]
        change = self.submit(at, "DELETION_DOMESTIC_MOVE_OUT", code, next_municipality=to)
        return code, at, to, change.version

    @rule(target=settled, ticket=consumes(leaving))
    def move_in(self, ticket: tuple[str, str, str, int]) -> tuple[str, str]:
        code, out_of, at, version = ticket
        self.submit(
            at,
            "ENTRY_DOMESTIC_MOVE_IN",
            code,
            record=self.record_at(at, code),
            previous_municipality=out_of,
            transfer_version=version,
        )
        return code, at

    @rule(target=settled, ticket=consumes(leaving))
    def cancel_move(self, ticket: tuple[str, str, str, int]) -> tuple[str, str]:
        code, at, _, _ = ticket
        self.submit(at, "ENTRY_EX_OFFICIO", code, record=self.record_at(at, code))
        return code, at

    @rule(target=away, person=consumes(settled), reason=st.sampled_from(["ABROAD_MOVE_OUT", "EX_OFFICIO"]))
    def leave(self, person: tuple[str, str], reason: str) -> tuple[str, int]:
        code, at = person
        return code, self.submit(at, f"DELETION_{reason}", code).version

    @rule(target=settled, person=consumes(away), at=st.sampled_from(MUNICIPALITIES))
    def come_back(self, person: tuple[str, int], at: str) -> tuple[str, str]:
        code, version = person
        here = self.registers[at].rows.get(code)
        # Whoever was deleted here last needs no certificate; a certificate of the own row would be refused.
        ticket = 0 if here is not None and here.version == version else version
        self.submit(at, "ENTRY_ABROAD_MOVE_IN", code, record=self.record_at(at, code), transfer_version=ticket)
        return code, at

    @rule(person=consumes(settled))
    def die(self, person: tuple[str, str]) -> None:
        code, at = person
        self.submit(at, "DELETION_DEATH", code)

    @precondition(lambda self: any(self.streams.values()))
    @rule(data=st.data(), count=st.integers(1, 3))
    def deliver_to_center(self, data: st.DataObject, count: int) -> None:
        at = data.draw(st.sampled_from([m for m, stream in self.streams.items() if stream]))
        for _ in range(min(count, len(self.streams[at]))):
            self.to_center(at)

    @precondition(lambda self: any(self.for_prefecture[m] for m in MUNICIPALITIES if m.startswith("13")))
    @rule(data=st.data())
    def deliver_to_prefecture(self, data: st.DataObject) -> None:
        ready = [m for m in MUNICIPALITIES if m.startswith("13") and self.for_prefecture[m]]
        at = data.draw(st.sampled_from(ready))
        self.to_prefecture(at)

    def teardown(self) -> None:
        if not hasattr(self, "registers"):
            return
        # The last municipality first: what is left arrives against the order in which it happened.
        for at in reversed(MUNICIPALITIES):
            while self.streams[at]:
                self.to_center(at)
            while at.startswith("13") and self.for_prefecture[at]:
                self.to_prefecture(at)
        mine = {at: register for at, register in self.registers.items() if at.startswith("13")}
        for node, below in (
            (self.center, self.registers),
            (self.hasty_center, self.registers),
            (self.prefecture, mine),
            (self.hasty_prefecture, mine),
        ):
            assert not node.waiting
            assert not node.refused
            assert frozen(node.rows) == frozen(latest_of(below.values()))
            assert places(node.history) == places(each for register in below.values() for each in register.history)
        assert frozen(self.center.rows) == frozen(self.truth.rows)


TestLives = Lives.TestCase
TestLives.settings = settings(max_examples=150, stateful_step_count=40)
