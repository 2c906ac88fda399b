"""A prefecture node, assembled: link receiver + register + link sender."""

from jukinet._pb.jukinet.consistency.v1.consistency_pb2_grpc import add_ConsistencyServiceServicer_to_server
from jukinet._pb.jukinet.link.v1.link_pb2_grpc import add_LinkServiceServicer_to_server
from jukinet._pb.jukinet.link.v1.snapshot_pb2_grpc import add_SnapshotServiceServicer_to_server
from jukinet.assembly.process import serve, start_telemetry
from jukinet.assembly.register_node import RegisterNode
from jukinet.mesh.config import NodeConfig


async def run(config: NodeConfig) -> None:
    """Runs the node until SIGTERM. Its scope is the two digits that its municipalities' codes begin with."""
    start_telemetry(config)
    node = RegisterNode(config)
    try:
        await serve(
            config,
            services=[
                (add_LinkServiceServicer_to_server, node.receive(config.name[:2])),
                (add_SnapshotServiceServicer_to_server, node.take_snapshots(config.name[:2])),
                (add_ConsistencyServiceServicer_to_server, node.consistency()),
            ],
            admin=node.admin(),
            checks={"jukinet.link.v1.LinkService": node.receives},
            parts=node.parts(),
            on_drain=node.end_streams,
        )
    finally:
        node.close()
