"""Whatever municipalities seal, lawful or not: nothing is dropped, and each row is the latest of its history."""

from collections import defaultdict
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, select

from jukinet._pb.jukinet.register.v1.change_pb2 import Change
from jukinet.domain.arrival import Arrival
from jukinet.store.register import apply_arrivals
from jukinet.store.schema import history, parked, residents

MUNICIPALITIES = ("131016", "131024", "131032")
OSAKA = "271004"
REASONS = (
    "ENTRY_EX_OFFICIO",
    "ENTRY_ABROAD_MOVE_IN",
    "ENTRY_DOMESTIC_MOVE_IN",
    "DELETION_DOMESTIC_MOVE_OUT",
    "DELETION_ABROAD_MOVE_OUT",
    "DELETION_DEATH",
    "CORRECTION_MOVE_WITHIN",
    "CORRECTION_RESIDENT_CODE_REQUEST",
)
STEP = st.tuples(
    st.sampled_from(MUNICIPALITIES),
    st.sampled_from((1, 1, 1, 2)),
    st.integers(1, 7),
    st.sampled_from(REASONS),
    st.sampled_from((*MUNICIPALITIES, OSAKA)),
)
Make = Callable[..., Any]


def sealed(change: Make, code: Make, at: str, number: int, version: int, reason: str, other: str) -> Any:
    """A change that makes sense for itself, or names its own municipality at the other end."""
    fields = {}
    if reason == "ENTRY_DOMESTIC_MOVE_IN":
        fields["previous_municipality"] = other
    elif reason == "DELETION_DOMESTIC_MOVE_OUT":
        fields["next_municipality"] = other
    elif reason == "CORRECTION_RESIDENT_CODE_REQUEST":
        fields["previous_resident_code"] = code(3 - number)
    town = f"{version}丁目" if reason == "CORRECTION_MOVE_WITHIN" else "本町"
    return change(number, version, reason=reason, at=at, town=town, **fields)


@given(steps=st.lists(STEP, min_size=8, max_size=30), size=st.integers(1, 8), scope=st.sampled_from(["13", ""]))
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_each_arrival_is_kept_once_and_each_row_is_the_latest_of_its_history(
    steps: list[Any], size: int, scope: str, engine: Engine, change: Make, code: Make
) -> None:
    arrivals = [
        Arrival(step[0], 1, sequence, made := sealed(change, code, *step), made.SerializeToString())
        for sequence, step in enumerate(steps, start=1)
    ]
    with engine.connect() as connection:  # rolled back at the end
        for start in range(0, len(arrivals), size):
            apply_arrivals(connection, arrivals[start : start + size], scope=scope, now_us=0)
        applied = connection.execute(select(history)).all()
        kept = [*applied, *connection.execute(select(parked)).all()]
        rows = connection.execute(select(residents)).all()
    assert sorted((row.sequence, bytes(row.change)) for row in kept) == [(a.sequence, a.payload) for a in arrivals]
    versions: defaultdict[str, dict[int, str]] = defaultdict(dict)
    for row in applied:
        versions[row.resident_code][row.version] = row.municipality
        if previous := Change.FromString(row.change).previous_resident_code:
            versions[previous][row.version] = row.municipality
    assert {row.resident_code: (row.version, row.holder) for row in rows} == {
        found: max(by_version.items()) for found, by_version in versions.items()
    }
