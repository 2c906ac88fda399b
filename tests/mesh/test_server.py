"""The gate holds for all four kinds of RPC, nothing leaks, limits hold and a stop loses nothing."""

import asyncio
import logging
import os
import signal
import ssl
from dataclasses import replace
from datetime import timedelta
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from jukinet._pb.jukinet.errors.v1 import errors_pb2
from jukinet._pb.jukinet.intake.v1 import intake_pb2
from jukinet._pb.jukinet.link.v1 import link_pb2, link_pb2_grpc
from jukinet.domain.refusal import ChangeRefused
from jukinet.mesh import clock, pki
from jukinet.mesh.callers import CallersError, Rule
from jukinet.mesh.client import open_channel, streaming
from jukinet.mesh.errors import Refused, error_id_of, reason_of, violations_of
from jukinet.mesh.identity import NODES, Identity
from jukinet.mesh.interceptors import RefusedCall, current_caller, current_peer
from jukinet.mesh.limits import Limits
from jukinet.mesh.server import ListenError, build_server, drain, run_until_signal
from jukinet.mesh.tls import TlsError, TlsMaterial

CS = Identity("municipality", "131016")
SYSTEM = Identity("municipal-system", "131016")
OPERATOR = Identity("operator", "tanaka")
KINDS = ("UnaryUnary", "UnaryStream", "StreamUnary", "StreamStream")
SECRET = "山田太郎 00000000019"
every_kind = pytest.mark.parametrize("kind", KINDS)


async def answer_caller(request: Any, context: Any) -> Any:
    return intake_pb2.SubmitChangeResponse(version=1, sequence=int(current_caller().name))


def raising(error: BaseException) -> Any:
    async def answer(request: Any, context: Any) -> Any:
        raise error

    return answer


@every_kind
async def test_a_handler_knows_its_caller(
    kind: str, network: Any, kinds: Any, kinds_callers: Any, call: Any, submission: Any
) -> None:
    async def answer(request: Any, context: Any) -> Any:
        # Tasks that a handler starts know it too.
        peer = await asyncio.create_task(peer_in_a_task())
        assert peer.not_after > clock.now()
        return await answer_caller(request, context)

    async def peer_in_a_task() -> Any:
        return current_peer()

    node = await network.serve((kinds(answer).add_to, None), callers=kinds_callers)
    channel = await network.dial(node)
    assert [each.sequence for each in await call(channel, kind, submission())] == [131016]
    with pytest.raises(LookupError):
        current_caller()


async def test_calls_at_the_same_time_do_not_mix_their_callers(
    network: Any, kinds: Any, kinds_callers: Any, call: Any, submission: Any
) -> None:
    everybody = replace(kinds_callers, rules=dict.fromkeys(kinds_callers.rules, (Rule("municipal-system"),)))
    together = asyncio.Barrier(4)

    async def answer(request: Any, context: Any) -> Any:
        await together.wait()
        return await answer_caller(request, context)

    node = await network.serve((kinds(answer).add_to, None), callers=everybody)
    callers = [Identity("municipal-system", code) for code in ("131016", "131024", "131032", "131041")]
    channels = [await network.dial(node, caller) for caller in callers]
    answers = await asyncio.gather(*(call(channel, "StreamStream", submission()) for channel in channels))
    assert [each[0].sequence for each in answers] == [int(caller.name) for caller in callers]


@every_kind
@pytest.mark.parametrize(
    "error",
    [
        ValueError(f"bad resident {SECRET}"),
        KeyError(SECRET),
        ExceptionGroup(SECRET, [OSError(SECRET)]),
        BaseExceptionGroup(SECRET, [GeneratorExit(SECRET)]),
        RuntimeError(ValueError(SECRET)),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_an_exception_leaks_nothing(
    error: BaseException,
    kind: str,
    network: Any,
    kinds: Any,
    kinds_callers: Any,
    call: Any,
    submission: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def answer(request: Any, context: Any) -> Any:
        try:
            raise LookupError(SECRET)
        except LookupError as cause:
            raise error from cause

    node = await network.serve((kinds(answer).add_to, None), callers=kinds_callers)
    channel = await network.dial(node)
    with caplog.at_level(logging.DEBUG), pytest.raises(grpc.aio.AioRpcError) as failed:
        await call(channel, kind, submission())
    assert failed.value.code() == grpc.StatusCode.INTERNAL
    assert failed.value.details() == "Something failed inside the node. Give the error id to its operator."
    assert reason_of(failed.value) == errors_pb2.ERROR_REASON_UNSPECIFIED
    told = f"{failed.value.debug_error_string()}{failed.value.trailing_metadata()}{caplog.text}"
    assert "山田" not in told
    assert "00000000019" not in told
    (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert vars(record)["error_id"] == error_id_of(failed.value)
    line = record.getMessage()
    assert f"{type(error).__name__} at " in line
    assert "from LookupError at " in line
    assert "test_server.py:" in line


@pytest.mark.parametrize("kind", ["UnaryStream", "StreamStream"])
async def test_an_exception_in_the_middle_of_a_stream_leaks_nothing(
    kind: str,
    network: Any,
    kinds: Any,
    kinds_callers: Any,
    call: Any,
    submission: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Halfway(kinds):  # type: ignore[misc]
        async def unary_stream(self, request: Any, context: Any) -> Any:
            yield await self.answer(request, context)
            raise ValueError(SECRET)

        async def stream_stream(self, requests: Any, context: Any) -> Any:
            async for request in requests:
                yield await self.answer(request, context)
                raise ValueError(SECRET)

    node = await network.serve((Halfway(answer_caller).add_to, None), callers=kinds_callers)
    channel = await network.dial(node)
    with caplog.at_level(logging.DEBUG), pytest.raises(grpc.aio.AioRpcError) as failed:
        await call(channel, kind, submission())
    assert failed.value.code() == grpc.StatusCode.INTERNAL
    assert "山田" not in f"{failed.value}{caplog.text}"


@every_kind
async def test_an_answer_that_cannot_be_written_leaks_nothing(
    kind: str,
    network: Any,
    kinds: Any,
    kinds_callers: Any,
    call: Any,
    submission: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def answer(request: Any, context: Any) -> Any:
        return SECRET

    node = await network.serve((kinds(answer).add_to, None), callers=kinds_callers)
    channel = await network.dial(node)
    with caplog.at_level(logging.DEBUG), pytest.raises(grpc.aio.AioRpcError) as failed:
        await call(channel, kind, submission())
    assert reason_of(failed.value) == errors_pb2.ERROR_REASON_UNSPECIFIED
    assert "山田" not in f"{failed.value}{caplog.text}"


@every_kind
@pytest.mark.parametrize(
    "error",
    [
        Refused(errors_pb2.ERROR_REASON_NOT_HOLDER, field="resident_code", detail=SECRET),
        ChangeRefused(errors_pb2.ERROR_REASON_NOT_HOLDER, "resident_code"),
        ExceptionGroup("tasks", [OSError(), ExceptionGroup("inner", [Refused(errors_pb2.ERROR_REASON_NOT_HOLDER)])]),
    ],
    ids=["refused", "the domain refused", "a task refused"],
)
async def test_a_refusal_arrives_with_its_reason_and_without_its_detail(
    error: BaseException, kind: str, network: Any, kinds: Any, kinds_callers: Any, call: Any, submission: Any
) -> None:
    node = await network.serve((kinds(raising(error)).add_to, None), callers=kinds_callers)
    channel = await network.dial(node)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call(channel, kind, submission())
    assert refused.value.code() == grpc.StatusCode.PERMISSION_DENIED
    assert reason_of(refused.value) == errors_pb2.ERROR_REASON_NOT_HOLDER
    if getattr(error, "field", ""):
        assert [each.field for each in violations_of(refused.value)] == ["resident_code"]
    assert "山田" not in str(refused.value)


@every_kind
async def test_a_handler_may_end_a_call_in_grpcs_own_way(
    kind: str, network: Any, kinds: Any, kinds_callers: Any, call: Any, submission: Any
) -> None:
    async def answer(request: Any, context: Any) -> Any:
        await context.abort(grpc.StatusCode.NOT_FOUND, "no such thing")

    node = await network.serve((kinds(answer).add_to, None), callers=kinds_callers)
    channel = await network.dial(node)
    with pytest.raises(grpc.aio.AioRpcError, match="no such thing") as ended:
        await call(channel, kind, submission())
    assert ended.value.code() == grpc.StatusCode.NOT_FOUND


async def test_what_fails_after_an_abort_leaks_nothing(
    network: Any, kinds: Any, kinds_callers: Any, call: Any, submission: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def answer(request: Any, context: Any) -> Any:
        try:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such thing")
        finally:
            raise ValueError(SECRET)

    node = await network.serve((kinds(answer).add_to, None), callers=kinds_callers)
    channel = await network.dial(node)
    with caplog.at_level(logging.DEBUG), pytest.raises(grpc.aio.AioRpcError, match="no such thing"):
        await call(channel, "UnaryUnary", submission())
    assert "山田" not in caplog.text


@every_kind
async def test_who_is_not_on_the_list_reaches_no_handler(
    kind: str, network: Any, kinds: Any, kinds_callers: Any, call: Any, submission: Any
) -> None:
    service = kinds(answer_caller)
    node = await network.serve((service.add_to, None), callers=kinds_callers)
    for caller in (OPERATOR, Identity("agency", "a"), Identity("center"), Identity("municipal-system", "131024")):
        channel = await network.dial(node, caller)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(channel, kind, submission())
        assert reason_of(refused.value) == errors_pb2.ERROR_REASON_CALLER_NOT_ALLOWED
    assert service.entered == 0


@every_kind
async def test_an_unknown_rpc_is_refused_like_a_forbidden_one(
    kind: str, network: Any, kinds: Any, kinds_callers: Any, call: Any, submission: Any
) -> None:
    node = await network.serve((kinds(answer_caller).add_to, None), callers=kinds_callers)
    channel = await network.dial(node)
    for service in ("test.Other", "jukinet.link.v1.LinkService", "a/b"):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(channel, kind, submission(), service=service)
        assert reason_of(refused.value) == errors_pb2.ERROR_REASON_CALLER_NOT_ALLOWED


async def test_a_listed_rpc_that_this_node_does_not_serve_is_not_implemented(network: Any) -> None:
    node = await network.serve()
    channel = await network.dial(node)
    pull = channel.unary_unary("/jukinet.intake.v1.IntakeService/SubmitChange")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await pull(b"", timeout=10)
    assert refused.value.code() == grpc.StatusCode.UNIMPLEMENTED
    assert reason_of(refused.value) == errors_pb2.ERROR_REASON_NOT_IMPLEMENTED


async def test_a_server_with_an_rpc_that_no_line_covers_does_not_start(network: Any, kinds: Any) -> None:
    with pytest.raises(CallersError, match=r"/test\.Kinds/StreamStream"):
        await network.serve((kinds(answer_caller).add_to, None))


@pytest.mark.parametrize("kind", KINDS[:3])
async def test_a_call_without_a_deadline_is_refused(
    kind: str, network: Any, kinds: Any, kinds_callers: Any, call: Any, submission: Any
) -> None:
    service = kinds(answer_caller)
    node = await network.serve((service.add_to, None), callers=kinds_callers)
    channel = await network.dial(node)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call(channel, kind, submission(), deadline=None)
    assert reason_of(refused.value) == errors_pb2.ERROR_REASON_DEADLINE_REQUIRED
    assert service.entered == 0


async def test_a_stream_that_stays_open_needs_no_deadline(
    network: Any, kinds: Any, kinds_callers: Any, call: Any, submission: Any
) -> None:
    node = await network.serve((kinds(answer_caller).add_to, None), callers=kinds_callers)
    channel = await network.dial(node)
    assert await call(channel, "StreamStream", submission(), deadline=None)


@every_kind
async def test_a_message_that_breaks_a_rule_is_refused_by_field_and_rule_alone(
    kind: str, network: Any, kinds: Any, kinds_callers: Any, call: Any, submission: Any
) -> None:
    node = await network.serve((kinds(answer_caller).add_to, None), callers=kinds_callers)
    channel = await network.dial(node)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call(channel, kind, submission(resident_code=SECRET))
    assert reason_of(refused.value) == errors_pb2.ERROR_REASON_INVALID_MESSAGE
    assert [(each.field, each.rule) for each in violations_of(refused.value)] == [
        ("submission.resident_code", "string.pattern")
    ]
    told = f"{refused.value.debug_error_string()}{refused.value.trailing_metadata()}"
    assert "00000000019" not in told


@every_kind
@pytest.mark.parametrize("raw", [b"\xff", SECRET.encode(), b"\x0a\x05ab"], ids=["tag", "text", "cut off"])
async def test_bytes_that_are_no_message_are_refused(
    raw: bytes, kind: str, network: Any, kinds: Any, kinds_callers: Any, call: Any
) -> None:
    node = await network.serve((kinds(answer_caller).add_to, None), callers=kinds_callers)
    channel = await network.dial(node)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call(channel, kind, raw)
    assert reason_of(refused.value) == errors_pb2.ERROR_REASON_INVALID_MESSAGE


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


@every_kind
@pytest.mark.parametrize("over", [0, 1, 10_000_000])
async def test_a_message_over_the_limit_is_refused(
    over: int, kind: str, network: Any, kinds: Any, kinds_callers: Any, call: Any, submission: Any
) -> None:
    service = kinds(answer_caller)
    node = await network.serve((service.add_to, None), callers=kinds_callers)
    channel = await network.dial(node)
    # An unknown field makes a message as long as one likes without breaking a rule.
    body = submission().SerializeToString()
    filler = Limits().message_bytes + over - len(body) - 1 - 3 - (over > 2**20)
    field = b"\x7a" + varint(filler) + bytes(filler)
    message = body + field
    assert len(message) == Limits().message_bytes + over
    if over == 0:
        assert await call(channel, kind, message)
        return
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call(channel, kind, message)
    assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    if over == 1:
        assert reason_of(refused.value) == errors_pb2.ERROR_REASON_MESSAGE_TOO_LARGE
        assert service.entered == kind.startswith("Stream")


def varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


async def test_a_gateway_takes_no_more_than_its_own_limit(
    network: Any, kinds: Any, kinds_callers: Any, call: Any, submission: Any
) -> None:
    node = await network.serve(
        (kinds(answer_caller).add_to, None), callers=kinds_callers, limits=Limits(message_bytes=30)
    )
    channel = await network.dial(node)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call(channel, "UnaryUnary", submission())
    assert reason_of(refused.value) == errors_pb2.ERROR_REASON_MESSAGE_TOO_LARGE


async def test_a_full_node_says_so_and_still_tells_its_health(
    network: Any, kinds: Any, kinds_callers: Any, call: Any, submission: Any
) -> None:
    entered, leave = asyncio.Event(), asyncio.Event()

    async def answer(request: Any, context: Any) -> Any:
        entered.set()
        await leave.wait()
        return await answer_caller(request, context)

    node = await network.serve((kinds(answer).add_to, None), callers=kinds_callers, limits=Limits(concurrent_rpcs=1))
    channel = await network.dial(node)
    running = asyncio.create_task(call(channel, "UnaryUnary", submission()))
    await entered.wait()
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call(channel, "StreamStream", submission())
    assert reason_of(refused.value) == errors_pb2.ERROR_REASON_OVERLOADED
    health: Any = health_pb2_grpc.HealthStub(channel)
    assert (await health.Check(health_pb2.HealthCheckRequest(), timeout=10)).status == 1
    leave.set()
    assert await running
    assert await call(channel, "StreamStream", submission())


async def test_an_idle_connection_is_closed(network: Any, kinds: Any, kinds_callers: Any) -> None:
    node = await network.serve(
        (kinds(answer_caller).add_to, None), callers=kinds_callers, limits=Limits(handshake_timeout_ms=200)
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
    async with asyncio.timeout(10):
        assert await reader.read() == b""
    writer.close()


async def test_a_refusal_is_on_record_before_it_is_sent(
    network: Any, kinds: Any, kinds_callers: Any, call: Any, submission: Any
) -> None:
    records: list[RefusedCall] = []
    recorded, may_send = asyncio.Event(), asyncio.Event()

    async def on_refusal(refused: RefusedCall) -> None:
        records.append(refused)
        recorded.set()
        await may_send.wait()

    node = await network.serve(
        (kinds(raising(Refused(errors_pb2.ERROR_REASON_PURPOSE_UNKNOWN))).add_to, None),
        callers=kinds_callers,
        on_refusal=on_refusal,
    )
    channel = await network.dial(node)
    running = asyncio.create_task(call(channel, "UnaryUnary", submission(message_id="x")))
    await recorded.wait()
    assert not running.done()
    may_send.set()
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await running
    (record,) = records
    assert record.rpc == "/test.Kinds/UnaryUnary"
    assert record.caller == SYSTEM
    assert record.entered
    assert record.request == submission(message_id="x")
    assert record.error_id == error_id_of(refused.value)
    with pytest.raises(grpc.aio.AioRpcError):
        await call(await network.dial(node, OPERATOR), "StreamStream", submission())
    assert records[1].caller == OPERATOR
    assert records[1].request is None
    assert not records[1].entered


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Refused(errors_pb2.ERROR_REASON_LEDGER_UNAVAILABLE), errors_pb2.ERROR_REASON_LEDGER_UNAVAILABLE),
        (OSError(SECRET), errors_pb2.ERROR_REASON_UNSPECIFIED),
    ],
    ids=["refused", "failed"],
)
async def test_a_refusal_that_cannot_be_put_on_record_is_not_sent(
    error: Exception, reason: Any, network: Any, kinds: Any, kinds_callers: Any, call: Any, submission: Any
) -> None:
    async def on_refusal(refused: RefusedCall) -> None:
        raise error

    node = await network.serve((kinds(answer_caller).add_to, None), callers=kinds_callers, on_refusal=on_refusal)
    channel = await network.dial(node, OPERATOR)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call(channel, "UnaryUnary", submission())
    assert reason_of(refused.value) == reason
    assert "山田" not in str(refused.value)


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


def open_stream(channel: Any) -> Any:
    return channel.stream_stream(
        "/test.Kinds/StreamStream",
        intake_pb2.SubmitChangeRequest.SerializeToString,
        intake_pb2.SubmitChangeResponse.FromString,
    )()


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


async def served_certificate(network: Any, node: Any) -> bytes:
    tls = network.tls(Identity("municipal-system", "131032"))
    context = ssl.create_default_context(cafile=str(tls.nodes_ca))
    context.load_cert_chain(tls.certificate, tls.key)
    context.set_alpn_protocols(["h2"])
    _, writer = await asyncio.open_connection("127.0.0.1", node.port, ssl=context, server_hostname=CS.server_name)
    certificate: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.transport.abort()
    return certificate


async def test_a_renewed_certificate_is_used_without_a_restart(
    network: Any, kinds: Any, kinds_callers: Any, call: Any, submission: Any
) -> None:
    node = await network.serve((kinds(answer_caller).add_to, None), callers=kinds_callers)
    channel = await network.dial(node)
    first = await served_certificate(network, node)
    assert await served_certificate(network, node) == first
    tls = network.tls(CS, server=True)  # written over the old one
    second = await served_certificate(network, node)
    assert second != first
    tls.key.write_bytes(b"half a key")
    assert await served_certificate(network, node) == second
    assert await call(channel, "UnaryUnary", submission())


async def test_unusable_tls_files_stop_the_start(network: Any) -> None:
    tls = network.tls(CS, server=True)
    for broken in (
        replace(tls, key=network.tls(SYSTEM).key),
        replace(tls, key=tls.certificate),
        replace(tls, nodes_ca=network.directory / "missing.pem"),
    ):
        with pytest.raises(TlsError):
            await network.serve(tls=broken)


async def test_an_address_in_use_stops_the_start(network: Any) -> None:
    node = await network.serve()
    with pytest.raises(ListenError, match=node.address):
        build_server(identity=CS, listen=node.address, tls=network.tls(CS, server=True), services=())


async def test_the_address_file_says_where_the_node_serves(network: Any, tmp_path: Any) -> None:
    node = build_server(identity=CS, listen="127.0.0.1:0", tls=network.tls(CS, server=True), services=())
    await node.start(tmp_path / "run" / "address")
    assert (tmp_path / "run" / "address").read_text(encoding="utf-8") == f"127.0.0.1:{node.port}\n"
    await drain(node, grace_seconds=0)


async def test_a_stop_finishes_running_calls_and_refuses_new_ones(
    network: Any, kinds: Any, kinds_callers: Any, call: Any, submission: Any
) -> None:
    entered, leave, draining = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def answer(request: Any, context: Any) -> Any:
        entered.set()
        await leave.wait()
        return await answer_caller(request, context)

    async def on_drain() -> None:
        draining.set()

    node = build_server(
        identity=CS,
        listen="127.0.0.1:0",
        tls=network.tls(CS, server=True),
        services=[(kinds(answer).add_to, None)],
        callers=kinds_callers,
    )
    await node.start()
    stopping = asyncio.create_task(run_until_signal(node, on_drain, grace_seconds=30))
    channel = await network.dial(node)
    running = asyncio.create_task(call(channel, "UnaryUnary", submission()))
    health: Any = health_pb2_grpc.HealthStub(channel)
    watching = health.Watch(health_pb2.HealthCheckRequest())
    assert (await watching.read()).status == health_pb2.HealthCheckResponse.SERVING
    await entered.wait()
    os.kill(os.getpid(), signal.SIGTERM)
    await draining.wait()
    assert (await watching.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call(channel, "UnaryUnary", submission())
    assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
    assert reason_of(refused.value) == errors_pb2.ERROR_REASON_DRAINING
    assert not stopping.done()
    leave.set()
    assert [each.version for each in await running] == [1]
    await stopping
    with pytest.raises(grpc.aio.AioRpcError) as gone:
        await call(channel, "UnaryUnary", submission())
    assert gone.value.code() == grpc.StatusCode.UNAVAILABLE
    assert reason_of(gone.value) is None


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


async def test_what_outlasts_the_grace_is_cancelled(
    network: Any, kinds: Any, kinds_callers: Any, call: Any, submission: Any
) -> None:
    entered, cancelled = asyncio.Event(), asyncio.Event()

    async def answer(request: Any, context: Any) -> Any:
        entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    node = await network.serve((kinds(answer).add_to, None), callers=kinds_callers)
    channel = await network.dial(node)
    running = asyncio.create_task(call(channel, "UnaryUnary", submission()))
    await entered.wait()
    await drain(node, grace_seconds=0.05)
    with pytest.raises(grpc.aio.AioRpcError) as ended:
        await running
    assert ended.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
    await cancelled.wait()


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


async def test_only_an_operator_reads_the_services_by_reflection(network: Any) -> None:
    node = await network.serve()

    async def services(caller: Identity) -> set[str]:
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(await network.dial(node, caller))
        ask = reflection_pb2.ServerReflectionRequest(list_services="")
        async for response in stub.ServerReflectionInfo(iter([ask])):
            return {each.name for each in response.list_services_response.service}
        raise AssertionError

    assert await services(OPERATOR) == {"grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await services(SYSTEM)
    assert reason_of(refused.value) == errors_pb2.ERROR_REASON_CALLER_NOT_ALLOWED


async def test_interceptors_for_tracing_see_a_refusal_as_its_status(
    network: Any, kinds: Any, kinds_callers: Any, call: Any, submission: Any
) -> None:
    seen: list[Any] = []

    class Tracing(grpc.aio.ServerInterceptor):
        async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
            handler = await continuation(handler_call_details)

            async def unary(request: Any, context: Any) -> Any:
                try:
                    return await handler.unary_unary(request, context)
                finally:
                    seen.append((handler_call_details.method, context.code()))

            return grpc.unary_unary_rpc_method_handler(unary)

    node = await network.serve(
        (kinds(raising(ValueError(SECRET))).add_to, None), callers=kinds_callers, interceptors=[Tracing()]
    )
    with pytest.raises(grpc.aio.AioRpcError):
        await call(await network.dial(node), "UnaryUnary", submission())
    assert seen == [("/test.Kinds/UnaryUnary", grpc.StatusCode.INTERNAL)]


async def test_one_process_may_hold_many_identities(
    network: Any, kinds: Any, kinds_callers: Any, call: Any, submission: Any
) -> None:
    node = await network.serve((kinds(answer_caller).add_to, None), callers=kinds_callers)
    tls = network.tls(OPERATOR)
    assert await call(await network.dial(node), "UnaryUnary", submission())
    async with open_channel(node.address, tls, server=CS) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(channel, "UnaryUnary", submission())
    assert reason_of(refused.value) == errors_pb2.ERROR_REASON_CALLER_NOT_ALLOWED
    assert network.ca(NODES).exists()
