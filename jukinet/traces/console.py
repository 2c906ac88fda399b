"""The trace console as one process: collector and pages over one store.

Both listen on this machine alone, for neither asks who calls.
"""

import asyncio
import json
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import grpc
import uvicorn
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import add_TraceServiceServicer_to_server

from jukinet.traces.page import LOOPBACK, build_app
from jukinet.traces.receiver import Receiver
from jukinet.traces.store import SpanStore, TracesError

_LARGEST_REQUEST: Final = 16 * 2**20  # bytes
_GRACE_SECONDS: Final = 1


@dataclass(frozen=True)
class Addresses:
    """Where a console listens: the collector's and the pages' URL."""

    otlp: str
    page: str


@asynccontextmanager
async def console(db_path: Path | str, grpc_listen: str, http_listen: str) -> AsyncIterator[Addresses]:
    """Runs a console until the block ends.

    Args:
        db_path: SQLite file of the spans.
        grpc_listen: host:port of the collector; port 0 = any free one.
        http_listen: host:port of the pages; port 0 = any free one.

    Raises:
        TracesError: the file or an address cannot be used.
    """
    for listen in (grpc_listen, http_listen):
        _check(listen)
    with SpanStore(db_path) as store, _bound(http_listen) as listening:
        collector = grpc.aio.server(
            # A second console must not share the port of the first unnoticed.
            options=[("grpc.max_receive_message_length", _LARGEST_REQUEST), ("grpc.so_reuseport", 0)]
        )
        add_TraceServiceServicer_to_server(Receiver(store), collector)  # type: ignore[no-untyped-call]  # generated, untyped
        try:
            port = collector.add_insecure_port(grpc_listen)
        except RuntimeError:
            raise TracesError(f"Cannot listen on {grpc_listen}. {TracesError.__doc__}") from None
        pages = _Pages(
            uvicorn.Config(
                build_app(store),
                log_config=None,
                access_log=False,
                lifespan="off",
                timeout_graceful_shutdown=_GRACE_SECONDS,
                server_header=False,
            )
        )
        await collector.start()
        serving = asyncio.create_task(pages.serve([listening]))
        try:
            yield Addresses(f"http://127.0.0.1:{port}", f"http://127.0.0.1:{listening.getsockname()[1]}")
        finally:
            pages.should_exit = True
            await collector.stop(_GRACE_SECONDS)
            await serving


async def serve(
    db_path: Path | str,
    grpc_listen: str = "127.0.0.1:4317",
    http_listen: str = "127.0.0.1:4380",
    *,
    address_file: Path | None = None,
) -> None:
    """Runs a console until SIGTERM or SIGINT.

    Args:
        db_path: SQLite file of the spans.
        grpc_listen: host:port of the collector.
        http_listen: host:port of the pages.
        address_file: gets `{"otlp": URL, "page": URL}` in one step when both listen; None = standard output gets it.

    Raises:
        TracesError: the file or an address cannot be used.
    """
    asked_to_stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked_to_stop.set)
    try:
        async with console(db_path, grpc_listen, http_listen) as addresses:
            announce(addresses, address_file)
            await asked_to_stop.wait()
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def announce(addresses: Addresses, address_file: Path | None) -> None:
    """Tells where a console listens, as one line of JSON.

    Args:
        addresses: both URLs.
        address_file: gets them in one step; None = standard output.
    """
    line = json.dumps(asdict(addresses)) + "\n"
    if address_file is None:
        sys.stdout.write(line)
        sys.stdout.flush()
        return
    fresh = address_file.with_name(f"{address_file.name}.new")
    fresh.write_text(line, encoding="utf-8")
    fresh.replace(address_file)


def _check(listen: str) -> None:
    host, _, port = listen.rpartition(":")
    # gRPC takes any number for a port and wraps it round.
    if host not in LOOPBACK or not (port.isascii() and port.isdecimal() and int(port) < 2**16):
        raise TracesError(f"The console may not listen on {listen}. {TracesError.__doc__}")


@contextmanager
def _bound(listen: str) -> Iterator[socket.socket]:
    host, _, port = listen.rpartition(":")
    with socket.socket() as listening:
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((host, int(port)))
            # From here on connections wait, so the address may be told before the first page is served.
            listening.listen()
        except OSError:
            raise TracesError(f"Cannot listen on {listen}. {TracesError.__doc__}") from None
        yield listening


class _Pages(uvicorn.Server):
    """uvicorn without its own signal handlers: `serve` decides when to stop."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves signals alone."""
        yield
