"""Channels to other nodes: mutual TLS, and no byte to a server that is not the expected one."""

from collections.abc import Sequence
from typing import Final

import grpc

from jukinet.mesh.identity import Identity
from jukinet.mesh.limits import MESSAGE_SLACK_BYTES, Limits
from jukinet.mesh.tls import TlsFiles, channel_credentials

_FIRST_RECONNECT_MS: Final = 200
_LAST_RECONNECT_MS: Final = 10_000


def open_channel(
    target: str,
    tls: TlsFiles,
    *,
    server: Identity,
    interceptors: Sequence[grpc.aio.ClientInterceptor] = (),
    limits: Limits | None = None,
) -> grpc.aio.Channel:
    """Opens a channel to one node.

    Give every call a deadline, and cancel every call object in `finally`: gRPC keeps an abandoned stream alive.

    Args:
        target: host:port.
        tls: own certificate and the CA of the nodes.
        server: whom the caller expects there; anybody else fails the TLS handshake.
        interceptors: for tracing.
        limits: message size; the defaults if None.

    Raises:
        TlsError: the certificate files cannot be used.
    """
    limits = limits or Limits()
    options = [
        ("grpc.ssl_target_name_override", server.server_name),
        # A message that the server sends may be as large as one that it takes; the frame comes on top.
        ("grpc.max_receive_message_length", limits.message_bytes + MESSAGE_SLACK_BYTES),
        ("grpc.max_metadata_size", limits.metadata_bytes),
        ("grpc.initial_reconnect_backoff_ms", _FIRST_RECONNECT_MS),
        ("grpc.min_reconnect_backoff_ms", _FIRST_RECONNECT_MS),
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
