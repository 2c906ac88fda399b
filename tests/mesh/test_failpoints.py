"""Failpoints: off in production whatever its environment holds, each in one place of the sources."""

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from jukinet.mesh.config import ConfigError
from jukinet.mesh.failpoints import PLACES, VARIABLE, arm, passing

_ROOT = Path(__file__).parents[2]
_PACKAGES = ("jukinet", "cs_node", "prefecture_node", "center_node", "agency_gateway", "witness_node")


def test_every_place_stands_once_in_the_sources() -> None:
    found: Counter[str] = Counter()
    for package in _PACKAGES:
        for path in (_ROOT / package).rglob("*.py"):
            found.update(re.findall(r'\bpassing\("([^"]+)"\)', path.read_text("utf-8")))
    assert found == dict.fromkeys(PLACES, 1)
    assert len(PLACES) >= 25


@pytest.mark.parametrize("value", ["writer.begun:1", "writer.begun:1:1", "writer.begun:1:", "", "1"])
def test_a_value_that_no_parent_set_stops_the_start(value: str) -> None:
    with pytest.raises(ConfigError, match="unset it"):
        arm({VARIABLE: value}, parent=4711)


@pytest.mark.parametrize("value", ["writer.gone:1:4711", "writer.begun:0:4711", "writer.begun:x:4711"])
def test_a_place_that_is_not_there_stops_the_start(value: str) -> None:
    with pytest.raises(ConfigError, match="names no place"):
        arm({VARIABLE: value}, parent=4711)


def test_without_the_variable_no_place_ends_the_process() -> None:
    arm({}, parent=4711)
    for place in PLACES:
        passing(place)


def test_an_armed_place_kills_at_the_wanted_passing_and_no_other_does() -> None:
    script = (
        "import os\n"
        "from jukinet.mesh.failpoints import arm, passing\n"
        "arm(os.environ, parent=os.getppid())\n"
        f"assert {VARIABLE!r} not in os.environ\n"
        "for n in range(1, 5):\n"
        "    passing('writer.told')\n"
        "    print(n, flush=True)\n"
        "    passing('writer.begun')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, VARIABLE: f"writer.begun:3:{os.getpid()}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout.split()) == (-9, ["1", "2", "3"])
