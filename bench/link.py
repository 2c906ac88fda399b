"""`jukinet bench link`: what a change costs on its way from the intake to the center's disk.

Product: CS, prefecture and center as processes of their own, mutual TLS, all checks, three SQLite files, every
acknowledgement durable, tracing off. Floors: `link_floor` for the rate, `single_commits` for the time.

Latency is measured twice: of changes on one stream, as a system with 200 a second reports them, and of changes that
come in a call each, which costs the client and the CS more. Its floor goes at the same pace, from when each step was
due: what waits between two steps finds the processor's caches cold, and that is no fault of the network's. Beside it
stands the floor without pauses, which is never cold.

Rounds take turns: product rate, floor rate, product latency on a stream and by calls, floor latency. All rounds grow
the same databases, the product's and the floor's alike, so that both work on tables of the same size.
"""

import asyncio
import tempfile
import time
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import grpc
from sqlalchemy import func, select

from bench.center_watch import CenterWatch
from bench.echo import EchoServer, Tls, raw_channel
from bench.link_floor import LinkFloor
from bench.load import open_loop
from bench.processor_time import processor_seconds
from bench.results import Report, Result, load_now, medians, percentile, same_counts
from bench.single_commits import SingleCommits
from bench.workload import MUNICIPALITY, PREFECTURE, submissions
from jukinet._pb.jukinet.intake.v1.intake_pb2 import (
    Submission,
    SubmitChangeRequest,
    SubmitChangeResponse,
    SubmitChangesRequest,
    SubmitChangesResponse,
)
from jukinet.cli.connect import channel_to, in_mesh
from jukinet.cli.init import UNBRAKED, Plan, write_mesh
from jukinet.cli.layout import Mesh
from jukinet.cli.processes import MeshProcesses
from jukinet.mesh.identity import Identity
from jukinet.store.engine import open_reader
from jukinet.store.schema import history

RATE: Final = 200.0
"""Changes a second at which latency is measured."""
NODES: Final = ("center", f"prefecture-{PREFECTURE}", f"municipality-{MUNICIPALITY}")

_WARM_UP: Final = 300
"""Changes before the first round: code paths and statement caches are warm on both sides."""
_SUBMIT_MANY: Final = "/jukinet.intake.v1.IntakeService/SubmitChanges"
_SUBMIT_ONE: Final = "/jukinet.intake.v1.IntakeService/SubmitChange"
_SECONDS: Final = 60.0
_PAUSE_SECONDS: Final = 0.02
_COARSE, _FINE = 0.005, 0.0005
_LINK_FRAME_BYTES: Final = 300
"""What a batch of one change has beside the change: municipality, hashes, seal, frame."""


_Reported = tuple[list[int], list[int]]
"""Of each change the nanosecond at which it was due, and its sequence number."""


@dataclass(slots=True)
class _Found:
    """What the rounds gave: changes a second, microseconds of processor time a change, and milliseconds."""

    rates: list[float] = field(default_factory=list)
    floor_rates: list[float] = field(default_factory=list)
    work: list[float] = field(default_factory=list)
    floor_work: list[float] = field(default_factory=list)
    times: list[list[float]] = field(default_factory=list)
    call_times: list[list[float]] = field(default_factory=list)
    floor_times: list[list[float]] = field(default_factory=list)
    warm_floor_times: list[list[float]] = field(default_factory=list)

    def results(self) -> list[Result]:
        def of(times: list[list[float]], share: float) -> list[float]:
            return [percentile(r, share) for r in times]

        floor, warm_floor = self.floor_times, self.warm_floor_times
        visible = f"one change visible at the center at {RATE:.0f}/s"
        return [
            medians("changes a second, intake to center commit", "1/s", self.rates, self.floor_rates),
            medians("processor time of the three tiers, a change", "us", self.work, self.floor_work),
            medians(f"{visible}, p50", "ms", of(self.times, 0.5), of(floor, 0.5)),
            medians(f"{visible}, p99", "ms", of(self.times, 0.99), of(floor, 0.99)),
            medians(f"{visible}, by a call each, p50", "ms", of(self.call_times, 0.5), of(floor, 0.5)),
            medians(f"{visible}, by a call each, p99", "ms", of(self.call_times, 0.99), of(floor, 0.99)),
            medians(f"{visible}, p50, beside a floor without pauses", "ms", of(self.times, 0.5), of(warm_floor, 0.5)),
        ]


@dataclass(frozen=True, slots=True)
class _Bench:
    """Both sides, running."""

    mesh: Mesh
    pids: list[int]
    channel: grpc.aio.Channel
    floor: LinkFloor
    commits: SingleCommits
    echo: grpc.aio.Channel
    question_bytes: int

    def watch(self, interval: float) -> CenterWatch:
        return CenterWatch(self.mesh.folder("center") / "register.db", MUNICIPALITY, interval=interval)


_Way = Callable[[_Bench, Sequence[Submission]], Awaitable[_Reported]]


async def run_link(*, changes: int, seconds: float, rounds: int) -> Report:
    """Runs the benchmark.

    Args:
        changes: of each round's rate.
        seconds: of each round's latency.
        rounds: how often product and floor take turns; the median counts.

    Raises:
        WorkDiffers: product and floor did not both do all the work.
    """
    load = load_now()
    paced = max(int(RATE * seconds), 1)
    work = iter(submissions(_WARM_UP + rounds * (changes + 2 * paced)))
    found = _Found()
    with tempfile.TemporaryDirectory(prefix="jukinet-bench-") as folder:
        async with AsyncExitStack() as stack:
            warm_up = _take(work, _WARM_UP)
            bench = await _set_up(Path(folder), stack, warm_up)
            await _product_rate(bench, warm_up, before=0)
            await _floor_rate(bench, warm_up)
            done = _WARM_UP
            for _ in range(rounds):
                await _rates(bench, _take(work, changes), found, before=done)
                done += changes
                for times, report in ((found.times, _on_a_stream), (found.call_times, _by_calls)):
                    times.append(await _product_times(bench, _take(work, paced), report, before=done))
                    done += paced
                found.floor_times.append(await _floor_times(bench, paced))
                found.warm_floor_times.append([await _step(bench) for _ in range(paced)])
            same_counts(await asyncio.to_thread(_rows, bench.mesh), done)
        same_counts(bench.floor.rows(), _WARM_UP + rounds * changes)
    return Report("link", found.results(), (load, load_now()))


async def _rates(bench: _Bench, block: Sequence[Submission], found: _Found, *, before: int) -> None:
    began = processor_seconds(bench.pids)
    found.rates.append(await _product_rate(bench, block, before=before))
    found.work.append((processor_seconds(bench.pids) - began) / len(block) * 1e6)
    began = processor_seconds(bench.floor.pids)
    found.floor_rates.append(await _floor_rate(bench, block))
    found.floor_work.append((processor_seconds(bench.floor.pids) - began) / len(block) * 1e6)


async def _set_up(folder: Path, stack: AsyncExitStack, sample: Sequence[Submission]) -> _Bench:
    mesh = write_mesh(folder / "mesh", Plan(municipalities=[MUNICIPALITY], gateways=["gateway-1"], brake=UNBRAKED))
    nodes = await stack.enter_async_context(MeshProcesses(mesh))
    for name in NODES:
        nodes.start(name)
    floor = stack.enter_context(
        LinkFloor(
            folder / "floor",
            sealing_key=mesh.folder(NODES[2]) / "seal.key",
            public_keys=mesh.folder("center") / "seals",
        )
    )
    change_bytes = round(sum(each.ByteSize() for each in sample) / len(sample))
    (folder / "commits").mkdir()
    commits = SingleCommits(folder / "commits", change_bytes=change_bytes)
    stack.callback(commits.close)
    await nodes.wait_healthy()
    target = in_mesh(mesh, NODES[2], Identity("municipal-system", MUNICIPALITY))
    channel = await stack.enter_async_context(channel_to(target))
    server = mesh.config("center")
    authority = str(server.tls.nodes_ca)
    tls = Tls(str(server.tls.certificate), str(server.tls.key), [authority])
    echo = await stack.enter_async_context(EchoServer(folder / "echo", tls=tls, answer_bytes=_LINK_FRAME_BYTES))
    below = mesh.config(NODES[1]).tls
    client = Tls(str(below.certificate), str(below.key), [authority])
    raw = await stack.enter_async_context(raw_channel(client, echo.address, server.identity.server_name))
    pids = [nodes.pid(name) for name in NODES]
    return _Bench(mesh, pids, channel, floor, commits, raw, _LINK_FRAME_BYTES + change_bytes)


async def _product_rate(bench: _Bench, block: Sequence[Submission], *, before: int) -> float:
    """Submits a block on one stream, as fast as the CS takes it: changes a second until the center has them all."""
    requests = _streamed(block)
    answered = accepted = 0
    async with bench.watch(_COARSE) as watch:
        # Bytes in: the municipal system's own work is not what is measured.
        call: Any = bench.channel.stream_stream(_SUBMIT_MANY)(timeout=_SECONDS)
        began = time.monotonic_ns()
        writing = asyncio.create_task(_write(call, requests))
        while answered < len(requests):
            answers = SubmitChangesResponse.FromString(await call.read()).answers
            answered += len(answers)
            accepted += sum(answer.HasField("accepted") for answer in answers)
        await writing
        seen = await watch.until(before + len(block), seconds=_SECONDS)
        call.cancel()
    same_counts({"accepted": accepted}, len(block))
    return len(block) / ((seen[-1][1] - began) / 1e9)


async def _write(call: Any, requests: Sequence[bytes]) -> None:
    for request in requests:
        await call.write(request)


async def _floor_rate(bench: _Bench, block: Sequence[Submission]) -> float:
    return len(block) / await asyncio.to_thread(bench.floor.run, _streamed(block))


async def _product_times(bench: _Bench, block: Sequence[Submission], report: _Way, *, before: int) -> list[float]:
    """Submits one change every 5 ms: milliseconds from the moment each was due until it can be read at the center."""
    async with bench.watch(_FINE) as watch:
        due, sequences = await report(bench, block)
        seen = await watch.until(before + len(block), seconds=_SECONDS)
    reached = [sequence for sequence, _ in seen]
    visible = (seen[bisect_left(reached, sequence)][1] for sequence in sequences)
    return [(at - due) / 1e6 for at, due in zip(visible, due, strict=True)]


async def _on_a_stream(bench: _Bench, block: Sequence[Submission]) -> _Reported:
    requests = _streamed(block)
    sequences: list[int] = []
    call: Any = bench.channel.stream_stream(_SUBMIT_MANY)(timeout=_SECONDS)

    async def read() -> None:
        while len(sequences) < len(requests):
            answers = SubmitChangesResponse.FromString(await call.read()).answers
            sequences.extend(answer.accepted.sequence for answer in answers)

    reading = asyncio.create_task(read())
    load = await open_loop(lambda number: call.write(requests[number]), rate=RATE, count=len(block), in_order=True)
    await reading
    call.cancel()
    return load.due, sequences


async def _by_calls(bench: _Bench, block: Sequence[Submission]) -> _Reported:
    requests = [SubmitChangeRequest(submission=each).SerializeToString() for each in block]
    answers = [b""] * len(block)
    call: Any = bench.channel.unary_unary(_SUBMIT_ONE)

    async def submit(number: int) -> None:
        answers[number] = await _insistently(lambda: call(requests[number], timeout=_SECONDS))

    load = await open_loop(submit, rate=RATE, count=len(block))
    return load.due, [SubmitChangeResponse.FromString(answer).sequence for answer in answers]


async def _insistently(call: Callable[[], Awaitable[bytes]]) -> bytes:
    """Calls again, as a municipal system does, where a loaded server did not take the call. The time counts."""
    while True:
        try:
            return await call()
        except grpc.aio.AioRpcError as error:
            if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED):
                raise
            await asyncio.sleep(_PAUSE_SECONDS)


async def _floor_times(bench: _Bench, count: int) -> list[float]:
    return (await open_loop(lambda _: _step(bench), rate=RATE, count=count, in_order=True)).latencies


async def _step(bench: _Bench) -> float:
    return await bench.commits.step(bench.echo, bench.question_bytes)


def _rows(mesh: Mesh) -> dict[str, int]:
    counts = {}
    for name in NODES:
        engine = open_reader(mesh.config(name).database)
        with engine.connect() as connection:
            counts[name] = connection.execute(select(func.count()).select_from(history)).scalar_one()
        engine.dispose()
    return counts


def _take(work: Iterator[Submission], count: int) -> list[Submission]:
    return [next(work) for _ in range(count)]


def _streamed(block: Sequence[Submission]) -> list[bytes]:
    return [SubmitChangesRequest(submission=each).SerializeToString() for each in block]
