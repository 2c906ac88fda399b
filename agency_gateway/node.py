"""An agency gateway, assembled: inquiry + purpose check + ledger."""

import uuid
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from agency_gateway.inquiry import InquiryService
from agency_gateway.record import Record
from jukinet._pb.jukinet.admin.v1 import admin_pb2 as admin
from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2_grpc import add_InquiryServiceServicer_to_server
from jukinet._pb.jukinet.ledger.v1.ledger_pb2_grpc import add_LedgerServiceServicer_to_server
from jukinet._pb.jukinet.provision.v1.provision_pb2_grpc import ProvisionServiceStub
from jukinet._pb.jukinet.statute.v1.statute_pb2_grpc import add_StatuteServiceServicer_to_server
from jukinet.assembly.editions import open_editions
from jukinet.assembly.process import needed, serve, start_telemetry
from jukinet.assembly.status import AdminService, readable
from jukinet.assembly.statute_service import CarryOut, EditionAct, Job, StatuteService
from jukinet.ledger import store as ledger
from jukinet.ledger.entry import EntryKeys, make_act
from jukinet.ledger.note import Signer
from jukinet.ledger.service import LedgerService
from jukinet.mesh import metrics
from jukinet.mesh.client import open_channel
from jukinet.mesh.clock import now, today_in_japan
from jukinet.mesh.config import NodeConfig
from jukinet.mesh.identity import Identity
from jukinet.mesh.pki import load_secret, load_signing_key
from jukinet.purpose.agencies import load_agencies
from jukinet.purpose.decision import PurposePolicy
from jukinet.store.engine import open_reader, open_writer
from jukinet.store.migrate import ensure_schema
from jukinet.store.writer import Writer

_CENTER_HEALTH_SECONDS = 2.0
MIGRATIONS = Path(__file__).parent / "migrations"


async def run(config: NodeConfig) -> None:
    """Runs the node until SIGTERM. Raises LedgerCorrupt when the ledger cannot be derived again from its rows."""
    start_telemetry(config)
    settings = config.gateway
    engine = open_writer(config.database)
    ensure_schema(engine, MIGRATIONS)
    reader = open_reader(config.database)
    editions = open_editions(reader)
    policy = PurposePolicy(editions, load_agencies(needed(settings.agencies), editions))
    signer = Signer(f"jukinet/{config.name}", load_signing_key(needed(settings.ledger_key)))
    writer = Writer(engine, on_commit=metrics.commit)
    state = await writer.run(lambda connection: ledger.load(connection, signer))
    record = Record(writer=writer, signer=signer, state=state)
    channel = open_channel(needed(config.upstream), config.tls, server=Identity("center", ""), limits=config.limits)
    keys = EntryKeys(load_secret(needed(settings.token_key)))
    inquiry = InquiryService(
        identity=config.identity.uri,
        policy=policy,
        center=ProvisionServiceStub(channel),
        ticket_key=load_signing_key(needed(settings.ticket_key)),
        keys=keys,
        record=record,
    )
    carry_out = acts_on_record(record, keys, policy, config.identity)
    statutes = StatuteService(policy=policy, reader=reader, carry_out=carry_out)

    def describe(status: admin.GetStatusResponse) -> None:
        status.ledger_entries = record.size

    try:
        await serve(
            config,
            services=[
                (add_InquiryServiceServicer_to_server, inquiry),
                (add_LedgerServiceServicer_to_server, LedgerService(reader)),
                (add_StatuteServiceServicer_to_server, statutes),
            ],
            admin=AdminService(identity=config.identity, register=None, describe=describe),
            checks={
                "jukinet.inquiry.v1.InquiryService": lambda: _center_serves(channel),
                "jukinet.ledger.v1.LedgerService": lambda: readable(reader),
            },
            parts=[writer.watch, record.grouping.run],
            on_refusal=inquiry.note_refusal,
        )
    finally:
        await channel.close()
        writer.close()
        reader.dispose()
        engine.dispose()


async def _center_serves(channel: grpc.aio.Channel) -> bool:
    # The stubs of the package know the methods of the synchronous channel only.
    stub: Any = health_pb2_grpc.HealthStub(channel)
    asked = health_pb2.HealthCheckRequest(service="jukinet.provision.v1.ProvisionService")
    answer = await stub.Check(asked, timeout=_CENTER_HEALTH_SECONDS)
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def acts_on_record(record: Record, keys: EntryKeys, policy: PurposePolicy, gateway: Identity) -> CarryOut:
    """Lets operators' acts take effect together with their entries in the ledger."""

    async def carry_out(act: EditionAct, job: Job) -> None:
        entry = make_act(
            keys,
            time=now(),
            request_id=str(uuid.uuid4()),
            gateway=gateway.uri,
            operator=act.operator,
            action=act.action,
            edition=act.table.edition,
            edition_digest=act.table.digest,
            policy_digest=policy.digest_on(today_in_japan()),
        )
        await record.carry_out(entry, job)

    return carry_out
