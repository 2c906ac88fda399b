"""The operator's view of a node: counts, states and how far the links are. Never a person."""

import asyncio
from collections.abc import AsyncIterator, Callable

import grpc
from sqlalchemy import Connection, Engine, func, select

import jukinet
from jukinet._pb.jukinet.admin.v1 import admin_pb2 as admin
from jukinet._pb.jukinet.admin.v1.admin_pb2_grpc import AdminServiceServicer
from jukinet.mesh.identity import Identity, upstream_of
from jukinet.store import journal
from jukinet.store.engine import read
from jukinet.store.register import counts_by_status
from jukinet.store.schema import parked


class AdminService(AdminServiceServicer):
    """Answers operators. `describe(status)` adds what only the node's own parts know."""

    def __init__(
        self,
        *,
        identity: Identity,
        register: Engine | None,
        describe: Callable[[admin.GetStatusResponse], None],
    ) -> None:
        self._identity = identity
        self._register = register
        self._describe = describe

    async def GetStatus(  # gRPC names its methods so
        self,
        request: admin.GetStatusRequest,
        context: "grpc.aio.ServicerContext[admin.GetStatusRequest, admin.GetStatusResponse] | None",
    ) -> admin.GetStatusResponse:
        """Tells what the node is, how far its links are and what is parked."""
        status = admin.GetStatusResponse(
            role=self._identity.kind, identity=self._identity.uri, version=jukinet.__version__
        )
        if self._register is not None:
            await asyncio.to_thread(
                read, self._register, lambda connection: _read_register(connection, self._identity, status)
            )
        self._describe(status)
        return status

    async def ListParked(  # gRPC names its methods so
        self,
        request: admin.ListParkedRequest,
        context: "grpc.aio.ServicerContext[admin.ListParkedRequest, admin.ListParkedResponse]",
    ) -> AsyncIterator[admin.ListParkedResponse]:
        """Lists the changes that are kept but not applied, oldest first."""
        if self._register is None:
            return
        for entry in await asyncio.to_thread(
            read, self._register, lambda connection: _read_parked(connection, request.limit)
        ):
            yield entry


async def readable(register: Engine) -> bool:
    """Whether a database answers; for health checks. Raises StoreError when it does not."""
    return await asyncio.to_thread(read, register, lambda connection: connection.execute(select(1)).scalar_one() == 1)


def _read_register(connection: Connection, identity: Identity, status: admin.GetStatusResponse) -> None:
    status.residents.update(counts_by_status(connection))
    status.parked = connection.execute(select(func.count()).select_from(parked)).scalar_one()
    if identity.kind != "center":
        stream = journal.read_stream(connection)
        link = status.links.add(
            peer=upstream_of(identity).uri,
            outgoing=True,
            epoch=stream.epoch,
            last_sequence=stream.last_sequence,
            mark=stream.neighbour_mark,
            center_mark=stream.center_mark,
        )
        link.moved_at.FromMicroseconds(stream.moved_at)
    for source, mark in journal.read_marks(connection).items():
        link = status.links.add(
            peer=source,
            outgoing=False,
            epoch=mark.epoch,
            last_sequence=mark.mark,
            mark=mark.mark,
            center_mark=mark.mark if identity.kind == "center" else mark.center_mark,
        )
        link.moved_at.FromMicroseconds(mark.moved_at)


def _read_parked(connection: Connection, limit: int) -> list[admin.ListParkedResponse]:
    query = select(parked.c.municipality, parked.c.sequence, parked.c.reason, parked.c.parked_at).order_by(parked.c.id)
    if limit:
        query = query.limit(limit)
    entries = []
    for row in connection.execute(query):
        entry = admin.ListParkedResponse(municipality=row.municipality, sequence=row.sequence, reason=row.reason)
        entry.parked_at.FromMicroseconds(row.parked_at)
        entries.append(entry)
    return entries
