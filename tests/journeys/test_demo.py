"""`jukinet demo` as a stranger runs it: in an empty home, and interrupted when he has seen enough."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

SECONDS = 240.0
ENDS_SECONDS = 60.0


class Demo:
    """One run of the demo; all that it makes is under a folder of its own, by which its processes are known."""

    def __init__(self, folder: Path) -> None:
        self.home, self.temporary = folder / "home", folder / "tmp"
        for made in (self.home, self.temporary):
            made.mkdir()
        environ = {"PATH": os.environ["PATH"], "HOME": str(self.home), "TMPDIR": str(self.temporary)}
        self._stderr = folder / "stderr"
        with self._stderr.open("w") as stderr:
            self.process = subprocess.Popen(
                # As in a terminal: a test runner in the background hands on that Ctrl-C is ignored.
                ["env", "--default-signal=INT", sys.executable, "-m", "jukinet.cli", "demo", "--json"],
                env=environ,
                cwd=self.home,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )

    def said(self) -> str:
        """What it told people so far."""
        return self._stderr.read_text("utf-8")

    def nodes(self) -> list[int]:
        """Processes that run with a file of this demo's on their command line."""
        return [pid for pid, command in commands() if str(self.temporary) in command]

    def wait_for(self, text: str) -> None:
        """Waits until it has told something."""
        deadline = time.monotonic() + SECONDS
        while text not in self.said():
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.02)

    def leaves_nothing(self) -> None:
        """Expects that nothing of it runs, lies in the folder of temporary files, or was written home."""
        assert self.nodes() == []
        assert list(self.temporary.iterdir()) == []
        assert [path for path in self.home.rglob("*") if path.is_file()] == []


def commands() -> list[tuple[int, str]]:
    """Process id and command line of every process."""
    if not Path("/proc/self/cmdline").exists():
        listed = subprocess.run(["/bin/ps", "-axo", "pid=,command="], check=True, capture_output=True, text=True)
        pairs = (line.strip().partition(" ") for line in listed.stdout.splitlines())
        return [(int(pid), command) for pid, _, command in pairs]
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append((int(path.parent.name), path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")))
        except OSError:  # it ended meanwhile
            continue
    return found


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    """A demo that was just started."""
    run = Demo(tmp_path)
    yield run
    if run.process.poll() is None:
        run.process.kill()
    run.process.communicate()
    for pid in run.nodes():
        os.kill(pid, signal.SIGKILL)
    shutil.rmtree(run.temporary)


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + ENDS_SECONDS)
def test_the_demo_holds_every_claim_and_leaves_nothing_behind(demo: Demo) -> None:
    printed, _ = demo.process.communicate(timeout=SECONDS)
    assert demo.process.returncode == 0, demo.said()
    result = json.loads(printed)
    assert list(result) == ["claims", "seconds"]
    assert isinstance(result["seconds"], float)
    assert all(list(claim) == ["claim", "held"] for claim in result["claims"])
    assert [claim["claim"] for claim in result["claims"] if claim["held"] is not True] == []
    assert len(result["claims"]) == 17
    assert "Traceback" not in demo.said()
    demo.leaves_nothing()


@pytest.mark.parametrize(
    ("number", "moment"),
    [
        pytest.param(signal.SIGINT, "1. A mesh", id="ctrl-c-at-the-start"),
        pytest.param(signal.SIGTERM, "2. Residents", id="sigterm-amid-the-load", marks=pytest.mark.slow),
    ],
)
def test_a_demo_that_is_interrupted_leaves_nothing_behind(demo: Demo, number: int, moment: str) -> None:
    demo.wait_for(moment)
    demo.process.send_signal(number)
    printed, _ = demo.process.communicate(timeout=ENDS_SECONDS)
    assert demo.process.returncode not in (0, None)
    assert printed == ""
    assert "Traceback" not in demo.said()
    demo.leaves_nothing()
