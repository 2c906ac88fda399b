"""`jukinet bench batch`: what one person of a batch (一括提供) costs, from the agency to the center and back.

Product: gateway and center as processes of their own, mutual TLS, messages of 256 persons on two streams, the policy
decided twice, tickets, look-ups in a register on disk, one ledger entry a person durable before its answer leaves.
Floor: two processes that speak grpc.aio over mutual TLS, messages of the same sizes on as many streams, and no more.

The client is the same on both sides: bytes in, bytes out. Product and floor take turns in every round.
"""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from bench.echo import EchoServer, Hop, raw_channel, streaming
from bench.processor_time import processor_seconds
from bench.questions import TOGETHER, Questions, Sizes, sizes_of_message
from bench.results import Report, Result, load_now, medians, same_counts
from bench.two_nodes import GATEWAY, TwoNodes, start_two_nodes
from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2 import INQUIRY_OUTCOME_MATCH, InquireBatchResponse

STREAMS: Final = 2

_INQUIRE_BATCH: Final = "/jukinet.inquiry.v1.InquiryService/InquireBatch"
_AHEAD: Final = 4
"""Messages of a stream that are sent before the first of them is answered, as `jukinet inquire-batch` does."""
_SECONDS: Final = 300.0
_WARM_UP: Final = 4 * STREAMS
_Stream = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class _Side:
    """Product or floor: its stream, and the processes that serve it."""

    stream: _Stream
    pids: list[list[int]]
    rates: list[float] = field(default_factory=list)
    work: list[list[float]] = field(default_factory=list)
    """Processor time a person of each process, one list a round, us."""

    async def run(self, messages: Sequence[bytes]) -> list[bytes]:
        """Sends the messages on all streams at once; gives the answers, unread."""
        before, began = [processor_seconds(each) for each in self.pids], time.monotonic()
        parts = await asyncio.gather(*(_ask(self.stream, messages[number::STREAMS]) for number in range(STREAMS)))
        seconds, persons = time.monotonic() - began, len(messages) * TOGETHER
        self.rates.append(persons / seconds)
        after = [processor_seconds(each) for each in self.pids]
        self.work.append([(end - start) / persons * 1e6 for start, end in zip(before, after, strict=True)])
        return [answer for part in parts for answer in part]


async def run_batch(*, residents: int, persons: int, rounds: int) -> Report:
    """Runs the benchmark.

    Args:
        residents: in the center's register.
        persons: asked about in a round; rounded up to whole messages on each stream.
        rounds: how often product and floor take turns; the median counts.

    Raises:
        WorkDiffers: a person was not answered about, or not recorded in the ledger.
    """
    load = load_now()
    count = STREAMS * -(-persons // (STREAMS * TOGETHER))
    with tempfile.TemporaryDirectory(prefix="jukinet-bench-") as folder:
        async with AsyncExitStack() as stack:
            nodes = await start_two_nodes(Path(folder) / "mesh", residents=residents, environ={}, stack=stack)
            questions = Questions(nodes.people, nodes.signing())
            product = _Side(nodes.channel.stream_stream(_INQUIRE_BATCH), nodes.pids)
            warm = questions.next_messages(_WARM_UP)
            answers = await product.run(warm)
            answered = _matches(answers)
            floor = await _start_floor(nodes, Path(folder), sizes_of_message(warm[0], answers[0]), stack)
            await floor.run(warm)
            for side in (product, floor):
                side.rates.clear()
                side.work.clear()
            for _ in range(rounds):
                messages = questions.next_messages(count)
                answered += _matches(await product.run(messages))
                await floor.run(messages)
            same_counts({"entries in the ledger": await nodes.ledger_entries()}, answered)
    return Report("batch", _results(product, floor), (load, load_now()))


def _results(product: _Side, floor: _Side) -> list[Result]:
    def work(side: _Side, number: int) -> list[float]:
        return [each[number] for each in side.work]

    return [
        medians(f"persons a second, {STREAMS} streams", "1/s", product.rates, floor.rates),
        medians("processor time of the gateway, a person", "us", work(product, 1), work(floor, 1)),
        medians("processor time of the center, a person", "us", work(product, 0), work(floor, 0)),
    ]


async def _ask(stream: _Stream, messages: Sequence[bytes]) -> list[bytes]:
    """Sends messages on one stream, some ahead of the answers; gives the answers."""
    room = asyncio.Semaphore(_AHEAD)

    async def requests() -> AsyncIterator[bytes]:
        for message in messages:
            await room.acquire()
            yield message

    answers = []
    async for answer in stream(requests(), timeout=_SECONDS):
        answers.append(answer)
        room.release()
    same_counts({"messages answered": len(answers)}, len(messages))
    return answers


def _matches(answers: Sequence[bytes]) -> int:
    """How many persons were named. Raises WorkDiffers when one was not."""
    found = [answer.outcome for raw in answers for answer in InquireBatchResponse.FromString(raw).answers]
    matches = found.count(INQUIRY_OUTCOME_MATCH)
    same_counts({"answers that name one person": matches}, len(answers) * TOGETHER)
    return matches


async def _start_floor(nodes: TwoNodes, folder: Path, sizes: Sizes, stack: AsyncExitStack) -> _Side:
    inner = EchoServer(folder / "echo-center", tls=nodes.tls("center"), answer_bytes=sizes.provided)
    await stack.enter_async_context(inner)
    hop = Hop(inner.address, nodes.server_name("center"), sizes.provide)
    outer = EchoServer(folder / "echo-gateway", tls=nodes.tls(GATEWAY), answer_bytes=sizes.inquired, onwards=hop)
    await stack.enter_async_context(outer)
    channel = raw_channel(nodes.agency_tls(), outer.address, nodes.server_name(GATEWAY))
    return _Side(streaming(await stack.enter_async_context(channel)), [[inner.pid], [outer.pid]])
