"""Tracing of a node: own spans, one table of what they may say, and nothing else leaves.

Rules:
1. A span has a name of the table below and only the attributes that stand beside it. Everything else, events and status
   texts included, is dropped before export. So no library and no later line can put a person into a trace.
2. One trace runs from the municipal system's call to the center's commit, and one from the agency's call to its answer:
   a change carries its context with it (outbox column, batch field), a unary call carries it in `traceparent`.
3. A stream that lives for days has no span of its own; each message on it has.
4. A collector that is slow or gone delays nothing: spans wait in a bounded queue and are dropped when it is full.

The exporter is configured by the standard variables alone (`OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_TRACES_SAMPLER`, …).

Source: W3C Trace Context; OpenTelemetry semantic conventions for RPC.
"""

import os
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from types import MappingProxyType
from typing import Any, Final

import grpc
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

import jukinet

_RPC: Final = frozenset({"rpc.system", "rpc.service", "rpc.method", "rpc.grpc.status_code", "error.reason"})
_CHANGE: Final = frozenset({"jukinet.reason", "jukinet.municipality", "jukinet.sequence", "error.reason"})

ATTRIBUTES: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "intake.change": _CHANGE,
        "register.apply": _CHANGE,
        "link.receive": _CHANGE | {"jukinet.outcome"},
        "inquiry.decide": frozenset({"jukinet.purpose", "error.reason"}),
        "provision.decide": frozenset({"jukinet.purpose", "error.reason"}),
        "provision.look_up": frozenset({"error.reason"}),
        "ledger.append": frozenset({"jukinet.result", "error.reason"}),
    }
)
"""Which attributes a span of ours may have. Calls, named `package.Service/Method`, may have those of an RPC."""

_propagator: Final = TraceContextTextMapPropagator()
_UNTRACED: Final = ("/grpc.health.", "/grpc.reflection.")
_SERVICES: Final = "jukinet."


def configure(kind: str, instance: str, *, exporter: SpanExporter | None = None) -> None:
    """Turns tracing on for this process.

    Args:
        kind: kind of node, such as `center`; the service is called `jukinet-center`.
        instance: its name within the kind.
        exporter: for tests; the OTLP exporter of the standard variables if None, and none where they name no endpoint.
    """
    resource = Resource.create(
        {"service.name": f"jukinet-{kind}", "service.instance.id": instance, "service.version": jukinet.__version__}
    )
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    if exporter is None and _endpoint():
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

        exporter = OTLPSpanExporter()
    if exporter is not None:
        provider.add_span_processor(_Allowed(BatchSpanProcessor(exporter)))
    _Tracing.provider = provider
    _Tracing.tracer = provider.get_tracer("jukinet")


def shutdown() -> None:
    """Sends what is waiting, for at most five seconds, and turns tracing off."""
    if _Tracing.provider is not None:
        _Tracing.provider.force_flush(5000)
        _Tracing.provider.shutdown()
    _Tracing.provider = None
    _Tracing.tracer = trace.NoOpTracer()


@contextmanager
def span(name: str, *, parent: str | None = None, attributes: Mapping[str, str | int] | None = None) -> Iterator[None]:
    """Runs a block under a span of the table; a failure marks it and goes on.

    Args:
        name: of the table.
        parent: W3C traceparent; the current span if None.
        attributes: those of the table.
    """
    context = _context(parent) if parent else None
    with _Tracing.tracer.start_as_current_span(
        name, context=context, attributes=attributes, record_exception=False, set_status_on_exception=False
    ) as current:
        try:
            yield
        except BaseException as error:
            _fail(current, error)
            raise


def start_span(stack: ExitStack, name: str, *, parent: str, attributes: Mapping[str, str | int]) -> str:
    """Opens a span that ends when `stack` closes and is not the current one meanwhile.

    Args:
        parent: W3C traceparent.

    Returns:
        Its own traceparent; empty where it is not sampled.
    """
    context = _context(parent)
    if not trace.get_current_span(context).get_span_context().trace_flags.sampled:
        return ""
    opened = _Tracing.tracer.start_span(name, context=context, attributes=attributes)
    stack.callback(opened.end)
    return _traceparent(trace.set_span_in_context(opened, Context()))


def traceparent() -> str:
    """W3C traceparent of the current span; empty where there is none or it is not sampled."""
    return _traceparent(None)


def server_interceptor() -> grpc.aio.ServerInterceptor:
    """Gives every unary call a span, as the child of the caller's."""
    return _ServerSpans()


def client_interceptors() -> list[grpc.aio.ClientInterceptor]:
    """Gives every unary call that is made a span, and sends its context along."""
    return [_ClientSpans()]


class _Tracing:
    provider: TracerProvider | None = None
    tracer: trace.Tracer = trace.NoOpTracer()


class _Allowed(SpanProcessor):
    """Hands on what the table allows and drops the rest."""

    def __init__(self, inner: SpanProcessor) -> None:
        self._inner = inner

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Nothing to do before a span has ended."""

    def on_end(self, span: ReadableSpan) -> None:
        """Hands a cleaned copy on, if the span's name is known."""
        allowed = _allowed(span.name)
        if allowed is None:
            return
        kept = {key: value for key, value in (span.attributes or {}).items() if key in allowed}
        self._inner.on_end(
            ReadableSpan(
                name=span.name,
                context=span.context,
                parent=span.parent,
                resource=span.resource,
                attributes=kept,
                kind=span.kind,
                status=Status(span.status.status_code),
                start_time=span.start_time,
                end_time=span.end_time,
                instrumentation_scope=span.instrumentation_scope,
            )
        )

    def shutdown(self) -> None:
        """Ends the export."""
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Sends what is waiting."""
        return self._inner.force_flush(timeout_millis)


class _ServerSpans(grpc.aio.ServerInterceptor):  # type: ignore[misc]  # the stubs leave the base untyped
    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        handler = await continuation(handler_call_details)
        rpc = handler_call_details.method
        if handler is None or handler.request_streaming or handler.response_streaming or rpc.startswith(_UNTRACED):
            return handler
        inner = handler.unary_unary
        parent = dict(handler_call_details.invocation_metadata or ()).get("traceparent", "")

        async def traced(request: Any, context: Any) -> Any:
            with _call_span(rpc, SpanKind.SERVER, _context(parent)) as current:
                try:
                    return await inner(request, context)
                finally:
                    _note_code(current, context.code())

        return grpc.unary_unary_rpc_method_handler(traced, handler.request_deserializer, handler.response_serializer)


class _ClientSpans(grpc.aio.UnaryUnaryClientInterceptor):  # type: ignore[misc]  # the stubs leave the base untyped
    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        rpc = client_call_details.method
        rpc = rpc.decode() if isinstance(rpc, bytes) else rpc
        if rpc.startswith(_UNTRACED):
            return await continuation(client_call_details, request)
        with _call_span(rpc, SpanKind.CLIENT, None) as current:
            carrier: dict[str, str] = {}
            _propagator.inject(carrier)
            metadata = [(key, value) for key, value in client_call_details.metadata or () if key != "traceparent"]
            details = client_call_details._replace(metadata=grpc.aio.Metadata(*metadata, *carrier.items()))
            call = await continuation(details, request)
            _note_code(current, await call.code())
            return call


@contextmanager
def _call_span(rpc: str, kind: SpanKind, context: Context | None) -> Iterator[trace.Span]:
    service, _, method = rpc.removeprefix("/").partition("/")
    attributes = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method}
    with _Tracing.tracer.start_as_current_span(
        f"{service}/{method}",
        context=context,
        kind=kind,
        attributes=attributes,
        record_exception=False,
        set_status_on_exception=False,
    ) as current:
        try:
            yield current
        except BaseException as error:
            _fail(current, error)
            raise


def _note_code(current: trace.Span, code: Any) -> None:
    value = code.value[0] if isinstance(code, grpc.StatusCode) else int(code or 0)
    current.set_attribute("rpc.grpc.status_code", value)
    if value:
        current.set_status(StatusCode.ERROR)


def _fail(current: trace.Span, error: BaseException) -> None:
    reason = getattr(error, "reason", None)
    if isinstance(reason, int):
        from jukinet.mesh.errors import name_of

        current.set_attribute("error.reason", name_of(reason))
    current.set_status(StatusCode.ERROR)


def _allowed(name: str) -> frozenset[str] | None:
    if name.startswith(_SERVICES) and "/" in name:
        return _RPC
    return ATTRIBUTES.get(name)


def _context(parent: str) -> Context:
    return _propagator.extract({"traceparent": parent}, context=Context())


def _traceparent(context: Context | None) -> str:
    if not trace.get_current_span(context).get_span_context().trace_flags.sampled:
        return ""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier, context=context)
    return carrier.get("traceparent", "")


def _endpoint() -> str:
    names = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    return next((os.environ[name] for name in names if os.environ.get(name)), "")
