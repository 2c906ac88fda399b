"""A collector that takes spans and forgets them, so that tracing costs the nodes what it costs in production."""

from typing import Any, Final

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

_SERVICE: Final = "opentelemetry.proto.collector.trace.v1.TraceService"


class SpanSink:
    """An OTLP/gRPC endpoint on loopback; `spans` counts what came."""

    def __init__(self) -> None:
        self.spans = 0
        self._server = grpc.aio.server()
        handlers: dict[str, Any] = {"Export": grpc.unary_unary_rpc_method_handler(self._export)}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, handlers),))
        self._port = self._server.add_insecure_port("127.0.0.1:0")

    async def __aenter__(self) -> dict[str, str]:
        """Starts it, and gives what nodes need in their environment to find it."""
        await self._server.start()
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self._port}",
            "OTEL_EXPORTER_OTLP_INSECURE": "true",
        }

    async def __aexit__(self, *_: object) -> None:
        await self._server.stop(None)

    async def _export(self, request: bytes, context: Any) -> bytes:
        sent = ExportTraceServiceRequest.FromString(request)
        self.spans += sum(len(scope.spans) for each in sent.resource_spans for scope in each.scope_spans)
        return ExportTraceServiceResponse().SerializeToString()
