"""What gateways declare of frozen operators, and what operators of the network see and do about it, over gRPC."""

from collections.abc import Collection

import grpc
from sqlalchemy import Connection, Engine

from center_node.frozen import Frozen, FrozenOperators, read_frozen, read_proposers
from jukinet._pb.jukinet.admin.v1 import admin_pb2 as admin
from jukinet._pb.jukinet.admin.v1 import freeze_pb2 as freeze
from jukinet._pb.jukinet.admin.v1.freeze_pb2_grpc import FreezeServiceServicer
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.provision.v1 import frozen_pb2
from jukinet._pb.jukinet.provision.v1.frozen_pb2_grpc import FrozenServiceServicer
from jukinet.assembly.reading import read_for_caller
from jukinet.mesh.errors import Refused
from jukinet.mesh.interceptors import current_caller
from jukinet.purpose.agencies import AgencyDirectory
from jukinet.store.errors import StoreError, as_refusal


class FrozenService(FrozenServiceServicer):
    """Takes the declarations of gateways.

    Args:
        frozen: all who are frozen.
        gateways: SPIFFE IDs of those whose tickets the center takes; nobody else declares anything.
    """

    def __init__(self, frozen: FrozenOperators, gateways: Collection[str]) -> None:
        self._frozen = frozen
        self._gateways = gateways

    async def DeclareFrozen(  # gRPC names its methods so
        self,
        request: frozen_pb2.DeclareFrozenRequest,
        context: "grpc.aio.ServicerContext[frozen_pb2.DeclareFrozenRequest, frozen_pb2.DeclareFrozenResponse]",
    ) -> frozen_pb2.DeclareFrozenResponse:
        """Takes all who are frozen at the caller. Raises Refused: CALLER_NOT_ALLOWED, STORAGE_FULL and its like."""
        gateway = current_caller().uri
        if gateway not in self._gateways:
            raise Refused(errors.ERROR_REASON_CALLER_NOT_ALLOWED, detail="no ticket key is known for the gateway")
        try:
            return await self._frozen.declare(gateway, request)
        except StoreError as failure:
            raise as_refusal(failure) from None


class FreezeService(FreezeServiceServicer):
    """All who are frozen, for operators of the network.

    Args:
        frozen: the same.
        reader: of the register's database.
        directory: the agencies, with whom to call there.
    """

    def __init__(self, frozen: FrozenOperators, reader: Engine, directory: AgencyDirectory) -> None:
        self._frozen = frozen
        self._reader = reader
        self._directory = directory

    async def ListFrozen(  # gRPC names its methods so
        self,
        request: freeze.ListFrozenRequest,
        context: "grpc.aio.ServicerContext[freeze.ListFrozenRequest, freeze.ListFrozenResponse]",
    ) -> freeze.ListFrozenResponse:
        """Lists them by gateway, agency and pseudonym."""
        frozen, proposers = await read_for_caller(self._reader, _read)
        listed = freeze.ListFrozenResponse()
        for known in frozen:
            each = listed.frozen.add(
                agency=known.agency,
                operator_pseudonym=known.pseudonym,
                detector=freeze.Detector.ValueType(known.detector),
                proposed_by=proposers[known.gateway],
                gateway=known.gateway,
            )
            each.since.FromMicroseconds(known.declared_at)
            if known.agency in self._directory:
                each.contact.CopyFrom(freeze.AgencyContact(**self._directory[known.agency].contact))
        return listed

    async def ReleaseOperator(  # gRPC names its methods so
        self,
        request: freeze.ReleaseOperatorRequest,
        context: "grpc.aio.ServicerContext[freeze.ReleaseOperatorRequest, freeze.ReleaseOperatorResponse]",
    ) -> freeze.ReleaseOperatorResponse:
        """Releases nobody: that is done at the gateway that froze him. Raises Refused: OPERATOR_NOT_FROZEN."""
        raise Refused(errors.ERROR_REASON_OPERATOR_NOT_FROZEN, detail="only a gateway releases")

    async def ForgetFrozen(  # gRPC names its methods so
        self,
        request: freeze.ForgetFrozenRequest,
        context: "grpc.aio.ServicerContext[freeze.ForgetFrozenRequest, freeze.ForgetFrozenResponse]",
    ) -> freeze.ForgetFrozenResponse:
        """Forgets all whom a gateway froze, by two operators.

        Raises Refused: OPERATOR_NOT_FROZEN, SECOND_OPERATOR_NEEDED.
        """
        try:
            proposed_by, forgotten = await self._frozen.forget(request.gateway, current_caller().uri)
        except StoreError as failure:
            raise as_refusal(failure) from None
        step = admin.RELEASE_STEP_CARRIED_OUT if forgotten else admin.RELEASE_STEP_PROPOSED
        return freeze.ForgetFrozenResponse(step=step, proposed_by=proposed_by)


def _read(connection: Connection) -> tuple[list[Frozen], dict[str, str]]:
    return read_frozen(connection), read_proposers(connection)
