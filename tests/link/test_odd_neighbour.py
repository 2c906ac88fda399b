"""The sending side against a neighbour that misbehaves: is silent, ends, refuses, acknowledges what never came."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.link.v1.link_pb2 import Ack, Credit, Heartbeat, StreamRequest, StreamResponse, Welcome
from jukinet._pb.jukinet.link.v1.link_pb2_grpc import LinkServiceServicer, add_LinkServiceServicer_to_server
from jukinet.link import uplink as uplink_module
from jukinet.mesh.errors import Refused
from jukinet.mesh.server import build_server

Mesh = Callable[..., Any]


class Peer(LinkServiceServicer):
    """A receiver that behaves as a test wants."""

    def __init__(self, behave: Callable[[Any], AsyncIterator[StreamResponse]]) -> None:
        self.behave = behave
        self.streams = 0

    def Stream(self, request_iterator: Any, context: Any) -> AsyncIterator[StreamResponse]:
        self.streams += 1
        return self.behave(request_iterator)

    def Pull(self, request: Any, context: Any) -> Any:
        raise Refused(errors.ERROR_REASON_NOT_IMPLEMENTED)


@pytest.fixture
def peer(mesh: Mesh, cs: Any) -> Any:
    """Makes the CS dial a receiver of the test's own."""

    async def begin(behave: Callable[[Any], AsyncIterator[StreamResponse]]) -> Peer:
        node = mesh("prefecture", "130001", instance="odd")
        servicer = Peer(behave)
        node.server = build_server(
            identity=node.identity,
            listen="127.0.0.1:0",
            tls=node.tls,
            services=[(add_LinkServiceServicer_to_server, servicer)],
        )
        await node.server.start()
        cs.dial(lambda: node.server.address)
        return servicer

    return begin


def welcome(**fake: Any) -> StreamResponse:
    fields: dict[str, Any] = {"epoch": 1, "version": 1, "credit": Credit(batches=4, bytes=4_000_000)}
    return StreamResponse(welcome=Welcome(**(fields | fake)))


async def test_a_neighbour_that_ends_the_stream_is_dialled_again(peer: Any, cs: Any, link: Any) -> None:
    async def behave(requests: Any) -> AsyncIterator[StreamResponse]:
        await anext(requests)
        yield welcome()

    servicer = await peer(behave)
    await link.until(lambda: servicer.streams >= 3)
    assert not cs.running.done()


async def test_a_neighbour_that_ends_the_stream_while_it_is_written_to_is_dialled_again(
    peer: Any, cs: Any, link: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uplink_module, "HEARTBEAT", 0.001)

    async def behave(requests: Any) -> AsyncIterator[StreamResponse]:
        await anext(requests)
        yield welcome()
        await anext(requests)

    servicer = await peer(behave)
    await link.until(lambda: servicer.streams >= 10)
    assert not cs.running.done()


async def test_a_silent_neighbour_is_given_up_and_dialled_again(
    peer: Any, cs: Any, link: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uplink_module, "SILENCE", 0.1)

    async def behave(requests: Any) -> AsyncIterator[StreamResponse]:
        await anext(requests)
        yield welcome()
        await asyncio.Event().wait()

    servicer = await peer(behave)
    await link.until(lambda: servicer.streams >= 2)
    assert cs.uplink.state.last_error in (errors.ERROR_REASON_DEPENDENCY_UNAVAILABLE, errors.ERROR_REASON_UNSPECIFIED)


async def test_an_idle_link_stays_alive_by_its_heartbeats(
    peer: Any, cs: Any, link: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uplink_module, "HEARTBEAT", 0.01)
    beats: list[StreamRequest] = []

    async def behave(requests: Any) -> AsyncIterator[StreamResponse]:
        await anext(requests)
        yield welcome()
        async for request in requests:
            beats.append(request)
            yield StreamResponse(heartbeat=Heartbeat())

    servicer = await peer(behave)
    await link.until(lambda: len(beats) > 5)
    assert all(beat.HasField("heartbeat") for beat in beats)
    assert servicer.streams == 1


async def test_one_write_is_under_way_at_a_time(peer: Any, cs: Any, link: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sign of life is due while a batch waits for the neighbour to read; gRPC would fail a second write."""
    monkeypatch.setattr(uplink_module, "HEARTBEAT", 0.002)
    free, polls = asyncio.Event(), 0
    firsts: list[int] = []
    for _ in range(12):
        cs.submit(bytes(850_000))

    async def behave(requests: Any) -> AsyncIterator[StreamResponse]:
        await anext(requests)
        yield welcome(credit=Credit(batches=20, bytes=20_000_000))
        await free.wait()
        async for request in requests:
            if request.HasField("batch"):
                firsts.append(request.batch.first_sequence)

    def read_after_a_while() -> bool:
        nonlocal polls
        polls += 1
        if polls == 100:
            free.set()
        return len(firsts) == 12

    servicer = await peer(behave)
    await link.until(lambda: cs.uplink.state.connected)
    await link.until(read_after_a_while)
    assert firsts == list(range(1, 13))
    assert servicer.streams == 1


async def test_an_acknowledgement_of_what_was_not_sent_breaks_the_stream_and_not_the_link(
    peer: Any, cs: Any, link: Any
) -> None:
    async def behave(requests: Any) -> AsyncIterator[StreamResponse]:
        await anext(requests)
        yield welcome()
        yield StreamResponse(ack=Ack(epoch=1, mark=9, chain=bytes(32)))
        await asyncio.Event().wait()

    servicer = await peer(behave)
    await link.until(lambda: servicer.streams >= 2)
    assert cs.uplink.state.neighbour_mark == 0


@pytest.mark.parametrize(
    "reason",
    [errors.ERROR_REASON_LINK_SUPERSEDED, errors.ERROR_REASON_DRAINING, errors.ERROR_REASON_LINK_GAP],
)
async def test_a_refusal_that_may_pass_is_tried_again(
    peer: Any, cs: Any, link: Any, reason: "errors.ErrorReason.ValueType"
) -> None:
    async def behave(requests: Any) -> AsyncIterator[StreamResponse]:
        await anext(requests)
        if servicer.streams < 3:
            raise Refused(reason)
        yield welcome()
        await asyncio.Event().wait()

    servicer = await peer(behave)
    await link.until(lambda: cs.uplink.state.last_error == reason)
    await link.until(lambda: cs.uplink.state.connected)


async def test_an_open_call_is_cancelled_when_the_uplink_ends(peer: Any, cs: Any, link: Any) -> None:
    ended = asyncio.Event()

    async def behave(requests: Any) -> AsyncIterator[StreamResponse]:
        try:
            await anext(requests)
            yield welcome()
            await asyncio.Event().wait()
        finally:
            ended.set()

    await peer(behave)
    await link.until(lambda: cs.uplink.state.connected)
    await cs.stop_dialling()
    async with asyncio.timeout(10):
        await ended.wait()
