"""Serves the REST face: HTTP over mutual TLS 1.3, the client's certificate beside each request.

Rule: without a certificate of the nodes' CA there is no connection, and no request is read. Agencies and private
organisations have certificates of another CA. What a request's addresses and headers say is logged nowhere.
"""

import asyncio
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from jukinet.mesh.server import ListenError
from jukinet.mesh.tls import TlsFiles

_CONNECTIONS: Final = 50
_HEADER_BYTES: Final = 16_384
_GRACE_SECONDS: Final = 2
_RENEW_SECONDS: Final = 5.0


class _WithCertificate(H11Protocol):
    """uvicorn's HTTP protocol, with the client's certificate in each request's state."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn declares it
        tls = transport.get_extra_info("ssl_object")
        self.app_state = {**self.app_state, "certificate": tls.getpeercert(binary_form=True)}
        super().connection_made(transport)


class _Server(uvicorn.Server):
    """uvicorn without its own signal handlers: the node decides when to stop."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves signals alone."""
        yield


def bind(listen: str) -> socket.socket:
    """Takes the address, before the node serves anything.

    Args:
        listen: host:port.
    Raises:
        ListenError: it cannot be had.
    """
    host, _, port = listen.rpartition(":")
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host.strip("[]"), int(port)))
        bound.listen()
    except (OSError, OverflowError):
        bound.close()
        raise ListenError(f"Cannot listen on {listen}. {ListenError.__doc__}") from None
    return bound


async def serve(app: ASGIApp, bound: socket.socket, tls: TlsFiles) -> None:
    """Serves until cancelled. A part of the node.

    Args:
        app: of `rest.Face`.
        bound: of `bind`.
        tls: the node's own certificate, and the CA of the nodes.
    """
    context = _context(tls)
    server = _Server(
        uvicorn.Config(
            app,
            http=_WithCertificate,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            ssl_context_factory=lambda _config, _default: context,
            limit_concurrency=_CONNECTIONS,
            h11_max_incomplete_event_size=_HEADER_BYTES,
            timeout_graceful_shutdown=_GRACE_SECONDS,
        )
    )
    serving = asyncio.create_task(server.serve([bound]))
    try:
        await _renew(context, tls, serving)
    finally:
        server.should_exit = True
        await serving


async def _renew(context: ssl.SSLContext, tls: TlsFiles, serving: "asyncio.Task[Any]") -> None:
    """Lets a renewed certificate count from the next handshake on; ends when the server does."""
    seen = _stamp(tls.certificate)
    while not serving.done():
        await asyncio.wait([serving], timeout=_RENEW_SECONDS)
        stamp = _stamp(tls.certificate)
        if stamp != seen:
            try:
                context.load_cert_chain(tls.certificate, tls.key)
                seen = stamp
            except (OSError, ssl.SSLError):
                continue  # half written; the old one counts until both files fit together
    serving.result()


def _stamp(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return (0, 0)
    return status.st_mtime_ns, status.st_ino


def _context(tls: TlsFiles) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cafile=tls.nodes_ca)
    context.load_cert_chain(tls.certificate, tls.key)
    return context
