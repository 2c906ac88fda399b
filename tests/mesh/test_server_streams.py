"""Streams: each message is checked, an open one ends when it must, and a refusal is heard by its client."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import grpc
import pytest

from jukinet._pb.jukinet.errors.v1 import errors_pb2
from jukinet._pb.jukinet.intake.v1 import intake_pb2
from jukinet._pb.jukinet.link.v1 import link_pb2, link_pb2_grpc
from jukinet.mesh import clock, pki
from jukinet.mesh.client import streaming
from jukinet.mesh.errors import BrokenMessage, Refused, reason_of
from jukinet.mesh.identity import Identity
from jukinet.mesh.interceptors import current_caller
from jukinet.mesh.server import drain
from jukinet.mesh.tls import TlsMaterial

CS = Identity("municipality", "131016")

SYSTEM = Identity("municipal-system", "131016")

OPERATOR = Identity("operator", "tanaka")


async def answer_caller(request: Any, context: Any) -> Any:
    return intake_pb2.SubmitChangeResponse(version=1, sequence=int(current_caller().name))


def raising(error: BaseException) -> Any:
    async def answer(request: Any, context: Any) -> Any:
        raise error

    return answer


def open_stream(channel: Any) -> Any:
    return channel.stream_stream(
        "/test.Kinds/StreamStream",
        intake_pb2.SubmitChangeRequest.SerializeToString,
        intake_pb2.SubmitChangeResponse.FromString,
    )()


async def test_a_stream_that_stays_open_needs_no_deadline(
    network: Any, kinds: Any, kinds_callers: Any, call: Any, submission: Any
) -> None:
    node = await network.serve((kinds(answer_caller).add_to, None), callers=kinds_callers)
    channel = await network.dial(node)
    assert await call(channel, "StreamStream", submission(), deadline=None)


async def test_every_message_of_a_stream_is_checked(
    network: Any, kinds: Any, kinds_callers: Any, call: Any, submission: Any
) -> None:
    seen: list[str] = []

    async def answer(request: Any, context: Any) -> Any:
        seen.append(request.submission.message_id)
        return await answer_caller(request, context)

    node = await network.serve((kinds(answer).add_to, None), callers=kinds_callers)
    channel = await network.dial(node)
    requests = [submission(message_id="a"), submission(message_id="b"), submission(message_id="?"), submission()]
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call(channel, "StreamUnary", *requests)
    assert reason_of(refused.value) == errors_pb2.ERROR_REASON_INVALID_MESSAGE
    assert seen == ["a", "b"]


async def test_a_handler_may_refuse_a_broken_message_in_its_place_and_read_on(
    network: Any, kinds: Any, kinds_callers: Any, call: Any, submission: Any
) -> None:
    told: list[tuple[str, str]] = []

    class ReadingOn(kinds):  # type: ignore[misc]
        async def stream_stream(self, requests: Any, context: Any) -> Any:
            while True:
                try:
                    request = await anext(requests, None)
                except BrokenMessage as broken:
                    told.append((broken.sound_text("submission.message_id"), broken.field))
                    yield intake_pb2.SubmitChangeResponse()
                    continue
                if request is None:
                    return
                yield await self.answer(request, context)

    node = await network.serve((ReadingOn(answer_caller).add_to, None), callers=kinds_callers)
    channel = await network.dial(node)
    requests = [
        submission(),
        submission(message_id="sound", resident_code="x"),
        submission(),
        submission(message_id="not sound", resident_code="x"),
        intake_pb2.SubmitChangeRequest(),
        submission(),
    ]
    answers = await call(channel, "StreamStream", *requests)
    assert [answer.version for answer in answers] == [1, 0, 1, 0, 0, 1]
    assert told == [
        ("sound", "submission.resident_code"),
        ("", "submission.message_id"),
        ("", "submission"),
    ]
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call(channel, "StreamStream", submission(), b"\xff", submission())
    assert reason_of(refused.value) == errors_pb2.ERROR_REASON_INVALID_MESSAGE


async def test_a_handler_that_reads_and_writes_by_itself_passes_the_same_gate(network: Any) -> None:
    class Receiver(link_pb2_grpc.LinkServiceServicer):
        def Pull(self, request: Any, context: Any) -> Any:
            raise AssertionError

        async def Stream(self, request_iterator: Any, context: Any) -> None:  # type: ignore[override]
            while (await context.read()) is not grpc.aio.EOF:
                await context.write(link_pb2.StreamResponse(heartbeat=link_pb2.Heartbeat()))
            assert context.time_remaining() is None

    prefecture = Identity("prefecture", "130001")
    node = await network.serve((link_pb2_grpc.add_LinkServiceServicer_to_server, Receiver()), identity=prefecture)
    channel = await network.dial(node, CS, server=prefecture)
    stream = link_pb2_grpc.LinkServiceStub(channel).Stream()
    for _ in range(2):
        await stream.write(link_pb2.StreamRequest(heartbeat=link_pb2.Heartbeat()))
        assert (await stream.read()).heartbeat is not None
    await stream.write(link_pb2.StreamRequest(batch=link_pb2.Batch()))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stream.read()
    assert reason_of(refused.value) == errors_pb2.ERROR_REASON_INVALID_MESSAGE
    second = link_pb2_grpc.LinkServiceStub(channel).Stream()
    await second.done_writing()
    assert await second.read() is grpc.aio.EOF
    for other in (Identity("municipality", "011002"), Identity("prefecture", "130001")):
        foreign = link_pb2_grpc.LinkServiceStub(await network.dial(node, other, server=prefecture)).Stream()
        with pytest.raises(grpc.aio.AioRpcError) as stranger:
            await foreign.read()
        assert reason_of(stranger.value) == errors_pb2.ERROR_REASON_CALLER_NOT_ALLOWED


async def test_an_open_stream_ends_with_its_certificate(
    network: Any, kinds: Any, kinds_callers: Any, submission: Any
) -> None:
    shift = timedelta()
    node = await network.serve(
        (kinds(answer_caller).add_to, None), callers=kinds_callers, now=lambda: clock.now() + shift
    )
    stream = open_stream(await network.dial(node))
    await stream.write(submission())
    assert (await stream.read()).version == 1
    shift = timedelta(days=2)
    await stream.write(submission())
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stream.read()
    assert reason_of(refused.value) == errors_pb2.ERROR_REASON_IDENTITY_UNCLEAR


async def test_an_open_stream_that_only_sends_ends_with_its_certificate_too(
    network: Any, kinds: Any, kinds_callers: Any, submission: Any
) -> None:
    shift, taken = timedelta(), asyncio.Event()

    async def answer(request: Any, context: Any) -> Any:
        taken.set()
        return await answer_caller(request, context)

    service = kinds(answer)
    node = await network.serve((service.add_to, None), callers=kinds_callers, now=lambda: clock.now() + shift)
    channel = await network.dial(node)
    stream = channel.stream_unary("/test.Kinds/StreamUnary", intake_pb2.SubmitChangeRequest.SerializeToString)(
        timeout=10
    )
    await stream.write(submission())
    await taken.wait()
    shift = timedelta(days=2)
    await stream.write(submission())
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stream
    assert reason_of(refused.value) == errors_pb2.ERROR_REASON_IDENTITY_UNCLEAR


async def test_an_open_stream_ends_when_its_caller_is_denied(
    network: Any, kinds: Any, kinds_callers: Any, submission: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TlsMaterial.__init__, "__kwdefaults__", {"recheck_seconds": 0.0})
    denied = network.directory / "denied"
    denied.write_text("", encoding="utf-8")
    tls = replace(network.tls(CS, server=True), denied=denied)
    node = await network.serve((kinds(answer_caller).add_to, None), callers=kinds_callers, tls=tls)
    stream = open_stream(await network.dial(node))
    await stream.write(submission())
    assert (await stream.read()).version == 1
    pki.write_public(denied, f"{SYSTEM.uri}\n".encode())
    await stream.write(submission())
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stream.read()
    assert reason_of(refused.value) == errors_pb2.ERROR_REASON_CALLER_NOT_ALLOWED


async def test_a_stream_that_stays_open_hears_of_the_stop(
    network: Any, kinds: Any, kinds_callers: Any, call: Any, submission: Any
) -> None:
    entered = asyncio.Event()

    async def answer(request: Any, context: Any) -> Any:
        entered.set()
        await node.traffic.draining.wait()
        return await answer_caller(request, context)

    node = await network.serve((kinds(answer).add_to, None), callers=kinds_callers)
    channel = await network.dial(node)
    running = asyncio.create_task(call(channel, "StreamStream", submission()))
    await entered.wait()
    await drain(node, grace_seconds=30)
    assert [each.version for each in await running] == [1]


async def test_a_cancelled_call_ends_its_handler_and_frees_its_place(
    network: Any, kinds: Any, kinds_callers: Any, submission: Any
) -> None:
    entered, cancelled = asyncio.Event(), asyncio.Event()

    async def answer(request: Any, context: Any) -> Any:
        entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    node = await network.serve((kinds(answer).add_to, None), callers=kinds_callers)
    stream = open_stream(await network.dial(node))
    await stream.write(submission())
    await entered.wait()
    assert node.traffic.running == 1
    stream.cancel()
    await cancelled.wait()
    await node.traffic.idle()
    assert node.traffic.running == 0


@pytest.mark.parametrize("where", ["at once", "in the middle"])
async def test_a_client_that_is_writing_still_hears_why_it_is_refused(
    where: str, network: Any, kinds: Any, kinds_callers: Any, submission: Any
) -> None:
    error = Refused(errors_pb2.ERROR_REASON_LINK_FENCED)
    node = await network.serve((kinds(raising(error)).add_to, None), callers=kinds_callers)
    channel = await network.dial(node, SYSTEM if where == "in the middle" else OPERATOR)
    expected = error.reason if where == "in the middle" else errors_pb2.ERROR_REASON_CALLER_NOT_ALLOWED
    for _ in range(50):
        stream = open_stream(channel)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await write_and_read(stream, submission())
        assert reason_of(refused.value) == expected
        stream = open_stream(channel)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await write_beside_reading(stream, submission())
        assert reason_of(refused.value) == expected


async def write_and_read(stream: Any, request: Any) -> None:
    async with streaming(stream):
        for _ in range(20):
            await stream.write(request)
        await stream.read()


async def write_beside_reading(stream: Any, request: Any) -> None:
    async def write() -> None:
        while True:
            await stream.write(request)

    async with streaming(stream), asyncio.TaskGroup() as tasks:
        tasks.create_task(write())
        tasks.create_task(stream.read())


class Ended:
    """A call that tells its statuses in the order in which a test says, as gRPC does."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.status = (grpc.StatusCode.OK, "")

    def add_done_callback(self, callback: Any) -> None:
        self.told.append(callback)

    def end(self, code: grpc.StatusCode, details: str) -> None:
        self.status = (code, details)
        for callback in self.told:
            callback(self)

    async def code(self) -> grpc.StatusCode:
        return self.status[0]

    async def details(self) -> str:
        return self.status[1]

    async def initial_metadata(self) -> grpc.aio.Metadata:
        return grpc.aio.Metadata()

    trailing_metadata = initial_metadata

    def cancel(self) -> None:
        self.status = (grpc.StatusCode.CANCELLED, "")


FAILED_WRITE = (grpc.StatusCode.INTERNAL, "Internal error from Core")


REFUSED = (grpc.StatusCode.PERMISSION_DENIED, "no")


@pytest.mark.parametrize(
    ("order", "seen"),
    [
        ([FAILED_WRITE, REFUSED], grpc.StatusCode.PERMISSION_DENIED),
        ([REFUSED, FAILED_WRITE], grpc.StatusCode.PERMISSION_DENIED),
        ([FAILED_WRITE], grpc.StatusCode.INTERNAL),
    ],
    ids=["the write first", "the refusal first", "no refusal"],
)
async def test_the_servers_status_counts_whatever_comes_first(
    order: list[Any], seen: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jukinet.mesh.client._STATUS_SECONDS", 0.05)
    call: Any = Ended()
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        async with streaming(call):
            for number, status in enumerate(order):
                asyncio.get_running_loop().call_later(number * 0.01, call.end, *status)
            raise grpc.aio.AioRpcError(FAILED_WRITE[0], grpc.aio.Metadata(), grpc.aio.Metadata(), FAILED_WRITE[1])
    assert failed.value.code() == seen
    assert call.status[0] == grpc.StatusCode.CANCELLED


async def test_what_is_not_the_calls_own_failure_stays_what_it_is(
    network: Any, kinds: Any, kinds_callers: Any, call: Any
) -> None:
    node = await network.serve((kinds(answer_caller).add_to, None), callers=kinds_callers)
    channel = await network.dial(node)
    with pytest.raises(ValueError, match="mine"):
        async with streaming(open_stream(channel)) as stream:
            raise ValueError("mine")
    assert stream.cancelled()
    with pytest.raises(ExceptionGroup):
        async with streaming(open_stream(channel)):
            raise ExceptionGroup("mine", [ValueError()])
