"""`jukinet bench inquiry`: what one lawful question costs, from the agency by the gateway to the center and back.

Product: gateway and center as processes of their own, mutual TLS, policy decided twice, ticket, look-up in a register
on disk, ledger entry durable before the answer leaves, one trace in a hundred recorded and sent. Floor: two processes
that speak grpc.aio over mutual TLS with messages of the same sizes and do nothing else (`echo`).

The client is the same on both sides: bytes in, bytes out. Product and floor take turns in every round.
"""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final

import grpc

from bench.echo import EchoServer, Hop, Tls, asking, raw_channel
from bench.load import Load, closed_loop, open_loop
from bench.processor_time import processor_seconds
from bench.questions import Questions, Sizes, sizes_of
from bench.results import Report, Result, WorkDiffers, load_now, medians, percentile, same_counts
from bench.span_sink import SpanSink
from bench.workload import MUNICIPALITY, SEED, fill_register, submissions
from jukinet._pb.jukinet.admin.v1.admin_pb2 import GetStatusRequest
from jukinet._pb.jukinet.admin.v1.admin_pb2_grpc import AdminServiceStub
from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2 import INQUIRY_OUTCOME_MATCH, InquireResponse
from jukinet.cli.connect import channel_to, in_mesh
from jukinet.cli.development_agencies import PENSION_SERVICE
from jukinet.cli.init import Plan, write_mesh
from jukinet.cli.layout import Mesh
from jukinet.cli.processes import MeshProcesses
from jukinet.mesh.identity import Identity
from jukinet.mesh.tls import TlsFiles

IN_FLIGHT: Final = 32
TRACED: Final = 0.01
GATEWAY: Final = "gateway-1"

_INQUIRE: Final = "/jukinet.inquiry.v1.InquiryService/Inquire"
_WARM_UP_SECONDS: Final = 0.5
_FIRST_ROUND: Final = 2000
"""Questions that are written down before it is known how many a round takes."""
_SECONDS: Final = 20.0
_Ask = Callable[[int], Awaitable[object]]


@dataclass(slots=True)
class _Found:
    """What the rounds gave."""

    full: list[Load] = field(default_factory=list)
    half: list[Load] = field(default_factory=list)
    work: list[float] = field(default_factory=list)
    floor_full: list[Load] = field(default_factory=list)
    floor_half: list[Load] = field(default_factory=list)
    floor_work: list[float] = field(default_factory=list)

    def results(self) -> list[Result]:
        def of(loads: list[Load], share: float) -> list[float]:
            return [percentile(load.latencies, share) for load in loads]

        rates, floor_rates = [load.rate for load in self.full], [load.rate for load in self.floor_full]
        return [
            medians(f"inquiries a second, {IN_FLIGHT} in flight", "1/s", rates, floor_rates),
            medians("processor time of gateway and center, an inquiry", "us", self.work, self.floor_work),
            medians("inquiry at half that rate, p50", "ms", of(self.half, 0.5), of(self.floor_half, 0.5)),
            medians("inquiry at half that rate, p99", "ms", of(self.half, 0.99), of(self.floor_half, 0.99)),
        ]


@dataclass(frozen=True, slots=True)
class _Floor:
    """Two hops and nothing else."""

    ask: _Ask
    pids: list[int]


class _Product:
    """The gateway, asked with a new question each time. `answered` counts answers that named one person."""

    def __init__(self, channel: grpc.aio.Channel, questions: Questions, pids: list[int]) -> None:
        self.pids = pids
        self._call: Any = channel.unary_unary(_INQUIRE)
        self._questions = questions
        self._random = Random(SEED)
        self._ready: list[bytes] = []
        self._answers: list[bytes] = []
        self.answered = 0

    def prepare(self, count: int) -> None:
        """Writes so many questions down beforehand: that is the agency's work and is not measured."""
        self._ready = self._questions.next(count)

    async def ask(self, _number: int) -> None:
        """Puts one question."""
        request = self._ready.pop() if self._ready else self._questions.next(1)[0]
        self._answers.append(await self._call(request, timeout=_SECONDS, metadata=(self._trace(),)))

    def check(self) -> None:
        """Reads the answers since the last check.

        Raises:
            WorkDiffers: one of them did not name a person.
        """
        matches = sum(InquireResponse.FromString(raw).outcome == INQUIRY_OUTCOME_MATCH for raw in self._answers)
        same_counts({"answers that name one person": matches}, len(self._answers))
        self.answered += matches
        self._answers.clear()

    async def sizes(self) -> Sizes:
        """Bytes of the messages of one inquiry."""
        request = self._questions.next(1)[0]
        answer = await self._call(request, timeout=_SECONDS)
        self._answers.append(answer)
        return sizes_of(request, answer)

    def _trace(self) -> tuple[str, str]:
        """The agency's own trace context (W3C); the nodes record where the agency does."""
        draw, sampled = self._random.getrandbits, self._random.random() < TRACED
        return "traceparent", f"00-{draw(127) + 1:032x}-{draw(63) + 1:016x}-{sampled:02x}"


async def run_inquiry(*, residents: int, seconds: float, rounds: int) -> Report:
    """Runs the benchmark.

    Args:
        residents: in the center's register.
        seconds: of each of the four parts of a round.
        rounds: how often product and floor take turns; the median counts.

    Raises:
        WorkDiffers: a question was not answered, or not recorded in the ledger, or nothing was traced.
    """
    load = load_now()
    found = _Found()
    with tempfile.TemporaryDirectory(prefix="jukinet-bench-") as folder:
        async with AsyncExitStack() as stack:
            sink = SpanSink()
            mesh = write_mesh(
                Path(folder) / "mesh", Plan(municipalities=[MUNICIPALITY], gateways=[GATEWAY], witnesses=1)
            )
            product = await _start_product(mesh, residents, await stack.enter_async_context(sink), stack)
            floor = await _start_floor(mesh, Path(folder), await product.sizes(), stack)
            await _measure(product, floor, found, seconds=seconds, rounds=rounds)
            same_counts({"entries in the ledger": await _ledger_entries(mesh)}, product.answered)
        if not sink.spans:
            raise WorkDiffers("no span arrived, so tracing was not measured")
    return Report("inquiry", found.results(), (load, load_now()))


async def _measure(product: _Product, floor: _Floor, found: _Found, *, seconds: float, rounds: int) -> None:
    expected = _FIRST_ROUND
    for ask in (product.ask, floor.ask):
        await closed_loop(ask, in_flight=IN_FLIGHT, seconds=_WARM_UP_SECONDS)
    for _ in range(rounds):
        product.prepare(expected)
        full = await _at_full_rate(product.ask, product.pids, found.full, found.work, seconds=seconds)
        await _at_full_rate(floor.ask, floor.pids, found.floor_full, found.floor_work, seconds=seconds)
        expected = 2 * len(full.latencies)
        rate = full.rate / 2
        count = max(int(rate * seconds), 1)
        product.prepare(count)
        found.half.append(await open_loop(product.ask, rate=rate, count=count))
        found.floor_half.append(await open_loop(floor.ask, rate=rate, count=count))
        product.check()


async def _at_full_rate(ask: _Ask, pids: list[int], loads: list[Load], work: list[float], *, seconds: float) -> Load:
    began = processor_seconds(pids)
    load = await closed_loop(ask, in_flight=IN_FLIGHT, seconds=seconds)
    work.append((processor_seconds(pids) - began) / len(load.latencies) * 1e6)
    loads.append(load)
    return load


async def _start_product(mesh: Mesh, residents: int, environ: dict[str, str], stack: AsyncExitStack) -> _Product:
    people = submissions(residents)
    await asyncio.to_thread(fill_register, mesh.config("center").database, people)
    nodes = await stack.enter_async_context(MeshProcesses(mesh, environ=environ))
    for name in ("center", *mesh.witnesses, GATEWAY):
        nodes.start(name)
    await nodes.wait_healthy()
    target = in_mesh(mesh, GATEWAY, Identity("agency", PENSION_SERVICE))
    channel = await stack.enter_async_context(channel_to(target))
    return _Product(channel, Questions(people), [nodes.pid("center"), nodes.pid(GATEWAY)])


async def _start_floor(mesh: Mesh, folder: Path, sizes: Sizes, stack: AsyncExitStack) -> _Floor:
    center, gateway = mesh.config("center"), mesh.config(GATEWAY)
    inner = EchoServer(folder / "echo-center", tls=_tls(center.tls), answer_bytes=sizes.provided)
    await stack.enter_async_context(inner)
    hop = Hop(inner.address, center.identity.server_name, sizes.provide)
    outer = EchoServer(folder / "echo-gateway", tls=_tls(gateway.tls), answer_bytes=sizes.inquired, onwards=hop)
    await stack.enter_async_context(outer)
    agency = _tls(mesh.client(Identity("agency", PENSION_SERVICE)))
    channel = raw_channel(agency, outer.address, gateway.identity.server_name)
    ask, question = asking(await stack.enter_async_context(channel)), bytes(sizes.inquire)
    return _Floor(lambda _number: ask(question, timeout=_SECONDS), [inner.pid, outer.pid])


def _tls(files: TlsFiles) -> Tls:
    authorities = [str(path) for path in (files.nodes_ca, files.agencies_ca) if path]
    return Tls(str(files.certificate), str(files.key), authorities)


async def _ledger_entries(mesh: Mesh) -> int:
    async with channel_to(in_mesh(mesh, GATEWAY)) as channel:
        status = await AdminServiceStub(channel).GetStatus(GetStatusRequest(), timeout=_SECONDS)
        return status.ledger_entries
