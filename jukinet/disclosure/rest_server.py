"""Serves the REST face: HTTP over mutual TLS 1.3, the client's certificate beside each request.

Rule: without a certificate of the nodes' CA there is no connection, and no request is read. Agencies and private
organisations have certificates of another CA. What a request's addresses and headers say is logged nowhere.

Rule: nobody keeps another one out. A connection takes a place of its counter's, as a call over gRPC does
(`jukinet.mesh.traffic`); all who are no counters share what one of them may have, and none of them is answered anyhow.
A connection without a place is told so, by the face, and ends. Whoever has a place loses it when he does not send the
whole of his next request in time, be it byte by byte, or does not take what he is answered.
"""

import asyncio
import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import uvicorn
from cryptography import x509
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from jukinet.mesh.errors import Refused
from jukinet.mesh.identity import Identity, identity_in
from jukinet.mesh.server import ListenError
from jukinet.mesh.tls import TlsFiles
from jukinet.mesh.traffic import Traffic

_CONNECTIONS: Final = 50
_TOLD: Final = 50
"""Connections beside those, to which it is still said that there is no place."""
REQUEST_SECONDS: Final = 10.0
"""For the whole of a request, from the connection's start or the last answer on."""
_HEADER_BYTES: Final = 16_384
_GRACE_SECONDS: Final = 2
_RENEW_SECONDS: Final = 5.0
_CONNECTION: Final = "REST"
_NO_COUNTER: Final = Identity("disclosure")
"""Stands for all who are no counters: the node itself calls nobody here."""


class _Connection(H11Protocol):
    """uvicorn's HTTP protocol with a place and a timer, and in each request's state the client's certificate.

    uvicorn's own timer between requests ends with the next byte, and its limit counts whoever is connected.

    Args:
        places: of all connections.
        seconds: for the whole of a request.
        uvicorns: what uvicorn gives a protocol.
    """

    def __init__(self, *, places: Traffic, seconds: float, **uvicorns: Any) -> None:
        super().__init__(**uvicorns)
        self._places = places
        self._seconds = seconds
        self._held = ExitStack()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn declares it
        certificate = transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
        no_place = None
        try:
            self._held.enter_context(self._places.call(_CONNECTION, _holder(certificate)))
        except Refused as refused:
            no_place = refused
        self.app_state = {**self.app_state, "certificate": certificate, "no_place": no_place}
        super().connection_made(transport)
        self._wait()
        if no_place and len(self.connections) > _CONNECTIONS + _TOLD:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        self._held.close()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        self._timer.cancel()
        self._wait()
        super().on_response_complete()

    def _wait(self) -> None:
        self._timer = self.loop.call_later(self._seconds, self._end_if_idle)

    def _end_if_idle(self) -> None:
        """Ends the connection, unless it is the node that the client waits for."""
        answered = self.cycle is None or self.cycle.response_complete  # type: ignore[redundant-expr]  # None at first
        if answered or self.flow.write_paused:
            self.transport.close()
        else:
            self._wait()


def _holder(certificate: bytes) -> Identity:
    """Whose place a connection takes."""
    try:
        identity = identity_in(x509.load_der_x509_certificate(certificate))
    except (ValueError, x509.ExtensionNotFound):
        return _NO_COUNTER
    return identity if identity.kind == "counter" else _NO_COUNTER


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


async def serve(app: ASGIApp, bound: socket.socket, tls: TlsFiles, *, request_seconds: float = REQUEST_SECONDS) -> None:
    """Serves until cancelled. A part of the node.

    Args:
        app: of `rest.Face`.
        bound: of `bind`.
        tls: the node's own certificate, and the CA of the nodes.
        request_seconds: for the whole of a request.
    """
    connection: Any = partial(_Connection, places=Traffic(_CONNECTIONS), seconds=request_seconds)
    context = _context(tls)
    server = _Server(
        uvicorn.Config(
            app,
            http=connection,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            ssl_context_factory=lambda _config, _default: context,
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
