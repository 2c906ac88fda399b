"""The judges of the campaigns see what was lost, doubled and reordered."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from jukinet._pb.jukinet.register.v1.change_pb2 import Change
from tests.journeys.judges import Place, wrong_in
from tests.journeys.load import CHIYODA

ANNA, BORIS, NEW = "00000000019", "00000000027", "00000000035"
Row = dict[str, Any]


def row(sequence: int, code: str, version: int, previous: str = "") -> Row:
    """One row of a history."""
    change = Change(previous_resident_code=previous).SerializeToString()
    return {
        "municipality": CHIYODA, "epoch": 1, "sequence": sequence,
        "resident_code": code, "version": version, "change": change,
    }  # fmt: skip


HISTORY = [row(1, ANNA, 1), row(2, BORIS, 1), row(3, ANNA, 2), row(4, NEW, 3, previous=ANNA)]
EXPECTED: dict[Place, tuple[str, int]] = {
    (CHIYODA, 1, each["sequence"]): (each["resident_code"], each["version"]) for each in HISTORY
}


@pytest.mark.parametrize("name", ["center", "prefecture-130001"])
@pytest.mark.parametrize(
    ("broken", "lost", "doubled", "reordered"),
    [
        (lambda rows: rows, 0, 0, 0),
        (lambda rows: rows[:3], 1, 0, 0),
        (lambda rows: [*rows[:2], rows[1], *rows[2:]], 0, 1, 1),
        (lambda rows: [rows[1], rows[2], rows[0], rows[3]], 0, 0, 3),
        (lambda rows: [*rows, row(5, BORIS, 2)], 0, 1, 0),
        (lambda rows: [*rows[:3], row(4, NEW, 4, previous=ANNA)], 0, 0, 2),
    ],
    ids=["sound", "lost", "doubled", "swapped", "never acknowledged", "another version"],
)
def test_what_is_wrong_is_counted(
    name: str, broken: Callable[[Sequence[Row]], Sequence[Row]], lost: int, doubled: int, reordered: int
) -> None:
    found = wrong_in(name, broken(HISTORY), EXPECTED)
    if name == "center":
        assert (found["lost"], found["doubled"], found["reordered"]) == (lost, doubled, reordered)
    # A prefecture may see versions with gaps, and sees everything else.
    assert (found["lost"], found["doubled"]) == (lost, doubled)
    assert (found.total() > 0) == (lost + doubled + reordered > 0)
