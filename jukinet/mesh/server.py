"""A gRPC server as every node runs it: hardened, behind the gate, with health and reflection, and drained on SIGTERM.

Source: gRPC channel arguments, `grpc/impl/channel_arg_names.h`; grpc.health.v1; grpc.reflection.v1alpha.
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import grpc
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from grpc_reflection.v1alpha._async import ReflectionServicer
from grpc_reflection.v1alpha.reflection_pb2_grpc import add_ServerReflectionServicer_to_server

from jukinet.mesh import clock, health
from jukinet.mesh.callers import Callers, network_callers
from jukinet.mesh.identity import Identity, Peer
from jukinet.mesh.interceptors import Gate, OnRefusal
from jukinet.mesh.limits import Limits
from jukinet.mesh.pki import write_public
from jukinet.mesh.tls import TlsFiles, TlsMaterial, server_credentials
from jukinet.mesh.traffic import Traffic

# gRPC itself refuses calls beyond the node's limit only when the gate is flooded, and cannot say why.
_RPC_SLACK: Final = 50
_LAST_STATUS_SECONDS: Final = 0.5

Service = tuple[Callable[[Any, Any], None], Any]
"""Generated `add_…Servicer_to_server` and the servicer for it."""


class ListenError(OSError):
    """The listen address cannot be used. Choose another host:port, or stop who holds it."""


@dataclass(frozen=True)
class NodeServer:
    """A server that is bound, its health and its running calls."""

    server: grpc.aio.Server
    health: health.Health
    traffic: Traffic
    host: str
    port: int

    @property
    def address(self) -> str:
        """host:port to dial."""
        return f"{self.host}:{self.port}"

    async def start(self, address_file: Path | None = None) -> None:
        """Begins to serve, then says where.

        Args:
            address_file: gets host:port in one step; None = nobody asked.
        """
        await self.server.start()
        if address_file is not None:
            write_public(address_file, f"{self.address}\n".encode())


def build_server(
    *,
    identity: Identity,
    listen: str,
    tls: TlsFiles,
    services: Sequence[Service],
    limits: Limits | None = None,
    interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
    admit: Callable[[Peer], None] = lambda _peer: None,
    on_refusal: OnRefusal | None = None,
    callers: Callers | None = None,
    now: Callable[[], datetime] = clock.now,
) -> NodeServer:
    """Builds a server and binds its port.

    Args:
        identity: of this node.
        listen: host:port; port 0 = any free one.
        tls: certificate, key, CAs.
        services: what it serves, beside health and reflection.
        limits: the defaults if None.
        interceptors: for tracing; they stand before the gate and see its refusals as statuses.
        admit: raises Refused for a caller of the table whose certificate is not taken at this node.
        on_refusal: awaited before each refusal is sent.
        callers: the network's table if None.
        now: the present moment, UTC.

    Raises:
        CallersError: a service has an RPC without a line in the table of callers.
        TlsError: the certificate files cannot be used.
        ListenError: the address cannot be bound.
    """
    limits, callers = limits or Limits(), callers or network_callers()
    material, traffic, health_state = TlsMaterial(tls), Traffic(limits.concurrent_rpcs), health.Health()
    gate = Gate(
        node=identity,
        trust=lambda: material.trust,
        callers=callers,
        limits=limits,
        traffic=traffic,
        admit=admit,
        on_refusal=on_refusal,
        now=now,
    )
    server = grpc.aio.server(
        interceptors=[*interceptors, gate],
        options=limits.server_options(),
        maximum_concurrent_rpcs=limits.concurrent_rpcs + _RPC_SLACK,
        compression=grpc.Compression.NoCompression,
    )
    registered = _Registered(server)
    own: Service = (health_pb2_grpc.add_HealthServicer_to_server, health_state.servicer)
    for add, servicer in (*services, own):
        add(servicer, registered)
    names = (*registered.services, reflection.SERVICE_NAME)
    add_reflection: Callable[[Any, Any], None] = add_ServerReflectionServicer_to_server
    add_reflection(ReflectionServicer(names), registered)
    callers.require_lines(registered.rpcs)
    try:
        port = server.add_secure_port(listen, server_credentials(material))
    except RuntimeError:
        raise ListenError(f"Cannot listen on {listen}. {ListenError.__doc__}") from None
    return NodeServer(server, health_state, traffic, listen.rpartition(":")[0], port)


async def run_until_signal(
    node: NodeServer, on_drain: Callable[[], Awaitable[None]] | None = None, *, grace_seconds: float
) -> None:
    """Serves until SIGTERM or SIGINT, then drains.

    Args:
        node: a server that was started.
        on_drain: what else is to end before the last call, such as link senders.
        grace_seconds: how long running calls may take, in seconds.
    """
    asked_to_stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked_to_stop.set)
    try:
        await asked_to_stop.wait()
        await drain(node, on_drain, grace_seconds=grace_seconds)
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


async def drain(
    node: NodeServer, on_drain: Callable[[], Awaitable[None]] | None = None, *, grace_seconds: float
) -> None:
    """Stops in order: says NOT_SERVING, refuses new calls with DRAINING, lets running ones finish, ends.

    Args:
        node: the server.
        on_drain: what else is to end before the last call.
        grace_seconds: how long running calls may take, in seconds; what runs then is cancelled.
    """
    try:
        await quiet(node, on_drain, seconds=grace_seconds)
    finally:
        # Only health watchers are left, or calls that outlasted the grace; and of one whose handler has just ended the
        # status may not have left yet.
        await node.server.stop(_LAST_STATUS_SECONDS)


async def quiet(node: NodeServer, on_drain: Callable[[], Awaitable[None]] | None = None, *, seconds: float) -> None:
    """Says NOT_SERVING, refuses new calls with DRAINING, and returns when the running ones ended, or after a time.

    Args:
        node: the server.
        on_drain: what else is to end before the last call.
        seconds: how long running calls may take.
    """
    await node.health.stop()
    node.traffic.draining.set()
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            if on_drain is not None:
                await on_drain()
            await node.traffic.idle()


class _Registered:
    """Stands for a server while services are added to it, and remembers their RPCs."""

    def __init__(self, server: grpc.aio.Server) -> None:
        self._server = server
        self.services: list[str] = []
        self.rpcs: list[str] = []

    def add_generic_rpc_handlers(self, handlers: Any) -> None:
        """Passes on; these handlers answer."""
        self._server.add_generic_rpc_handlers(handlers)

    def add_registered_method_handlers(self, service: str, handlers: dict[str, Any]) -> None:
        """Remembers the RPCs of a service."""
        self.services.append(service)
        self.rpcs += [f"/{service}/{method}" for method in handlers]
