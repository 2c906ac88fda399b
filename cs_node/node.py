"""A CS, assembled: intake + register + link sender. Opens no port towards the network; it dials its prefecture."""

from cs_node.intake import Intake, Sealing
from cs_node.service import IntakeService
from jukinet._pb.jukinet.consistency.v1.consistency_pb2_grpc import add_ConsistencyServiceServicer_to_server
from jukinet._pb.jukinet.intake.v1.intake_pb2_grpc import add_IntakeServiceServicer_to_server
from jukinet.assembly.process import needed, serve, start_telemetry
from jukinet.assembly.register_node import RegisterNode
from jukinet.mesh.config import NodeConfig
from jukinet.mesh.pki import load_signing_key


async def run(config: NodeConfig) -> None:
    """Runs the node until SIGTERM."""
    start_telemetry(config)
    node = RegisterNode(config)
    try:
        intake = Intake(
            writer=node.writer,
            sealing=Sealing(config.name, load_signing_key(needed(config.sealing.key))),
            why_not=node.why_not_take,
            on_accepted=node.outbox_grew,
        )
        service = IntakeService(intake)
        await serve(
            config,
            services=[
                (add_IntakeServiceServicer_to_server, service),
                (add_ConsistencyServiceServicer_to_server, node.consistency()),
            ],
            admin=node.admin(),
            checks={"jukinet.intake.v1.IntakeService": lambda: _may_take(node)},
            on_drain=service.end_streams,
            parts=[intake.grouping.run, *node.parts()],
        )
    finally:
        node.close()


async def _may_take(node: RegisterNode) -> bool:
    return node.why_not_take() is None and await node.readable()
