"""Spans of calls: one where a call is answered, one where a unary call is made.

gRPC ends a stream in many ways that are no return: the peer cancels, breaks off, lets its deadline pass; the handler
aborts or raises. Each of them passes through one `try` here, so each span ends, once, with the status that the peer
sees. A response stream is therefore written by this interceptor itself: gRPC would leave an asynchronous generator
hanging until the garbage collector finds it.

Calls that are not in the table (`span_table`) pass untouched and without a trace context: streams that stay open,
health checks, reflection.

Source: gRPC status codes; OpenTelemetry semantic conventions for gRPC.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, aclosing, contextmanager
from functools import cache
from typing import Any, Final

import grpc
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind

from jukinet.mesh import tracing
from jukinet.mesh.errors import name_of, reason_of
from jukinet.mesh.span_table import spans

HEADER: Final = "traceparent"
_TRAVEL_SECONDS: Final = 0.1
"""A caller's deadline passes before the one here, which counts from when the call came; he breaks off by then."""


class ServerSpans(grpc.aio.ServerInterceptor):
    """Records one span for each call that is answered."""

    def __init__(self) -> None:
        self._known: dict[str, Any] = {}

    async def intercept_service(self, continuation: Any, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Wraps the handler of an RPC that is in the table."""
        name = _name(handler_call_details.method)
        known = self._known.get(name)
        if known is None:
            known = await continuation(handler_call_details)
            if known is not None and name in spans():
                known = self._known[name] = _wrapped(known, name)
        return known


def _wrapped(handler: Any, name: str) -> Any:
    async def unary(request: Any, context: Any) -> Any:
        with _server_span(name, context):
            return await (handler.stream_unary if handler.request_streaming else handler.unary_unary)(request, context)

    async def stream(request: Any, context: Any) -> None:
        with _server_span(name, context):
            responses = (handler.stream_stream if handler.request_streaming else handler.unary_stream)(request, context)
            if not hasattr(responses, "__aiter__"):
                await responses  # the handler writes by itself
                return
            async with aclosing(responses):
                async for response in responses:
                    await context.write(response)

    make, behaviour = {
        (False, False): (grpc.unary_unary_rpc_method_handler, unary),
        (False, True): (grpc.unary_stream_rpc_method_handler, stream),
        (True, False): (grpc.stream_unary_rpc_method_handler, unary),
        (True, True): (grpc.stream_stream_rpc_method_handler, stream),
    }[bool(handler.request_streaming), bool(handler.response_streaming)]
    return make(behaviour, handler.request_deserializer, handler.response_serializer)


def _server_span(name: str, context: Any) -> AbstractContextManager[None]:
    parent = _parent(context.invocation_metadata())
    return tracing.unrecorded(parent) or _recorded(name, parent, context)


@contextmanager
def _recorded(name: str, parent: str | None, context: Any) -> Iterator[None]:
    span = tracing.begin(name, parent=parent, attributes=_attributes(name), kind=SpanKind.SERVER)
    token = otel_context.attach(trace.set_span_in_context(span))
    code, reason = grpc.StatusCode.OK, ""
    try:
        yield
        code, reason = context.code() or grpc.StatusCode.OK, ""
    except BaseException as error:
        code, reason = _end_of_call(error, context)
        raise
    finally:
        otel_context.detach(token)
        if code is not grpc.StatusCode.OK:
            refusal = reason_of(context)
            reason = name_of(refusal) if refusal else reason or code.name
        _end(span, code, reason, of_server=True)


def _end_of_call(error: BaseException, context: Any) -> tuple[grpc.StatusCode, str]:
    if isinstance(error, grpc.aio.AbortError):
        return context.code() or grpc.StatusCode.UNKNOWN, ""
    if isinstance(error, asyncio.CancelledError):
        # gRPC cancels the handler in both cases and does not say which.
        remaining = context.time_remaining()
        late = remaining is not None and remaining <= _TRAVEL_SECONDS
        return (grpc.StatusCode.DEADLINE_EXCEEDED if late else grpc.StatusCode.CANCELLED), ""
    return tracing.reason_in(error)


def client_spans() -> list[grpc.aio.ClientInterceptor]:
    """Gives one interceptor for each kind of call; gRPC uses an object for one kind only."""
    return [_UnaryUnary(), _UnaryStream(), _StreamUnary(), _StreamStream()]


class _UnaryUnary(grpc.aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await _unary(continuation, client_call_details, request)


class _StreamUnary(grpc.aio.StreamUnaryClientInterceptor):
    async def intercept_stream_unary(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        # The caller may write only after this has returned, so the answer cannot be waited for here.
        return await continuation(_with_context(client_call_details, _current()), request_iterator)


class _UnaryStream(grpc.aio.UnaryStreamClientInterceptor):
    async def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await continuation(_with_context(client_call_details, _current()), request)


class _StreamStream(grpc.aio.StreamStreamClientInterceptor):
    async def intercept_stream_stream(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        return await continuation(_with_context(client_call_details, _current()), request_iterator)


async def _unary(continuation: Callable[[Any, Any], Awaitable[Any]], details: Any, request: Any) -> Any:
    name = _name(details.method)
    if name not in spans():
        return await continuation(details, request)
    with _client_call(name) as header:
        call = await continuation(_with_context(details, header), request)
        # Awaited here and again by the caller: only so does the span also end when the caller never looks.
        await call
        return call


@contextmanager
def _client_call(name: str) -> Iterator[str]:
    """Spans the call that is made in the block; gives the trace context to send along, empty for none."""
    span = tracing.begin(name, attributes=_attributes(name), kind=SpanKind.CLIENT)
    code, reason = grpc.StatusCode.OK, ""
    try:
        yield tracing.header_of(span.get_span_context())
    except BaseException as error:
        code, reason = tracing.reason_in(error)
        raise
    finally:
        _end(span, code, reason, of_server=False)


def _end(span: Span, code: grpc.StatusCode, reason: str, *, of_server: bool) -> None:
    span.set_attribute("rpc.grpc.status_code", code.value[0])
    tracing.finish(span, code, reason, of_server=of_server)
    span.end()


def _current() -> str:
    return tracing.header_of(trace.get_current_span().get_span_context())


def _with_context(details: Any, header: str) -> Any:
    if not header or _name(details.method) not in spans():
        return details
    kept = [(key, value) for key, value in details.metadata or () if key != HEADER]
    return details._replace(metadata=grpc.aio.Metadata(*kept, (HEADER, header)))


def _parent(metadata: Any) -> str | None:
    """Finds the caller's context; a call without one begins a trace."""
    header = next((value for key, value in metadata or () if key == HEADER), "")
    return header if isinstance(header, str) and tracing.is_context(header) else None


@cache
def _attributes(name: str) -> Mapping[str, str | int]:
    service, _, method = name.partition("/")
    return {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method}


def _name(method: str | bytes) -> str:
    text = method.decode("ascii", "backslashreplace") if isinstance(method, bytes) else method
    return text.removeprefix("/")
