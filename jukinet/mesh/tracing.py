"""Traces: one a change (変更情報) from the intake to the center, one an inquiry (照会) from the agency to the ledger.

Rules:
1. A trace never costs an answer: spans are queued, and dropped when the collector is slow or away (`span_queue`).
2. What leaves the process has passed `span_table`: names and attributes that are not in the table are dropped. No text
   of an exception, no event and no baggage is ever recorded.
3. An empty trace context means "not traced", and what follows from it is not traced either. No context at all (None)
   means "whatever runs now".
4. Context travels as the W3C `traceparent` alone: in the metadata of a call, or stored with a change.

Without an OTLP endpoint tracing is off: contexts of others are passed on, own spans cost nothing.

Source: W3C Trace Context, section 3.2; OpenTelemetry specification, environment variables of the OTLP exporter.
"""

import asyncio
import os
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import lru_cache
from typing import Final

import grpc
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from jukinet.domain.refusal import ChangeRefused
from jukinet.mesh.errors import Refused, code_of, name_of, reason_of
from jukinet.mesh.span_queue import SpanQueue
from jukinet.mesh.span_table import is_failure

Attributes = Mapping[str, str | int]

_SHUTDOWN_SECONDS: Final = 2.0
_ENDPOINT_VARIABLES: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_TRACEPARENT: Final = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
# Parent of everything that is not traced: valid, so that it is a parent, and not sampled.
_UNTRACED: Final = SpanContext(1, 1, is_remote=True, trace_flags=TraceFlags(0))

_NOTHING_RECORDED: Final = nullcontext[Span](trace.INVALID_SPAN)

_off: Final = trace.NoOpTracer()
_tracer: trace.Tracer = _off
_provider: TracerProvider | None = None
_node: str = ""


def configure(
    service_name: str,
    instance: str,
    *,
    sample_ratio: float | None = None,
    endpoint: str | None = None,
    exporter: SpanExporter | None = None,
) -> None:
    """Switches tracing on for this process, if spans have somewhere to go.

    Args:
        service_name: role of the node, such as `prefecture`.
        instance: which one it is, such as `130001`; empty for the only one.
        sample_ratio: share of the traces begun here that are recorded, 0 to 1; a trace begun elsewhere is recorded
            where its caller recorded it. None = OTEL_TRACES_SAMPLER_ARG, or all of them without that.
        endpoint: URL of an OTLP/gRPC collector; None = what the OTEL_* variables say.
        exporter: takes the spans instead of OTLP.
    """
    global _tracer, _provider, _node  # noqa: PLW0603  # one tracer a process, like OpenTelemetry's own
    shutdown()
    if exporter is None and (endpoint or any(os.environ.get(name) for name in _ENDPOINT_VARIABLES)):
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

        exporter = OTLPSpanExporter(endpoint=endpoint)
    if exporter is None:
        return
    _node = f"{service_name}/{instance}" if instance else service_name
    identity = {"service.name": service_name, "service.namespace": "jukinet", "service.instance.id": instance or "1"}
    _provider = TracerProvider(
        sampler=ParentBased(TraceIdRatioBased(_ratio(sample_ratio))),
        resource=Resource.create(identity),
        shutdown_on_exit=False,
    )
    _provider.add_span_processor(SpanQueue(exporter))
    _tracer = _provider.get_tracer("jukinet")


def _ratio(given: float | None) -> float:
    if given is not None:
        return given
    try:
        return min(1.0, max(0.0, float(os.environ.get("OTEL_TRACES_SAMPLER_ARG", "1"))))
    except ValueError:
        return 1.0


def shutdown() -> None:
    """Sends what is queued, for at most two seconds, and switches tracing off."""
    global _tracer, _provider
    ending, _provider, _tracer = _provider, None, _off
    if ending is not None:
        sending = threading.Thread(target=ending.shutdown, name="jukinet-last-spans", daemon=True)
        sending.start()
        sending.join(_SHUTDOWN_SECONDS)


def flush() -> None:
    """Sends what is queued and waits for it."""
    if _provider is not None:
        _provider.force_flush()


def span(name: str, *, parent: str | None = None, **attributes: str | int) -> AbstractContextManager[Span]:
    """Records what runs inside as one span.

    Args:
        name: from the table.
        parent: W3C trace context stored with a change; None = of what runs now; empty = not traced.
        attributes: from the table's row of the name; others are dropped.

    Returns:
        Gives the span; `set_attribute` adds what is known only later.
    """
    if parent is None and (_tracer is _off or _is_unrecorded(trace.get_current_span().get_span_context())):
        return _NOTHING_RECORDED
    return _recorded(name, parent, attributes)


def unrecorded(parent: str | None) -> AbstractContextManager[None] | None:
    """What lets a call run below a parent (W3C trace context) that is not recorded, and is passed on; None where a
    span has to be begun. Most calls are of such a parent, so this has to cost little.
    """
    above = None if parent is None else parsed(parent)
    return _Below(above) if above is not None and _is_unrecorded(above) else None


class _Below:
    """Runs a block below a span of somebody else."""

    __slots__ = ("_above", "_token")

    def __init__(self, above: SpanContext) -> None:
        self._above = above

    def __enter__(self) -> None:
        self._token = otel_context.attach(trace.set_span_in_context(NonRecordingSpan(self._above)))

    def __exit__(self, *_raised: object) -> None:
        otel_context.detach(self._token)


@contextmanager
def _recorded(name: str, parent: str | None, attributes: Attributes) -> Iterator[Span]:
    begun = begin(name, parent=parent, attributes=attributes)
    token = otel_context.attach(trace.set_span_in_context(begun))
    try:
        yield begun
    except BaseException as error:
        fail(begun, error)
        raise
    finally:
        otel_context.detach(token)
        begun.end()


def traceparent() -> str:
    """Gives the W3C trace context of what runs now; empty when it is not traced."""
    return context_of(trace.get_current_span())


def context_of(span: Span) -> str:
    """Gives the W3C trace context of a span, to be stored or sent; empty when it is not traced."""
    context = span.get_span_context()
    return header_of(context) if context.trace_flags.sampled else ""


def trace_id() -> str:
    """Gives the id of the trace that runs now, 32 hex digits; empty when there is none."""
    current = trace.get_current_span().get_span_context()
    return f"{current.trace_id:032x}" if current.is_valid and current.trace_id != _UNTRACED.trace_id else ""


def server_interceptor() -> grpc.aio.ServerInterceptor:
    """Gives the interceptor that records one span a call; it stands before all others."""
    from jukinet.mesh.rpc_spans import ServerSpans

    return ServerSpans()


def client_interceptors() -> list[grpc.aio.ClientInterceptor]:
    """Gives the interceptors that send the trace context along and record one span a unary call."""
    from jukinet.mesh.rpc_spans import client_spans

    return client_spans()


def begin(
    name: str, *, parent: str | None = None, attributes: Attributes | None = None, kind: SpanKind = SpanKind.INTERNAL
) -> Span:
    """Begins a span; whoever does must end it.

    Args:
        name: from the table.
        parent: W3C trace context; None = of what runs now; empty or malformed = not traced.
        attributes: from the table's row of the name; others are dropped.
        kind: server, client or, of what happens within a node, internal.
    """
    above = trace.get_current_span().get_span_context() if parent is None else parsed(parent)
    if _is_unrecorded(above):
        # Asking the sampler again takes ten times as long.
        return NonRecordingSpan(above)
    within = None if parent is None else trace.set_span_in_context(NonRecordingSpan(above), Context())
    begun = _tracer.start_span(name, within, kind=kind, attributes=attributes, record_exception=False)
    if begun.is_recording():
        begun.set_attribute("jukinet.node", _node)
    return begun


@lru_cache(maxsize=1024)  # each is read up to three times within one call
def parsed(header: str) -> SpanContext:
    """Reads a W3C trace context; what cannot be read is not traced."""
    found = _TRACEPARENT.fullmatch(header)
    if found is None:
        return _UNTRACED
    trace_id, span_id, flags = (int(part, 16) for part in found.groups())
    context = SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(flags))
    return context if context.is_valid else _UNTRACED


def _is_unrecorded(above: SpanContext) -> bool:
    """Nothing below what is not recorded is recorded."""
    return above.is_valid and not above.trace_flags.sampled


def is_context(header: str) -> bool:
    """Tells whether a text is a W3C trace context."""
    return parsed(header) is not _UNTRACED


def header_of(context: SpanContext) -> str:
    """Writes a W3C trace context, sampled or not; empty when there is none."""
    if not context.is_valid:
        return ""
    # Of the flags only "sampled" and "random id" are defined.
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags & 3:02x}"


def finish(ended: Span, code: grpc.StatusCode, reason: str, *, of_server: bool) -> None:
    """Sets what became of a call, or of the work within it.

    Args:
        ended: the span; the caller still ends it.
        code: gRPC status code.
        reason: of the error catalogue, or the name of an exception's type; empty when nothing went wrong.
        of_server: True for the side that answers, False for the caller.
    """
    if reason:
        ended.set_attribute("error.reason", reason)
    if is_failure(code, of_server=of_server):
        ended.set_status(Status(StatusCode.ERROR, reason or None))


def reason_in(error: BaseException) -> tuple[grpc.StatusCode, str]:
    """Tells the status code and reason that an exception stands for; never its text."""
    match error:
        case Refused() | ChangeRefused():
            return code_of(error.reason), name_of(error.reason)
        case grpc.aio.AioRpcError():
            refusal = reason_of(error)
            return error.code(), error.code().name if refusal is None else name_of(refusal)
        case asyncio.CancelledError():
            return grpc.StatusCode.CANCELLED, "CANCELLED"
        case _:
            return grpc.StatusCode.UNKNOWN, type(error).__name__


def fail(ended: Span, error: BaseException) -> None:
    """Sets why the work of a span failed or was refused; the caller still ends it."""
    code, reason = reason_in(error)
    finish(ended, code, reason, of_server=True)
