"""The disclosure node (開示), assembled: mirrors of the gateways' ledgers, token key, own ledger; no register."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from jukinet._pb.jukinet.admin.v1 import admin_pb2 as admin
from jukinet._pb.jukinet.disclosure.v1.disclosure_pb2_grpc import add_DisclosureServiceServicer_to_server
from jukinet._pb.jukinet.ledger.v1.ledger_pb2_grpc import LedgerServiceStub
from jukinet.assembly.process import needed, serve, start_telemetry
from jukinet.assembly.status import AdminService, readable
from jukinet.disclosure.acts import Acts
from jukinet.disclosure.ledger_list import load_ledgers
from jukinet.disclosure.mirror import Mirror
from jukinet.disclosure.service import DisclosureService, Residents
from jukinet.disclosure.usage import UsageOffice
from jukinet.ledger import store as ledger
from jukinet.ledger.entry import EntryKeys
from jukinet.ledger.note import Signer
from jukinet.mesh import metrics
from jukinet.mesh.client import open_channel
from jukinet.mesh.config import ConfigError, NodeConfig
from jukinet.mesh.identity import Identity, IdentityError
from jukinet.mesh.pki import load_public_keys, load_secret, load_signing_key
from jukinet.purpose.agencies import load_names
from jukinet.purpose.edition import load_statute
from jukinet.store.engine import open_reader, open_writer
from jukinet.store.migrate import ensure_schema
from jukinet.store.writer import Writer

MIGRATIONS = Path(__file__).parent / "migrations"
ORIGIN = "jukinet/disclosure"
"""Of the node's own ledger."""


async def run(config: NodeConfig) -> None:
    """Runs the node until SIGTERM. Raises LedgerCorrupt when its own ledger cannot be derived again from its rows."""
    start_telemetry(config)
    settings = config.disclosure
    listed = load_ledgers(needed(settings.ledgers))
    counters = load_counters(needed(settings.counters))
    directory = needed(settings.agencies)
    names, statute = load_names(directory), load_statute()
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
    service = DisclosureService(
        office=UsageOffice(
            node=config.identity.uri,
            token_key=token_key,
            key=log_key,
            statute=statute,
            names=names,
            provider=Identity("center").uri,
        ),
        residents=Residents(token_key),
        keys=EntryKeys(token_key),
        counters=counters,
        mirrors=mirrors,
        acts=acts,
        reader=reader,
        policy_digest=hashlib.sha256(statute.digest + directory.read_bytes()).digest(),
    )

    def describe(status: admin.GetStatusResponse) -> None:
        status.ledger_entries = acts.size
        for mirror in mirrors:
            mirror.describe(status.mirrors.add())

    try:
        await serve(
            config,
            services=[(add_DisclosureServiceServicer_to_server, service)],
            admin=AdminService(identity=config.identity, register=None, describe=describe),
            checks={"jukinet.disclosure.v1.DisclosureService": lambda: readable(reader)},
            parts=[writer.watch, acts.grouping.run, *(mirror.run for mirror in mirrors)],
        )
    finally:
        for _, channel in channels:
            await channel.close()
        writer.close()
        reader.dispose()
        engine.dispose()


def load_counters(directory: Path) -> Mapping[str, Ed25519PublicKey]:
    """Reads the keys of the counters (窓口): one `NAME.pub` each.

    Returns:
        Keys by SPIFFE ID.

    Raises:
        PkiError: the directory is missing, or a file in it is not a public key.
        ConfigError: a file has the name of no counter.
    """
    try:
        return {Identity("counter", name).uri: key for name, key in load_public_keys(directory).items()}
    except IdentityError as error:
        raise ConfigError(f"{directory}: {error}") from None
