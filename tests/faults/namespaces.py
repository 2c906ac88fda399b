"""A network of a test's own, whose lines break: loopback in a network namespace of Linux.

In a namespace 127.0.0.1 belongs to the processes within. A test that is marked `own_network` runs there, in a pytest of
its own (`tests/conftest.py`). No packet leaves it, and with its last process it is gone, however that one ended. A line
is told by the port of the node at its upper end: all that dial one node share one.

Packets get lost where they arrive, as on a line; where they are sent, TCP would be told. The filter is a classic BPF
program that throws the kernel's own dice, for many kernels have neither netem nor nftables.

Source: tc-bpf(8), tc-htb(8), unshare(1); `linux/filter.h` for the offsets.
"""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Collection
from functools import cache
from pathlib import Path
from typing import Any

from tests.faults.chaos_proxy import Way

_ROOT = Path(__file__).parents[2]
_INSIDE = "TESTS_IN_OWN_NETWORK"
_OUTSIDE_ALONE = "PYTEST_XDIST"

_LOAD_WORD, _LOAD_HALF, _LOAD_BYTE, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x28, 0x30, 0x15, 0x35, 0x06
_IP_HEADER, _DICE = 0xFFF00000, 0xFFFFF000 + 56
_PROTOCOL, _TCP = _IP_HEADER + 9, 6
_PORT = {Way.DOWN: _IP_HEADER + 20, Way.UP: _IP_HEADER + 22}
"""Source and destination; loopback adds no options to the header."""
_DROP, _PASS = 2, 0xFFFFFFFF
_QUEUE = "16kb"
"""Two seconds of a line of 64 kbit/s wait in its queue; what comes then is lost."""


def is_inside() -> bool:
    """Whether this process has a network of its own."""
    return _INSIDE in os.environ


@cache
def why_not() -> str:
    """Why tests cannot have networks of their own here; empty where they can."""
    missing = [tool for tool in ("unshare", "ip", "tc") if shutil.which(tool) is None]
    if missing:
        return f"needs {', '.join(missing)}"
    trial = subprocess.run(
        _within([sys.executable, "-m", __name__]),
        cwd=_ROOT,
        env=_environ(),
        check=False,
        capture_output=True,
        text=True,
    )
    words = trial.stderr.strip().splitlines() or ["no reason given"]
    return f"needs a network namespace with tc: {words[-1]}" if trial.returncode else ""


def run_inside(test: str) -> None:
    """Runs a test once more, by its node id, in a new namespace. Raises AssertionError unless it passes there."""
    command = [sys.executable, "-m", "pytest", test, "-s", "-p", "no:xdist", "-p", "no:cacheprovider"]
    with subprocess.Popen(
        _within(command),
        cwd=_ROOT,
        env=_environ(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as child:
        assert child.stdout is not None
        said = []
        try:
            for line in child.stdout:
                print(line, end="")
                said.append(line)
        except BaseException:
            child.kill()
            raise
    passed = child.returncode == 0 and "1 passed" in said[-1]
    assert passed, f"{test} did not pass in a network of its own"


def _environ() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(_OUTSIDE_ALONE)} | {_INSIDE: "1"}


def _within(command: list[str]) -> list[str]:
    rights = [] if os.geteuid() == 0 else ["--map-root-user"]
    return ["unshare", "--net", *rights, *command]


class Lines:
    """The lines to the nodes that listen on these ports, in the namespace of this process."""

    def __init__(self, ports: Collection[int]) -> None:
        if not is_inside():
            raise RuntimeError("The loopback of this machine is left alone. Mark the test `own_network`.")
        self._ports = sorted(ports)
        self._lossy = self._slow = False
        # Segments of an Ethernet, one packet each, and not of 64 kB.
        _run("ip", "link set lo mtu 1500 gso_max_segs 1 up")
        _run("tc", "qdisc add dev lo clsact")

    def lose(self, share: float, *ways: Way) -> None:
        """From now on a share of the packets is lost: 1.0 is all; both ways if none is named."""
        code = drops(self._ports, ways or tuple(Way), share)
        _run("tc", "filter add dev lo ingress protocol ip bpf direct-action bytecode", code)
        self._lossy = True

    def slow_down(self, bits_a_second: int) -> None:
        """From now on each line carries so much, each way."""
        _run("tc", "qdisc add dev lo root handle 1: htb")
        for number, port in enumerate(self._ports):
            for side, name in enumerate(("sport", "dport")):
                line = f"1:{2 * number + side + 1}"
                _run("tc", f"class add dev lo parent 1: classid {line} htb rate {bits_a_second} quantum 1514")
                _run("tc", f"qdisc add dev lo parent {line} bfifo limit {_QUEUE}")
                _run("tc", f"filter add dev lo parent 1: protocol ip u32 match ip {name} {port} 0xffff flowid {line}")
        self._slow = True

    def heal(self) -> None:
        """The lines are as good as new. What waits in a slow one is lost."""
        if self._lossy:
            _run("tc", "filter delete dev lo ingress")
        if self._slow:
            _run("tc", "qdisc delete dev lo root")
        self._lossy = self._slow = False

    async def flap(self, *, half: float = 0.5) -> None:
        """Up and down, each for `half` seconds, without end."""
        while True:
            self.lose(1.0)
            await asyncio.sleep(half)
            self.heal()
            await asyncio.sleep(half)

    def counted(self) -> tuple[int, int]:
        """How many packets have come over loopback, and how many were lost."""
        shown: list[Any] = json.loads(_run("tc", "-statistics -json qdisc show dev lo"))
        (counts,) = [each for each in shown if each["kind"] == "clsact"]
        return counts["packets"], counts["drops"]


def drops(ports: Collection[int], ways: Collection[Way], share: float) -> str:
    """The program that drops a share of the TCP packets to (up) or from (down) these ports, for tc."""
    looks: list[tuple[int, int, int, int]] = []
    for way in ways:
        looks += [(_LOAD_HALF, 0, 0, _PORT[way]), *((_EQUAL, 1, 0, port) for port in ports)]
    # A jump counts the steps that it leaves out: from a port that fits to the dice, which stand behind a `pass`.
    steps = [(code, len(looks) - at if code == _EQUAL else 0, 0, value) for at, (code, _, _, value) in enumerate(looks)]
    dice = [
        (_RETURN, 0, 0, _PASS),
        (_LOAD_WORD, 0, 0, _DICE),
        (_AT_LEAST, 1, 0, min(round(share * 2**32), 2**32 - 1)),
        (_RETURN, 0, 0, _DROP),
        (_RETURN, 0, 0, _PASS),
    ]
    head = [(_LOAD_BYTE, 0, 0, _PROTOCOL), (_EQUAL, 0, len(steps), _TCP)]
    program = [*head, *steps, *dice]
    return ",".join([str(len(program)), *(" ".join(map(str, step)) for step in program)])


def _run(tool: str, words: str, *last: str) -> str:
    done = subprocess.run([tool, *words.split(), *last], check=False, capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"{tool} {words}: {done.stderr.strip()}")
    return done.stdout


if __name__ == "__main__":
    lines = Lines([1])
    lines.lose(0.5)
    lines.slow_down(1000)
    lines.heal()
