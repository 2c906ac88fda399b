"""One node as an operating-system process: telemetry on, parts running, server up, SIGTERM drains.

Rule: a part that fails ends the process. A node that lost its writer or its queue must not go on answering; the one
exception is the link, whose loss is written into its contract (a CS keeps accepting while its prefecture is away).
A disk that failed has an exit code of its own: its supervisor may start the node again, its operator looks at the disk.
"""

import asyncio
import gc
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from jukinet._pb.jukinet.admin.v1.admin_pb2_grpc import add_AdminServiceServicer_to_server
from jukinet.assembly.status import AdminService
from jukinet.ledger.errors import LedgerError
from jukinet.mesh import logging as mesh_logging
from jukinet.mesh import metrics, tracing
from jukinet.mesh.config import ConfigError, NodeConfig
from jukinet.mesh.identity import Peer
from jukinet.mesh.interceptors import OnRefusal
from jukinet.mesh.pki import PkiError, certificate_end
from jukinet.mesh.server import NodeServer, Service, build_server, quiet, run_until_signal
from jukinet.store.errors import StorageFailed

log = logging.getLogger(__name__)

T = TypeVar("T")
Part = Callable[[], Coroutine[Any, Any, None]]
Check = Callable[[], Awaitable[bool]]

_HEALTH_SECONDS = 1.0
_GARBAGE_OBJECTS = 2_000
"""New objects until a search for garbage, of a node that serves. Each call leaves some that only a search finds; one of
20,000 objects holds every call up for 8 to 11 ms, one of 2,000 for a tenth of that."""
_FAILED_SECONDS = 0.5
"""For the calls of a node of which a part failed: an agency hears of it within two seconds."""


def needed(value: T | None) -> T:
    """A setting that the config's check guarantees for the node's role."""
    if value is None:
        raise ConfigError("a setting of this role is missing; load the config by load_config")
    return value


class PartFailed(Exception):
    """A part of the node ended by itself; the process stops so that its supervisor starts it again.

    Its server still takes connections and refuses calls: the process has to end at once, which closes them all. A gRPC
    server that is stopped cancels whatever comes in that moment, so a client hears CANCELLED and not that the node is
    away, or is sent away again and again and keeps its call until its own deadline.
    """


def start_telemetry(config: NodeConfig) -> None:
    """Logs, traces and metrics of this process, by the node's config and the standard OTEL_* variables."""
    mesh_logging.configure_logging(config.identity.uri)
    mesh_logging.install_loop_handler(asyncio.get_running_loop())
    tracing.configure(config.identity.kind, config.identity.name, endpoint=config.telemetry.otlp_endpoint)
    metrics.configure(config.telemetry.metrics_listen)
    metrics.certificate_until(certificate_end(config.tls.certificate))


async def serve(
    config: NodeConfig,
    *,
    services: Sequence[Service],
    admin: AdminService,
    parts: Sequence[Part],
    checks: Mapping[str, Check],
    on_drain: Callable[[], Awaitable[None]] | None = None,
    admit: Callable[[Peer], None] = lambda _peer: None,
    on_refusal: OnRefusal | None = None,
) -> None:
    """Runs the parts and serves until SIGTERM or SIGINT.

    `checks` tells, by service, whether what it stands on answers; watchers of grpc.health.v1 hear of every change.
    `admit` raises Refused for a caller of the table whose certificate is not taken at this node.
    Raises PartFailed: a part ended by itself; its cause is StorageFailed or LedgerError where disk or ledger failed.
    """
    node = build_server(
        identity=config.identity,
        listen=config.listen,
        tls=config.tls,
        services=[*services, (add_AdminServiceServicer_to_server, admin)],
        limits=config.limits,
        interceptors=[tracing.server_interceptor()],
        admit=admit,
        on_refusal=on_refusal,
    )
    running = [asyncio.create_task(part()) for part in parts]
    await _check_health(node, checks)
    # What the start made, contract and statute table among it, is left out of every search for garbage. What of it is
    # garbage stays too: some hundred small objects, which cost less than a search for them.
    gc.freeze()
    gc.set_threshold(_GARBAGE_OBJECTS)
    _measure(config)
    await node.start(config.address_file)
    running.append(asyncio.create_task(_watch_health(node, checks, config)))
    log.info("serving", extra={"address": node.address})
    try:
        await _until_signal_or_failure(node, running, on_drain, config)
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    tracing.shutdown()
    log.info("stopped")


async def _watch_health(node: NodeServer, checks: Mapping[str, Check], config: NodeConfig) -> None:
    while True:
        await asyncio.sleep(_HEALTH_SECONDS)
        _measure(config)
        if not node.traffic.draining.is_set():
            await _check_health(node, checks)


def _measure(config: NodeConfig) -> None:
    metrics.tasks(len(asyncio.all_tasks()))
    # It may have been renewed meanwhile, or be half written just now: TLS keeps the old one then, and so does this.
    with suppress(PkiError):
        metrics.certificate_until(certificate_end(config.tls.certificate))


async def _check_health(node: NodeServer, checks: Mapping[str, Check]) -> None:
    for service, check in checks.items():
        try:
            serving = await check()
        except Exception as failure:  # whatever it is, the service cannot do its work
            log.warning("a health check failed", extra={"error_type": type(failure).__name__})
            serving = False
        if not serving or not node.health.serving(service):
            await node.health.set(service, serving)


async def _until_signal_or_failure(
    node: NodeServer,
    running: Sequence["asyncio.Task[None]"],
    on_drain: Callable[[], Awaitable[None]] | None,
    config: NodeConfig,
) -> None:
    serving = asyncio.create_task(run_until_signal(node, on_drain, grace_seconds=config.limits.drain_seconds))
    done, _ = await asyncio.wait({serving, *running}, return_when=asyncio.FIRST_COMPLETED)
    if serving in done:
        serving.result()
        return
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)
    await quiet(node, on_drain, seconds=_FAILED_SECONDS)
    failed = next(iter(done))
    failure = failed.exception()
    told = str(failure) if isinstance(failure, StorageFailed | LedgerError) else ""
    raise PartFailed(
        told or f"a part of the node failed ({type(failure).__name__ if failure else 'ended'})"
    ) from failure
