"""A witness (立会人), assembled: a key, a database, the keys of the ledgers that it knows; nobody's data."""

from collections.abc import Mapping
from pathlib import Path

from jukinet._pb.jukinet.witness.v1.witness_pb2_grpc import add_WitnessServiceServicer_to_server
from jukinet.assembly.process import needed, serve, start_telemetry
from jukinet.assembly.status import AdminService, readable
from jukinet.ledger.cosignature import Cosigner, key_name
from jukinet.ledger.verify.findings import Unsound
from jukinet.ledger.verify.notes import Key, read_key
from jukinet.mesh import metrics
from jukinet.mesh.config import ConfigError, NodeConfig
from jukinet.mesh.pki import load_signing_key
from jukinet.store.engine import open_reader, open_writer
from jukinet.store.migrate import ensure_schema
from jukinet.store.writer import Writer
from jukinet.witness import store
from jukinet.witness.service import WitnessService

MIGRATIONS = Path(__file__).parent / "migrations"


async def run(config: NodeConfig) -> None:
    """Runs the node until SIGTERM.

    Raises WitnessRetired when key and database do not belong together, LedgerCorrupt when a record is damaged.
    """
    start_telemetry(config)
    key_file = needed(config.witness.key)
    cosigner = Cosigner(key_name(config.name), load_signing_key(key_file))
    keys = load_ledger_keys(needed(config.witness.ledgers))
    engine = open_writer(config.database)
    try:
        ensure_schema(engine, MIGRATIONS)
        store.found(engine, cosigner.key, key_file)
        with engine.begin() as connection:
            store.require_sound(connection, keys)
    except BaseException:
        engine.dispose()
        raise
    reader = open_reader(config.database)
    writer = Writer(engine, on_commit=metrics.commit)
    try:
        await serve(
            config,
            services=[
                (
                    add_WitnessServiceServicer_to_server,
                    WitnessService(writer=writer, reader=reader, cosigner=cosigner, keys=keys),
                )
            ],
            admin=AdminService(identity=config.identity, register=None, describe=lambda _: None),
            checks={"jukinet.witness.v1.WitnessService": lambda: readable(reader)},
            parts=[writer.watch],
        )
    finally:
        writer.close()
        reader.dispose()
        engine.dispose()


def load_ledger_keys(directory: Path) -> Mapping[str, Key]:
    """Reads every `NAME.vkey` of a directory.

    Returns:
        Verifier keys of ledgers by origin.

    Raises:
        ConfigError: there is none, one is no verifier key, or two are of one origin.
    """
    keys: dict[str, Key] = {}
    for path in sorted(directory.glob("*.vkey")):
        try:
            key = read_key(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, Unsound) as error:
            raise ConfigError(f"{path}: {error}") from None
        if key.name in keys:
            raise ConfigError(f"{path}: another file of this directory is of the same ledger, {key.name}; keep one")
        keys[key.name] = key
    if not keys:
        raise ConfigError(f"{directory} holds no NAME.vkey; put the verifier key of each ledger there")
    return keys
