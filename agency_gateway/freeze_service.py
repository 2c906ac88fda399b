"""What the network's operators see and do about frozen operators of agencies, over gRPC."""

from typing import TYPE_CHECKING

from agency_gateway.freezes import RELEASE, Freezes
from jukinet._pb.jukinet.admin.v1 import admin_pb2 as admin
from jukinet._pb.jukinet.admin.v1 import freeze_pb2 as freeze
from jukinet._pb.jukinet.admin.v1.freeze_pb2_grpc import FreezeServiceServicer
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet.mesh.errors import Refused
from jukinet.mesh.interceptors import current_caller
from jukinet.purpose.agencies import AgencyDirectory

if TYPE_CHECKING:
    import grpc


class FreezeService(FreezeServiceServicer):
    """The frozen operators of one gateway."""

    def __init__(self, freezes: Freezes, directory: AgencyDirectory) -> None:
        self._freezes = freezes
        self._directory = directory

    async def ListFrozen(  # gRPC names its methods so
        self,
        request: freeze.ListFrozenRequest,
        context: "grpc.aio.ServicerContext[freeze.ListFrozenRequest, freeze.ListFrozenResponse]",
    ) -> freeze.ListFrozenResponse:
        """Lists them by agency and pseudonym."""
        listed = freeze.ListFrozenResponse()
        for (agency, operator), known in sorted(self._freezes.standing.items()):
            each = listed.frozen.add(
                agency=agency,
                operator_pseudonym=operator,
                detector=freeze.Detector.Value(f"DETECTOR_{known.detector.upper()}"),
                proposed_by=known.proposed_by,
            )
            each.since.FromMicroseconds(known.since_us)
            if agency in self._directory:
                each.contact.CopyFrom(freeze.AgencyContact(**self._directory[agency].contact))
        return listed

    async def ReleaseOperator(  # gRPC names its methods so
        self,
        request: freeze.ReleaseOperatorRequest,
        context: "grpc.aio.ServicerContext[freeze.ReleaseOperatorRequest, freeze.ReleaseOperatorResponse]",
    ) -> freeze.ReleaseOperatorResponse:
        """Releases one by two operators. Raises Refused: OPERATOR_NOT_FROZEN, SECOND_OPERATOR_NEEDED."""
        act, proposed_by = await self._freezes.release(request.agency, request.operator, current_caller().uri)
        step = admin.RELEASE_STEP_CARRIED_OUT if act == RELEASE else admin.RELEASE_STEP_PROPOSED
        return freeze.ReleaseOperatorResponse(step=step, proposed_by=proposed_by)

    async def ForgetFrozen(  # gRPC names its methods so
        self,
        request: freeze.ForgetFrozenRequest,
        context: "grpc.aio.ServicerContext[freeze.ForgetFrozenRequest, freeze.ForgetFrozenResponse]",
    ) -> freeze.ForgetFrozenResponse:
        """Forgets nobody: that is done at the center. Raises Refused: OPERATOR_NOT_FROZEN."""
        raise Refused(errors.ERROR_REASON_OPERATOR_NOT_FROZEN, detail="only the center forgets")
