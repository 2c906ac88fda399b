"""A center and a gateway as processes, ready to be asked: what the benchmarks of questions have in common."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final, NamedTuple

import grpc

from bench.echo import Tls
from bench.processor_time import children
from bench.workload import MUNICIPALITY, fill_register, submissions
from jukinet._pb.jukinet.admin.v1.admin_pb2 import GetStatusRequest
from jukinet._pb.jukinet.admin.v1.admin_pb2_grpc import AdminServiceStub
from jukinet._pb.jukinet.intake.v1.intake_pb2 import Submission
from jukinet.cli.connect import channel_to, in_mesh
from jukinet.cli.development_agencies import OPERATORS, PENSION_SERVICE
from jukinet.cli.init import Plan, write_mesh
from jukinet.cli.layout import Mesh
from jukinet.cli.operator_key import Signing
from jukinet.cli.processes import MeshProcesses
from jukinet.mesh.identity import Identity
from jukinet.mesh.tls import TlsFiles

GATEWAY: Final = "gateway-1"
_AGENCY: Final = Identity("agency", PENSION_SERVICE)
_SECONDS: Final = 20.0


class TwoNodes(NamedTuple):
    """The running nodes, who is in the center's register, and the agency's channel to the gateway."""

    mesh: Mesh
    people: Sequence[Submission]
    channel: grpc.aio.Channel
    pids: list[list[int]]
    """Of the center's processes, and of the gateway's."""

    async def ledger_entries(self) -> int:
        """How many entries the gateway's ledger holds."""
        async with channel_to(in_mesh(self.mesh, GATEWAY)) as channel:
            status = await AdminServiceStub(channel).GetStatus(GetStatusRequest(), timeout=_SECONDS)
            return status.ledger_entries

    def signing(self) -> Signing:
        """An operator of the agency who logs on now."""
        return Signing.of(self.mesh.client(_AGENCY).certificate, self.mesh.operator_key(_AGENCY, OPERATORS[0]))

    def tls(self, node: str) -> Tls:
        """Certificate and CAs of a node, for its floor."""
        return _tls(self.mesh.config(node).tls)

    def agency_tls(self) -> Tls:
        """Certificate and CAs of the agency."""
        return _tls(self.mesh.client(_AGENCY))

    def server_name(self, node: str) -> str:
        """DNS name in the certificate of a node."""
        return self.mesh.config(node).identity.server_name


async def start_two_nodes(folder: Path, *, residents: int, environ: dict[str, str], stack: AsyncExitStack) -> TwoNodes:
    """Writes a mesh, fills the center's register and starts center, three witnesses and gateway; they end with `stack`.

    Args:
        folder: new; gets all of it.
        residents: in the center's register.
        environ: added to the nodes' environment.
        stack: of the caller.
    """
    mesh = write_mesh(folder, Plan(municipalities=[MUNICIPALITY], gateways=[GATEWAY], witnesses=3))
    people = submissions(residents)
    await asyncio.to_thread(fill_register, mesh.config("center").database, people)
    nodes = await stack.enter_async_context(MeshProcesses(mesh, environ=environ))
    for name in ("center", *mesh.witnesses, GATEWAY):
        nodes.start(name)
    await nodes.wait_healthy()
    channel = await stack.enter_async_context(channel_to(in_mesh(mesh, GATEWAY, _AGENCY)))
    pids = [[nodes.pid(name), *children(nodes.pid(name))] for name in ("center", GATEWAY)]
    return TwoNodes(mesh, people, channel, pids)


def _tls(files: TlsFiles) -> Tls:
    authorities = [str(path) for path in (files.nodes_ca, files.agencies_ca) if path]
    return Tls(str(files.certificate), str(files.key), authorities)
