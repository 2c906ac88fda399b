"""A campaign in parts is the campaign in one, however often it is stopped."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jukinet.checker import Violation
from jukinet.simulate import results
from jukinet.simulate.campaign import Campaign, simulate
from jukinet.simulate.nation import Run

MODES: Any = ("safety",)


@pytest.fixture(autouse=True)
def parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of two seeds."""
    monkeypatch.setattr(results, "PART", 2)


def go_on(path: Path, out_of_time: Callable[[], bool] = lambda: False, seeds: int = 5) -> Campaign:
    return results.go_on(path, range(seeds), MODES, out_of_time=out_of_time, progress=lambda: None)


def after(parts: int) -> Callable[[], bool]:
    """Time for so many parts."""
    looks = iter([*([False] * parts), True])
    return lambda: next(looks)


def test_a_campaign_in_parts_sums_up_to_the_whole(tmp_path: Path) -> None:
    path = tmp_path / "results"
    assert go_on(path, after(1)).seeds == 2
    assert go_on(path, after(1)).seeds == 4
    assert go_on(path).as_dict() == go_on(path).as_dict() == simulate(range(5), MODES, lambda: None).as_dict()


def test_half_a_line_of_a_killed_campaign_is_done_again(tmp_path: Path) -> None:
    path = tmp_path / "results"
    go_on(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    go_on(path)
    assert path.read_bytes() == whole


def test_a_failing_run_stays_a_failing_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = Run(1, "safety", "hash", (Violation(7, "center", "A2: twice"),), {})

    def failing(seeds: range, *_: object) -> Campaign:
        found = Campaign(seeds=len(seeds))
        if broken.seed in seeds:
            found.note(broken)
        return found

    monkeypatch.setattr(results, "simulate", failing)
    go_on(tmp_path / "results")
    again = go_on(tmp_path / "results")
    assert again.failing == [broken]
    assert not again.held
    assert again.as_dict()["safety_violations"] == 1


@pytest.mark.parametrize("item", ["seeds", "hash"])
def test_results_of_another_campaign_or_program_are_not_added_up(tmp_path: Path, item: str) -> None:
    path = tmp_path / "results"
    go_on(path)
    header, *rest = path.read_text().splitlines()
    path.write_text("\n".join([json.dumps({**json.loads(header), item: 0}), *rest, ""]))
    with pytest.raises(results.AnotherCampaign):
        go_on(path)
