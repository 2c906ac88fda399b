"""README's first inquiry, line by line as it stands there, by the foreign client."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
SECONDS = 60.0

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("grpcurl", path=str(BIN)) is None, reason="grpcurl is not there for this machine"),
]


def _fences() -> list[str]:
    section = (ROOT / "README.md").read_text("utf-8").partition("## A first inquiry")[2].partition("\n## ")[0]
    return re.findall(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


# The program of this very folder, wherever the commands run.
ENVIRON = os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}


def _shell(script: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["bash", "-e", "-c", script],
        cwd=folder,
        env=ENVIRON,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder that holds of the repository what the commands need."""
    for name in ("buf.yaml", "protos", "third_party"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tmp_path / name)
    return tmp_path


@pytest.fixture
def mesh(clone: Path) -> Iterator[Path]:
    """The mesh of the first block, running, its residents known to the center."""
    lines = [line for line in _fences()[0].splitlines() if not line.startswith("export ")]
    up = next(line for line in lines if " mesh up " in line)
    before, after = lines[: lines.index(up)], lines[lines.index(up) + 1 :]
    assert _shell("\n".join(before), clone).returncode == 0
    command = up.partition("&")[0].split()
    with (clone / "up.log").open("w") as log:
        process = subprocess.Popen(
            [BIN / command[0], *command[1:]], cwd=clone, env=ENVIRON, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        done = _shell("\n".join(after), clone)
        assert done.returncode == 0, done.stderr
        _wait_until_the_center_knows(clone)
        yield clone
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 0


def _wait_until_the_center_knows(clone: Path) -> None:
    submitted = len((clone / "load" / "131016.csv").read_text("utf-8").splitlines()) - 1
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        status = _shell("jukinet mesh status mesh --json", clone)
        nodes = {node["node"]: node for node in json.loads(status.stdout)["nodes"]} if status.stdout else {}
        answers = nodes and all(node["answers"] for node in nodes.values())
        if answers and nodes["center"]["residents"].get("ACTIVE") == submitted:
            return
    pytest.fail("the residents did not reach the center")


def test_the_first_inquiry_gives_the_answers_that_readme_tells(mesh: Path) -> None:
    question, audit = _fences()[1:]
    agency = _shell(question, mesh)
    assert agency.returncode == 0, agency.stderr
    answer = json.loads(agency.stdout)
    assert answer["verified"] is True
    assert (answer["legalBasis"]["purpose"], answer["legalBasis"]["article"]) == ("B1-77.12", "30-9")
    assert answer["receipt"]["checkpoint"].startswith("jukinet/gateway-1\n1\n")

    again = question.replace("5f0c6f0e-3c55-4a8a-9d7e-1f0a5a3f0001", "5f0c6f0e-3c55-4a8a-9d7e-1f0a5a3f0002")
    by_the_bank = again.replace("agency-pension-service", "private-example-bank").replace(
        "pension-service", "example-bank"
    )
    bank = _shell(by_the_bank, mesh)
    assert "Code: PermissionDenied" in bank.stderr
    assert "Private organisations may not use the network" in bank.stderr

    unsigned = _shell(f"{again}\n".replace("jukinet operator sign - --mesh mesh --agency pension-service", "cat"), mesh)
    assert "Code: Unauthenticated" in unsigned.stderr
    assert "carries no proof of the operator" in unsigned.stderr

    late = again.replace("-max-time 5 ", "").replace("0002", "0003")
    assert "Every call needs a deadline" in _shell(late, mesh).stderr

    checked = _shell(audit, mesh)
    assert checked.returncode == 0, checked.stdout
    assert checked.stdout.splitlines()[-1] == "SOUND"
