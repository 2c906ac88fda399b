"""Links whose connections are cut after every k-th byte: what was acknowledged arrives, once and in order (P-05).

Real processes over mutual TLS. Between each node and the one above it stands a proxy (`tests/faults/chaos_proxy.py`)
that ends each session at the next point of a list: at the end of every TLS record of a recorded session, at the byte
before and after it, and at every k-th byte between, in both ways.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest

from jukinet.cli.init import UNBRAKED
from tests import nightly
from tests.faults.chaos_proxy import ChaosProxy, Fault, Kind, Stream, Way
from tests.journeys.judges import judge_logs, judge_registers
from tests.journeys.load import MUNICIPALITIES, SECONDS, Life, MunicipalSystem, Network, all_arrived, under_load

MakeNetwork = Callable[..., Network]
RECORDS = 20
"""So many TLS records after the greeting are cut, in each way."""
ACKNOWLEDGED = 8
"""After so many records more than the greeting has, something was acknowledged."""
STRIDE = 37
"""Between two cuts that lie anywhere."""


class Link:
    """The connection of a node to the one above it, and what is to happen to it."""

    def __init__(self, network: Network, name: str) -> None:
        self.name = name
        self.faults: deque[Fault] = deque()
        self.planned: Counter[Fault] = Counter()
        self.proxy = ChaosProxy(network.mesh.config(name).upstream, self._next)
        self.greeting: dict[Way, int] = {}

    def _next(self) -> Fault | None:
        """The next point, or once more the last one if its session ended for another reason before."""
        if self.proxy.sessions:
            latest = self.proxy.sessions[-1]
            if latest.fault is not None and not latest.struck:
                return latest.fault
        return self.faults.popleft() if self.faults else None

    @property
    def is_recorded(self) -> bool:
        """Whether a session was long enough to find all points in it."""
        return bool(self.proxy.sessions) and all(
            len(stream.ends) >= self.greeting[way] + RECORDS for way, stream in self.streams.items()
        )

    def plan(self, faults: Sequence[Fault]) -> None:
        """Ends the session that stands, and each next one at the next of these points."""
        self.planned.update(faults)
        self.faults.extend(faults)
        self.proxy.cut()

    @property
    def is_over(self) -> bool:
        """Whether all that was planned has struck."""
        return self.planned <= self.proxy.struck

    @property
    def streams(self) -> Mapping[Way, Stream]:
        """What passed in the longest session: there may be others that were given up before they said anything."""
        return max(self.proxy.sessions, key=lambda session: session.streams[Way.UP].passed).streams

    def cuts(self, count: int, turn: int, random: Random) -> list[Fault]:
        """Points of the recorded session, those soon after its beginning and later ones in turn.

        A node whose sessions bring nothing forward waits longer and longer before it dials again, up to 20 s. A later
        point lets an acknowledgement through, and the waiting begins anew.

        Args:
            count: how many, a multiple of four: half of them at the ends of records, half anywhere.
            turn: each turn takes the points after those of the turn before, until all had theirs.
            random: for their order, and for what happens there.
        """
        ends: dict[bool, list[Fault]] = {True: [], False: []}
        bytes_between: dict[bool, list[Fault]] = {True: [], False: []}
        for way, stream in self.streams.items():
            known = self.greeting[way] + ACKNOWLEDGED
            last = self.greeting[way] + RECORDS
            for record in range(1, last + 1):
                ends[record <= known] += [Fault(Kind.CUT, way, record, byte) for byte in (-1, 0, 1)]
            for byte in range(1, stream.ends[last - 1], STRIDE):
                kind = random.choice((Kind.CUT, Kind.RESET, Kind.HALF_CLOSE))
                bytes_between[byte <= stream.ends[known - 1]].append(Fault(kind, way, byte=byte))

        def some(soon: bool) -> list[Fault]:
            each = count // 4
            places = range(turn * each, (turn + 1) * each)
            found = [points[soon][at % len(points[soon])] for points in (ends, bytes_between) for at in places]
            return random.sample(found, len(found))

        return [fault for pair in zip(some(True), some(False), strict=True) for fault in pair]


@asynccontextmanager
async def sabotaged(network: Network) -> AsyncIterator[dict[str, Link]]:
    """Runs a network in which every link goes through a proxy; nothing is cut yet, and all nodes are in step."""
    names = [name for name in network.mesh.names if name.startswith(("prefecture", "municipality"))]
    links = {name: Link(network, name) for name in names}
    async with AsyncExitStack() as stack:
        for link in links.values():
            await stack.enter_async_context(link.proxy)
        await stack.enter_async_context(network.nodes)
        for name in network.mesh.names:
            environ = {"JUKINET_UPSTREAM": links[name].proxy.address} if name in links else {}
            network.nodes.start(name, environ)
        await network.nodes.wait_healthy(seconds=SECONDS)
        async with asyncio.timeout(SECONDS):
            for name in links:
                while not (await network.status(name)).links[0].connected:
                    await asyncio.sleep(0.05)
        yield links
        assert set((await network.nodes.terminate_all()).values()) == {0}


async def run_campaign(
    network: Network, folder: Path, *, seed: int, cuts: int, residents: int = 1500
) -> dict[str, object]:
    """Cuts each link of a network under load so many times, and judges what is left.

    Returns:
        What was done and found, for a line of the results.
    """
    random, began = Random(seed), time.monotonic()
    life = Life(folder / "life", seed, residents)
    systems = {code: MunicipalSystem(network, code) for code in life.residents}
    async with sabotaged(network) as links:
        for link in links.values():
            link.greeting = {way: len(stream.ends) for way, stream in link.streams.items()}
        await asyncio.gather(*(systems[code].report(entries) for code, entries in life.residents.items()))
        await all_arrived(network, systems)
        for link in links.values():
            # The first load goes in records of 16 kB; a session of every day is recorded, which is soon repeated.
            link.proxy.cut()
            link.proxy.sessions.clear()
        async with under_load(life, systems, [], random):
            while not all(link.is_recorded for link in links.values()):
                await asyncio.sleep(0.1)
            for number, link in enumerate(links.values()):
                link.plan(link.cuts(cuts, seed * len(links) + number, random))
            while not all(link.is_over for link in links.values()):
                await asyncio.sleep(0.1)
        await all_arrived(network, systems)
    verdict = judge_registers(network, life.nation, systems)
    judge_logs(network)
    struck = sum((link.proxy.struck for link in links.values()), Counter[Fault]())
    return {
        "seed": seed,
        "cuts": struck.total(),
        "points": len(struck),
        "kinds": dict(
            Counter({kind.value: 0 for kind in Kind}) + Counter(each.kind.value for each in struck.elements())
        ),
        "links": {link.name: link.proxy.struck.total() for link in links.values()},
        "sessions": sum(len(link.proxy.sessions) for link in links.values()),
        "acknowledged": sum(len(system.acknowledged) for system in systems.values()),
        **{name: verdict[name] for name in ("lost", "doubled", "reordered")},
        "seconds": round(time.monotonic() - began),
    }


def judge(found: dict[str, Any], *, cuts: int) -> None:
    """The promise, and that every cut was made."""
    print(found)
    assert (found["lost"], found["doubled"], found["reordered"]) == (0, 0, 0)
    assert min(found["links"].values()) >= cuts


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_nothing_is_lost_doubled_or_reordered_by_cut_sessions(new_network: MakeNetwork, tmp_path: Path) -> None:
    network = new_network(tmp_path, MUNICIPALITIES, brake=UNBRAKED)
    judge(await run_campaign(network, tmp_path, seed=80, cuts=80), cuts=80)


@pytest.mark.nightly
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("part", range(5))
async def test_nothing_is_lost_in_a_night_of_cut_sessions(new_network: MakeNetwork, tmp_path: Path, part: int) -> None:
    name = f"cuts/{part}"
    nightly.skip_if_done(name)
    network = new_network(tmp_path, MUNICIPALITIES, brake=UNBRAKED)
    found: Any = await run_campaign(network, tmp_path, seed=2000 + part, cuts=84)
    nightly.keep(name, found, held=(found["lost"], found["doubled"], found["reordered"]) == (0, 0, 0))
    judge(found, cuts=84)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "faults",
    [
        [Fault(Kind.STALL, Way.UP, record=12), Fault(Kind.STALL, Way.DOWN, record=12)],
        [Fault(Kind.DELAY, way, seconds=0.02) for way in Way] + [Fault(Kind.DRIP, way, seconds=0.002) for way in Way],
    ],
    ids=["stalled", "slow"],
)
async def test_stalled_and_slow_sessions_lose_nothing(
    new_network: MakeNetwork, tmp_path: Path, faults: list[Fault]
) -> None:
    network = new_network(tmp_path, MUNICIPALITIES, brake=UNBRAKED)
    life = Life(tmp_path / "life", seed=1)
    systems = {code: MunicipalSystem(network, code) for code in life.residents}
    async with sabotaged(network) as links:
        for number, link in enumerate(links.values()):
            link.plan([faults[number % len(faults)]])
        await asyncio.gather(*(systems[code].report(entries) for code, entries in life.residents.items()))
        await all_arrived(network, systems)
        for link in links.values():
            assert link.is_over
    assert judge_registers(network, life.nation, systems).total() == 0
    judge_logs(network)
