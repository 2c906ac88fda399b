"""Whatever order the streams arrive in, each register of a nation ends as if all had come as it happened."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, select

from jukinet._pb.jukinet.register.v1.identity_pb2 import Resident
from jukinet.domain.arrival import Arrival
from jukinet.store.register import apply_arrivals
from jukinet.store.schema import history, parked, residents

# Two of Tokyo, one of Yokohama: who leaves Tokyo and comes back has been where its prefecture does not see.
MUNICIPALITIES = ("131016", "131024", "141003")
ACTS = ("move", "correct", "new code", "abroad", "cancel", "die in error", "die")


class State(NamedTuple):
    residents: dict[str, bytes]
    history: list[tuple[str, int, int, bytes]]
    parked: int


def state_of(connection: Connection) -> State:
    rows = connection.execute(select(residents.c.resident_code, residents.c.resident))
    columns = (history.c.municipality, history.c.epoch, history.c.sequence, history.c.change)
    return State(
        {code: bytes(row) for code, row in rows},
        sorted(
            (at, epoch, sequence, bytes(change)) for at, epoch, sequence, change in connection.execute(select(*columns))
        ),
        len(connection.execute(select(parked.c.id)).all()),
    )


def expected(scope: str, arrivals: Iterable[Arrival], cs: dict[str, State]) -> State:
    """What a node above has to end with: all changes that it sees, and of each code the latest row of a CS below."""
    latest: dict[str, bytes] = {}
    for at, state in cs.items():
        for code, row in state.residents.items():
            if at.startswith(scope) and (code not in latest or version_of(row) > version_of(latest[code])):
                latest[code] = row
    seen = [each for each in arrivals if each.municipality.startswith(scope)]
    return State(latest, sorted((each.municipality, *each.place, each.payload) for each in seen), 0)


def version_of(row: bytes) -> int:
    return Resident.FromString(row).version


class Lives:
    """Draws what happens to a few residents: the changes as they happened, each with its municipality."""

    def __init__(self, draw: st.DrawFn, change: Callable[..., Any], code: Callable[[int], str]) -> None:
        self._draw, self._change, self._code = draw, change, code
        self._persons = 0
        self.happened: list[tuple[str, Any]] = []
        for _ in range(draw(st.integers(1, 3))):
            self._live()

    def _live(self) -> None:
        number = self._new_number()
        at, version, town = self._draw(st.sampled_from(MUNICIPALITIES)), 1, "一番町"
        made = [(at, self._change(number, version, at=at, town=town))]

        def do(reason: str, **items: str) -> None:
            nonlocal version
            version += 1
            made.append((at, self._change(number, version, reason=reason, at=at, town=town, **items)))

        for act in self._draw(st.lists(st.sampled_from(ACTS), max_size=6)):
            if act == "correct":
                town += "北"
                do("CORRECTION_MOVE_WITHIN")
            elif act == "new code":
                previous, number = number, self._new_number()
                do("CORRECTION_RESIDENT_CODE_REQUEST", previous_resident_code=self._code(previous))
            elif act == "abroad":
                do("DELETION_ABROAD_MOVE_OUT")
                at = self._draw(st.sampled_from(MUNICIPALITIES))
                do("ENTRY_ABROAD_MOVE_IN")
            elif act == "die in error":
                do("DELETION_DEATH")
                do("ENTRY_EX_OFFICIO")
            elif act in ("move", "cancel"):
                there = self._draw(st.sampled_from([other for other in MUNICIPALITIES if other != at]))
                do("DELETION_DOMESTIC_MOVE_OUT", next_municipality=there)
                if act == "cancel":
                    do("ENTRY_EX_OFFICIO")
                else:
                    before, at = at, there
                    do("ENTRY_DOMESTIC_MOVE_IN", previous_municipality=before)
            else:
                do("DELETION_DEATH")
                break
        self._interleave(made)

    def _new_number(self) -> int:
        self._persons += 1
        return self._persons

    def _interleave(self, made: list[tuple[str, Any]]) -> None:
        """Puts a life among the others', its own order kept."""
        place = 0
        for step in made:
            place = self._draw(st.integers(place, len(self.happened)))
            self.happened.insert(place, step)
            place += 1


@pytest.fixture
def arrivals_of() -> Callable[[list[tuple[str, Any]]], list[Arrival]]:
    """Gives changes their places in their municipalities' streams."""

    def place(happened: list[tuple[str, Any]]) -> list[Arrival]:
        last = dict.fromkeys(MUNICIPALITIES, 0)
        arrivals = []
        for municipality, change in happened:
            last[municipality] += 1
            arrivals.append(Arrival(municipality, 1, last[municipality], change, change.SerializeToString()))
        return arrivals

    return place


class Node:
    """A register above CSs, in a transaction that is rolled back."""

    def __init__(self, connection: Connection, scope: str, unread: Sequence[Arrival]) -> None:
        self._connection, self._scope, self._unread = connection, scope, unread
        self.arrived: list[Arrival] = []
        self._parked = 0
        self._released: list[tuple[str, int]] = []

    def receive(self, arrivals: Sequence[Arrival]) -> None:
        """Takes one batch, but for what a newer municipality sealed."""
        self.arrived += arrivals
        self._apply([arrival for arrival in arrivals if arrival not in self._unread])

    def upgrade(self) -> None:
        """Takes up what could not be read, in the order of its arrival."""
        self._apply([arrival for arrival in self.arrived if arrival in self._unread])
        assert len(self._released) == len(set(self._released)) == self._parked

    def _apply(self, arrivals: Sequence[Arrival]) -> None:
        applied = apply_arrivals(self._connection, arrivals, scope=self._scope, now_us=0)
        self._parked += sum(reason is not None for reason in applied.outcomes)
        self._released += applied.released


@given(data=st.data())
@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_order_of_arrival_ends_in_the_same_registers_with_nothing_parked(
    data: st.DataObject, engine: Engine, change: Any, code: Any, arrivals_of: Any
) -> None:
    happened = arrivals_of(data.draw(st.composite(lambda draw: Lives(draw, change, code).happened)()))
    assume(len({arrival.municipality for arrival in happened}) > 1)
    unread = data.draw(st.lists(st.sampled_from(happened), max_size=2, unique_by=lambda arrival: arrival.payload))
    streams = {at: [one for one in happened if one.municipality == at] for at in MUNICIPALITIES}
    cs = {}
    for at, stream in streams.items():
        with engine.connect() as connection:
            assert set(apply_arrivals(connection, stream, scope=at, now_us=0).outcomes) <= {None}
            cs[at] = state_of(connection)
    for scope, below in (("13", ("131016", "131024")), ("14", ("141003",)), ("", ("13", "14"))):
        with engine.connect() as connection:
            node = Node(connection, scope, unread)
            coming = {sender: list(streams[sender]) for sender in below}
            while senders := [sender for sender, stream in coming.items() if stream]:
                stream = coming[data.draw(st.sampled_from(senders))]
                count = data.draw(st.integers(1, len(stream)))
                node.receive(stream[:count])
                del stream[:count]
            node.upgrade()
            assert state_of(connection) == expected(scope, happened, cs)
        streams[scope] = node.arrived
