"""The receiving side behind its gate: what a sender sees, and what its disk holds afterwards."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import grpc
import pytest
from sqlalchemy import Connection

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.link.v1.link_pb2 import Batch, Credit, Heartbeat, PullRequest, StreamRequest, StreamResponse
from jukinet._pb.jukinet.link.v1.link_pb2_grpc import LinkServiceStub
from jukinet.link import service as service_module
from jukinet.mesh.client import open_channel
from jukinet.mesh.errors import name_of, reason_of
from jukinet.store.errors import StorageFull, StoreError

Mesh = Callable[..., Any]


async def say(call: Any, **message: Any) -> None:
    """Sends a message; a stream that the receiver has ended meanwhile tells why when it is read."""
    with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
        await call.write(StreamRequest(**message))


async def heard(call: Any) -> StreamResponse:
    async with asyncio.timeout(10):
        response = await call.read()
    assert isinstance(response, StreamResponse)
    return response


async def refusal(call: Any) -> str:
    """Reads until the stream ends: its reason."""
    with pytest.raises(grpc.aio.AioRpcError):
        await _read_all(call)
    async with asyncio.timeout(10):
        return name_of(reason_of(await call.refused) or errors.ERROR_REASON_UNSPECIFIED)


async def _read_all(call: Any) -> None:
    async with asyncio.timeout(10):
        while await call.read() is not grpc.aio.EOF:
            pass


async def acked(call: Any, mark: int) -> StreamResponse:
    while True:
        response = await heard(call)
        if response.HasField("ack") and response.ack.mark >= mark:
            return response


async def test_a_stream_begins_with_hello_and_tells_the_mark(prefecture: Any, cs: Any, link: Any) -> None:
    sealer = link.Sealer()
    async with cs.speaks(prefecture) as call:
        await say(call, hello=sealer.hello())
        welcome = (await heard(call)).welcome
        assert (welcome.epoch, welcome.mark, welcome.chain, welcome.version) == (1, 0, b"", 1)
        assert welcome.credit == Credit(batches=4, bytes=4_000_000)
        await say(call, batch=sealer.births(1, 2))
        ack = (await acked(call, 2)).ack
        assert (ack.epoch, ack.chain, ack.center_mark) == (1, sealer.chain, 0)
        assert prefecture.link_service.connected == {cs.identity.uri: False}
    async with cs.speaks(prefecture) as call:
        await say(call, hello=sealer.hello())
        assert (await heard(call)).welcome.mark == 2


async def test_the_last_acknowledgement_comes_before_the_end(prefecture: Any, cs: Any, link: Any) -> None:
    sealer = link.Sealer()
    async with cs.speaks(prefecture) as call:
        await say(call, hello=sealer.hello())
        await heard(call)
        for n in range(3):
            await say(call, batch=sealer.births(n, 1))
        await call.done_writing()
        await acked(call, 3)
        # The same mark may be said once more; nothing else comes before the end.
        while (response := await call.read()) is not grpc.aio.EOF:
            assert response.ack.mark == 3
        assert await call.code() is grpc.StatusCode.OK


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        (lambda s: [{"heartbeat": Heartbeat()}], "LINK_PROTOCOL"),
        (lambda s: [{"batch": s.births(1, 1)}], "LINK_PROTOCOL"),
        (lambda s: [], "LINK_PROTOCOL"),
        (lambda s: [{"hello": s.hello()}, {"hello": s.hello()}], "LINK_PROTOCOL"),
        (lambda s: [{"hello": s.hello(version_min=2, version_max=2)}], "LINK_VERSION"),
        (lambda s: [{"hello": s.hello(epoch=0)}], "INVALID_MESSAGE"),
        (lambda s: [{"hello": s.hello(last_chain=b"short")}], "INVALID_MESSAGE"),
        (lambda s: [{}], "INVALID_MESSAGE"),
        (lambda s: [{"hello": s.hello()}, {"batch": Batch(epoch=1, first_sequence=1)}], "INVALID_MESSAGE"),
        (lambda s: [{"hello": s.hello()}, {"batch": s.births(1, 1) and s.births(2, 1)}], "LINK_GAP"),
        (lambda s: [{"hello": s.hello()}, {"batch": _broken_segment(s)}], "LINK_PROTOCOL"),
    ],
)
async def test_a_message_out_of_turn_or_broken_is_refused_with_its_reason(
    prefecture: Any, cs: Any, link: Any, messages: Callable[[Any], list[dict[str, Any]]], reason: str
) -> None:
    sealer = link.Sealer()
    async with cs.speaks(prefecture) as call:
        for message in messages(sealer):
            await say(call, **message)
        await call.done_writing()
        assert await refusal(call) == reason
    assert not prefecture.rows("history")
    assert not prefecture.rows("outbox")
    assert not prefecture.link_service.connected


def _broken_segment(sealer: Any) -> Batch:
    batch: Batch = sealer.births(1, 1)
    batch.segments[0].segment = b"\xff"
    batch.segments[0].traceparents.append("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    return batch


async def test_nothing_behind_a_refused_batch_is_applied(prefecture: Any, cs: Any, link: Any) -> None:
    sealer = link.Sealer()
    async with cs.speaks(prefecture) as call:
        await say(call, hello=sealer.hello())
        await heard(call)
        await say(call, batch=sealer.births(1, 1))
        bad = sealer.births(2, 1)
        bad.segments[0].seal = bytes(64)
        await say(call, batch=bad)
        await say(call, batch=sealer.births(3, 1))
        assert await refusal(call) == "LINK_SEAL"
    assert [row.sequence for row in prefecture.rows("history")] == [1]


async def test_a_municipality_of_another_prefecture_does_not_get_in(prefecture: Any, mesh: Mesh, link: Any) -> None:
    stranger = mesh("municipality", "141003")
    before = prefecture.digest()
    async with stranger.speaks(prefecture) as call:
        with suppress(grpc.aio.AioRpcError):  # the refusal may be there before anything was said
            await say(call, hello=link.Sealer("141003").hello())
        assert await refusal(call) == "CALLER_NOT_ALLOWED"
    assert prefecture.digest() == before


async def test_a_newer_stream_of_the_same_sender_supersedes_the_older(
    prefecture: Any, cs: Any, mesh: Mesh, link: Any
) -> None:
    twin, sealer = mesh("municipality", "131016", instance="twin"), link.Sealer()
    async with cs.speaks(prefecture) as older, twin.speaks(prefecture) as newer:
        await say(older, hello=sealer.hello())
        await heard(older)
        await say(newer, hello=sealer.hello())
        await heard(newer)
        assert await refusal(older) == "LINK_SUPERSEDED"
        await say(newer, batch=sealer.births(1, 1))
        await acked(newer, 1)
        assert prefecture.link_service.connected == {cs.identity.uri: False}


async def test_a_zombie_of_an_older_epoch_disturbs_nobody(prefecture: Any, cs: Any, mesh: Mesh, link: Any) -> None:
    zombie, sealer = mesh("municipality", "131016", instance="zombie"), link.Sealer(epoch=2)
    async with cs.speaks(prefecture) as call, zombie.speaks(prefecture) as late:
        await say(call, hello=sealer.hello())
        await heard(call)
        await say(late, hello=sealer.hello(epoch=1))
        assert await refusal(late) == "LINK_FENCED"
        await say(call, batch=sealer.births(1, 1))
        await acked(call, 1)


async def test_an_open_stream_is_fenced_by_a_newer_epoch(prefecture: Any, cs: Any, mesh: Mesh, link: Any) -> None:
    """Even when the older stream is not yet closed, its batches meet the newer epoch inside the transaction."""
    sealer = link.Sealer()
    async with cs.speaks(prefecture) as call:
        await say(call, hello=sealer.hello())
        await heard(call)
        prefecture.do(
            lambda connection: service_module.register(connection, cs.identity, sealer.hello(epoch=2), now_us=1)
        )
        await say(call, batch=sealer.births(1, 1))
        assert await refusal(call) == "LINK_FENCED"
    assert not prefecture.rows("history")


async def test_a_heartbeat_is_answered_with_the_mark(prefecture: Any, cs: Any, link: Any) -> None:
    async with cs.speaks(prefecture) as call:
        await say(call, hello=link.Sealer().hello())
        await heard(call)
        await say(call, heartbeat=Heartbeat())
        assert (await heard(call)).ack.mark == 0


@pytest.mark.parametrize("greeted", [False, True])
async def test_a_silent_sender_is_let_go(
    prefecture: Any, cs: Any, link: Any, monkeypatch: pytest.MonkeyPatch, greeted: bool
) -> None:
    monkeypatch.setattr(service_module, "SILENCE", 0.2)
    async with cs.speaks(prefecture) as call:
        if greeted:
            await say(call, hello=link.Sealer().hello())
            await heard(call)
        assert await refusal(call) == "LINK_PROTOCOL"
    assert not prefecture.link_service.connected


@pytest.mark.parametrize(
    ("failure", "reason"),
    [(StorageFull("disk"), "STORAGE_FULL"), (StoreError("broken"), "DEPENDENCY_UNAVAILABLE")],
)
async def test_a_full_disk_ends_the_stream_and_a_later_one_goes_on(
    prefecture: Any, cs: Any, link: Any, monkeypatch: pytest.MonkeyPatch, failure: StoreError, reason: str
) -> None:
    sealer = link.Sealer()

    def full(*_: Any, **__: Any) -> Any:
        raise failure

    async with cs.speaks(prefecture) as call:
        await say(call, hello=sealer.hello())
        await heard(call)
        batch = sealer.births(1, 1)
        with monkeypatch.context() as broken:
            broken.setattr(service_module, "apply_batch", full)
            await say(call, batch=batch)
            assert await refusal(call) == reason
    with monkeypatch.context() as broken:
        broken.setattr(service_module, "register", full)
        async with cs.speaks(prefecture) as call:
            await say(call, hello=sealer.hello())
            assert await refusal(call) == reason
    assert not prefecture.rows("history")
    async with cs.speaks(prefecture) as call:
        await say(call, hello=sealer.hello())
        assert (await heard(call)).welcome.mark == 0
        await say(call, batch=batch)
        await acked(call, 1)


async def test_a_fault_of_the_program_says_nothing_of_itself(
    prefecture: Any, cs: Any, link: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError("resident 00000000001")

    sealer = link.Sealer()
    monkeypatch.setattr(service_module, "apply_batch", fault)
    async with cs.speaks(prefecture) as call:
        await say(call, hello=sealer.hello())
        await heard(call)
        await say(call, batch=sealer.births(1, 1))
        assert await refusal(call) == "UNSPECIFIED"
        assert "0000" not in str(await call.details())


class SlowDisk:
    """Holds the writer up until it is let go."""

    def __init__(self, node: Any) -> None:
        self.free, self.held = threading.Event(), threading.Event()
        node.writer.submit(self._hold)

    def _hold(self, _: Connection) -> None:
        self.held.set()
        assert self.free.wait(10)


@pytest.mark.parametrize("reason", [errors.ERROR_REASON_DRAINING, errors.ERROR_REASON_RESTORING])
async def test_a_stream_that_is_being_taken_up_is_ended_with_all_others(
    prefecture: Any, cs: Any, link: Any, reason: "errors.ErrorReason.ValueType"
) -> None:
    disk, service = SlowDisk(prefecture), prefecture.link_service
    async with cs.speaks(prefecture) as call:
        await say(call, hello=link.Sealer().hello())
        await link.until(prefecture.writer._jobs.qsize)
        await service.end_streams(reason)
        disk.free.set()
        assert await refusal(call) == name_of(reason)
    assert not service.connected
    async with cs.speaks(prefecture) as call:
        await say(call, hello=link.Sealer().hello())
        await heard(call)


@pytest.mark.parametrize("reason", [errors.ERROR_REASON_DRAINING, errors.ERROR_REASON_RESTORING])
async def test_a_stream_that_says_no_hello_is_ended_with_all_others(
    prefecture: Any, cs: Any, link: Any, reason: "errors.ErrorReason.ValueType"
) -> None:
    service = prefecture.link_service
    async with cs.speaks(prefecture) as call:
        await link.until(lambda: len(service._greeting))
        await service.end_streams(reason)
        assert await refusal(call) == name_of(reason)
    assert not service._greeting
    async with cs.speaks(prefecture) as call:
        await say(call, hello=link.Sealer().hello())
        await heard(call)


async def test_what_was_handed_in_goes_on_upwards_though_its_stream_is_over(
    prefecture: Any, mesh: Mesh, cs: Any, link: Any
) -> None:
    center, sealer = mesh("center"), link.Sealer()
    await center.serve(forwards=False)
    prefecture.dial(center)
    await link.until(lambda: prefecture.uplink.state.connected)
    async with cs.speaks(prefecture) as call:
        await say(call, hello=sealer.hello())
        await heard(call)
        disk = SlowDisk(prefecture)
        await say(call, batch=sealer.births(1, 1))
        [session] = prefecture.link_service._sessions.values()
        await link.until(lambda: session._batches)
    await link.until(lambda: not prefecture.link_service.connected)
    disk.free.set()
    await link.until(lambda: center.mark_of(prefecture) == 1)


async def test_no_acknowledgement_comes_before_the_commit(prefecture: Any, cs: Any, link: Any) -> None:
    sealer = link.Sealer()
    async with cs.speaks(prefecture) as call:
        await say(call, hello=sealer.hello())
        await heard(call)
        disk = SlowDisk(prefecture)
        await say(call, batch=sealer.births(1, 1))
        for _ in range(3):
            await say(call, heartbeat=Heartbeat())
            assert (await heard(call)).ack.mark == 0
        disk.free.set()
        await acked(call, 1)


async def test_a_sender_beyond_its_credit_is_read_no_further(mesh: Mesh, cs: Any, link: Any) -> None:
    node, sealer = mesh("prefecture", "130001", instance="slow"), link.Sealer()
    await node.serve(forwards=True, credit=Credit(batches=2, bytes=4_000_000))
    async with cs.speaks(node) as call:
        await say(call, hello=sealer.hello())
        await heard(call)
        disk = SlowDisk(node)
        for n in range(5):
            await say(call, batch=sealer.births(n, 1))
        [session] = node.link_service._sessions.values()
        await link.until(lambda: session._batches == 2)
        await say(call, heartbeat=Heartbeat())
        disk.free.set()
        await acked(call, 5)


async def test_a_cancelled_stream_leaves_nothing_behind(prefecture: Any, cs: Any, link: Any) -> None:
    for _ in range(20):
        async with cs.speaks(prefecture) as call:
            await say(call, hello=link.Sealer().hello())
            await heard(call)
    await link.until(lambda: not prefecture.link_service.connected)
    await link.until(lambda: not [task for task in asyncio.all_tasks() if "LinkService" in repr(task)])
    assert prefecture.server.traffic.running == 0


async def test_parked_changes_are_told_with_the_acknowledgement(prefecture: Any, cs: Any, link: Any) -> None:
    sealer = link.Sealer()
    async with cs.speaks(prefecture) as call:
        await say(call, hello=sealer.hello())
        await heard(call)
        await say(call, batch=sealer.batch(sealer.segment([link.change(1, 2).SerializeToString()])))
        [notice] = (await acked(call, 1)).ack.parked
        assert notice.reason == errors.ERROR_REASON_WAITING_FOR_EARLIER_CHANGE
        await say(call, heartbeat=Heartbeat())
        assert not (await heard(call)).ack.parked


async def pulled(prefecture: Any, by: Any, first: int, last: int) -> list[Batch]:
    async with open_channel(prefecture.address, by.tls, server=prefecture.identity) as channel:
        request = PullRequest(first_sequence=first, last_sequence=last)
        return [response.batch async for response in LinkServiceStub(channel).Pull(request, timeout=10)]


async def test_pull_gives_a_sender_its_own_segments_back_and_nobody_elses(
    prefecture: Any, cs: Any, mesh: Any, link: Any
) -> None:
    sealer = link.Sealer()
    hello = sealer.hello()
    sent = [sealer.births(n, 2) for n in range(1, 90, 2)]
    async with cs.speaks(prefecture) as call:
        await say(call, hello=hello)
        await heard(call)
        for batch in sent:
            await say(call, batch=batch)
        await acked(call, 90)
    batches = await pulled(prefecture, cs, 5, 88)
    assert batches[0].first_sequence == 5
    given = [sealed for batch in batches for sealed in batch.segments]
    assert given == [sealed for batch in sent[2:44] for sealed in batch.segments]
    assert await pulled(prefecture, mesh("municipality", "131024"), 1, 90) == []


async def test_a_restored_node_takes_no_stream_and_gives_nothing_back(prefecture: Any, cs: Any, link: Any) -> None:
    prefecture.link_service._why_not = lambda: errors.ERROR_REASON_RESTORING
    async with cs.speaks(prefecture) as call:
        await say(call, hello=link.Sealer().hello())
        assert await refusal(call) == "RESTORING"
    async with open_channel(prefecture.address, cs.tls, server=prefecture.identity) as channel:
        call = LinkServiceStub(channel).Pull(PullRequest(first_sequence=1, last_sequence=1), timeout=10)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await _read_all(call)
        assert reason_of(refused.value) == errors.ERROR_REASON_RESTORING


async def test_a_node_that_comes_to_doubt_itself_takes_nothing_more_from_an_open_stream(
    prefecture: Any, cs: Any, link: Any
) -> None:
    """What it took then would stand in the place of what the node above gives back."""
    sealer = link.Sealer()
    async with cs.speaks(prefecture) as call:
        await say(call, hello=sealer.hello())
        await heard(call)
        prefecture.link_service._why_not = lambda: errors.ERROR_REASON_RESTORING
        await say(call, batch=sealer.births(1, 1))
        assert await refusal(call) == "RESTORING"
    assert not prefecture.rows("history")
