"""The center, assembled: link receiver + register of the nation + provision to gateways."""

from functools import partial

from center_node.asked_today import AskedToday
from center_node.body_key_service import BodyKeyService, destroy_again, destroy_expired
from center_node.body_keys import BodyKeys
from center_node.changes import ChangeProvisionService
from center_node.corrections import CorrectionService
from center_node.freshness import Sources
from center_node.frozen import FrozenOperators
from center_node.frozen_service import FreezeService, FrozenService
from center_node.provision import ProvisionService
from center_node.record import RecordService
from center_node.terminals import Terminals
from jukinet._pb.jukinet.admin.v1.admin_pb2 import GetStatusResponse
from jukinet._pb.jukinet.admin.v1.freeze_pb2_grpc import add_FreezeServiceServicer_to_server
from jukinet._pb.jukinet.body.v1.body_pb2_grpc import add_BodyKeyServiceServicer_to_server
from jukinet._pb.jukinet.consistency.v1.consistency_pb2_grpc import add_ConsistencyServiceServicer_to_server
from jukinet._pb.jukinet.disclosure.v1.record_pb2_grpc import add_RecordServiceServicer_to_server
from jukinet._pb.jukinet.link.v1.link_pb2_grpc import add_LinkServiceServicer_to_server
from jukinet._pb.jukinet.link.v1.snapshot_pb2_grpc import add_SnapshotServiceServicer_to_server
from jukinet._pb.jukinet.provision.v1.correction_pb2_grpc import add_CorrectionServiceServicer_to_server
from jukinet._pb.jukinet.provision.v1.frozen_pb2_grpc import add_FrozenServiceServicer_to_server
from jukinet._pb.jukinet.provision.v1.provision_pb2_grpc import (
    add_ChangeProvisionServiceServicer_to_server,
    add_ProvisionServiceServicer_to_server,
)
from jukinet._pb.jukinet.statute.v1.statute_pb2_grpc import add_StatuteServiceServicer_to_server
from jukinet.assembly.editions import open_editions
from jukinet.assembly.process import needed, serve, start_telemetry
from jukinet.assembly.register_node import RegisterNode
from jukinet.assembly.statute_service import StatuteService
from jukinet.mesh.clock import now, now_us, today_in_japan
from jukinet.mesh.config import NodeConfig
from jukinet.mesh.identity import Identity
from jukinet.mesh.pki import load_public_keys, load_secret, load_signing_key
from jukinet.purpose.agencies import load_agencies
from jukinet.purpose.decision import PurposePolicy
from jukinet.purpose.identity_check import load_counters
from jukinet.purpose.ticket import TicketOffice


async def run(config: NodeConfig) -> None:
    """Runs the node until SIGTERM."""
    start_telemetry(config)
    keys = load_public_keys(needed(config.center.gateway_keys))
    gateways = {Identity("gateway", name).uri: key for name, key in keys.items()}
    node = RegisterNode(config)
    token_key = load_secret(needed(config.center.token_key))
    body_keys = BodyKeys(needed(config.center.body_keys), token_key)
    await destroy_again(body_keys, node.reader)
    editions = open_editions(node.reader)
    agencies = load_agencies(needed(config.center.agencies), editions)
    policy = PurposePolicy(editions, agencies)
    service = node.receive("")
    sources = Sources(
        key=load_signing_key(needed(config.center.freshness_key)),
        expected=load_public_keys(needed(config.sealing.public_keys)),
        complete_as_of=service.standings.complete_as_of,
        clock=now_us,
    )
    tickets = TicketOffice(gateways.get, opened=now())
    frozen, terminals = FrozenOperators(node.reader, node.writer, token_key=token_key), Terminals()
    provision = ProvisionService(
        reader=node.reader,
        policy=policy,
        tickets=tickets,
        token_key=token_key,
        body_keys=body_keys,
        sources=sources,
        asked_today=AskedToday(agencies, node.reader, node.writer, today_in_japan(), token_key=token_key),
        frozen=frozen,
        terminals=terminals,
    )
    changes = ChangeProvisionService(
        reader=node.reader,
        writer=node.writer,
        policy=policy,
        tickets=tickets,
        token_key=token_key,
        sources=sources,
        frozen=frozen,
        terminals=terminals,
    )
    # The center keeps no ledger: its record of the act is the row of the operator.
    statutes = StatuteService(policy=policy, reader=node.reader, carry_out=lambda _act, job: node.writer.run(job))

    # Without a disclosure node there are no counters, and nobody's record is given.
    counters = load_counters(config.center.counters) if config.center.counters else {}

    def describe(status: GetStatusResponse) -> None:
        status.edition, status.policy_digest = policy.in_force(today_in_japan())
        changes.describe(status)

    try:
        await serve(
            config,
            services=[
                (add_LinkServiceServicer_to_server, service),
                (add_SnapshotServiceServicer_to_server, node.take_snapshots("")),
                (add_ProvisionServiceServicer_to_server, provision),
                (add_RecordServiceServicer_to_server, RecordService(reader=node.reader, counters=counters)),
                (add_ChangeProvisionServiceServicer_to_server, changes),
                (
                    add_CorrectionServiceServicer_to_server,
                    CorrectionService(reader=node.reader, token_key=token_key),
                ),
                (add_FrozenServiceServicer_to_server, FrozenService(frozen, gateways)),
                (add_FreezeServiceServicer_to_server, FreezeService(frozen, node.reader, agencies)),
                (add_ConsistencyServiceServicer_to_server, node.consistency()),
                (add_StatuteServiceServicer_to_server, statutes),
                (add_BodyKeyServiceServicer_to_server, BodyKeyService(keys=body_keys, writer=node.writer)),
            ],
            admin=node.admin(describe),
            checks={
                "jukinet.link.v1.LinkService": node.readable,
                "jukinet.provision.v1.ProvisionService": node.readable,
                "jukinet.provision.v1.ChangeProvisionService": node.readable,
            },
            parts=[
                *node.parts(),
                changes.run,
                changes.show,
                body_keys.writer.watch,
                partial(destroy_expired, body_keys, config.center.body_years),
            ],
            on_drain=node.end_streams,
        )
    finally:
        body_keys.close()
        node.close()
