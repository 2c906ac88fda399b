"""A server starts only when it can, holds its limits, renews its certificate and loses nothing when it stops."""

import asyncio
import os
import signal
import ssl
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from jukinet._pb.jukinet.errors.v1 import errors_pb2
from jukinet._pb.jukinet.intake.v1 import intake_pb2
from jukinet.mesh import traffic as traffic_module
from jukinet.mesh.callers import CallersError, Rule
from jukinet.mesh.client import streaming
from jukinet.mesh.errors import Refused, reason_of
from jukinet.mesh.identity import Identity
from jukinet.mesh.interceptors import current_caller
from jukinet.mesh.limits import Limits
from jukinet.mesh.server import ListenError, build_server, drain, run_until_signal
from jukinet.mesh.tls import TlsError
from jukinet.mesh.traffic import Traffic

CS = Identity("municipality", "131016")

SYSTEM = Identity("municipal-system", "131016")

OPERATOR = Identity("operator", "tanaka")

CODES = ("131016", "131024", "131032", "131041", "131059", "131067", "131075")


async def answer_caller(request: Any, context: Any) -> Any:
    return intake_pb2.SubmitChangeResponse(version=1, sequence=int(current_caller().name))


def open_stream(channel: Any) -> Any:
    return channel.stream_stream(
        "/test.Kinds/StreamStream",
        intake_pb2.SubmitChangeRequest.SerializeToString,
        intake_pb2.SubmitChangeResponse.FromString,
    )()


async def test_a_server_with_an_rpc_that_no_line_covers_does_not_start(network: Any, kinds: Any) -> None:
    with pytest.raises(CallersError, match=r"/test\.Kinds/StreamStream"):
        await network.serve((kinds(answer_caller).add_to, None))


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


async def test_one_caller_at_its_limit_is_refused_and_another_is_served(
    network: Any, kinds: Any, kinds_callers: Any, call: Any, submission: Any
) -> None:
    both = replace(kinds_callers, rules=dict.fromkeys(kinds_callers.rules, (Rule("municipal-system"),)))
    node = await network.serve((kinds(answer_caller).add_to, None), callers=both, limits=Limits(concurrent_rpcs=4))
    # Two connections of one caller are one caller.
    streams = [open_stream(await network.dial(node)) for _ in range(2)]
    for stream in streams:
        await stream.write(submission())
        assert (await stream.read()).version == 1
    channel, other = await network.dial(node), await network.dial(node, Identity("municipal-system", "131024"))
    for kind in ("UnaryUnary", "StreamStream"):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(channel, kind, submission())
        assert reason_of(refused.value) == errors_pb2.ERROR_REASON_CALLER_AT_LIMIT
        assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await call(other, kind, submission())
    await streams[0].done_writing()
    assert await streams[0].read() is grpc.aio.EOF
    assert await call(channel, "UnaryUnary", submission())
    streams[1].cancel()


async def test_a_caller_at_its_limit_hears_why_on_its_only_connection_too(
    network: Any, kinds: Any, kinds_callers: Any, call: Any, submission: Any
) -> None:
    entered, leave = asyncio.Semaphore(0), asyncio.Event()

    async def answer(request: Any, context: Any) -> Any:
        entered.release()
        await leave.wait()
        return await answer_caller(request, context)

    limits = Limits()
    node = await network.serve((kinds(answer).add_to, None), callers=kinds_callers, limits=limits)
    channel = await network.dial(node)
    running = []
    for _ in range(limits.concurrent_rpcs // 2):
        running.append(asyncio.create_task(call(channel, "UnaryUnary", submission())))
        await entered.acquire()
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call(channel, "UnaryUnary", submission())
    assert reason_of(refused.value) == errors_pb2.ERROR_REASON_CALLER_AT_LIMIT
    leave.set()
    assert all(await asyncio.gather(*running))


async def test_whoever_watches_the_health_takes_a_place_like_any_caller(network: Any) -> None:
    node = await network.serve(limits=Limits(concurrent_rpcs=4))
    places = 4 + traffic_module._FOR_OPERATORS

    async def watch(caller: Identity) -> Any:
        stub: Any = health_pb2_grpc.HealthStub(await network.dial(node, caller))
        watching = stub.Watch(health_pb2.HealthCheckRequest())
        await watching.read()
        return watching

    watching = [await watch(OPERATOR) for _ in range(places // 2)]
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await watch(OPERATOR)
    assert reason_of(refused.value) == errors_pb2.ERROR_REASON_CALLER_AT_LIMIT
    watching.append(await watch(Identity("operator", "suzuki")))
    assert node.traffic.running == places // 2 + 1
    # A stopping node does not wait for them.
    async with asyncio.timeout(10):
        await drain(node, grace_seconds=30)


def test_callers_that_take_all_they_can_leave_half_of_what_is_free_each() -> None:
    traffic, taken = Traffic(200), []
    with ExitStack() as running:
        for code in CODES:
            before = traffic.running
            with pytest.raises(Refused) as refused:
                while True:
                    running.enter_context(traffic.call("/test.Kinds/UnaryUnary", Identity("municipal-system", code)))
            assert refused.value.reason == errors_pb2.ERROR_REASON_CALLER_AT_LIMIT
            taken.append(traffic.running - before)
        assert taken == [100, 50, 25, 13, 6, 3, 2]
        running.enter_context(traffic.call("/test.Kinds/UnaryUnary", CS))
        with pytest.raises(Refused) as full:
            running.enter_context(traffic.call("/test.Kinds/UnaryUnary", Identity("municipal-system", "131083")))
        assert full.value.reason == errors_pb2.ERROR_REASON_OVERLOADED
        # Whoever has to find out why gets in.
        running.enter_context(traffic.call("/test.Kinds/UnaryUnary", OPERATOR))
    assert traffic.running == 0


async def test_an_idle_connection_is_closed(network: Any, kinds: Any, kinds_callers: Any) -> None:
    node = await network.serve(
        (kinds(answer_caller).add_to, None), callers=kinds_callers, limits=Limits(handshake_timeout_ms=200)
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
    async with asyncio.timeout(10):
        assert await reader.read() == b""
    writer.close()


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


async def test_only_an_operator_reads_the_services_by_reflection(network: Any) -> None:
    node = await network.serve()

    async def services(caller: Identity) -> set[str]:
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(await network.dial(node, caller))
        ask = reflection_pb2.ServerReflectionRequest(list_services="")
        async with streaming(stub.ServerReflectionInfo(iter([ask]))) as asking:
            async for response in asking:
                return {each.name for each in response.list_services_response.service}
        raise AssertionError

    assert await services(OPERATOR) == {"grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await services(SYSTEM)
    assert reason_of(refused.value) == errors_pb2.ERROR_REASON_CALLER_NOT_ALLOWED
