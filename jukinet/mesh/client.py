"""Channels to other nodes: mutual TLS, and no byte to a server that is not the expected one.

Hold every stream with `streaming`. grpcio 1.85.1 shows a client that is writing when its server refuses the stream
`INTERNAL: Internal error from Core` instead of the refusal (upstream issue 36066; measured: 95 of 100 refusals), and
keeps a stream alive that nobody cancels (upstream issue 43462).
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

import grpc

from jukinet.mesh.identity import Identity
from jukinet.mesh.limits import ANSWER_BYTES, Limits
from jukinet.mesh.tls import TlsFiles, channel_credentials

_FIRST_RECONNECT_MS: Final = 200
# gRPC's "minimum backoff" is how long it gives one attempt to connect; the next one does not wait for it.
_CONNECT_MS: Final = 10_000
# How long a server may be back before a channel notices; whatever is asked until then fails.
_LAST_RECONNECT_MS: Final = 2_000
# What gRPC writes over the status when a write fails, and how long the server's own may take to arrive after that.
_FAILED_WRITE: Final = "Internal error from Core"
_STATUS_SECONDS: Final = 1.0
_Call = TypeVar("_Call", bound=grpc.aio.Call)
_T = TypeVar("_T")


def open_channel(
    target: str,
    tls: TlsFiles,
    *,
    server: Identity,
    interceptors: Sequence[grpc.aio.ClientInterceptor] = (),
    limits: Limits | None = None,
) -> grpc.aio.Channel:
    """Opens a channel to one node.

    Give every unary call a deadline, and hold every stream with `streaming`.

    Args:
        target: host:port.
        tls: own certificate and the CA of the nodes.
        server: whom the caller expects there; anybody else fails the TLS handshake.
        interceptors: for tracing.
        limits: size of headers; the defaults if None.

    Raises:
        TlsError: the certificate files cannot be used.
    """
    limits = limits or Limits()
    options = [
        ("grpc.ssl_target_name_override", server.server_name),
        ("grpc.max_receive_message_length", ANSWER_BYTES),
        ("grpc.max_metadata_size", limits.metadata_bytes),
        ("grpc.initial_reconnect_backoff_ms", _FIRST_RECONNECT_MS),
        ("grpc.min_reconnect_backoff_ms", _CONNECT_MS),
        ("grpc.max_reconnect_backoff_ms", _LAST_RECONNECT_MS),
        # Two identities in one process must not share a connection.
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.enable_http_proxy", 0),
        ("grpc.service_config_disable_resolution", 1),
    ]
    return grpc.aio.secure_channel(
        target,
        channel_credentials(tls),
        options=options,
        compression=grpc.Compression.NoCompression,
        interceptors=list(interceptors),
    )


@asynccontextmanager
async def streaming(call: _Call) -> AsyncIterator[_Call]:
    """Holds a streaming call: it is cancelled at the end, and fails with the status that its server sent.

    Args:
        call: what a stub gave, just opened.

    Yields:
        The call.

    Raises:
        grpc.aio.AioRpcError: the server's own status, for `reason_of`; out of a task group too.
    """
    ended: asyncio.Future[grpc.aio.AioRpcError] = asyncio.get_running_loop().create_future()

    def note(_: object) -> None:
        # Called once for the server's status and once for each write that fails; either may come first.
        status = status_of(call)
        if not ended.done() and status.details() != _FAILED_WRITE:
            ended.set_result(status)

    call.add_done_callback(note)
    try:
        yield call
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError, ExceptionGroup) as error:
        if _is_of_a_call(error):
            await asyncio.wait([ended], timeout=_STATUS_SECONDS)
            if ended.done() and ended.result().code() is not grpc.StatusCode.OK:
                raise ended.result() from None
        raise
    finally:
        call.cancel()


def _is_of_a_call(error: Exception) -> bool:
    if isinstance(error, ExceptionGroup):
        return all(_is_of_a_call(each) for each in error.exceptions)
    return isinstance(error, grpc.aio.AioRpcError | asyncio.InvalidStateError)


def status_of(call: Any) -> grpc.aio.AioRpcError:
    """How a call ended, as far as its done callbacks can know: a write that failed overwrites what the server said."""
    return grpc.aio.AioRpcError(
        _known(call.code()), _known(call.initial_metadata()), _known(call.trailing_metadata()), _known(call.details())
    )


def _known(asked: Coroutine[Any, Any, _T]) -> _T:
    """Takes the answer of a coroutine that need not wait, for the status has arrived."""
    try:
        asked.send(None)
    except StopIteration as answered:
        answer: _T = answered.value
        return answer
    finally:
        asked.close()
    raise RuntimeError("gRPC calls done callbacks before the status is there")
