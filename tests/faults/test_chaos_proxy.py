"""The chaos proxy breaks a connection exactly where it was told to, and carries every other byte unchanged."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from tests.faults.chaos_proxy import ChaosProxy, Fault, Kind, Way

Wire = tuple[asyncio.StreamReader, asyncio.StreamWriter]
RECORDS = b"".join(b"\x17\x03\x03" + len(body).to_bytes(2, "big") + body for body in (b"a" * 10, b"", b"c" * 300))
ENDS = [15, 20, 325]


@asynccontextmanager
async def wire(fault: Fault | None) -> AsyncIterator[tuple[Wire, Wire, ChaosProxy]]:
    """A connection through the proxy: the dialler's end, the server's end."""
    came: asyncio.Future[Wire] = asyncio.get_running_loop().create_future()
    server = await asyncio.start_server(lambda *ends: came.set_result(ends), "127.0.0.1", 0)
    target = "{}:{}".format(*server.sockets[0].getsockname())
    async with server, ChaosProxy(target, lambda: fault) as proxy, asyncio.timeout(20):
        host, _, port = proxy.address.rpartition(":")
        below = await asyncio.open_connection(host, int(port))
        above = await came
        try:
            yield below, above, proxy
        finally:
            below[1].transport.abort()
            above[1].transport.abort()


async def arrived(reader: asyncio.StreamReader) -> bytes:
    """All that comes until the connection ends."""
    found = b""
    try:
        while piece := await reader.read(1):
            found += piece
    except ConnectionResetError:
        pass
    return found


@pytest.mark.parametrize("way", Way)
@pytest.mark.parametrize("kind", [Kind.CUT, Kind.HALF_CLOSE])
@pytest.mark.parametrize(
    ("record", "byte", "passes"),
    [(0, 0, 0), (0, 1, 1), (0, 17, 17)] + [(n, off, end + off) for n, end in enumerate(ENDS, 1) for off in (-1, 0, 1)],
)
@pytest.mark.parametrize("pieces", [1, 7, 1000])
async def test_a_fault_strikes_at_its_byte(
    way: Way, kind: Kind, record: int, byte: int, passes: int, pieces: int
) -> None:
    fault = Fault(kind, way, record, byte)
    sent = RECORDS + b"\x17\x03\x03\x00\x01z"
    async with wire(fault) as (below, above, proxy):
        source, sink = (below[1], above[0]) if way is Way.UP else (above[1], below[0])
        for at in range(0, len(sent), pieces):
            source.write(sent[at : at + pieces])
            await asyncio.sleep(0)
        assert await arrived(sink) == sent[:passes]
        assert proxy.struck == {fault: 1}


async def test_a_reset_is_one() -> None:
    async with wire(Fault(Kind.RESET, Way.UP, byte=3)) as (below, above, _):
        below[1].write(b"12345")
        with pytest.raises(ConnectionResetError):
            await above[0].readexactly(5)
        with pytest.raises(ConnectionResetError):
            await below[0].readexactly(1)


async def test_a_half_closed_connection_goes_on_the_other_way() -> None:
    async with wire(Fault(Kind.HALF_CLOSE, Way.UP, byte=3)) as (below, above, _):
        below[1].write(b"12345")
        assert await above[0].read() == b"123"
        above[1].write(b"late answer")
        assert await below[0].readexactly(11) == b"late answer"


async def test_a_stalled_way_says_nothing_and_the_end_of_the_other_ends_it() -> None:
    async with wire(Fault(Kind.STALL, Way.UP, byte=3)) as (below, above, _):
        below[1].write(b"12345")
        above[1].write(b"answer")
        assert await above[0].readexactly(3) == b"123"
        assert await below[0].readexactly(6) == b"answer"
        rest = asyncio.ensure_future(above[0].read())
        below[1].write(b"6")
        done, _ = await asyncio.wait([rest], timeout=0.1)
        assert not done
        above[1].close()
        assert await below[0].read() == b""


@pytest.mark.parametrize("way", Way)
@pytest.mark.parametrize(
    "choose",
    [
        lambda way: None,
        lambda way: Fault(Kind.DELAY, way, byte=5, seconds=0.001),
        lambda way: Fault(Kind.DRIP, way, record=1, seconds=0.001),
    ],
)
async def test_all_bytes_arrive_in_their_order(way: Way, choose: Callable[[Way], Fault | None]) -> None:
    async with wire(choose(way)) as (below, above, proxy):
        source, sink = (below[1], above[0]) if way is Way.UP else (above[1], below[0])
        source.write(RECORDS)
        source.write_eof()
        assert await arrived(sink) == RECORDS
        assert proxy.sessions[0].streams[way].ends == ENDS


async def test_who_dials_a_server_that_is_not_there_is_cut_off() -> None:
    async with ChaosProxy("127.0.0.1:1", lambda: None) as proxy, asyncio.timeout(20):
        host, _, port = proxy.address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        assert await arrived(reader) == b""
        writer.transport.abort()
