"""One key, one database: a witness that lost either does not start again."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Engine, update

from jukinet.ledger import witness
from jukinet.ledger.cosignature import Cosigner
from jukinet.ledger.errors import LedgerCorrupt, WitnessRetired
from jukinet.ledger.note import Signer, sign_checkpoint
from jukinet.ledger.verify.notes import read_key
from jukinet.store.engine import open_writer
from jukinet.store.migrate import ensure_schema
from jukinet.witness import store
from jukinet.witness.node import MIGRATIONS

KEY = Cosigner("jukinet/witness-1", Ed25519PrivateKey.from_private_bytes(b"\x01" * 32)).key
OTHER = Cosigner("jukinet/witness-1", Ed25519PrivateKey.from_private_bytes(b"\x02" * 32)).key
LOG = Signer("log.example", Ed25519PrivateKey.from_private_bytes(b"\x03" * 32))
LOG_KEY = read_key(str(LOG.verifier))


def opened(url: str) -> Engine:
    engine = open_writer(url)
    ensure_schema(engine, MIGRATIONS)
    return engine


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    made = opened(database_url)
    yield made
    made.dispose()


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    return tmp_path / "keys" / "cosign.key"


@pytest.fixture(autouse=True)
def _folder(key_file: Path) -> None:
    key_file.parent.mkdir()


def test_a_key_and_its_database_start_again_and_again(engine: Engine, key_file: Path) -> None:
    for _ in range(3):
        store.found(engine, KEY, key_file)


def test_a_key_that_cosigned_before_does_not_start_with_an_empty_database(
    engine: Engine, key_file: Path, tmp_path: Path
) -> None:
    store.found(engine, KEY, key_file)
    empty = opened(f"sqlite:///{tmp_path}/empty.db")
    with pytest.raises(WitnessRetired, match="new key"):
        store.found(empty, KEY, key_file)
    empty.dispose()


def test_a_database_does_not_start_with_another_key(engine: Engine, key_file: Path, tmp_path: Path) -> None:
    store.found(engine, KEY, key_file)
    with pytest.raises(WitnessRetired, match="another key"):
        store.found(engine, OTHER, tmp_path / "other.key")


def test_a_start_that_was_cut_off_between_database_and_mark_is_no_loss(engine: Engine, key_file: Path) -> None:
    store.found(engine, KEY, key_file)
    key_file.with_name("cosign.key.used").unlink()
    store.found(engine, KEY, key_file)
    assert key_file.with_name("cosign.key.used").exists()


def test_the_latest_checkpoint_of_each_log_is_remembered(engine: Engine) -> None:
    with engine.begin() as connection:
        assert store.latest(connection, "log.example", LOG_KEY) == witness.NOTHING
        for size in (3, 5):
            note = sign_checkpoint(LOG, size, bytes(32))
            store.remember(connection, "log.example", witness.recall(note, LOG_KEY))
    with engine.begin() as connection:
        assert store.latest(connection, "log.example", LOG_KEY).tree.size == 5
        assert store.latest(connection, "elsewhere.example", LOG_KEY) == witness.NOTHING


def test_a_damaged_record_stops_the_start(engine: Engine) -> None:
    note = sign_checkpoint(LOG, 3, bytes(32))
    with engine.begin() as connection:
        store.remember(connection, "log.example", witness.recall(note, LOG_KEY))
        store.require_sound(connection, {"log.example": LOG_KEY})
        connection.execute(update(store.witnessed).values(note=note.replace("3", "2", 1)))
        with pytest.raises(LedgerCorrupt):
            store.require_sound(connection, {"log.example": LOG_KEY})
