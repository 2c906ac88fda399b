"""The OTLP collector: takes spans over gRPC from any OpenTelemetry SDK.

It speaks plaintext and asks nobody who he is, so it listens on this machine alone. Spans hold no personal data by the
table of `jukinet.mesh.span_table`; what others send is kept short and shown escaped.

Source: OTLP 1.x, `opentelemetry.proto.collector.trace.v1.TraceService`.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceServicer
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as OtlpSpan
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from jukinet.traces.store import Span, SpanStore

_REASON: Final = "error.reason"
_LATEST_NS: Final = 2**63 - 1


class Receiver(TraceServiceServicer):
    """Writes what it is sent into a store."""

    def __init__(self, store: SpanStore) -> None:
        self._store = store

    async def Export(
        self, request: ExportTraceServiceRequest, context: "grpc.aio.ServicerContext[Any, Any]"
    ) -> ExportTraceServiceResponse:
        """Keeps the spans of a request; those without ids are rejected and counted."""
        found = list(_read(request))
        spans = [span for span in found if span is not None]
        self._store.add(spans)
        response = ExportTraceServiceResponse()
        if len(spans) < len(found):
            response.partial_success.rejected_spans = len(found) - len(spans)
            response.partial_success.error_message = "a span needs a trace id of 16 bytes and a span id of 8 bytes"
        return response


def _read(request: ExportTraceServiceRequest) -> Iterator[Span | None]:
    for resource_spans in request.resource_spans:
        resource = _attributes(resource_spans.resource.attributes)
        service = str(resource.get("service.name", "unknown"))
        instance = str(resource.get("service.instance.id", ""))
        for scope_spans in resource_spans.scope_spans:
            for span in scope_spans.spans:
                yield _span(span, service, instance)


def _span(span: OtlpSpan, service: str, instance: str) -> Span | None:
    if len(span.trace_id) != 16 or len(span.span_id) != 8 or len(span.parent_span_id) not in (0, 8):
        return None
    attributes = _attributes(span.attributes)
    reason = str(attributes.pop(_REASON, "") or span.status.message)
    return Span(
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        name=span.name,
        kind=_kind(span.kind),
        service=service,
        instance="" if instance == "1" else instance,
        start_ns=min(span.start_time_unix_nano, _LATEST_NS),
        end_ns=min(span.end_time_unix_nano, _LATEST_NS),
        failed=span.status.code == Status.STATUS_CODE_ERROR,
        reason=reason,
        attributes=attributes,
    )


def _kind(number: "OtlpSpan.SpanKind.ValueType") -> str:
    known = OtlpSpan.SpanKind.DESCRIPTOR.values_by_number.get(number)
    return known.name.removeprefix("SPAN_KIND_").lower() if known else "unspecified"


def _attributes(pairs: Iterable[KeyValue]) -> dict[str, str | int | float | bool]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> str | int | float | bool:
    kind = value.WhichOneof("value")
    if kind in ("string_value", "int_value", "double_value", "bool_value"):
        plain: str | int | float | bool = getattr(value, kind)
        return plain
    return f"<{(kind or 'nothing').removesuffix('_value')}>"
