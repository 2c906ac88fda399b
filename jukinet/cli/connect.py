"""Channels from the command line to a node: by the mesh's folder, or by address and TLS files."""

import os
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from jukinet.cli.layout import OPERATOR, Mesh
from jukinet.cli.output import Exit, Failure

if TYPE_CHECKING:
    import grpc

    from jukinet.mesh.identity import Identity
    from jukinet.mesh.tls import TlsFiles

CALL_SECONDS: Final = 10.0
"""Deadline of one call from the command line."""


@dataclass(frozen=True)
class Target:
    """A node to call: where, as whom, and which one is expected there."""

    address: str
    server: "Identity"
    tls: "TlsFiles"


@dataclass(frozen=True)
class TlsOptions:
    """Address and TLS files as given on the command line instead of a mesh's folder."""

    to: str | None = None
    server: str | None = None
    certificate: Path | None = None
    key: Path | None = None
    nodes_ca: Path | None = None


def in_mesh(mesh: Mesh, node: str, client: "Identity | None" = None) -> Target:
    """Targets a node of a mesh.

    Args:
        mesh: where it belongs.
        node: its name.
        client: as whom; the mesh's operator if None.

    Raises:
        Failure: no such node, or no certificate for the client.
    """
    from jukinet.mesh.identity import Identity

    name = mesh.find(node)
    tls = mesh.client(client or Identity("operator", OPERATOR))
    return Target(mesh.address(name), mesh.config(name).identity, tls)


def by_files(options: TlsOptions) -> Target:
    """Targets a node by its address and TLS files.

    The node's identity is `options.server`, or the one node that the owner of the certificate dials.

    Raises:
        Failure: an option is missing, a file cannot be read, or it is not clear whom to expect.
    """
    from jukinet.mesh.tls import TlsFiles

    if not (options.to and options.certificate and options.key and options.nodes_ca):
        raise Failure(
            "Say --mesh DIR for a mesh on this machine; for any other node all of --to, --certificate, --key and "
            "--nodes-ca are needed.",
            Exit.USAGE,
        )
    server = _expected_server(options.server, options.certificate)
    return Target(options.to, server, TlsFiles(options.certificate, options.key, options.nodes_ca))


def _expected_server(server: str | None, certificate: Path) -> "Identity":
    from cryptography import x509

    from jukinet.mesh.identity import IdentityError, identity_in, parse_identity, upstream_of

    try:
        if server:
            return parse_identity(server)
        return upstream_of(identity_in(x509.load_pem_x509_certificate(certificate.read_bytes())))
    except IdentityError as error:
        raise Failure(f"--server: {error}", Exit.USAGE) from None
    except (OSError, ValueError, x509.ExtensionNotFound) as error:
        raise Failure(f"{certificate} is not a certificate ({type(error).__name__}).", Exit.CONFIGURATION) from None


@contextmanager
def traced(kind: str) -> "Iterator[list[grpc.aio.ClientInterceptor]]":
    """Begins traces in this process where `OTEL_EXPORTER_OTLP_ENDPOINT` says where they go; gives the interceptors."""
    if not any(os.environ.get(name) for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")):
        yield []
        return
    from jukinet.mesh import tracing

    tracing.configure(kind, "command-line")
    try:
        yield tracing.client_interceptors()
    finally:
        tracing.shutdown()


@asynccontextmanager
async def channel_to(
    target: Target, interceptors: "Sequence[grpc.aio.ClientInterceptor]" = ()
) -> "AsyncIterator[grpc.aio.Channel]":
    """Opens a channel for the time of the block.

    Raises:
        Failure: the TLS files cannot be used.
    """
    from jukinet.mesh.client import open_channel
    from jukinet.mesh.tls import TlsError

    try:
        channel = open_channel(target.address, target.tls, server=target.server, interceptors=interceptors)
    except TlsError as error:
        raise Failure(str(error), Exit.CONFIGURATION) from None
    try:
        yield channel
    finally:
        await channel.close()


async def health_of(mesh: Mesh, node: str, *, seconds: float = CALL_SECONDS) -> bool:
    """Asks a node whether it serves.

    Raises:
        grpc.aio.AioRpcError: it does not answer.
    """
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    async with channel_to(in_mesh(mesh, node)) as channel:
        # The stubs of the package know the methods of the synchronous channel only.
        check: Any = health_pb2_grpc.HealthStub(channel)
        response = await check.Check(health_pb2.HealthCheckRequest(), timeout=seconds)
    return bool(response.status == health_pb2.HealthCheckResponse.SERVING)
