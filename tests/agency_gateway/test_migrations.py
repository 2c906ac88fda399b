"""The database of a gateway of an earlier version keeps its ledger and gets what it lacks."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Engine, inspect, text

from agency_gateway import used_ids
from agency_gateway.node import MIGRATIONS
from jukinet._pb.jukinet.ledger.v1.ledger_pb2 import Receipt
from jukinet.assembly.editions import open_editions
from jukinet.ledger import store as ledger
from jukinet.ledger.note import Signer
from jukinet.store.engine import open_writer
from jukinet.store.errors import SchemaMismatch
from jukinet.store.migrate import ensure_schema, migrate

RECORDED = Path(__file__).parents[1] / "ledger" / "verify" / "recorded" / "layout-1" / "receipt"
AGENCY = "spiffe://agencies.jukinet/agency/pension-service"
IDS = [f"5f7d1c1e-0000-4000-8000-{number:012}" for number in range(20_001)]


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    opened = open_writer(database_url)
    yield opened
    opened.dispose()


def test_a_ledger_of_the_first_release_goes_on_under_the_schema_of_this_one(engine: Engine, tmp_path: Path) -> None:
    first = tmp_path / "first"
    (first / "versions").mkdir(parents=True)
    for name in ("env.py", "versions/g0001_ledger.py"):
        (first / name).write_text((MIGRATIONS / name).read_text())
    ensure_schema(engine, first)
    signer = Signer("jukinet/gateway-1", Ed25519PrivateKey.generate())
    in_layout_1 = Receipt.FromString(RECORDED.read_bytes()).entry
    with engine.begin() as connection:
        state, _ = ledger.append(connection, ledger.load(connection, signer), [in_layout_1], signer)
        connection.execute(text(f"INSERT INTO asked VALUES ('{AGENCY}', :id)"), [{"id": each} for each in IDS])
    with pytest.raises(SchemaMismatch, match="jukinet node migrate"):
        ensure_schema(engine, MIGRATIONS)
    migrate(engine, MIGRATIONS)
    assert {"editions", "operator_acts"} <= set(inspect(engine).get_table_names())
    assert [table.edition for table in open_editions(engine)] == ["2019-01"]
    with engine.begin() as connection:
        assert ledger.load(connection, signer) == state
        assert ledger.read_entries(connection, 0, 9) == [in_layout_1]
        # Used is used, by whichever version; and only by that agency.
        used = {used_ids.digest_of(AGENCY, each) for each in IDS[:3]}
        other = used_ids.digest_of(f"{AGENCY}-2", IDS[0])
        assert used_ids.among(connection, [*used, other]) == used
        assert used_ids.gathered(connection) == 0
    assert "asked" not in inspect(engine).get_table_names()
