"""An agency gateway, assembled: inquiry + purpose check + ledger with its witnesses."""

import asyncio
import uuid
from collections.abc import Mapping
from functools import partial
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from sqlalchemy import Engine

from agency_gateway.admission import Admission
from agency_gateway.appending import MIGRATIONS, load, open_ledger, signer_of
from agency_gateway.body_service import BodyService
from agency_gateway.center import Center
from agency_gateway.declarations import Declarations
from agency_gateway.desk import Desk
from agency_gateway.freeze_service import FreezeService
from agency_gateway.freezes import Freezes
from agency_gateway.inquiry import InquiryService
from agency_gateway.listed_keys import require_listed_key, warn_of_unlisted
from agency_gateway.publisher import Publisher
from agency_gateway.recall_service import RecallService
from agency_gateway.recalls import Recalls
from agency_gateway.record import Record
from agency_gateway.scrub import Scrub
from agency_gateway.today import todays_entries
from agency_gateway.watch import WatchService
from agency_gateway.witness import Witness
from agency_gateway.witness_list import WitnessList, load_witnesses
from jukinet._pb.jukinet.admin.v1 import admin_pb2 as admin
from jukinet._pb.jukinet.admin.v1.freeze_pb2_grpc import add_FreezeServiceServicer_to_server
from jukinet._pb.jukinet.body.v1.body_pb2_grpc import add_BodyServiceServicer_to_server
from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2_grpc import add_InquiryServiceServicer_to_server
from jukinet._pb.jukinet.ledger.v1.ledger_pb2_grpc import add_LedgerServiceServicer_to_server
from jukinet._pb.jukinet.provision.v1.correction_pb2_grpc import CorrectionServiceStub
from jukinet._pb.jukinet.provision.v1.frozen_pb2_grpc import FrozenServiceStub
from jukinet._pb.jukinet.provision.v1.provision_pb2_grpc import ChangeProvisionServiceStub, ProvisionServiceStub
from jukinet._pb.jukinet.recall.v1.recall_pb2_grpc import add_RecallServiceServicer_to_server
from jukinet._pb.jukinet.statute.v1.statute_pb2_grpc import add_StatuteServiceServicer_to_server
from jukinet._pb.jukinet.watch.v1.watch_pb2_grpc import add_WatchServiceServicer_to_server
from jukinet._pb.jukinet.witness.v1.witness_pb2_grpc import WitnessServiceStub
from jukinet.assembly.editions import open_editions
from jukinet.assembly.process import needed, serve, start_telemetry
from jukinet.assembly.status import AdminService, readable
from jukinet.assembly.statute_service import CarryOut, EditionAct, Job, StatuteService
from jukinet.ledger import published
from jukinet.ledger.entry import EntryKeys, make_act
from jukinet.ledger.newest import newest_us
from jukinet.ledger.note import Signer, VerifierKey
from jukinet.ledger.service import LedgerService
from jukinet.mesh import metrics
from jukinet.mesh.client import open_channel
from jukinet.mesh.clock import now, today_in_japan
from jukinet.mesh.config import NodeConfig
from jukinet.mesh.identity import Identity
from jukinet.mesh.pki import load_secret, load_signing_key
from jukinet.purpose.agencies import load_agencies
from jukinet.purpose.decision import PurposePolicy
from jukinet.store.engine import open_reader
from jukinet.store.reading import read
from jukinet.store.writer_process import begin_writer

_CENTER_HEALTH_SECONDS = 2.0
__all__ = ["MIGRATIONS", "run"]


async def run(config: NodeConfig) -> None:
    """Runs the node until SIGTERM.

    Raises LedgerCorrupt when the ledger cannot be derived again from its rows, LedgerContradicted when a witness proves
    that it is not the one that it saw.
    """
    start_telemetry(config)
    settings = config.gateway
    listed = load_witnesses(needed(settings.witnesses))
    writer = await begin_writer(
        partial(open_ledger, config.database), node=config.identity.uri, on_commit=metrics.commit
    )
    reader = open_reader(config.database)
    editions = open_editions(reader)
    agencies = load_agencies(needed(settings.agencies), editions)
    warn_of_unlisted(agencies)
    policy = PurposePolicy(editions, agencies)
    ledger_key = load_signing_key(needed(settings.ledger_key))
    signer = Signer(f"jukinet/{config.name}", ledger_key)
    sign = partial(signer_of, signer.verifier.name, needed(settings.ledger_key))
    size = await writer.run(partial(load, sign=sign))
    seen = await writer.run(published.seen_by)
    witnesses = _witnesses(config, listed, origin=signer.verifier, reader=reader, seen=seen)
    publisher = Publisher(witnesses=list(witnesses.values()), quorum=listed.quorum, reader=reader, writer=writer)
    newest = await asyncio.to_thread(read, reader, newest_us)
    record = Record(writer=writer, sign=sign, size=size, newest_us=newest, is_open=lambda: publisher.is_open)
    # Of what the center says the gateway's own limit, made for questions, is not the measure.
    channel = open_channel(needed(config.upstream), config.tls, server=Identity("center", ""))
    keys = EntryKeys(load_secret(needed(settings.token_key)))
    freezes = Freezes(
        record=record,
        reader=reader,
        keys=keys,
        gateway=config.identity.uri,
        policy_digest=lambda: policy.digest_on(today_in_japan()),
    )
    admission = Admission(directory=agencies, keys=keys, freezes=freezes)
    with reader.connect() as connection:
        admission.restore(todays_entries(connection, now()))
    declarations = Declarations(center=FrozenServiceStub(channel), freezes=freezes, keys=keys, directory=agencies)
    center = Center(
        identity=config.identity.uri,
        stub=ProvisionServiceStub(channel),
        ticket_key=load_signing_key(needed(settings.ticket_key)),
    )
    desk = Desk(policy=policy, admission=admission, keys=keys, record=record)
    inquiry = InquiryService(desk=desk, center=center, answer_key=ledger_key)
    watch = WatchService(
        desk=desk,
        center=ChangeProvisionServiceStub(channel),
        identity=config.identity.uri,
        ticket_key=load_signing_key(needed(settings.ticket_key)),
    )

    recalls = Recalls(
        center=CorrectionServiceStub(channel),
        reader=reader,
        writer=writer,
        record=record,
        keys=keys,
        gateway=config.identity.uri,
        policy_digest=lambda: policy.digest_on(today_in_japan()),
    )
    recall = RecallService(desk=desk, recalls=recalls, reader=reader, keys=keys, gateway=config.identity.uri)

    carry_out = acts_on_record(record, keys, policy, config.identity)
    statutes = StatuteService(policy=policy, reader=reader, carry_out=carry_out)
    bodies = BodyService(
        reader=reader,
        record=record,
        keys=keys,
        gateway=config.identity,
        policy_digest=lambda: policy.digest_on(today_in_japan()),
    )

    scrub = Scrub(reader=reader, verifier=signer.verifier)

    def describe(status: admin.GetStatusResponse) -> None:
        status.ledger_entries = record.size
        status.edition, status.policy_digest = policy.in_force(today_in_japan())
        status.freezes_undeclared = not declarations.is_known
        publisher.describe(status, record.size)
        scrub.describe(status)

    async def end_streams() -> None:
        await asyncio.gather(inquiry.end_batches(), watch.end_streams(), recall.end_streams(), desk.settle())

    async def answers() -> bool:
        return record.is_open() and await _center_serves(channel)

    try:
        await publisher.begin()
        await serve(
            config,
            services=[
                (add_InquiryServiceServicer_to_server, inquiry),
                (add_WatchServiceServicer_to_server, watch),
                (add_RecallServiceServicer_to_server, recall),
                (add_StatuteServiceServicer_to_server, statutes),
                (add_FreezeServiceServicer_to_server, FreezeService(freezes, agencies)),
                (add_LedgerServiceServicer_to_server, LedgerService(reader, covering=publisher.covering)),
                (add_BodyServiceServicer_to_server, bodies),
            ],
            admin=AdminService(identity=config.identity, register=None, describe=describe),
            checks={
                "jukinet.inquiry.v1.InquiryService": answers,
                "jukinet.ledger.v1.LedgerService": lambda: readable(reader),
            },
            parts=[
                writer.watch,
                record.grouping.run,
                *center.parts,
                declarations.run,
                recalls.run,
                recalls.show,
                publisher.run,
                scrub.run,
            ],
            on_drain=end_streams,
            admit=partial(require_listed_key, agencies),
            on_refusal=inquiry.note_refusal,
        )
    finally:
        await publisher.close()
        for each in (channel, *witnesses):
            await each.close()
        await writer.close()
        reader.dispose()


def _witnesses(
    config: NodeConfig, listed: WitnessList, *, origin: VerifierKey, reader: Engine, seen: Mapping[str, int]
) -> dict[grpc.aio.Channel, Witness]:
    """The witnesses of the list, each by a channel to it."""
    met = {}
    for each in listed.witnesses:
        channel = open_channel(each.address, config.tls, server=each.identity)
        stub, known = WitnessServiceStub(channel), seen.get(str(each.key), 0)
        met[channel] = Witness(each.identity, each.key, stub, origin=origin, reader=reader, seen=known)
    return met


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
            about=act.table.edition,
            edition=act.table.edition,
            edition_digest=act.table.digest,
            policy_digest=policy.digest_on(today_in_japan()),
        )
        await record.carry_out(entry, job)

    return carry_out
