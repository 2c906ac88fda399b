"""The one gate through which every call of every server passes, whatever its kind.

Rules, in the order in which they are applied:
1. Nothing but a refusal of the catalogue leaves the node. Any other exception becomes INTERNAL with a fixed text and an
   opaque id; its message goes nowhere, for it may hold personal data.
2. The caller is who its certificate says (`identity`), over TLS 1.3.
3. The caller is on the list of callers of the RPC (`callers`); unknown RPCs have no callers. And the node takes the
   certificate: a gateway takes those for keys that its agency directory lists.
4. The node is neither stopping nor full, and the caller does not hold too much of it (`traffic`).
5. The call has a deadline, unless it is a stream that stays open.
6. Every request message, of a stream too, keeps the size limit and the rules that stand in the protos. A handler may
   answer a broken message of a stream in its place and read on (`errors.BrokenMessage`), but never sees it.

gRPC's own interceptor interface sees a stream only as a handler. The gate therefore takes raw bytes in and gives raw
bytes out: parsing, checking, running and serialising all happen inside rule 1.

Source: OWASP ASVS 5.0 16.5.1; Basic Resident Registration Act art. 30-25.
"""

import logging
import secrets
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

import grpc
from google.protobuf.message import DecodeError, Message

from jukinet._pb.jukinet.errors.v1 import errors_pb2
from jukinet.domain.refusal import ChangeRefused
from jukinet.mesh import clock
from jukinet.mesh.callers import Callers
from jukinet.mesh.errors import Refused, abort, check_message, name_of
from jukinet.mesh.identity import Identity, Peer, Trust, peer_of_call
from jukinet.mesh.limits import Limits
from jukinet.mesh.traffic import Traffic

_log = logging.getLogger(__name__)
_peer: ContextVar[Peer] = ContextVar("peer")
_address: ContextVar[str] = ContextVar("address", default="")


class Terminal(NamedTuple):
    """From where a call comes."""

    certificate: bytes
    """SHA-256 of the caller's certificate in DER, 32 bytes."""
    host: str
    """Network address without the port, which is another one with each connection."""


def current_caller() -> Identity:
    """Gives the identity of the caller of the call that is running, unary or stream.

    Raises:
        LookupError: outside of a call.
    """
    return _peer.get().identity


def current_terminal() -> Terminal:
    """Gives the terminal from which the call that is running comes, unary or stream.

    Raises:
        LookupError: outside of a call.
    """
    return Terminal(bytes.fromhex(_peer.get().fingerprint), _address.get().rpartition(":")[0])


_NOT_YET = Refused(errors_pb2.ERROR_REASON_UNSPECIFIED)


@dataclass
class RefusedCall:
    """What is known of a call that is being refused."""

    rpc: str
    error_id: str = ""
    """Opaque id that the caller is told, and that stands in the log."""
    caller: Identity | None = None
    entered: bool = False
    """True when the handler had begun."""
    request: Message | None = None
    """The last request message that could be parsed; holds personal data."""
    refused: Refused = _NOT_YET


OnRefusal = Callable[[RefusedCall], Awaitable[None]]


@dataclass(frozen=True)
class Gate(grpc.aio.ServerInterceptor):
    """The gate of one server.

    Args:
        node: identity of this node.
        trust: gives the CAs in force.
        callers: table of callers.
        limits: of this node.
        traffic: counts running calls and knows when the node stops.
        admit: raises Refused for a caller of the table whose certificate is not taken at this node.
        on_refusal: awaited before a refusal is sent, so that it can be put on record first; what it raises is sent
            instead.
        now: the present moment, UTC.
    """

    node: Identity
    trust: Callable[[], Trust]
    callers: Callers
    limits: Limits
    traffic: Traffic
    admit: Callable[[Peer], None] = lambda _peer: None
    on_refusal: OnRefusal | None = None
    now: Callable[[], datetime] = clock.now
    _known: dict[str, Any] = field(default_factory=dict)

    async def intercept_service(self, continuation: Any, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Wraps the handler of an RPC; an RPC without a handler as well, so that it is refused by the same rules."""
        rpc = _text(handler_call_details.method)
        known = self._known.get(rpc)
        if known is None:
            handler = await continuation(handler_call_details)
            known = self._wrapped(rpc, handler or _NO_SUCH_RPC)
            if handler:
                self._known[rpc] = known
        return known

    def _wrapped(self, rpc: str, handler: "grpc.RpcMethodHandler[Any, Any]") -> Any:
        async def unary(request: Any, context: Any) -> bytes | None:
            return await self._guarded(rpc, handler, request, context)

        async def stream(request: Any, context: Any) -> None:
            await self._guarded(rpc, handler, request, context)

        if handler.request_streaming and handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler(stream)
        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(stream)
        if handler.request_streaming:
            return grpc.stream_unary_rpc_method_handler(unary)
        return grpc.unary_unary_rpc_method_handler(unary)

    async def _guarded(self, rpc: str, handler: Any, request: Any, context: Any) -> bytes | None:
        call = RefusedCall(rpc)
        try:
            peer = peer_of_call(context, self.trust())
            call.caller = peer.identity
            if not self.callers.allows(rpc, peer.identity, self.node):
                raise Refused(errors_pb2.ERROR_REASON_CALLER_NOT_ALLOWED)
            self.admit(peer)
            with self.traffic.call(rpc, peer.identity):
                if rpc not in self.callers.without_deadline and context.time_remaining() is None:
                    raise Refused(errors_pb2.ERROR_REASON_DEADLINE_REQUIRED)
                _peer.set(peer)
                _address.set(context.peer())
                return await self._run(_Messages(self, call, handler, peer, context), handler, request)
        except (Exception, BaseExceptionGroup) as error:
            if isinstance(error, grpc.aio.BaseError) and not isinstance(error, grpc.aio.UsageError):
                # The call is over already: aborted by its handler, or the peer is gone. The text is gRPC's own, but
                # gRPC may log what caused it.
                error.__cause__ = error.__context__ = None
                raise
            call.error_id = secrets.token_hex(8)
            call.refused = _refusal(error, call)
        if not context.done():
            await self._refuse(call, context)
        return None

    async def _run(self, messages: "_Messages", handler: Any, request: Any) -> bytes | None:
        """Runs the handler. Its four kinds differ in what it takes and in what it gives."""
        requests = messages if handler.request_streaming else messages.take(request)
        messages.call.entered = True
        if not handler.response_streaming:
            behaviour = handler.stream_unary if handler.request_streaming else handler.unary_unary
            return messages.give(await behaviour(requests, messages))
        behaviour = handler.stream_stream if handler.request_streaming else handler.unary_stream
        responses = behaviour(requests, messages)
        if not hasattr(responses, "__aiter__"):
            await responses  # the handler writes by itself
            return None
        async with aclosing(responses):
            async for response in responses:
                await messages.write(response)
        return None

    async def _refuse(self, call: RefusedCall, context: Any) -> None:
        if self.on_refusal is not None:
            try:
                await self.on_refusal(call)
            except Exception as error:
                call.refused = _refusal(error, call)
        facts = {"reason": name_of(call.refused.reason), "peer": str(call.caller or ""), **_facts(call)}
        _log.info("call refused: %s", call.refused.detail or "no detail", extra=facts)
        await abort(context, call.refused, call.error_id)


class _Messages:
    """The context that a handler sees, and its stream of requests: raw messages are checked on their way in."""

    def __init__(self, gate: Gate, call: RefusedCall, handler: Any, peer: Peer, context: Any) -> None:
        self.call = call
        self._gate = gate
        self._parse = handler.request_deserializer
        self._serialise = handler.response_serializer
        self._peer = peer
        self._context = context

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        message = await self.read()
        if message is grpc.aio.EOF:
            raise StopAsyncIteration
        return message

    async def read(self) -> Any:
        """Reads and checks the next request of a stream; `grpc.aio.EOF` at its end."""
        raw = await self._context.read()
        return raw if raw is grpc.aio.EOF else self.take(raw)

    async def write(self, message: Any) -> None:
        """Sends the next response of a stream."""
        self._peer.require_valid(self._gate.now())
        await self._context.write(self.give(message))

    def take(self, raw: bytes) -> Any:
        """Parses and checks a request."""
        self._peer.require_valid(self._gate.now())
        self._gate.trust().require_admitted(self._peer)
        if len(raw) > self._gate.limits.message_bytes:
            raise Refused(errors_pb2.ERROR_REASON_MESSAGE_TOO_LARGE, detail=f"{len(raw)} bytes")
        try:
            message = self._parse(raw)
        except DecodeError:
            raise Refused(errors_pb2.ERROR_REASON_INVALID_MESSAGE, detail="does not parse") from None
        self.call.request = message
        check_message(message)
        return message

    def give(self, message: Any) -> bytes:
        """Serialises a response."""
        raw: bytes = self._serialise(message)
        return raw


def _refusal(error: BaseException, call: RefusedCall) -> Refused:
    """Finds the refusal in what a handler raised; anything else becomes INTERNAL and is logged without its text."""
    match error:
        case Refused():
            return error
        case ChangeRefused():
            return Refused(error.reason, field=error.field)
        case BaseExceptionGroup():
            # A handler's task group wraps what its tasks raise.
            known = error.subgroup(lambda each: isinstance(each, Refused | ChangeRefused))
            while isinstance(known, BaseExceptionGroup):
                known = known.exceptions[0]
            if known is not None:
                return _refusal(known, call)
    _log.error("call failed: %s", _where(error), extra=_facts(call))
    return Refused(errors_pb2.ERROR_REASON_UNSPECIFIED)


def _facts(call: RefusedCall) -> dict[str, str]:
    return {"rpc": call.rpc, "error_id": call.error_id}


def _where(error: BaseException) -> str:
    """Tells type and place of an exception and of its causes, without their texts and values."""
    lines = [
        f"{type(error).__name__} at "
        + " > ".join(f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__))
    ]
    if isinstance(error, BaseExceptionGroup):
        lines += [_where(each) for each in error.exceptions]
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None:
        lines.append(f"from {_where(cause)}")
    return "; ".join(lines)


async def _not_there(request: Any, context: Any) -> None:
    raise Refused(errors_pb2.ERROR_REASON_NOT_IMPLEMENTED)


_NO_SUCH_RPC: Any = grpc.stream_stream_rpc_method_handler(_not_there)


def _text(method: str | bytes) -> str:
    return method.decode("ascii", "backslashreplace") if isinstance(method, bytes) else method
