"""`jukinet node`: what keeps a node from starting is one sentence and a documented exit code."""

import logging
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.exc import ArgumentError

import center_node.node
from center_node import body_keys
from jukinet.cli.init import Plan, write_mesh
from jukinet.cli.layout import Mesh
from jukinet.cli.output import Exit
from jukinet.ledger.errors import LedgerContradicted, LedgerCorrupt, WitnessRetired
from jukinet.mesh.callers import CallersError
from jukinet.mesh.config import NodeConfig
from jukinet.mesh.pki import PkiError
from jukinet.mesh.server import ListenError
from jukinet.mesh.tls import TlsError
from jukinet.purpose.agencies import AgencyDirectoryError
from jukinet.purpose.decision import PolicyError
from jukinet.purpose.statute import StatuteTableError
from jukinet.store.engine import open_writer
from jukinet.store.errors import SchemaMismatch, StorageFull, StoreBusy
from jukinet.store.migrate import ensure_schema
from tests.commands import jukinet


@pytest.fixture
def mesh(tmp_path: Path) -> Mesh:
    return write_mesh(tmp_path / "mesh", Plan(["131016"], ["gateway-1"]))


@pytest.fixture(autouse=True)
def logging_kept() -> Iterator[None]:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = before


def run_process(mesh: Mesh, name: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "jukinet.cli", "node", "run", "--config", str(mesh.config_path(name))]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (TlsError("key does not fit"), Exit.CONFIGURATION),
        (PkiError("no key"), Exit.CONFIGURATION),
        (PolicyError("policies"), Exit.CONFIGURATION),
        (StatuteTableError("table"), Exit.CONFIGURATION),
        (AgencyDirectoryError("directory"), Exit.CONFIGURATION),
        (CallersError("callers"), Exit.CONFIGURATION),
        (ListenError("taken"), Exit.CONFIGURATION),
        (ArgumentError("no such URL"), Exit.CONFIGURATION),
        (SchemaMismatch("older"), Exit.DATABASE),
        (StoreBusy("held"), Exit.DATABASE),
        (StorageFull("full"), Exit.DATABASE),
        (LedgerCorrupt("entry 7"), Exit.DATABASE),
        (LedgerContradicted("saw more"), Exit.CONTRADICTED),
        (WitnessRetired("key"), Exit.CONTRADICTED),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value.name,
)
def test_what_keeps_a_node_from_running_is_one_sentence_and_a_code(
    mesh: Mesh, monkeypatch: pytest.MonkeyPatch, error: Exception, expected: Exit
) -> None:
    async def fail(_: NodeConfig) -> None:
        raise error

    monkeypatch.setattr(center_node.node, "run", fail)
    result = jukinet("node", "run", "--config", str(mesh.config_path("center")))
    assert result.exit_code == expected
    assert result.stderr == f"The node does not run: {error}\n"


@pytest.mark.parametrize(
    ("cause", "expected"),
    [
        ("None", Exit.REFUSED),
        ("ValueError()", Exit.REFUSED),
        ("StorageFailed('disk')", Exit.STORAGE),
        ("LedgerContradicted('saw more')", Exit.CONTRADICTED),
        ("LedgerCorrupt('entry 7')", Exit.DATABASE),
    ],
)
def test_a_node_of_which_a_part_failed_ends_at_once_with_a_sentence_and_a_code(
    mesh: Mesh, cause: str, expected: Exit
) -> None:
    """Whatever else still runs in the process, such as a thread that no database answers."""
    program = f"""
import sys, threading
import center_node.node
from jukinet.assembly.process import PartFailed
from jukinet.cli import main
from jukinet.ledger.errors import LedgerContradicted, LedgerCorrupt
from jukinet.store.errors import StorageFailed

async def run(config):
    threading.Thread(target=threading.Event().wait).start()
    raise PartFailed("a part failed") from {cause}

center_node.node.run = run
sys.argv = ["jukinet", "node", "run", "--config", {str(mesh.config_path("center"))!r}]
main()
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (expected, "The node does not run: a part failed\n")


def test_an_error_that_nobody_foresaw_is_not_hidden(mesh: Mesh, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(_: NodeConfig) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(center_node.node, "run", fail)
    with pytest.raises(ZeroDivisionError):
        jukinet("node", "run", "--config", str(mesh.config_path("center")))


def test_a_node_that_drained_ends_with_zero(mesh: Mesh, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    async def run(config: NodeConfig) -> None:
        seen.append(config.identity.uri)

    monkeypatch.setattr(center_node.node, "run", run)
    assert jukinet("node", "run", "--config", str(mesh.config_path("center"))).exit_code == Exit.OK
    assert seen == ["spiffe://nodes.jukinet/center"]


def test_a_configuration_with_an_unknown_key_names_it(mesh: Mesh) -> None:
    path = mesh.config_path("center")
    path.write_text(path.read_text().replace("listen", "listens"))
    result = jukinet("node", "run", "--config", str(path))
    assert result.exit_code == Exit.CONFIGURATION
    assert "listens" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_database_that_another_process_holds_stops_the_start(mesh: Mesh) -> None:
    held = open_writer(mesh.config("center").database)
    try:
        result = run_process(mesh, "center")
    finally:
        held.dispose()
    assert result.returncode == Exit.DATABASE
    assert result.stderr.splitlines()[-1].startswith("The node does not run: another process")
    assert "Traceback" not in result.stderr


def test_migrate_makes_the_schema_and_leaves_a_fitting_one_alone(mesh: Mesh) -> None:
    for name in ("municipality-131016", "gateway-1", "witness-1"):
        for _ in range(2):
            result = jukinet("node", "migrate", "--config", str(mesh.config_path(name)))
            assert result.exit_code == Exit.OK, result.output
    with sqlite3.connect(mesh.folder("municipality-131016") / "register.db") as database:
        tables = {row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    database.close()
    assert "alembic_version" in tables


def test_migrate_brings_the_centers_body_keys_to_the_schema_too(mesh: Mesh, tmp_path: Path) -> None:
    before = tmp_path / "before"
    shutil.copytree(body_keys.MIGRATIONS, before, ignore=shutil.ignore_patterns("k0002*", "__pycache__"))
    path = mesh.config("center").center.body_keys
    assert path is not None
    older = open_writer(f"sqlite:///{path}")
    ensure_schema(older, before)
    older.dispose()
    assert jukinet("node", "migrate", "--config", str(mesh.config_path("center"))).exit_code == Exit.OK
    body_keys.BodyKeys(path, bytes(32)).close()


def test_migrate_refuses_a_database_of_another_program(mesh: Mesh) -> None:
    database = sqlite3.connect(mesh.folder("center") / "register.db")
    database.execute("CREATE TABLE alembic_version (version_num TEXT)")
    database.execute("INSERT INTO alembic_version VALUES ('somebody-elses')")
    database.commit()
    database.close()
    result = jukinet("node", "migrate", "--config", str(mesh.config_path("center")))
    assert result.exit_code == Exit.DATABASE
    assert "newer than this program" in result.stderr
