"""`jukinet bench rebuild`: how fast a lost prefecture and a lost center are made again from below, under live traffic.

Product: three municipalities of one prefecture, each with its register loaded (`jukinet node load`) and nothing in its
outbox; two small ones, one in that prefecture and one in another, that report ten changes a second all the time. First
the prefecture's disk is taken away and it is made again from its CSs, then the center's. All nodes are processes.
Floor: one plain script that reads the same chunks and takes them into one register, without a network and without a
second process (`rebuild_floor`).

The rate counts from the start of the empty node, whose program takes some two seconds to begin and whose senders try
again at times of chance, and beside that from the first snapshot that it is offered. So does the processor time.
"""

import asyncio
import os
import sqlite3
import sys
import tempfile
import time
from asyncio.subprocess import PIPE, create_subprocess_exec
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Final

from sqlalchemy import Engine, make_url

from bench.processor_time import children, processor_seconds
from bench.rebuild_floor import Floor, take_alone
from bench.results import Report, Result, WorkDiffers, load_now
from bench.workload import SEED
from jukinet._pb.jukinet.intake.v1.intake_pb2 import SubmitChangeRequest
from jukinet._pb.jukinet.intake.v1.intake_pb2_grpc import IntakeServiceStub
from jukinet.cli.change_columns import submission_of
from jukinet.cli.connect import channel_to, in_mesh
from jukinet.cli.init import UNBRAKED, Plan, write_mesh
from jukinet.cli.layout import Mesh
from jukinet.cli.processes import MeshProcesses
from jukinet.mesh.clock import today_in_japan
from jukinet.mesh.identity import Identity
from jukinet.store import digest, journal
from jukinet.store.engine import open_reader, open_writer
from jukinet.store.outbox_start import drop_outbox
from nation import Submission, residents, write_csv

LARGE: Final = ("131016", "131024", "131041")
"""Municipalities of Tokyo that are made again."""
BELOW, BESIDE = "133086", "142018"
"""Those that go on reporting: through the prefecture that is made again, and through another one."""
_PREFECTURE, _OTHER, _CENTER = "prefecture-130001", "prefecture-140007", "center"
_EVERY, _LOOK = 0.1, 0.02  # seconds between two changes of one that reports, and two looks into the node's database
_SECONDS: Final = 1800.0
_DAYS_AGO: Final = 31
_SEQUENCES: Final = "SELECT municipality, 0 FROM snapshots UNION ALL SELECT municipality, sequence FROM origins"
_REPORTED: Final = 5000
"""Residents of those that go on reporting: each is reported once."""


@dataclass(slots=True)
class _Rebuilt:
    """How one tier was made again. Times are seconds, by the clock or, from the first offer on, of processor."""

    seconds: float
    """From the start of the node."""
    offered: float
    """From the first snapshot that it was offered."""
    longest_stop: float
    node: float
    readers: float
    senders: float


@dataclass(slots=True)
class _Seen:
    """What looks into a node's database showed: how long one that reports stood still, once it had moved."""

    offered: float = 0.0
    """When the first snapshot was offered."""
    worked: Sequence[float] = (0.0, 0.0)
    """Processor seconds of the node and of its senders until then."""
    sequence: int = 0
    moved: float = 0.0
    longest: float = 0.0
    moves: int = 0

    def look(self, sequences: Mapping[str, int], living: str, works: Callable[[], Sequence[float]]) -> None:
        now, sequence = time.monotonic(), sequences.get(living, 0)
        if not self.offered and not sequences.keys().isdisjoint(LARGE):
            self.offered, self.worked = now, works()
        if self.moves:
            self.longest = max(self.longest, now - self.moved)
        if sequence > self.sequence:
            self.moves += bool(self.sequence)
            self.sequence, self.moved = sequence, now


@dataclass(slots=True)
class _Bench:
    mesh: Mesh
    nodes: MeshProcesses
    wanted: dict[str, int] = field(default_factory=dict)
    """Of each large municipality, the number of its changes."""


async def run_rebuild(*, residents: int) -> Report:
    """Runs the benchmark.

    Args:
        residents: of the three large municipalities together.

    Raises:
        WorkDiffers: the tiers do not hold the same afterwards, or a live stream did not move.
    """
    load = load_now()
    with tempfile.TemporaryDirectory(prefix="jukinet-bench-") as folder:
        plan = Plan(municipalities=[*LARGE, BELOW, BESIDE], gateways=["gateway-1"], brake=UNBRAKED)
        mesh = write_mesh(Path(folder) / "mesh", plan)
        live = await asyncio.to_thread(_write_registers, Path(folder), residents)
        await _load_registers(mesh, Path(folder))
        async with MeshProcesses(mesh) as nodes:
            bench = _Bench(mesh, nodes)
            await _join(bench)
            prefecture = await _rebuild(bench, _PREFECTURE, BELOW, live[BELOW], [f"municipality-{c}" for c in LARGE])
            await _prune(bench, _PREFECTURE)
            senders = [_PREFECTURE, *(f"municipality-{code}" for code in LARGE)]
            center = await _rebuild(bench, _CENTER, BESIDE, live[BESIDE], senders)
        await asyncio.to_thread(_compare, bench)
        floor = await asyncio.to_thread(take_alone, mesh, Path(folder) / "floor.db", LARGE)
    results = [*_results("prefecture", prefecture, residents, floor), *_results("center", center, residents, floor)]
    return Report("rebuild", results, (load, load_now()))


def _results(tier: str, found: _Rebuilt, residents: int, floor: Floor) -> Iterator[Result]:
    least_rate = residents / floor.seconds
    yield Result(f"residents a second, {tier}, from its start", residents / found.seconds, "1/s", least_rate)
    yield Result(f"residents a second, {tier}, from the first offer", residents / found.offered, "1/s", least_rate)
    least = floor.processor / residents * 1e6
    for who, seconds in (
        ("all", found.node + found.readers + found.senders),
        ("node", found.node),
        ("readers", found.readers),
        ("senders", found.senders),
    ):
        yield Result(f"processor time of a resident, {tier}, {who}", seconds / residents * 1e6, "us", least)
    yield Result(f"longest stop of a live stream, {tier}", found.longest_stop * 1e3, "ms", floor.longest * 1e3)


def _write_registers(folder: Path, count: int) -> dict[str, Sequence[Submission]]:
    """Writes a file for each large municipality; gives what the others will report."""
    weights = {code: count / len(LARGE) for code in LARGE} | {BELOW: _REPORTED, BESIDE: _REPORTED}
    on = today_in_japan() - timedelta(days=_DAYS_AGO)
    people = residents(list(weights), count=count + 2 * _REPORTED, seed=SEED, on=on, weights=weights)
    write_csv(folder / "registers", (each for each in people if each.municipality in LARGE))
    return {code: [each for each in people if each.municipality == code] for code in (BELOW, BESIDE)}


async def _load_registers(mesh: Mesh, folder: Path) -> None:
    """`jukinet node load`, for all at once."""
    loading = []
    for code in LARGE:
        command = ["node", "load", str(folder / "registers" / f"{code}.csv")]
        config = ["--config", str(mesh.config_path(f"municipality-{code}"))]
        loading.append(
            await create_subprocess_exec(sys.executable, "-m", "jukinet.cli", *command, *config, stdout=PIPE)
        )
    for process in loading:
        await process.communicate()
        if process.returncode:
            raise WorkDiffers("a register was not loaded")


async def _join(bench: _Bench) -> None:
    """Starts all nodes; waits until prefecture and center have the large registers."""
    names = list(bench.mesh.registers)
    for name in names:
        bench.nodes.start(name)
    await bench.nodes.wait_healthy(names)
    bench.wanted = {code: _sequences(bench.mesh, f"municipality-{code}")[code] for code in LARGE}
    for name in (_PREFECTURE, _CENTER):
        await _watch(bench, name, _Seen(), "", lambda: ())


async def _rebuild(
    bench: _Bench, name: str, living: str, people: Sequence[Submission], senders: Sequence[str]
) -> _Rebuilt:
    """Takes a node's disk away while a municipality reports, and starts the node anew."""
    async with _reporting(bench.mesh, living, people):
        bench.nodes.kill(name)
        _wipe(bench.mesh, name)
        sending = [bench.nodes.pid(each) for each in senders]
        began, seen = time.monotonic(), _Seen()
        bench.nodes.start(name)
        node = bench.nodes.pid(name)

        def works() -> Sequence[float]:
            return processor_seconds([node]), processor_seconds(sending)

        await _watch(bench, name, seen, living, works)
        ended, after = time.monotonic(), works()
        readers = processor_seconds(children(node))
        await _watch(bench, name, seen, living, works, moves=3)  # it may have begun to move only after all the others
    return _Rebuilt(
        ended - began,
        ended - seen.offered,
        seen.longest,
        after[0] - seen.worked[0],
        readers,
        after[1] - seen.worked[1],
    )


async def _watch(
    bench: _Bench, name: str, seen: _Seen, living: str, works: Callable[[], Sequence[float]], *, moves: int = 0
) -> None:
    """Looks into a node's database until it holds the large registers, and `living` moved so often."""
    async with asyncio.timeout(_SECONDS):
        while True:
            sequences = _sequences(bench.mesh, name)
            seen.look(sequences, living, works)
            if _holds(bench, sequences) and seen.moves >= moves:
                return
            await asyncio.sleep(_LOOK)


@asynccontextmanager
async def _reporting(mesh: Mesh, municipality: str, people: Sequence[Submission]) -> AsyncIterator[None]:
    """Lets a municipality's own system report as long as the block lasts."""

    async def report() -> None:
        target = in_mesh(mesh, f"municipality-{municipality}", Identity("municipal-system", municipality))
        async with channel_to(target) as channel:
            for each in waiting:
                request = SubmitChangeRequest(submission=submission_of(each.row))
                await IntakeServiceStub(channel).SubmitChange(request, timeout=_SECONDS)
                await asyncio.sleep(_EVERY)

    waiting = iter(people)
    task = asyncio.create_task(report())
    try:
        yield
        if task.done():
            raise WorkDiffers("the municipality that reports had nothing more to say")
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _prune(bench: _Bench, name: str) -> None:
    """Drops a node's outbox, as it does after thirty days with what the center has."""
    bench.nodes.terminate(name)
    await bench.nodes.wait_ended(name)
    engine = open_writer(bench.mesh.config(name).database)
    with engine.begin() as connection:
        drop_outbox(connection, journal.read_stream(connection).last_sequence)
    engine.dispose()
    bench.nodes.start(name)
    await bench.nodes.wait_healthy([name])


def _wipe(mesh: Mesh, name: str) -> None:
    """Takes a node's disk away, as the runbook of a lost node leaves it."""
    path = Path(str(make_url(mesh.config(name).database).database))
    for each in path.parent.glob(f"{path.name}*"):
        each.unlink()
    if name != _CENTER:
        path.with_name(f"{path.name}.boot").touch()


def _holds(bench: _Bench, sequences: dict[str, int]) -> bool:
    return all(sequences.get(code, 0) >= wanted for code, wanted in bench.wanted.items())


def _sequences(mesh: Mesh, name: str) -> dict[str, int]:
    """How far each municipality is at a node, 0 where it was only offered; nothing where there is no database yet."""
    address = f"{mesh.folder(name).as_uri()}/register.db?mode=ro"
    with suppress(sqlite3.Error), closing(sqlite3.connect(address, uri=True)) as connection:
        return dict(connection.execute(_SEQUENCES))
    return {}


@contextmanager
def _reader(mesh: Mesh, name: str) -> Iterator[Engine]:
    engine = open_reader(mesh.config(name).database)
    try:
        yield engine
    finally:
        engine.dispose()


def _compare(bench: _Bench) -> None:
    key = os.urandom(digest.DIGEST_BYTES)
    for code, sequence in bench.wanted.items():
        at, found = digest.Place(code, 1, sequence), []
        for name in (f"municipality-{code}", _PREFECTURE, _CENTER):
            with _reader(bench.mesh, name) as engine, engine.connect() as connection, connection.begin():
                found.append(digest.digest(connection, key, at, stopped=lambda: False))
        if len({(each.root, each.rows, each.parked) for each in found}) > 1 or not found[0].rows:
            raise WorkDiffers(f"the registers of {code} differ")
