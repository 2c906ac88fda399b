"""An OTLP collector in the process of the tests, which keeps what the nodes of a mesh say of their calls."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span

_WAIT_SECONDS: Final = 10.0


class Collector:
    """An OTLP collector in this process. Keeps every export as the bytes that came over the wire."""

    def __init__(self) -> None:
        self.exports: list[bytes] = []
        self._came = threading.Condition()
        self._server = grpc.server(ThreadPoolExecutor(4))
        # Without a parser the handler gets the bytes themselves.
        export: Any = grpc.unary_unary_rpc_method_handler(self._export)
        service = "opentelemetry.proto.collector.trace.v1.TraceService"
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {"Export": export}),))
        self.endpoint = f"http://127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def _export(self, raw: bytes, _context: grpc.ServicerContext) -> bytes:
        with self._came:
            self.exports.append(raw)
            self._came.notify_all()
        return ExportTraceServiceResponse().SerializeToString()

    def spans(self, trace_id: str) -> list[tuple[str, str]]:
        """Role and name of the spans of a trace, as far as they have come."""
        return [(role, span.name) for role, span in self._all() if span.trace_id.hex() == trace_id]

    def traces_with(self, *wanted: tuple[str, str]) -> set[str]:
        """Ids of all traces that hold one of these spans, by role and name."""
        return {span.trace_id.hex() for role, span in self._all() if (role, span.name) in wanted}

    async def wait_for(self, trace_id: str, *wanted: tuple[str, str]) -> None:
        """Waits until spans, by role and name, have come in a trace. A process exports in the order of the ends."""

        def came() -> bool:
            return set(wanted) <= set(self.spans(trace_id))

        def wait() -> bool:
            with self._came:
                return self._came.wait_for(came, _WAIT_SECONDS)

        assert await asyncio.to_thread(wait), f"only {self.spans(trace_id)} came"

    def _all(self) -> Iterator[tuple[str, Span]]:
        for raw in tuple(self.exports):
            for of_resource in ExportTraceServiceRequest.FromString(raw).resource_spans:
                names = {pair.key: pair.value.string_value for pair in of_resource.resource.attributes}
                for of_scope in of_resource.scope_spans:
                    for span in of_scope.spans:
                        yield names["service.name"], span

    def stop(self) -> None:
        self._server.stop(None).wait()
