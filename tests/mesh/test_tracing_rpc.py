"""The span of a call says how the call ended, whatever its kind and whatever ended it."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from jukinet._pb.jukinet.errors.v1 import errors_pb2
from jukinet.mesh import tracing
from jukinet.mesh.errors import Refused, abort

SERVICE = "jukinet.ledger.v1.LedgerService"
METHOD = "ListEntries"
NAME = f"{SERVICE}/{METHOD}"
KINDS = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")
CANARY = "00123456789 山田太郎"


@pytest.fixture
def exported() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    tracing.configure("center", "", exporter=exporter)
    yield exporter
    tracing.shutdown()


class Service:
    """Ends each call as its first request says."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.ended = asyncio.Event()
        self.traceparents: list[str] = []

    async def _act(self, what: bytes, context: Any) -> None:
        self.traceparents.append(tracing.traceparent())
        self.entered.set()
        match what:
            case b"refuse":
                refused = Refused(errors_pb2.ERROR_REASON_NOT_HOLDER, detail=CANARY)
                await abort(context, refused, "0123456789abcdef")
            case b"abort":
                await context.abort(grpc.StatusCode.INTERNAL, CANARY)
            case b"raise":
                raise ValueError(CANARY)
            case b"set":
                context.set_code(grpc.StatusCode.NOT_FOUND)
            case b"wait":
                await asyncio.Event().wait()

    async def unary_unary(self, request: bytes, context: Any) -> bytes:
        try:
            await self._act(request, context)
            return b"answer"
        finally:
            self.ended.set()

    async def unary_stream(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        try:
            yield b"first"
            await self._act(request, context)
            yield b"last"
        finally:
            self.ended.set()

    async def stream_unary(self, requests: AsyncIterator[bytes], context: Any) -> bytes:
        try:
            async for request in requests:
                await self._act(request, context)
            return b"answer"
        finally:
            self.ended.set()

    async def stream_stream(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        try:
            async for request in requests:
                yield b"first"
                await self._act(request, context)
            yield b"last"
        finally:
            self.ended.set()

    def handler(self, kind: str) -> Any:
        return getattr(grpc, f"{kind}_rpc_method_handler")(getattr(self, kind))


@asynccontextmanager
async def running(
    kind: str, service: Any, *, method: str = METHOD, full_service: str = SERVICE
) -> AsyncIterator[Callable[..., Any]]:
    handler = grpc.method_handlers_generic_handler(full_service, {method: service.handler(kind)})
    server = grpc.aio.server(interceptors=[tracing.server_interceptor()])
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}", interceptors=tracing.client_interceptors())
    try:
        async with channel:
            yield getattr(channel, kind)(f"/{full_service}/{method}")
    finally:
        await server.stop(None)


def call(multi: Callable[..., Any], kind: str, what: bytes, **options: Any) -> Any:
    if kind.startswith("unary"):
        return multi(what, **options)

    async def requests() -> AsyncIterator[bytes]:
        yield what

    return multi(requests(), **options)


async def finish(kind: str, made: Any) -> grpc.StatusCode:
    try:
        if kind.endswith("unary"):
            await made
        else:
            async for _ in made:
                pass
    except grpc.aio.AioRpcError:
        pass
    except asyncio.CancelledError:
        if not made.cancelled():
            raise
    code: grpc.StatusCode = await made.code()
    return code


def spans_of(exported: InMemorySpanExporter, kind: SpanKind) -> list[ReadableSpan]:
    tracing.flush()
    return [span for span in exported.get_finished_spans() if span.kind is kind]


def code_of(span: ReadableSpan) -> int:
    return int(str((span.attributes or {})["rpc.grpc.status_code"]))


def reason_of(span: ReadableSpan) -> object:
    return (span.attributes or {}).get("error.reason")


ENDINGS = [
    (b"ok", grpc.StatusCode.OK, StatusCode.UNSET, None),
    (b"refuse", grpc.StatusCode.PERMISSION_DENIED, StatusCode.UNSET, "NOT_HOLDER"),
    (b"abort", grpc.StatusCode.INTERNAL, StatusCode.ERROR, "INTERNAL"),
    (b"raise", grpc.StatusCode.UNKNOWN, StatusCode.ERROR, "ValueError"),
    (b"set", grpc.StatusCode.NOT_FOUND, StatusCode.UNSET, "NOT_FOUND"),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("what", "code", "status", "reason"), ENDINGS, ids=[ending[0].decode() for ending in ENDINGS])
async def test_server_span_has_the_status_that_the_peer_sees(
    exported: InMemorySpanExporter,
    kind: str,
    what: bytes,
    code: grpc.StatusCode,
    status: StatusCode,
    reason: str | None,
) -> None:
    service = Service()
    async with running(kind, service) as multi:
        assert await finish(kind, call(multi, kind, what)) is code
        await service.ended.wait()
    (span,) = spans_of(exported, SpanKind.SERVER)
    assert (span.name, code_of(span), span.status.status_code, reason_of(span)) == (NAME, code.value[0], status, reason)
    assert not span.events
    assert span.status.description == (reason if status is StatusCode.ERROR else None)


@pytest.mark.parametrize("kind", KINDS)
async def test_span_of_a_cancelled_call_ends_as_cancelled(exported: InMemorySpanExporter, kind: str) -> None:
    service = Service()
    async with running(kind, service) as multi:
        made = call(multi, kind, b"wait")
        ending = asyncio.create_task(finish(kind, made))
        await service.entered.wait()
        made.cancel()
        assert await ending is grpc.StatusCode.CANCELLED
        await service.ended.wait()
    (span,) = spans_of(exported, SpanKind.SERVER)
    assert (code_of(span), reason_of(span)) == (grpc.StatusCode.CANCELLED.value[0], "CANCELLED")
    for client in spans_of(exported, SpanKind.CLIENT):
        assert code_of(client) == grpc.StatusCode.CANCELLED.value[0]
        assert client.status.status_code is StatusCode.ERROR


@pytest.mark.parametrize("kind", KINDS)
async def test_span_of_a_late_call_ends_as_deadline_exceeded(exported: InMemorySpanExporter, kind: str) -> None:
    service = Service()
    async with running(kind, service) as multi:
        assert await finish(kind, call(multi, kind, b"wait", timeout=0.2)) is grpc.StatusCode.DEADLINE_EXCEEDED
        await service.ended.wait()
    (span,) = spans_of(exported, SpanKind.SERVER)
    assert code_of(span) == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
    assert span.status.status_code is StatusCode.ERROR


@pytest.mark.parametrize("kind", ["unary_stream", "stream_stream"])
async def test_span_ends_when_the_client_breaks_off_a_stream(exported: InMemorySpanExporter, kind: str) -> None:
    service = Service()
    async with running(kind, service) as multi:
        made = call(multi, kind, b"wait")
        async for _ in made:
            break
        made.cancel()
        await service.ended.wait()
    (span,) = spans_of(exported, SpanKind.SERVER)
    assert code_of(span) == grpc.StatusCode.CANCELLED.value[0]


async def test_span_ends_when_the_connection_is_lost(exported: InMemorySpanExporter) -> None:
    service = Service()
    async with running("unary_unary", service) as multi:
        made = multi(b"wait")
        ending = asyncio.create_task(finish("unary_unary", made))
        await service.entered.wait()
    # The server stopped and the channel closed while the call ran.
    await ending
    await service.ended.wait()
    assert len(spans_of(exported, SpanKind.SERVER)) == len(spans_of(exported, SpanKind.CLIENT)) == 1


async def test_handler_that_writes_by_itself_has_its_span(exported: InMemorySpanExporter) -> None:
    class Writing(Service):
        async def unary_stream(self, request: bytes, context: Any) -> None:  # type: ignore[override]
            try:
                await context.write(b"first")
                await self._act(request, context)
            finally:
                self.ended.set()

    service = Writing()
    async with running("unary_stream", service) as multi:
        assert await finish("unary_stream", multi(b"refuse")) is grpc.StatusCode.PERMISSION_DENIED
        await service.ended.wait()
    (span,) = spans_of(exported, SpanKind.SERVER)
    assert reason_of(span) == "NOT_HOLDER"


async def test_client_span_is_the_parent_of_the_server_span(exported: InMemorySpanExporter) -> None:
    async with running("unary_unary", Service()) as multi:
        await multi(b"ok")
    (client,), (server,) = spans_of(exported, SpanKind.CLIENT), spans_of(exported, SpanKind.SERVER)
    assert client.name == server.name == NAME
    assert server.parent is not None
    assert client.context is not None
    assert server.parent.span_id == client.context.span_id
    assert client.parent is None


@pytest.mark.parametrize(("what", "code", "status", "reason"), ENDINGS, ids=[ending[0].decode() for ending in ENDINGS])
async def test_client_span_says_how_the_call_ended(
    exported: InMemorySpanExporter, what: bytes, code: grpc.StatusCode, status: StatusCode, reason: str | None
) -> None:
    async with running("unary_unary", Service()) as multi:
        await finish("unary_unary", multi(what))
    (span,) = spans_of(exported, SpanKind.CLIENT)
    # The caller learns the type of an exception from nobody.
    assert (code_of(span), reason_of(span)) == (code.value[0], "UNKNOWN" if what == b"raise" else reason)
    assert span.status.status_code is (StatusCode.UNSET if what == b"ok" else StatusCode.ERROR)


async def test_client_span_ends_when_a_request_cannot_be_serialised(exported: InMemorySpanExporter) -> None:
    def serialise(_request: object) -> bytes:
        raise TypeError(CANARY)

    channel = grpc.aio.insecure_channel("127.0.0.1:1", interceptors=tracing.client_interceptors())
    async with channel:
        with pytest.raises(Exception):  # noqa: B017, PT011  # whatever gRPC makes of it
            await channel.unary_unary(f"/{NAME}", request_serializer=serialise)(object(), timeout=5)
    (span,) = spans_of(exported, SpanKind.CLIENT)
    assert span.status.status_code is StatusCode.ERROR
    assert CANARY not in span.to_json()


@pytest.mark.parametrize("kind", KINDS)
async def test_streams_carry_the_context_too(exported: InMemorySpanExporter, kind: str) -> None:
    async with running(kind, Service()) as multi:
        with tracing.span("link.receive"):
            context = tracing.traceparent()
            await finish(kind, call(multi, kind, b"ok"))
    (span,) = spans_of(exported, SpanKind.SERVER)
    assert span.parent is not None
    assert f"{span.parent.trace_id:032x}" == context.split("-")[1]


async def test_caller_that_writes_by_itself_is_not_held_up(exported: InMemorySpanExporter) -> None:
    async with running("stream_unary", Service()) as multi:
        made = multi()
        await made.write(b"ok")
        await made.done_writing()
        assert await made == b"answer"
    assert len(spans_of(exported, SpanKind.SERVER)) == 1


@pytest.mark.parametrize(
    ("service", "method"),
    [
        ("jukinet.link.v1.LinkService", "Stream"),
        ("jukinet.intake.v1.IntakeService", "SubmitChanges"),
        ("grpc.health.v1.Health", "Check"),
        ("grpc.reflection.v1alpha.ServerReflection", "ServerReflectionInfo"),
        ("other.Service", "Call"),
    ],
)
@pytest.mark.parametrize("kind", ["unary_unary", "stream_stream"])
async def test_calls_outside_the_table_have_no_span_and_no_context(
    exported: InMemorySpanExporter, kind: str, service: str, method: str
) -> None:
    answering = Service()
    async with running(kind, answering, method=method, full_service=service) as multi:
        with tracing.span("link.receive"):
            await finish(kind, call(multi, kind, b"ok"))
    assert answering.traceparents == [""]
    assert [span.name for span in exported.get_finished_spans()] in ([], ["link.receive"])


async def test_unknown_rpc_is_left_to_grpc(exported: InMemorySpanExporter) -> None:
    server = grpc.aio.server(interceptors=[tracing.server_interceptor()])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        multi: Any = channel.unary_unary(f"/{NAME}")
        assert await finish("unary_unary", multi(b"ok")) is grpc.StatusCode.UNIMPLEMENTED
    await server.stop(None)
    tracing.flush()
    assert exported.get_finished_spans() == ()


@pytest.mark.parametrize(
    ("headers", "joined"),
    [
        ([f"00-{'a' * 32}-{'b' * 16}-01"], True),
        ([f"00-{'a' * 32}-{'b' * 16}-03"], True),
        ([f"ff-{'a' * 32}-{'b' * 16}-01"], False),
        ([f"00-{'0' * 32}-{'b' * 16}-01"], False),
        (["hostile"], False),
    ],
)
async def test_context_from_outside_is_a_parent_only_when_it_is_one(
    exported: InMemorySpanExporter, headers: list[str], joined: bool
) -> None:
    service = Service()
    handler = grpc.method_handlers_generic_handler(SERVICE, {METHOD: service.handler("unary_unary")})
    server = grpc.aio.server(interceptors=[tracing.server_interceptor()])
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        metadata = [*(("traceparent", header) for header in headers), ("baggage", "name=x"), ("tracestate", "a=b")]
        multi: Any = channel.unary_unary(f"/{NAME}")
        await multi(b"ok", metadata=metadata)
    await server.stop(None)
    (span,) = spans_of(exported, SpanKind.SERVER)
    assert span.context is not None
    assert (f"{span.context.trace_id:032x}" == "a" * 32) is joined
    assert not span.context.trace_state
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-0[13]", service.traceparents[0])


async def test_callers_choice_not_to_trace_is_kept(exported: InMemorySpanExporter) -> None:
    service = Service()
    async with running("unary_unary", service) as multi:
        with tracing.span("link.receive", parent=f"00-{'a' * 32}-{'b' * 16}-00"):
            await multi(b"ok")
        with tracing.span("link.receive", parent=""):
            await multi(b"ok")
    tracing.flush()
    assert exported.get_finished_spans() == ()
    assert service.traceparents == ["", ""]


async def test_calls_work_and_pass_contexts_on_while_tracing_is_off() -> None:
    tracing.shutdown()
    service, context = Service(), f"00-{'a' * 32}-{'b' * 16}-01"
    async with running("unary_unary", service) as multi:
        assert await multi(b"ok") == b"answer"
        with tracing.span("link.receive", parent=context):
            assert await multi(b"ok") == b"answer"
    assert service.traceparents == ["", context]


async def test_many_calls_at_once_lose_no_span(exported: InMemorySpanExporter) -> None:
    async with running("unary_unary", Service()) as multi:
        await asyncio.gather(*(multi(b"ok") for _ in range(200)))
    servers = spans_of(exported, SpanKind.SERVER)
    assert len(servers) == len(spans_of(exported, SpanKind.CLIENT)) == 200
    assert len({span.context.trace_id for span in servers if span.context}) == 200
