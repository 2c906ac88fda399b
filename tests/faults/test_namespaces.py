"""The lines of a test's own network lose what they are told to lose, and nothing else."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.faults.chaos_proxy import Way
from tests.faults.namespaces import Lines

Wire = tuple[asyncio.StreamReader, asyncio.StreamWriter]
PORT, OTHER = 2000, 2001
SOON = 1.5
"""Longer than five retransmissions of TCP on loopback take."""

pytestmark = [pytest.mark.own_network, pytest.mark.slow]


@asynccontextmanager
async def wire(port: int = PORT) -> AsyncIterator[tuple[Wire, Wire]]:
    """A connection: the dialler's end, the server's end."""
    came: asyncio.Future[Wire] = asyncio.get_running_loop().create_future()
    server = await asyncio.start_server(lambda *ends: came.set_result(ends), "127.0.0.1", port)
    async with server:
        below = await asyncio.open_connection("127.0.0.1", port)
        above = await came
        try:
            yield below, above
        finally:
            for _, writer in (below, above):
                writer.transport.abort()


async def arrives(source: Wire, sink: Wire) -> bool:
    source[1].write(b"x")
    try:
        async with asyncio.timeout(SOON):
            return await sink[0].readexactly(1) == b"x"
    except TimeoutError:
        return False


@asynccontextmanager
async def traffic(lines: Lines) -> AsyncIterator[asyncio.Event]:
    """Carries bytes to and fro until its end, and then sees that all of them arrive; the event tells of each that did.

    Many at once, for each one waits again and again, and each time twice as long: of ten thousand, one for a minute.
    So the lines are healed at the end, and who waits then waits as long again and no longer.
    """
    sent = bytes(range(256)) * 80
    arrived, enough = asyncio.Event(), asyncio.Event()

    async def carry() -> None:
        while not enough.is_set():
            reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
            writer.write(sent)
            assert await reader.readexactly(len(sent)) == sent
            writer.close()
            arrived.set()

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(len(sent)))
        assert await reader.read() == b""
        writer.close()

    async with (
        await asyncio.start_server(echo, "127.0.0.1", PORT),
        asyncio.timeout(90),
        asyncio.TaskGroup() as carriers,
    ):
        for _ in range(50):
            carriers.create_task(carry())
        yield arrived
        lines.heal()
        enough.set()


async def test_a_cut_way_carries_nothing_and_the_other_one_everything() -> None:
    lines = Lines([PORT])
    for ways in ([Way.UP], [Way.DOWN], [Way.UP, Way.DOWN]):
        async with wire() as (below, above), wire(OTHER) as (beside, elsewhere):
            lines.lose(1.0, *ways)
            assert await arrives(below, above) == (Way.UP not in ways)
            assert await arrives(above, below) == (Way.DOWN not in ways)
            assert await arrives(beside, elsewhere), "another port is another line"
            lines.heal()
            async with asyncio.timeout(20):
                for way, sink in ((Way.UP, above), (Way.DOWN, below)):
                    assert way not in ways or await sink[0].readexactly(1) == b"x", "what was sent comes in the end"


async def test_nobody_dials_over_a_line_that_is_cut() -> None:
    lines = Lines([PORT])
    async with wire():
        lines.lose(1.0, Way.DOWN)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(SOON):
                await asyncio.open_connection("127.0.0.1", PORT)


async def test_a_fifth_of_the_packets_is_lost_and_every_byte_arrives() -> None:
    lines = Lines([PORT])
    async with traffic(lines) as arrived:
        lines.lose(0.2)
        while lines.counted()[0] < 3000:
            await arrived.wait()
            arrived.clear()
        packets, lost = lines.counted()
    assert 0.17 < lost / packets < 0.23


@pytest.mark.parametrize("way", Way)
async def test_a_slow_line_carries_its_bits_a_second_each_way(way: Way) -> None:
    lines = Lines([PORT])
    async with wire() as (below, above):
        lines.slow_down(512_000)
        source, sink = (below, above) if way is Way.UP else (above, below)
        began = time.monotonic()
        source[1].write(bytes(128_000))
        async with asyncio.timeout(30):
            await sink[0].readexactly(128_000)
    assert time.monotonic() - began > 1.7, "two seconds, but for the burst that passes at once"


async def test_a_flapping_line_is_cut_and_whole_in_turn() -> None:
    lines = Lines([PORT])
    async with traffic(lines) as arrived:
        flapping = asyncio.create_task(lines.flap(half=0.15))
        for _ in range(3):
            before = lines.counted()[1]
            while lines.counted()[1] == before:
                await arrived.wait()
                arrived.clear()
        assert flapping.cancel()
