"""Lines that are cut, one-way, lossy, slow or flapping under load: once they heal, nothing lags after a minute (P-07).

Real processes in a network namespace of the test's own (`tests/faults/namespaces.py`). Each fault strikes the lines of
both hops at once, while three municipalities go on reporting.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from random import Random
from typing import Any

import pytest

from jukinet.cli.init import UNBRAKED
from tests import nightly
from tests.faults.chaos_proxy import Way
from tests.faults.namespaces import Lines
from tests.journeys.judges import judge_logs, judge_registers
from tests.journeys.load import (
    MUNICIPALITIES,
    SECONDS,
    Life,
    MunicipalSystem,
    Network,
    all_arrived,
    under_load,
)

MakeNetwork = Callable[..., Network]
CUTS = {"whole": tuple(Way), "up": (Way.UP,), "down": (Way.DOWN,)}
"""Partitions, by which ways carry nothing."""
KINDS = (*CUTS, "loss", "slow", "flapping")
LOSS, BITS_A_SECOND = 0.2, 64_000
HEALED_WITHIN = 60.0
DIALS, DIALS_SECONDS = 10, 10.0
"""A node dials the one above it at most so often in so many seconds: once a second, whatever happens."""


def ports_above(network: Network) -> list[int]:
    """Where the nodes listen that other nodes dial."""
    above = [name for name in network.mesh.names if name.startswith(("center", "prefecture"))]
    return [int(network.mesh.address(name).rpartition(":")[2]) for name in above]


@asynccontextmanager
async def broken(lines: Lines, kind: str) -> AsyncIterator[None]:
    """The lines have a fault for as long as the block lasts."""
    flapping: asyncio.Task[None] | None = None
    match kind:
        case "loss":
            lines.lose(LOSS)
        case "slow":
            lines.slow_down(BITS_A_SECOND)
        case "flapping":
            flapping = asyncio.create_task(lines.flap())
        case _:
            lines.lose(1.0, *CUTS[kind])
    try:
        yield
    finally:
        if flapping:
            assert flapping.cancel(), "it flapped to the end"
        lines.heal()


async def behind(network: Network, due: Mapping[str, int]) -> int:
    """How many of the changes that were acknowledged by then are not on disk at the center."""
    missing = 0
    for code, count in due.items():
        missing += max(0, count - (await network.status(f"municipality-{code}")).links[0].center_mark)
    return missing


async def one_fault(
    network: Network, lines: Lines, systems: Mapping[str, MunicipalSystem], kind: str, seconds: float
) -> dict[str, Any]:
    """Breaks the lines for a while, and waits until what was acknowledged meanwhile is at the center."""

    def acknowledged() -> dict[str, int]:
        return {code: len(system.acknowledged) for code, system in systems.items()}

    before, packets = acknowledged(), lines.counted()
    async with broken(lines, kind):
        await asyncio.sleep(seconds)
        due = acknowledged()
        backlog = await behind(network, due)
        lost = [now - then for now, then in zip(lines.counted(), packets, strict=True)]
    healed = time.monotonic()
    async with asyncio.timeout(2 * HEALED_WITHIN):
        while await behind(network, due):
            await asyncio.sleep(0.1)
    return {
        "fault": kind,
        "seconds": seconds,
        "reported": sum(due.values()) - sum(before.values()),
        "backlog": backlog,
        "packets": lost[0],
        "packets_lost": lost[1],
        "healed_within": round(time.monotonic() - healed, 1),
    }


def most_dials(network: Network) -> int:
    """How often a node lost its link in any ten seconds, and so dialled again, at most."""
    most = 0
    for name in network.mesh.names:
        records = [json.loads(line) for line in network.log(name).splitlines()]
        lost = [datetime.fromisoformat(each["time"]).timestamp() for each in records if each["event"] == "link lost"]
        most = max([most, *(sum(at <= each < at + DIALS_SECONDS for each in lost) for at in lost)])
    return most


async def run_campaign(
    network: Network, folder: Path, *, seed: int, faults: Sequence[tuple[str, float]]
) -> dict[str, object]:
    """Breaks the lines of a network under load, one fault after the other, and judges what is left.

    Args:
        network: nothing of it runs yet; all of it has ended when this returns.
        folder: for files of this campaign.
        seed: of the nation and the clients.
        faults: kinds, and how many seconds each lasts.

    Returns:
        What was done and found, for a line of the results.
    """
    began = time.monotonic()
    life = Life(folder / "life", seed)
    systems = {code: MunicipalSystem(network, code) for code in life.residents}
    lines = Lines(ports_above(network))
    found = []
    async with network.nodes:
        network.nodes.start_all()
        await network.nodes.wait_healthy(seconds=SECONDS)
        await asyncio.gather(*(systems[code].report(entries) for code, entries in life.residents.items()))
        await all_arrived(network, systems)
        async with under_load(life, systems, [], Random(seed)):
            for kind, seconds in faults:
                found.append(await one_fault(network, lines, systems, kind, seconds))
                print(found[-1])
        await all_arrived(network, systems)
        assert set((await network.nodes.terminate_all()).values()) == {0}
    verdict = judge_registers(network, life.nation, systems)
    judge_logs(network)
    return {
        "seed": seed,
        "faults": found,
        "most_dials": most_dials(network),
        "acknowledged": sum(len(system.acknowledged) for system in systems.values()),
        **{name: verdict[name] for name in ("lost", "doubled", "reordered")},
        "seconds": round(time.monotonic() - began),
    }


def holds(found: Mapping[str, Any]) -> bool:
    """The promise."""
    return (
        (found["lost"], found["doubled"], found["reordered"]) == (0, 0, 0)
        and max(fault["healed_within"] for fault in found["faults"]) <= HEALED_WITHIN
        and found["most_dials"] <= DIALS
    )


def judge(found: Mapping[str, Any]) -> None:
    """The promise, and that the faults struck a network at work: otherwise nothing was shown."""
    print({name: value for name, value in found.items() if name != "faults"})
    for fault in found["faults"]:
        assert fault["reported"] > 0, f"{fault}: municipalities went on reporting"
        if fault["fault"] in CUTS:
            assert fault["backlog"] > fault["reported"] / 2, f"{fault}: little came through"
        if fault["fault"] != "slow":
            assert fault["packets_lost"] > 0
    assert holds(found)


@pytest.fixture
def network(new_network: MakeNetwork, tmp_path: Path) -> Network:
    return new_network(tmp_path, MUNICIPALITIES, brake=UNBRAKED)


@pytest.mark.slow
@pytest.mark.own_network
@pytest.mark.timeout(900)
async def test_nothing_lags_a_minute_after_the_lines_are_whole_again(network: Network, tmp_path: Path) -> None:
    faults = [(kind, 30.0 if kind in CUTS else 20.0) for kind in KINDS]
    judge(await run_campaign(network, tmp_path, seed=7, faults=faults))


PARTS: dict[str, list[tuple[str, float]]] = {
    "flapping": [("flapping", 600.0)],
    **{
        f"all/{turn}": [(kind, seconds) for kind in KINDS for seconds in (5.0 * turn, 60.0 * turn)]
        for turn in range(1, 4)
    },
}


@pytest.fixture(params=PARTS)
def part(request: pytest.FixtureRequest) -> str:
    """A part that has not held yet."""
    name: str = request.param
    nightly.skip_if_done(f"partition/{name}")
    return name


@pytest.mark.nightly
@pytest.mark.own_network
@pytest.mark.timeout(7200)
async def test_nothing_lags_after_a_night_of_broken_lines(network: Network, tmp_path: Path, part: str) -> None:
    found = await run_campaign(network, tmp_path, seed=7000 + [*PARTS].index(part), faults=PARTS[part])
    nightly.keep(f"partition/{part}", found, held=holds(found))
    judge(found)
