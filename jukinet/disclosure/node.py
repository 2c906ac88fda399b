"""The disclosure node (開示), assembled: mirrors of the gateways' ledgers, token key, own ledger; no register."""

import hashlib
from functools import partial
from pathlib import Path

from jukinet._pb.jukinet.admin.v1 import admin_pb2 as admin
from jukinet._pb.jukinet.disclosure.v1.disclosure_pb2_grpc import add_DisclosureServiceServicer_to_server
from jukinet._pb.jukinet.disclosure.v1.record_pb2_grpc import RecordServiceStub
from jukinet._pb.jukinet.ledger.v1.ledger_pb2_grpc import LedgerServiceStub
from jukinet.assembly.process import needed, serve, start_telemetry
from jukinet.assembly.status import AdminService, readable
from jukinet.disclosure.acts import Acts
from jukinet.disclosure.desk import Desk, Residents
from jukinet.disclosure.ledger_list import load_ledgers
from jukinet.disclosure.mirror import Mirror
from jukinet.disclosure.record_desk import RecordDesk
from jukinet.disclosure.rest import Face
from jukinet.disclosure.rest_server import bind
from jukinet.disclosure.rest_server import serve as serve_rest
from jukinet.disclosure.service import DisclosureService
from jukinet.disclosure.usage import UsageOffice
from jukinet.disclosure.usage_desk import UsageDesk
from jukinet.ledger import store as ledger
from jukinet.ledger.entry import EntryKeys
from jukinet.ledger.newest import newest_us
from jukinet.ledger.note import Signer
from jukinet.mesh import metrics
from jukinet.mesh.client import open_channel
from jukinet.mesh.config import ConfigError, NodeConfig
from jukinet.mesh.identity import Identity
from jukinet.mesh.pki import load_secret, load_signing_key
from jukinet.mesh.tls import TlsMaterial
from jukinet.purpose.agencies import load_names
from jukinet.purpose.edition import load_statute, parse_edition
from jukinet.purpose.editions import Editions
from jukinet.purpose.identity_check import load_counters
from jukinet.store.engine import open_reader, open_writer
from jukinet.store.migrate import ensure_schema
from jukinet.store.writer import Writer

MIGRATIONS = Path(__file__).parent / "migrations"
ORIGIN = "jukinet/disclosure"
"""Of the node's own ledger."""


async def run(config: NodeConfig) -> None:
    """Runs the node until SIGTERM.

    Raises:
        LedgerCorrupt: its own ledger cannot be derived again from its rows.
        ConfigError: what it is given cannot be read.
        StatuteTableError: an edition contradicts itself, or another one of its name.
    """
    start_telemetry(config)
    settings = config.disclosure
    listed = load_ledgers(needed(settings.ledgers))
    counters = load_counters(needed(settings.counters))
    directory = needed(settings.agencies)
    names, editions = load_names(directory), load_editions(settings.editions)
    token_key = load_secret(needed(settings.token_key))
    signer = Signer(ORIGIN, log_key := load_signing_key(needed(settings.log_key)))
    engine = open_writer(config.database)
    ensure_schema(engine, MIGRATIONS)
    reader = open_reader(config.database)
    writer = Writer(engine, on_commit=metrics.commit)
    acts = Acts(
        writer=writer,
        signer=signer,
        state=await writer.run(lambda connection: ledger.load(connection, signer)),
        newest_us=await writer.run(newest_us),
    )
    channels = [
        (each, open_channel(each.address, config.tls, server=each.gateway, limits=config.limits))
        for each in listed.ledgers
    ]
    mirrors = [
        Mirror(
            each,
            LedgerServiceStub(channel),
            witnesses=listed.witnesses,
            quorum=listed.quorum,
            reader=reader,
            writer=writer,
        )
        for each, channel in channels
    ]
    center = open_channel(needed(config.upstream), config.tls, server=Identity("center"), limits=config.limits)
    desk = Desk(
        residents=Residents(token_key),
        keys=EntryKeys(token_key),
        counters=counters,
        acts=acts,
        policy_digest=hashlib.sha256(b"".join(each.digest for each in editions) + directory.read_bytes()).digest(),
    )
    office = UsageOffice(
        node=config.identity.uri,
        token_key=token_key,
        key=log_key,
        editions=editions,
        names=names,
        provider=Identity("center").uri,
    )
    usage = UsageDesk(desk, office=office, mirrors=mirrors, reader=reader)
    records = RecordDesk(desk, center=RecordServiceStub(center), reader=reader)

    rest = [bind(settings.rest_listen)] if settings.rest_listen else []
    material = TlsMaterial(config.tls)
    face = Face(node=config.identity, usage=usage, mirrors=mirrors, reader=reader, trust=lambda: material.trust)

    def describe(status: admin.GetStatusResponse) -> None:
        status.ledger_entries = acts.size
        for mirror in mirrors:
            mirror.describe(status.mirrors.add())
        status.open_requests, status.overdue_requests = records.open_requests, records.overdue_requests

    async def answers() -> bool:
        return acts.is_open() and await readable(reader)

    try:
        await serve(
            config,
            services=[
                (add_DisclosureServiceServicer_to_server, DisclosureService(usage=usage, records=records)),
            ],
            admin=AdminService(identity=config.identity, register=None, describe=describe),
            checks={"jukinet.disclosure.v1.DisclosureService": answers},
            parts=[
                *(writer.watch, acts.grouping.run, records.watch),
                *(mirror.run for mirror in mirrors),
                *(partial(serve_rest, face.app(), bound, config.tls) for bound in rest),
            ],
        )
    finally:
        for channel in (center, *(channel for _, channel in channels)):
            await channel.close()
        writer.close()
        reader.dispose()
        engine.dispose()


def load_editions(folder: Path | None) -> Editions:
    """The edition of the program and those of a folder, in the order of their names. Nothing is decided by them here.

    Raises:
        ConfigError: the folder or a file cannot be read.
        StatuteTableError: an edition contradicts itself, or another one of its name.
    """
    try:
        files = sorted(folder.iterdir()) if folder else []
        return Editions([load_statute(), *(parse_edition(each.read_bytes()) for each in files)])
    except OSError as error:
        raise ConfigError(f"{folder}: {type(error).__name__}. The folder holds files of editions alone.") from None
