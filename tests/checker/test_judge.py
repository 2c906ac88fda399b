"""The checker is checked: more than 25 bad histories are flagged and more than 10 good ones pass (P-26)."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from jukinet.checker import judge
from tests.checker.bad_histories import BAD, two_holders
from tests.checker.good_histories import GOOD, one_birth
from tests.checker.story import Make, events


@pytest.mark.parametrize("make", GOOD, ids=lambda make: make.__name__)
def test_a_good_history_passes(make: Make) -> None:
    assert judge(events(make)) == []


@pytest.mark.parametrize(("rule", "make"), BAD, ids=[make.__name__ for _, make in BAD])
def test_a_bad_history_is_flagged_by_the_rule_that_it_breaks(rule: str, make: Make) -> None:
    assert any(violation.text.startswith(f"{rule}:") for violation in judge(events(make)))


def test_there_are_ten_good_and_twenty_five_bad_histories_at_least() -> None:
    assert len(GOOD) >= 10
    assert len(BAD) >= 25
    assert len({make.__name__ for make in GOOD} | {make.__name__ for _, make in BAD}) == len(GOOD) + len(BAD)


def _judged(path: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "jukinet.checker", str(path)], capture_output=True, text=True, check=False
    )


def test_a_file_is_judged_from_the_command_line(tmp_path: Path) -> None:
    good, poor, none = tmp_path / "good", tmp_path / "bad", tmp_path / "none"
    good.write_text("\n".join(map(json.dumps, events(one_birth))))
    poor.write_text("\n".join(map(json.dumps, events(two_holders))))
    none.write_text('{"event": "nonsense"}')
    assert _judged(good).returncode == 0
    assert _judged(poor).returncode == 1
    assert "A7" in _judged(poor).stdout
    assert _judged(none).returncode == 2
