"""Whatever order the municipalities' streams arrive in, the register ends as if all had come as it happened."""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, select

from jukinet.domain.arrival import Arrival
from jukinet.store.register import apply_arrivals
from jukinet.store.schema import history, parked, residents

MUNICIPALITIES = ("131016", "131024", "141003", "271004")
ACTS = ("move", "correct", "new code", "abroad", "cancel", "die")


class State(NamedTuple):
    residents: dict[str, bytes]
    history: set[tuple[str, int, bytes]]
    parked: int


def state_of(connection: Connection) -> State:
    rows = connection.execute(select(residents.c.resident_code, residents.c.resident))
    log = connection.execute(select(history.c.resident_code, history.c.version, history.c.change))
    return State(
        {code: bytes(row) for code, row in rows},
        {(code, version, bytes(change)) for code, version, change in log},
        len(connection.execute(select(parked.c.id)).all()),
    )


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


@given(data=st.data())
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_order_of_arrival_ends_in_the_same_register_with_nothing_parked(
    data: st.DataObject, engine: Engine, change: Any, code: Any, arrivals_of: Any
) -> None:
    arrivals = arrivals_of(data.draw(st.composite(lambda draw: Lives(draw, change, code).happened)()))
    assume(len({arrival.municipality for arrival in arrivals}) > 1)
    with engine.connect() as connection:  # rolled back at the end
        assert apply_arrivals(connection, arrivals, scope="", now_us=0).outcomes == [None] * len(arrivals)
        expected = state_of(connection)
    with engine.connect() as connection:
        streams = {at: [one for one in arrivals if one.municipality == at] for at in MUNICIPALITIES}
        released: list[tuple[str, int]] = []
        outcomes: list[Any] = []
        while open_streams := [at for at, stream in streams.items() if stream]:
            stream = streams[data.draw(st.sampled_from(open_streams))]
            count = data.draw(st.integers(1, len(stream)))
            applied = apply_arrivals(connection, stream[:count], scope="", now_us=0)
            outcomes += applied.outcomes
            released += applied.released
            del stream[:count]
        assert state_of(connection) == expected
        assert expected.parked == 0
        assert len(released) == len(set(released)) == sum(reason is not None for reason in outcomes)
