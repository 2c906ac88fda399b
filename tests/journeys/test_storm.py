"""A storm of reconnects: all municipalities of a prefecture come back at once after an outage of its node (P-08).

The prefecture node and the center are processes. The municipalities are many in one: each has its register, intake and
link as a CS has them, and no server of its own.
"""

import asyncio
import json
import os
import re
import resource
import signal
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import grpc
import pytest

from cs_node.intake import Intake, Item, Sealing
from jukinet.assembly import register_node
from jukinet.assembly.process import needed
from jukinet.assembly.register_node import RegisterNode
from jukinet.domain.local_government import check_digit
from jukinet.mesh.client import open_channel
from jukinet.mesh.pki import load_signing_key
from tests import nightly
from tests.journeys.judges import judge_logs
from tests.journeys.load import SECONDS, Network

MakeNetwork = Callable[..., Network]
CENTER, PREFECTURE, TOKYO = "center", "prefecture-130001", "13"
STANDS_WITHIN = 30.0
"""From the moment at which the node above serves again, at p99."""
EACH = 2
"""Changes that each municipality reports before and again during the outage."""
_ERROR_OF_A_WRITE = "Internal error from Core"  # covers the server's own status, which comes as well
EXPECTED = {grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
"""Refused for now, not there, and given up by the caller itself."""


class Municipality:
    """A CS without its server."""

    def __init__(self, network: Network, code: str) -> None:
        config = network.mesh.config(f"municipality-{code}")
        self._network = network
        self.code = code
        self.reported = 0
        self.node = RegisterNode(config)
        assert self.node.uplink is not None
        self.uplink = self.node.uplink
        self._intake = Intake(
            writer=self.node.writer,
            sealing=Sealing(code, load_signing_key(needed(config.sealing.key))),
            why_not=self.node.why_not_take,
            on_accepted=self.node.outbox_grew,
        )
        self._parts = [asyncio.create_task(part()) for part in (self._intake.grouping.run, self.uplink.run)]

    async def report(self) -> None:
        """Reports some changes, and has them acknowledged."""
        for _ in range(EACH):
            submission = self._network.submission("ENTRY_EX_OFFICIO", self._network.person(self.code))
            await self._intake.grouping.hand_in(Item(submission, ""))
            self.reported += 1

    def stands(self) -> bool:
        """Whether the node above has welcomed its stream."""
        return self.uplink.state.connected

    def arrived(self) -> bool:
        """Whether all that it reported is on disk at the center."""
        return self.uplink.state.center_mark == self.reported

    async def end(self) -> None:
        for part in self._parts:
            part.cancel()
        await asyncio.gather(*self._parts, return_exceptions=True)
        self.node.close()


class WatchedChannel:
    """A channel that notes how its streams end."""

    def __init__(self, channel: grpc.aio.Channel, ends: list[set[tuple[grpc.StatusCode, str]]]) -> None:
        self._channel = channel
        self._ends = ends

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)

    async def __aenter__(self) -> "WatchedChannel":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._channel.close()

    def stream_stream(self, *method: Any, **options: Any) -> Callable[[], Any]:
        begin = self._channel.stream_stream(*method, **options)

        def begun() -> Any:
            call: Any = begin()
            end: set[tuple[grpc.StatusCode, str]] = set()
            self._ends.append(end)

            async def note() -> None:
                end.add((await call.code(), await call.details()))

            call.add_done_callback(lambda _: asyncio.ensure_future(note()))
            return call

        return begun


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> list[set[tuple[grpc.StatusCode, str]]]:
    """Of each stream that a municipality began, with which status and text it ended."""
    ends: list[set[tuple[grpc.StatusCode, str]]] = []
    monkeypatch.setattr(
        register_node, "open_channel", lambda *to, **how: WatchedChannel(open_channel(*to, **how), ends)
    )
    return ends


def codes_of(ends: Sequence[set[tuple[grpc.StatusCode, str]]]) -> Counter[grpc.StatusCode]:
    """Status codes of the streams that ended, the server's own where it is known."""
    found: Counter[grpc.StatusCode] = Counter()
    for end in ends:
        own = {code for code, text in end if text != _ERROR_OF_A_WRITE} or {code for code, _ in end}
        found.update(own)
    return found


@contextmanager
def many_files() -> Iterator[None]:
    """As many open files as this process may have: a municipality has some ten."""
    before, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (before, most))


def codes(count: int) -> list[str]:
    """Local government codes (全国地方公共団体コード) of Tokyo's prefecture, of bodies that need not exist."""
    bodies = [f"{TOKYO}{number:03d}" for number in range(101, 101 + count)]
    return [body + check_digit(body) for body in bodies]


def memory(network: Network, kind: str) -> float:
    """Of the prefecture node, MiB: VmRSS is what it has, VmHWM the most that it had."""
    status = Path(f"/proc/{network.nodes.pid(PREFECTURE)}/status").read_text("ascii")
    (kibibytes,) = re.findall(rf"^{kind}:\s+(\d+) kB$", status, re.MULTILINE)
    return int(kibibytes) / 1024


def streams(network: Network) -> int:
    """How many streams of municipalities stand, as the prefecture node says."""
    standing = r'^jukinet_link_connected\{peer=".*/municipality/.*"\} 1'
    return len(re.findall(standing, network.metrics_of(PREFECTURE), re.MULTILINE))


async def until(holds: Callable[[], bool], *, seconds: float = SECONDS) -> None:
    async with asyncio.timeout(seconds):
        while not holds():
            await asyncio.sleep(0.02)


def start(network: Network) -> None:
    """Starts the prefecture node, with metrics."""
    network.nodes.start(PREFECTURE, {"JUKINET_TELEMETRY_METRICS_LISTEN": network.metrics[PREFECTURE]})


def served_since(network: Network) -> float:
    """When the prefecture node began to serve, in seconds since 1970."""
    records = [json.loads(line) for line in network.log(PREFECTURE).splitlines()]
    (*_, last) = (record["time"] for record in records if record["event"] == "serving")
    return datetime.fromisoformat(last).timestamp()


async def run_storm(
    network: Network, senders: list[Municipality], *, kind: str, seconds: float, ends: list[Any]
) -> dict[str, Any]:
    """One outage of a prefecture node with its streams standing: how all come back."""
    idle, first, over = memory(network, "VmRSS"), len(ends), time.monotonic() + seconds
    if kind == "killed":
        network.nodes.kill(PREFECTURE)
    else:
        os.kill(network.nodes.pid(PREFECTURE), signal.SIGSTOP)
    await asyncio.gather(*(sender.report() for sender in senders))
    await asyncio.sleep(over - time.monotonic())
    assert not any(sender.stands() for sender in senders), "all have noticed"
    back = time.time()
    if kind == "killed":
        start(network)
    else:
        os.kill(network.nodes.pid(PREFECTURE), signal.SIGCONT)

    async def stands_at(sender: Municipality) -> float:
        await until(sender.stands, seconds=3 * STANDS_WITHIN)
        return time.time()

    moments = await asyncio.gather(*map(stands_at, senders))
    if kind == "killed":
        back = served_since(network)
    stood = statistics.quantiles((moment - back for moment in moments), n=100)
    for sender in senders:
        await until(sender.arrived)
    await until(lambda: streams(network) == len(senders))
    return {
        "senders": len(senders),
        "outage": kind,
        "outage_seconds": seconds,
        "streams_begun": len(ends) - first,
        "codes": {code.name: count for code, count in codes_of(ends[first:]).items()},
        "stands_seconds_p50": round(stood[49], 2),
        "stands_seconds_p99": round(stood[98], 2),
        "idle_mib": round(idle, 1),
        "most_mib": round(memory(network, "VmHWM"), 1),
    }


async def run_campaign(network: Network, ends: list[Any], *, kind: str, seconds: float) -> dict[str, Any]:
    """A storm from its calm to its end, and whether anything was lost in it."""
    began, senders = time.monotonic(), list[Municipality]()
    async with network.nodes:
        network.nodes.start(CENTER)
        start(network)
        await network.nodes.wait_healthy()
        try:
            for name in network.mesh.names:
                if not name.startswith("municipality"):
                    continue
                senders.append(Municipality(network, name.partition("-")[2]))
                await until(senders[-1].stands)
                await senders[-1].report()
            for sender in senders:
                await until(sender.arrived)
            await until(lambda: streams(network) == len(senders))
            found = await run_storm(network, senders, kind=kind, seconds=seconds, ends=ends)
        finally:
            await asyncio.gather(*(sender.end() for sender in senders))
        assert set((await network.nodes.terminate_all()).values()) == {0}
    judge_logs(network)
    expected = Counter((sender.code, 1 + number) for sender in senders for number in range(sender.reported))
    for node in (CENTER, PREFECTURE):
        kept = Counter((row["municipality"], row["sequence"]) for row in network.rows(node, "history"))
        assert kept == expected, "nothing is lost or doubled"
    return {"seed": 0, **found, "acknowledged": expected.total(), "seconds": round(time.monotonic() - began)}


def holds(found: dict[str, Any]) -> bool:
    """The promise."""
    return bool(
        found["stands_seconds_p99"] <= STANDS_WITHIN
        and found["most_mib"] <= 2 * found["idle_mib"]
        and found["codes"].keys() <= {code.name for code in EXPECTED}
    )


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_forty_municipalities_come_back_at_once(
    new_network: MakeNetwork, tmp_path: Path, ends: list[Any]
) -> None:
    network = new_network(tmp_path, codes(40))
    found = await run_campaign(network, ends, kind="killed", seconds=10.0)
    print(found)
    assert holds(found)


@pytest.mark.nightly
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", ["killed", "stopped"])
async def test_two_hundred_municipalities_come_back_at_once(
    new_network: MakeNetwork, tmp_path: Path, ends: list[Any], kind: str
) -> None:
    nightly.skip_if_done(f"storm/{kind}")
    with many_files():
        found = await run_campaign(new_network(tmp_path, codes(200)), ends, kind=kind, seconds=60.0)
    nightly.keep(f"storm/{kind}", found, held=holds(found))
    print(found)
    assert holds(found)
