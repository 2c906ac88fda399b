"""A full disk under one node after the other: nothing acknowledged is lost, reads go on, room alone heals it (P-11).

Each node's database lies on a small tmpfs of its own, and no node keeps a reserve, so that SQLite itself meets the end
of the room, at another byte each time. Mounting needs root; elsewhere these tests skip and say so.
"""

import asyncio
import errno
import os
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.ledger.v1.ledger_pb2 import GetCheckpointRequest
from jukinet._pb.jukinet.ledger.v1.ledger_pb2_grpc import LedgerServiceStub
from jukinet.cli.init import UNBRAKED, Plan
from jukinet.cli.layout import folder_name
from tests import nightly
from tests.journeys.judges import changes_in, end_and_judge
from tests.journeys.load import CHIYODA, GATEWAY, MUNICIPALITIES, SECONDS, Clients, Life, Network, under_load

MakeNetwork = Callable[..., Network]
CS, PREFECTURE, CENTER = f"municipality-{CHIYODA}", "prefecture-130001", "center"
NODES = (CS, PREFECTURE, CENTER, GATEWAY)
ROOM = [0, 1, 4095, 4096, 4097, 8191, 8192, 8193, *(7919 * k for k in range(2, 14))]
"""Bytes that are left at each of the twenty levels; a ledger grows by 10 kB/s here, its write-ahead log not at all."""
RECOVERY_SECONDS = 30.0
_DISK = "64m"
_NO_RESERVE = {"JUKINET_LIMITS_DISK_FREE_BYTES": "0", "JUKINET_LIMITS_DISK_FREE_PERCENT": "0"}


@pytest.fixture
def disks(tmp_path: Path) -> Iterator[Path]:
    """A folder with a small file system for each node."""
    root = tmp_path / "disks"
    mounted: list[Path] = []
    try:
        for node in Plan(MUNICIPALITIES, [GATEWAY], witnesses=1).nodes:
            disk = root / folder_name(node).replace("-", "_")
            disk.mkdir(parents=True)
            command = ["mount", "-t", "tmpfs", "-o", f"size={_DISK}", "tmpfs", str(disk)]
            if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode:
                pytest.skip("needs the right to mount a small tmpfs")
            mounted.append(disk)
        yield root
    finally:
        for disk in mounted:
            subprocess.run(["umount", "--lazy", disk], check=True)


class Observer:
    """What shows that a node's disk is full, that it still reads, and that it writes again."""

    def __init__(self, network: Network, disks: Path, clients: Clients) -> None:
        self.network = network
        self.disks = disks
        self.systems = clients.systems
        self.agencies = clients.pension

    def fill(self, node: str, room: int) -> Path:
        """Leaves so many bytes on a node's disk."""
        disk = self.disks / node.replace("-", "_")
        ballast = disk / "ballast"
        with ballast.open("wb") as file:
            while (size := _free(disk) - room) > 0:
                try:
                    os.posix_fallocate(file.fileno(), 0, size)
                except OSError as failure:
                    if failure.errno != errno.ENOSPC:
                        raise
                    continue  # the node wrote since the look
                break
        return ballast

    async def is_full(self, node: str, before: int) -> bool:
        """Whether somebody was told since."""
        if node in (PREFECTURE, CENTER):
            below = CS if node == PREFECTURE else PREFECTURE
            return bool((await self.network.status(below)).links[0].last_error == errors.ERROR_REASON_STORAGE_FULL)
        return self.told(node) > before

    def told(self, node: str) -> int:
        """How often a client of a CS or a gateway was told that nothing can be kept."""
        if node == GATEWAY:
            return sum(agency.reasons[errors.ERROR_REASON_LEDGER_UNAVAILABLE] for agency in self.agencies)
        return self.systems[CHIYODA].reasons[errors.ERROR_REASON_STORAGE_FULL]

    async def reads(self, node: str) -> None:
        """Asks for what a node need only read."""
        if node != GATEWAY:
            await self.network.status(node)
        else:
            async with self.network.channel(node) as channel:
                await LedgerServiceStub(channel).GetCheckpoint(GetCheckpointRequest(), timeout=SECONDS)
        if node == CENTER:
            answers = self.answers()
            await until(lambda: self.answers() > answers)

    def answers(self) -> int:
        """How many questions were answered."""
        return sum(len(agency.answers) for agency in self.agencies)

    def written(self, node: str) -> int:
        """How much a node has kept."""
        if node == GATEWAY:
            return self.answers()
        return changes_in(self.network.mesh.config(node).database)


def _free(disk: Path) -> int:
    space = os.statvfs(disk)
    return space.f_bavail * space.f_frsize


async def until(holds: Callable[[], object] | Callable[[], Awaitable[object]]) -> None:
    """Waits for a condition that no event tells of."""
    async with asyncio.timeout(SECONDS):
        while True:
            held = holds()
            if await held if isinstance(held, Awaitable) else held:
                return
            await asyncio.sleep(0.05)


async def run_campaign(
    network: Network, disks: Path, folder: Path, *, seed: int, rooms: list[int]
) -> dict[str, object]:
    """Fills the disk of each of the four kinds of node to each level, under load, and judges what is left."""
    random, began = Random(seed), time.monotonic()
    life = Life(folder / "life", seed)
    clients = Clients(network, life, seed)
    observer = Observer(network, disks, clients)
    recoveries: list[float] = []
    async with network.nodes:
        network.nodes.start_all()
        await network.nodes.wait_healthy(seconds=SECONDS)
        pids = {name: network.nodes.pid(name) for name in network.mesh.names}
        await asyncio.gather(*(clients.systems[code].report(entries) for code, entries in life.residents.items()))
        async with under_load(life, clients.systems, clients.agencies, random):
            for room in rooms:
                for node in NODES:
                    recoveries.append(await one_level(observer, node, room))
        assert {name: network.nodes.pid(name) for name in network.mesh.names} == pids
        verdict = await end_and_judge(network, life.nation, clients, folder, expected="StorageFull")
    return {
        "seed": seed,
        "levels": len(recoveries),
        "recovery_seconds_max": round(max(recoveries), 2),
        "acknowledged": clients.acknowledged,
        **{name: verdict[name] for name in ("lost", "doubled", "reordered")},
        "seconds": round(time.monotonic() - began),
    }


async def one_level(observer: Observer, node: str, room: int) -> float:
    """Fills a disk, sees that the node says so and reads, and makes room; how many seconds until it writes again."""
    told = observer.told(node)
    ballast = observer.fill(node, room)
    try:
        await until(lambda: observer.is_full(node, told))
    except TimeoutError:
        raise AssertionError(
            f"{node} told nobody in {SECONDS:g} s that it has no more than {room} bytes left"
        ) from None
    await observer.reads(node)
    kept = observer.written(node)
    ballast.unlink()
    healed = time.monotonic()
    await until(lambda: observer.written(node) > kept)
    return time.monotonic() - healed


def judge(found: dict[str, Any], *, levels: int) -> None:
    """The promise."""
    print(found)
    assert (found["lost"], found["doubled"], found["reordered"]) == (0, 0, 0)
    assert found["levels"] == levels
    assert found["recovery_seconds_max"] <= RECOVERY_SECONDS


@pytest.fixture
def network(new_network: MakeNetwork, tmp_path: Path, disks: Path) -> Network:
    """A mesh whose databases lie on small disks."""
    database = f"sqlite:///{disks}/{{node}}/node.db"
    return new_network(tmp_path, MUNICIPALITIES, database=database, environ=_NO_RESERVE, brake=UNBRAKED)


@pytest.mark.slow
@pytest.mark.own_disks
@pytest.mark.timeout(600)
async def test_a_full_disk_loses_nothing_and_heals_by_itself(network: Network, disks: Path, tmp_path: Path) -> None:
    rooms = ROOM[::7]
    judge(await run_campaign(network, disks, tmp_path, seed=11, rooms=rooms), levels=len(rooms) * len(NODES))


@pytest.mark.nightly
@pytest.mark.own_disks
@pytest.mark.timeout(7200)
async def test_twenty_full_disks_of_each_node_lose_nothing(network: Network, disks: Path, tmp_path: Path) -> None:
    nightly.skip_if_done("disk-full")
    found: Any = await run_campaign(network, disks, tmp_path, seed=20, rooms=ROOM)
    nightly.keep("disk-full", found, held=(found["lost"], found["doubled"], found["reordered"]) == (0, 0, 0))
    judge(found, levels=len(ROOM) * len(NODES))
