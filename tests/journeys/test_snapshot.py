"""Nodes that lost all are made again from the nodes below, and a municipality joins with its whole register."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from jukinet.mesh.clock import today_in_japan
from jukinet.mesh.failpoints import VARIABLE
from jukinet.store import journal
from jukinet.store.boot import marker_path
from jukinet.store.engine import open_writer
from jukinet.store.outbox_start import drop_outbox
from nation import Nation, write_csv

Network = Any  # the fixture's own class lives in conftest.py
CHIYODA, CHUO, YOKOSUKA = "131016", "131024", "142018"
CENTER, TOKYO = "center", "prefecture-130001"
SECONDS = 120
LONGEST_STOP = 5.0  # seconds that a live stream may stand still


def prune(network: Network, node: str) -> None:
    """Drops the outbox of a node that does not run. The center has all of it, noted here or not."""
    engine = open_writer(network.mesh.config(node).database)
    try:
        with engine.begin() as connection:
            drop_outbox(connection, journal.read_stream(connection).last_sequence)
    finally:
        engine.dispose()


def wipe(network: Network, node: str) -> None:
    """Takes a node's disk away, as the runbook of a lost prefecture leaves it."""
    network.wipe(node)
    config = network.mesh.config(node)
    marker_path(config.database, config.folder, node).write_bytes(b"")


def jukinet(*arguments: str) -> tuple[int, str]:
    """Runs the command: exit code and standard output."""
    command = [sys.executable, "-m", "jukinet.cli", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    return done.returncode, done.stdout


async def equal(network: Network, rows: dict[str, int]) -> bool:
    """Whether all tiers hold the same, of some municipalities so many rows."""
    code, told = await asyncio.to_thread(jukinet, "admin", "drift", "--mesh", str(network.mesh.root), "--json")
    found = {each["municipality"]: each["rows"] for each in json.loads(told)["municipalities"]} if code == 0 else {}
    return all(found.get(municipality) == wanted for municipality, wanted in rows.items())


async def installed(network: Network, node: str, snapshots: int) -> bool:
    """Whether a node took so many snapshots in."""
    return bool(network.log(node).count("snapshot is in the register") == snapshots)


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(SECONDS):
        while not await condition():
            await asyncio.sleep(0.1)


class Living:
    """A municipality that goes on reporting; `longest` is how long its center mark stood still, once it had moved."""

    def __init__(self, network: Network, municipality: str) -> None:
        self.network = network
        self.municipality = municipality
        self.longest = 0.0
        self.reported = 0
        self.moving = 0
        """How often the mark moved."""

    async def live(self) -> None:
        clock = asyncio.get_running_loop()
        mark, moved = -1, clock.time()
        while True:
            person = self.network.person(self.municipality)
            await self.network.submit(self.municipality, self.network.submission("ENTRY_EX_OFFICIO", person))
            self.reported += 1
            link = (await self.network.status(f"municipality-{self.municipality}")).links[0]
            self.longest = max(self.longest, clock.time() - moved) if self.moving else 0.0
            if link.center_mark > mark:
                self.moving += mark >= 0
                mark, moved = link.center_mark, clock.time()
            await asyncio.sleep(0.05)


@asynccontextmanager
async def living(network: Network, municipality: str) -> AsyncIterator[Living]:
    life = Living(network, municipality)
    task = asyncio.create_task(life.live())
    try:
        yield life
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def restart(network: Network, *names: str, change: Callable[[str], None]) -> None:
    """Stops nodes, does something to what they leave, and starts them again."""
    for name in names:
        network.nodes.terminate(name)
        assert await network.nodes.wait_ended(name) == 0
        change(name)
        network.nodes.start(name)
    await network.nodes.wait_healthy(names)


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_lost_prefecture_and_a_lost_center_are_made_again_while_others_go_on(
    network_on: Callable[..., Network], tmp_path: Path
) -> None:
    network = network_on(tmp_path, [CHIYODA, CHUO, YOKOSUKA])
    registers = network.mesh.registers
    async with network.nodes:
        for name in registers:
            network.nodes.start(name)
        await network.nodes.wait_healthy(registers)
        for code in (CHIYODA, CHUO):
            for _ in range(8):
                await network.submit(code, network.submission("ENTRY_EX_OFFICIO", network.person(code)))
            await network.arrived(code)
        below = (TOKYO, f"municipality-{CHIYODA}", f"municipality-{CHUO}")
        await restart(network, CENTER, *below, change=lambda name: prune(network, name))
        async with living(network, YOKOSUKA) as life:
            await until(lambda: asyncio.sleep(0, life.moving > 3))
            network.nodes.kill(TOKYO)
            await network.nodes.wait_ended(TOKYO)
            await network.submit(CHIYODA, network.submission("ENTRY_EX_OFFICIO", network.person(CHIYODA)))
            wipe(network, TOKYO)
            network.nodes.start(TOKYO)
            await until(lambda: installed(network, TOKYO, 2))
            await until(lambda: equal(network, {CHIYODA: 9, CHUO: 8}))
        assert life.longest < LONGEST_STOP
        assert "it comes from the nodes below" in network.log(TOKYO)
        assert "snapshot is in the register" not in network.log(CENTER)

        for name in (f"municipality-{YOKOSUKA}", "prefecture-140007", *below):
            await network.arrived(YOKOSUKA)
            await restart(network, name, change=lambda name: prune(network, name))
        async with living(network, YOKOSUKA) as life:
            network.nodes.kill(CENTER)
            await network.nodes.wait_ended(CENTER)
            wipe(network, CENTER)
            network.nodes.start(CENTER)
            await until(lambda: installed(network, CENTER, 3))
            await until(lambda: equal(network, {CHIYODA: 9, CHUO: 8}))
            await until(lambda: asyncio.sleep(0, life.reported > 10))
        await network.enter(CHIYODA)
        for code in (CHIYODA, CHUO, YOKOSUKA):
            await network.arrived(code)
        assert await equal(network, {CHIYODA: 10, CHUO: 8})


KILLS = (
    (TOKYO, "snapshot.offered:1"),
    (TOKYO, "snapshot.taken:1"),
    (f"municipality-{CHIYODA}", "bring.taken:1"),
    (TOKYO, "snapshot.taken:1"),
    (TOKYO, "snapshot.applied:2"),
    (TOKYO, "snapshot.installed:1"),
    (CENTER, "snapshot.taken:2"),
    (CENTER, "snapshot.installed:1"),
    (TOKYO, "snapshot.resumed:1"),
)


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_a_municipality_joins_with_its_register_however_often_its_transmission_is_cut(
    network_on: Callable[..., Network], tmp_path: Path
) -> None:
    network = network_on(tmp_path, [CHIYODA, CHUO])
    cs = f"municipality-{CHIYODA}"
    nation = Nation([CHIYODA], count=16_000, seed=3, on=today_in_japan() - timedelta(days=30))
    residents = list(nation.residents())
    count = len(residents)
    (register,) = write_csv(tmp_path / "register", residents)
    load = ("node", "load", str(register), "--config", str(network.mesh.config_path(cs)))
    assert jukinet(*load)[0] == 0
    assert jukinet(*load)[0] == 1
    others = [CENTER, TOKYO, f"municipality-{CHUO}"]
    async with network.nodes:
        for name in others:
            network.nodes.start(name)
        await network.nodes.wait_healthy(others)
        for victim, place in KILLS:
            # Both begin anew, so that neither waits out its pause between two attempts.
            for name in {victim, cs}:
                if network.nodes.is_running(name):
                    network.nodes.kill(name)
            network.nodes.start(victim, {VARIABLE: f"{place}:{os.getpid()}"})
            for name in (*others, cs):
                if not network.nodes.is_running(name):
                    network.nodes.start(name)
            async with asyncio.timeout(SECONDS):
                while network.nodes.is_running(victim):
                    await asyncio.sleep(0.05)
            assert network.nodes.exit_code(victim) == -signal.SIGKILL, place
        network.nodes.start(victim)
        await network.nodes.wait_healthy([*others, cs])
        await until(lambda: equal(network, {CHIYODA: count}))
        await network.enter(CHIYODA)
        assert await equal(network, {CHIYODA: count + 1})
