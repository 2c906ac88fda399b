"""A night that was interrupted goes on where it was, and nothing that failed counts as done."""

from pathlib import Path

import pytest

from tests import nightly


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nightly, "RESULTS", tmp_path / "results.jsonl")


def found(**others: object) -> dict[str, object]:
    return {"seed": 1, "seconds": 2, "kills": {"center": 3, "gateway": 4}, "places": {"random": 7}, **others}


def test_a_part_that_held_is_not_run_again() -> None:
    nightly.keep("kills/sqlite/0", found(acknowledged=5), held=True)
    with pytest.raises(pytest.skip.Exception):
        nightly.skip_if_done("kills/sqlite/0")
    nightly.skip_if_done("kills/sqlite/1")


def test_a_part_that_did_not_hold_is_run_again_and_its_last_result_counts() -> None:
    nightly.keep("cuts", found(lost=1), held=False)
    nightly.skip_if_done("cuts")
    assert "| NO |" in nightly.table()
    nightly.keep("cuts", found(lost=0), held=True)
    assert "| NO |" not in nightly.table()
    assert [line["lost"] for line in nightly.results().values()] == [0]


def test_the_table_sums_all_parts_and_places() -> None:
    nightly.keep("kills/sqlite/0", found(acknowledged=5), held=True)
    nightly.keep("cuts", {"seed": 2, "seconds": 1, "cuts": 9, "acknowledged": 6}, held=True)
    *_, row, _, places = nightly.table().splitlines()
    assert row == "| sum |  |  | 7 | 11 | 9 | 0 | 0 | 0 | 3 |  |"
    assert places == "Kills by place: random 7."


def test_without_results_the_table_is_empty() -> None:
    assert "| sum |  |  | 0 |" in nightly.table()
