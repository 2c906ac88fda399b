"""Real servers over loopback with real certificates, for the tests of the gRPC process."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest

from jukinet._pb.jukinet.intake.v1 import intake_pb2
from jukinet._pb.jukinet.register.v1 import change_pb2, identity_pb2
from jukinet.mesh import pki
from jukinet.mesh.callers import Callers, parse_callers
from jukinet.mesh.client import open_channel, streaming
from jukinet.mesh.identity import AGENCIES, NODES, OPERATORS, Identity
from jukinet.mesh.server import NodeServer, build_server, drain
from jukinet.mesh.tls import TlsFiles

CS = Identity("municipality", "131016")
SYSTEM = Identity("municipal-system", "131016")
KINDS = ("UnaryUnary", "UnaryStream", "StreamUnary", "StreamStream")


@dataclass
class Kinds:
    """A service with one RPC of each kind, whose behaviour a test gives. Counts how often a handler is entered."""

    answer: Callable[[intake_pb2.SubmitChangeRequest, Any], Any]
    entered: int = 0

    async def unary_unary(self, request: Any, context: Any) -> Any:
        self.entered += 1
        return await self.answer(request, context)

    async def unary_stream(self, request: Any, context: Any) -> AsyncIterator[Any]:
        self.entered += 1
        yield await self.answer(request, context)

    async def stream_unary(self, requests: Any, context: Any) -> Any:
        self.entered += 1
        response = None
        async for request in requests:
            response = await self.answer(request, context)
        return response

    async def stream_stream(self, requests: Any, context: Any) -> AsyncIterator[Any]:
        self.entered += 1
        async for request in requests:
            yield await self.answer(request, context)

    def add_to(self, _: Any, server: Any) -> None:
        """Adds the service as generated code would."""
        parse = intake_pb2.SubmitChangeRequest.FromString
        write = intake_pb2.SubmitChangeResponse.SerializeToString
        handlers = {
            "UnaryUnary": grpc.unary_unary_rpc_method_handler(self.unary_unary, parse, write),
            "UnaryStream": grpc.unary_stream_rpc_method_handler(self.unary_stream, parse, write),
            "StreamUnary": grpc.stream_unary_rpc_method_handler(self.stream_unary, parse, write),
            "StreamStream": grpc.stream_stream_rpc_method_handler(self.stream_stream, parse, write),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Kinds", handlers),))
        server.add_registered_method_handlers("test.Kinds", handlers)


def _submission(**changes: Any) -> intake_pb2.SubmitChangeRequest:
    """Gives a request that keeps every rule of the contract: a death."""
    values: dict[str, Any] = {
        "message_id": "m-1",
        "reason": change_pb2.CHANGE_REASON_DELETION_DEATH,
        "event_date": identity_pb2.CalendarDate(year=2026, month=4, day=1),
        "resident_code": "00000000019",
    }
    return intake_pb2.SubmitChangeRequest(submission=intake_pb2.Submission(**(values | changes)))


async def _call(
    channel: grpc.aio.Channel, kind: str, *requests: Any, service: str = "test.Kinds", deadline: float | None = 10
) -> list[intake_pb2.SubmitChangeResponse]:
    """Calls the RPC of a kind and gives all its responses. Bytes are sent as they are."""

    def write(message: Any) -> bytes:
        return message if isinstance(message, bytes) else message.SerializeToString()

    open_call: Any = {
        "UnaryUnary": channel.unary_unary,
        "UnaryStream": channel.unary_stream,
        "StreamUnary": channel.stream_unary,
        "StreamStream": channel.stream_stream,
    }[kind]
    answering = open_call(f"/{service}/{kind}", write, intake_pb2.SubmitChangeResponse.FromString)
    running = answering(iter(requests) if kind.startswith("Stream") else requests[0], timeout=deadline)
    async with streaming(running):
        if kind.endswith("Stream"):
            return [response async for response in running]
        return [await running]


@dataclass
class Network:
    """Makes servers and channels whose identities are right."""

    directory: Path
    authorities: dict[str, pki.Authority]
    open: AsyncExitStack

    def ca(self, domain: str) -> Path:
        return self.directory / f"{domain.partition('.')[0]}-ca.pem"

    def tls(self, identity: Identity, *, server: bool = False) -> TlsFiles:
        """Issues a certificate and gives its files."""
        leaf = pki.issue(self.authorities[identity.trust_domain], identity, days=1, server=server)
        stem = identity.uri.removeprefix("spiffe://").replace("/", "_") + ("-server" if server else "")
        certificate, key = pki.write_leaf(leaf, self.directory, stem)
        return TlsFiles(certificate, key, self.ca(NODES), self.ca(AGENCIES), self.ca(OPERATORS))

    async def serve(self, *services: Any, identity: Identity = CS, **settings: Any) -> NodeServer:
        """Starts a server that is stopped when the test ends."""
        settings.setdefault("tls", self.tls(identity, server=True))
        node = build_server(identity=identity, listen="127.0.0.1:0", services=services, **settings)
        await node.start()
        self.open.push_async_callback(drain, node, grace_seconds=0)
        return node

    async def dial(self, node: NodeServer, identity: Identity = SYSTEM, *, server: Identity = CS) -> grpc.aio.Channel:
        """Opens a channel that is closed when the test ends."""
        channel = open_channel(node.address, self.tls(identity), server=server)
        return await self.open.enter_async_context(channel)


@pytest.fixture(scope="session")
def authorities() -> dict[str, pki.Authority]:
    """The three CAs."""
    return {domain: pki.create_authority(domain) for domain in pki.TRUST_DOMAINS}


@pytest.fixture
async def network(tmp_path: Path, authorities: dict[str, pki.Authority]) -> AsyncIterator[Network]:
    """A directory of certificates, and what the test opens."""
    for authority in authorities.values():
        pki.write_authority(authority, tmp_path)
    async with AsyncExitStack() as stack:
        yield Network(tmp_path, authorities, stack)


@pytest.fixture
def kinds() -> type[Kinds]:
    """Makes a service of all four kinds."""
    return Kinds


@pytest.fixture
def call() -> Callable[..., Any]:
    """Calls the RPC of a kind."""
    return _call


@pytest.fixture
def submission() -> Callable[..., intake_pb2.SubmitChangeRequest]:
    """Makes a request that keeps every rule of the contract, but for what is given."""
    return _submission


@pytest.fixture
def kinds_callers() -> Callers:
    """The table of callers of that service: the municipality's own system."""
    lines = "".join(f'"/test.Kinds/{kind}" = ["municipal-system:own"]\n' for kind in KINDS)
    own = "".join(
        f'"{rpc}" = ["*"]\n'
        for rpc in (
            "/grpc.health.v1.Health/Check",
            "/grpc.health.v1.Health/List",
            "/grpc.health.v1.Health/Watch",
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        )
    )
    exempt = '[without_deadline]\nrpcs = ["/test.Kinds/StreamStream", "/grpc.health.v1.Health/Watch"]\n'
    return parse_callers(f"[callers]\n{lines}{own}{exempt}")
