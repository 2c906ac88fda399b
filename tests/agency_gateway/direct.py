"""The center's services as a gateway calls them, directly instead of over a channel."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from grpc_status import rpc_status

from center_node.provision import ProvisionService
from jukinet._pb.jukinet.provision.v1 import provision_pb2 as provision
from jukinet.mesh.errors import Refused, to_status
from jukinet.mesh.identity import Identity
from tests.agency_gateway.calls import GATEWAY, called_by


class DirectCenter:
    """Calls the center's service as the gateway would.

    `fail` stands for a center that does not answer, `ready` for one that takes its time.
    """

    def __init__(self, service: ProvisionService, gateway: Identity = GATEWAY) -> None:
        self._service = service
        self._gateway = gateway
        self.requests: list[provision.ProvideRequest] = []
        self.fail: grpc.StatusCode | None = None
        self.alter: Callable[[provision.ProvideResponse], None] = lambda _response: None
        self.ready = asyncio.Event()
        self.ready.set()

    async def Provide(self, request: provision.ProvideRequest, timeout: float) -> provision.ProvideResponse:
        self.requests.append(request)
        await self.ready.wait()
        if self.fail is not None:
            raise grpc.aio.AioRpcError(self.fail, grpc.aio.Metadata(), grpc.aio.Metadata())
        response: provision.ProvideResponse = await as_gateway(self._service.Provide(request, None), self._gateway)  # type: ignore[arg-type]  # the context is not used
        self.alter(response)
        return response


class DirectCalls:
    """Calls a service of the center as a gateway would."""

    def __init__(self, service: Any, gateway: Identity = GATEWAY) -> None:
        self._service = service
        self._gateway = gateway

    def __getattr__(self, rpc: str) -> Any:
        async def call(request: Any, timeout: float) -> Any:
            return await as_gateway(getattr(self._service, rpc)(request, None), self._gateway)

        return call


async def as_gateway(call: Awaitable[Any], gateway: Identity = GATEWAY) -> Any:
    """Awaits a call at the center as a gateway; its refusal comes as gRPC brings it."""
    with called_by(gateway):
        try:
            return await call
        except Refused as refused:
            status = rpc_status.to_status(to_status(refused, "0" * 16))
            raise grpc.aio.AioRpcError(
                status.code, grpc.aio.Metadata(), grpc.aio.Metadata(*status.trailing_metadata), status.details
            ) from None
