"""`jukinet ledger export`: what lies in the database of a gateway that does not start, for the verifier to judge."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text
from typer.testing import Result

from agency_gateway.node import MIGRATIONS
from jukinet.assembly.process import needed
from jukinet.cli.init import Plan, write_mesh
from jukinet.cli.layout import Mesh
from jukinet.cli.output import Exit
from jukinet.ledger import store
from jukinet.ledger.note import Signer
from jukinet.mesh.pki import load_signing_key
from jukinet.store.engine import open_writer
from jukinet.store.migrate import ensure_schema
from tests.commands import jukinet

GATEWAY = "gateway-1"


def ledger(*arguments: object) -> Result:
    return jukinet("ledger", *arguments)


@pytest.fixture
def mesh(tmp_path: Path, leaf: Callable[..., bytes]) -> Mesh:
    """A gateway whose third of nine entries somebody rewrote in its database; there are three checkpoints."""
    mesh = write_mesh(tmp_path / "mesh", Plan(["131016"], [GATEWAY]))
    config = mesh.config(GATEWAY)
    signer = Signer(f"jukinet/{config.name}", load_signing_key(needed(config.gateway.ledger_key)))
    engine = open_writer(config.database)
    ensure_schema(engine, MIGRATIONS)
    with engine.begin() as connection:
        state = store.load(connection, signer)
        for first in range(0, 9, 3):
            state, _ = store.append(connection, state, [leaf(first + k) for k in range(3)], signer)
    with engine.begin() as connection:
        connection.execute(text("DROP TRIGGER ledger_entries_no_update"))
        changed = text("UPDATE ledger_entries SET entry = :entry WHERE leaf_index = 2")
        connection.execute(changed, {"entry": leaf(2, operator="somebody-else")})
    engine.dispose()
    return mesh


def test_the_entry_that_was_rewritten_in_the_database_is_named(mesh: Mesh, tmp_path: Path) -> None:
    out = tmp_path / "ledger.jsonl"
    written = ledger("export", "--config", mesh.config_path(GATEWAY), "--out", out)
    assert written.exit_code == Exit.OK, written.output
    verified = ledger("verify", out, "--key", mesh.ledger_key(GATEWAY), "--json")
    assert verified.exit_code == Exit.REFUSED
    report = json.loads(verified.stdout)
    assert (report["sound"], report["first_bad_index"]) == (False, 2)
    again = ledger("export", "--config", mesh.config_path(GATEWAY), "--out", out)
    assert (again.exit_code, "exists already" in again.stderr) == (Exit.USAGE, True)


def test_what_has_no_ledger_gives_no_file(mesh: Mesh, tmp_path: Path) -> None:
    out = tmp_path / "ledger.jsonl"
    assert ledger("export", "--config", mesh.config_path("center"), "--out", out).exit_code == Exit.USAGE
    Path(mesh.config(GATEWAY).database.removeprefix("sqlite:///")).unlink()
    assert ledger("export", "--config", mesh.config_path(GATEWAY), "--out", out).exit_code == Exit.DATABASE
    assert {path.name for path in tmp_path.iterdir()} == {"mesh"}
