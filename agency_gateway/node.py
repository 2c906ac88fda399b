"""An agency gateway, assembled: inquiry + purpose check + ledger with its witnesses."""

import hashlib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from sqlalchemy import Engine

from agency_gateway.inquiry import InquiryService
from agency_gateway.publisher import Publisher
from agency_gateway.record import Record
from agency_gateway.witness import Witness
from agency_gateway.witness_list import WitnessList, load_witnesses
from jukinet._pb.jukinet.admin.v1 import admin_pb2 as admin
from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2_grpc import add_InquiryServiceServicer_to_server
from jukinet._pb.jukinet.ledger.v1.ledger_pb2_grpc import add_LedgerServiceServicer_to_server
from jukinet._pb.jukinet.provision.v1.provision_pb2_grpc import ProvisionServiceStub
from jukinet._pb.jukinet.witness.v1.witness_pb2_grpc import WitnessServiceStub
from jukinet.assembly.process import needed, serve, start_telemetry
from jukinet.assembly.status import AdminService, readable
from jukinet.ledger import published
from jukinet.ledger import store as ledger
from jukinet.ledger.entry import EntryKeys
from jukinet.ledger.note import Signer, VerifierKey
from jukinet.ledger.service import LedgerService
from jukinet.mesh import metrics
from jukinet.mesh.client import open_channel
from jukinet.mesh.config import NodeConfig
from jukinet.mesh.identity import Identity
from jukinet.mesh.pki import load_secret, load_signing_key
from jukinet.purpose.agencies import load_agencies
from jukinet.purpose.decision import PurposePolicy
from jukinet.purpose.statute import load_statute
from jukinet.store.engine import open_reader, open_writer
from jukinet.store.migrate import ensure_schema
from jukinet.store.writer import Writer

_CENTER_HEALTH_SECONDS = 2.0
MIGRATIONS = Path(__file__).parent / "migrations"


async def run(config: NodeConfig) -> None:
    """Runs the node until SIGTERM.

    Raises LedgerCorrupt when the ledger cannot be derived again from its rows, LedgerContradicted when a witness proves
    that it is not the one that it saw.
    """
    start_telemetry(config)
    settings = config.gateway
    listed = load_witnesses(needed(settings.witnesses))
    statute = load_statute()
    policy = PurposePolicy(statute, load_agencies(needed(settings.agencies), statute))
    engine = open_writer(config.database)
    ensure_schema(engine, MIGRATIONS)
    signer = Signer(f"jukinet/{config.name}", load_signing_key(needed(settings.ledger_key)))
    reader = open_reader(config.database)
    writer = Writer(engine, on_commit=metrics.commit)
    state = await writer.run(lambda connection: ledger.load(connection, signer))
    seen = await writer.run(published.seen_by)
    witnesses = _witnesses(config, listed, origin=signer.verifier, reader=reader, seen=seen)
    publisher = Publisher(witnesses=list(witnesses.values()), quorum=listed.quorum, reader=reader, writer=writer)
    record = Record(writer=writer, signer=signer, state=state, is_open=lambda: publisher.is_open)
    channel = open_channel(needed(config.upstream), config.tls, server=Identity("center", ""), limits=config.limits)
    inquiry = InquiryService(
        identity=config.identity.uri,
        policy=policy,
        policy_digest=policy_digest(needed(settings.agencies)),
        center=ProvisionServiceStub(channel),
        ticket_key=load_signing_key(needed(settings.ticket_key)),
        keys=EntryKeys(load_secret(needed(settings.token_key))),
        record=record,
    )

    def describe(status: admin.GetStatusResponse) -> None:
        status.ledger_entries = record.size
        publisher.describe(status, record.size)

    async def answers() -> bool:
        return publisher.is_open and await _center_serves(channel)

    try:
        await publisher.begin()
        await serve(
            config,
            services=[
                (add_InquiryServiceServicer_to_server, inquiry),
                (add_LedgerServiceServicer_to_server, LedgerService(reader, covering=publisher.covering)),
            ],
            admin=AdminService(identity=config.identity, register=None, describe=describe),
            checks={
                "jukinet.inquiry.v1.InquiryService": answers,
                "jukinet.ledger.v1.LedgerService": lambda: readable(reader),
            },
            parts=[writer.watch, record.grouping.run, publisher.run],
            on_refusal=inquiry.note_refusal,
        )
    finally:
        await publisher.close()
        for each in (channel, *witnesses):
            await each.close()
        writer.close()
        reader.dispose()
        engine.dispose()


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


def policy_digest(agencies: Path) -> bytes:
    """SHA-256 over everything that decides: statute table, policies, schema and the agency directory, 32 bytes."""
    digest = hashlib.sha256()
    folder = resources.files("jukinet.purpose")
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith((".csv", ".cedar", ".cedarschema")))
    for name in names:
        content = folder.joinpath(name).read_bytes()
        digest.update(f"{name}:{len(content)}\n".encode() + content)
    digest.update(agencies.read_bytes())
    return digest.digest()
