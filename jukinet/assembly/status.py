"""The operator's view of a node, and what operators may do: counts, states, how far the links are. Never a person."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import grpc
from sqlalchemy import Connection, Engine, func, select

import jukinet
from jukinet._pb.jukinet.admin.v1 import admin_pb2 as admin
from jukinet._pb.jukinet.admin.v1.admin_pb2_grpc import AdminServiceServicer
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet.assembly.parked_list import list_held, list_parked, waiting_since
from jukinet.assembly.reading import read_for_caller
from jukinet.assembly.release import Place, release_parked, retry_parked
from jukinet.assembly.release_held import release_held
from jukinet.assembly.resident_count import ResidentCount
from jukinet.mesh.clock import now_us
from jukinet.mesh.errors import Refused
from jukinet.mesh.identity import Identity, upstream_of
from jukinet.mesh.interceptors import current_caller
from jukinet.store import journal
from jukinet.store.errors import StoreError, as_refusal
from jukinet.store.reading import read
from jukinet.store.schema import parked
from jukinet.store.writer import Writer

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Acts:
    """With what operators act on a register: its writer, and whose residents the node sees.

    `on_release` is told that a held municipality was released, for more of it may wait to be taken up.
    """

    writer: Writer
    scope: str
    on_release: Callable[[], None]


class AdminService(AdminServiceServicer):
    """Answers operators. `describe(status)` adds what only the node's own parts know."""

    def __init__(
        self,
        *,
        identity: Identity,
        register: Engine | None,
        describe: Callable[[admin.GetStatusResponse], None],
        acts: Acts | None = None,
        waiting_alarm_hours: float = 0.0,
    ) -> None:
        self._identity = identity
        self._register = register
        self._count = ResidentCount(register) if register is not None else None
        self._describe = describe
        self._acts = acts
        self._alarm_us = int(waiting_alarm_hours * 3_600_000_000)

    async def GetStatus(  # gRPC names its methods so
        self,
        request: admin.GetStatusRequest,
        context: "grpc.aio.ServicerContext[admin.GetStatusRequest, admin.GetStatusResponse] | None",
    ) -> admin.GetStatusResponse:
        """Tells what the node is, how many residents it has, how far its links are and what is parked."""
        status = await self.standing()
        if self._count is not None:
            counted = await self._count.told()
            if counted:
                status.residents.update(counted.residents)
                status.residents_counted_at.FromDatetime(counted.at)
        return status

    async def standing(self) -> admin.GetStatusResponse:
        """The status without the number of residents, for what is shown all the time."""
        status = admin.GetStatusResponse(
            role=self._identity.kind, identity=self._identity.uri, version=jukinet.__version__
        )
        if self._register is not None:
            await read_for_caller(
                self._register,
                lambda connection: _read_links(connection, self._identity, status, self._late()),
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
        for entry in await read_for_caller(
            self._register, lambda connection: list_parked(connection, request.limit, self._late())
        ):
            yield entry

    async def ReleaseParked(  # gRPC names its methods so
        self,
        request: admin.ReleaseParkedRequest,
        context: "grpc.aio.ServicerContext[admin.ReleaseParkedRequest, admin.ReleaseParkedResponse]",
    ) -> admin.ReleaseParkedResponse:
        """Sets a parked change aside, by two operators. Raises Refused: NOT_PARKED, SECOND_OPERATOR_NEEDED."""
        act = partial(release_parked, place=_place(request.place), operator=current_caller().uri)
        done = await self._write(act)
        step = admin.RELEASE_STEP_CARRIED_OUT if done.carried_out else admin.RELEASE_STEP_PROPOSED
        return admin.ReleaseParkedResponse(step=step, proposed_by=done.proposed_by, applied=done.applied)

    async def RetryParked(  # gRPC names its methods so
        self,
        request: admin.RetryParkedRequest,
        context: "grpc.aio.ServicerContext[admin.RetryParkedRequest, admin.RetryParkedResponse]",
    ) -> admin.RetryParkedResponse:
        """Judges a parked change once more, by the rules as they are. Raises Refused: NOT_PARKED."""
        done = await self._write(partial(retry_parked, place=_place(request.place), operator=current_caller().uri))
        return admin.RetryParkedResponse(reason=done.reason or errors.ERROR_REASON_UNSPECIFIED, applied=done.applied)

    async def ReleaseHeld(  # gRPC names its methods so
        self,
        request: admin.ReleaseHeldRequest,
        context: "grpc.aio.ServicerContext[admin.ReleaseHeldRequest, admin.ReleaseHeldResponse]",
    ) -> admin.ReleaseHeldResponse:
        """Releases a held municipality, by two operators. Raises Refused: NOT_HELD, SECOND_OPERATOR_NEEDED."""
        act = partial(release_held, municipality=request.municipality, operator=current_caller().uri)
        done = await self._write(act, nothing=errors.ERROR_REASON_NOT_HELD)
        if not done.carried_out:
            return admin.ReleaseHeldResponse(step=admin.RELEASE_STEP_PROPOSED, proposed_by=done.proposed_by)
        if self._acts:
            self._acts.on_release()
        answer = admin.ReleaseHeldResponse(
            step=admin.RELEASE_STEP_CARRIED_OUT,
            proposed_by=done.proposed_by,
            taken_up=done.taken_up,
            left=done.left,
        )
        answer.lifted_until.FromMicroseconds(done.lifted_until)
        return answer

    async def _write(
        self, act: Callable[..., R], *, nothing: "errors.ErrorReason.ValueType" = errors.ERROR_REASON_NOT_PARKED
    ) -> R:
        if self._acts is None:
            raise Refused(nothing)  # a gateway parks and holds nothing
        scope = self._acts.scope
        try:
            return await self._acts.writer.run(lambda connection: act(connection, scope=scope, now_us=now_us()))
        except StoreError as failure:
            raise as_refusal(failure) from None

    def _late(self) -> int:
        """What waits since before this moment has waited too long, in microseconds since 1970."""
        return now_us() - self._alarm_us


async def readable(register: Engine) -> bool:
    """Whether a database answers; for health checks. Raises StoreError when it does not."""
    return await asyncio.to_thread(read, register, lambda connection: connection.execute(select(1)).scalar_one() == 1)


def _place(place: admin.ChangePlace) -> Place:
    return Place(place.municipality, place.epoch, place.sequence)


def _read_links(connection: Connection, identity: Identity, status: admin.GetStatusResponse, late_us: int) -> None:
    status.parked = connection.execute(select(func.count()).select_from(parked)).scalar_one()
    oldest, status.waiting_too_long = waiting_since(connection, late_us)
    if oldest:
        status.oldest_waiting_at.FromMicroseconds(oldest)
    status.held.extend(list_held(connection))
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
