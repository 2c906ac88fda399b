"""`jukinet bench inquiry`: what one lawful question costs, from the agency by the gateway to the center and back.

Product: gateway and center as processes of their own, mutual TLS, policy decided twice, ticket, look-up in a register
on disk, ledger entry durable before the answer leaves, one trace in a hundred recorded and sent. Floor: two processes
that speak grpc.aio over mutual TLS with messages of the same sizes and do nothing else (`echo`).

The client is the same on both sides: bytes in, bytes out. Product and floor take turns in every round.
"""

import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final

import grpc

from bench.echo import EchoServer, Hop, asking, raw_channel
from bench.load import Load, closed_loop, open_loop
from bench.processor_time import processor_seconds
from bench.questions import Questions, Sizes, sizes_of
from bench.results import Report, Result, WorkDiffers, load_now, medians, percentile, same_counts
from bench.span_sink import SpanSink
from bench.two_nodes import GATEWAY, TwoNodes, start_two_nodes
from bench.workload import SEED
from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2 import INQUIRY_OUTCOME_MATCH, InquireResponse

IN_FLIGHT: Final = 32
TRACED: Final = 0.01

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
            environ = await stack.enter_async_context(sink)
            nodes = await start_two_nodes(Path(folder) / "mesh", residents=residents, environ=environ, stack=stack)
            pids = [pid for each in nodes.pids for pid in each]
            product = _Product(nodes.channel, Questions(nodes.people, nodes.signing()), pids)
            floor = await _start_floor(nodes, Path(folder), await product.sizes(), stack)
            await _measure(product, floor, found, seconds=seconds, rounds=rounds)
            same_counts({"entries in the ledger": await nodes.ledger_entries()}, product.answered)
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


async def _start_floor(nodes: TwoNodes, folder: Path, sizes: Sizes, stack: AsyncExitStack) -> _Floor:
    inner = EchoServer(folder / "echo-center", tls=nodes.tls("center"), answer_bytes=sizes.provided)
    await stack.enter_async_context(inner)
    hop = Hop(inner.address, nodes.server_name("center"), sizes.provide)
    outer = EchoServer(folder / "echo-gateway", tls=nodes.tls(GATEWAY), answer_bytes=sizes.inquired, onwards=hop)
    await stack.enter_async_context(outer)
    channel = raw_channel(nodes.agency_tls(), outer.address, nodes.server_name(GATEWAY))
    ask, question = asking(await stack.enter_async_context(channel)), bytes(sizes.inquire)
    return _Floor(lambda _number: ask(question, timeout=_SECONDS), [inner.pid, outer.pid])
