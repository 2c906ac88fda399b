"""A mesh with a disclosure node: the token key stands at the center and there, and nowhere else."""

from pathlib import Path

import pytest

from jukinet.cli.init import Plan, write_mesh
from jukinet.cli.layout import Mesh
from jukinet.disclosure.ledger_list import load_ledgers
from jukinet.ledger.verify.notes import read_key
from jukinet.mesh.pki import load_public_key, load_signing_key
from jukinet.purpose.identity_check import load_counters


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Mesh:
    plan = Plan(["131016", "011002"], ["east", "west"], disclosure=True)
    return write_mesh(tmp_path_factory.mktemp("init") / "mesh", plan)


def test_nobody_but_the_center_and_the_disclosure_node_has_the_token_key(mesh: Mesh) -> None:
    secret = (mesh.folder("center") / "token.key").read_text().strip()
    holders = [
        path.parent.name for path in mesh.root.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()
    ]
    assert sorted(holders) == ["center", "disclosure"]


def test_the_node_knows_every_ledger_and_its_witnesses(mesh: Mesh) -> None:
    folder = mesh.folder("disclosure")
    listed = load_ledgers(folder / "ledgers.toml")
    assert [each.gateway.name for each in listed.ledgers] == ["east", "west"]
    for each in listed.ledgers:
        name = f"gateway-{each.gateway.name}"
        assert each.address == mesh.config(name).listen
        assert each.key == read_key(mesh.ledger_key(name).read_text())
    assert (listed.quorum, len(listed.witnesses)) == (2, 3)


def test_each_counter_signs_with_a_key_of_its_own_that_the_node_knows(mesh: Mesh) -> None:
    known = load_counters(mesh.folder("disclosure") / "counters")
    assert {uri.rpartition("/")[2] for uri in known} == {"131016", "011002", "portal"}
    for uri, key in known.items():
        folder = mesh.root / "clients" / f"counter-{uri.rpartition('/')[2]}"
        assert load_signing_key(folder / "check.key").public_key() == key
        assert (folder / "tls.pem").exists()
    assert len({key.public_bytes_raw() for key in known.values()}) == 3


def test_what_the_node_signs_verifies_under_the_key_of_the_mesh(mesh: Mesh) -> None:
    signing = load_signing_key(mesh.folder("disclosure") / "log.key").public_key()
    assert signing == load_public_key(mesh.folder("disclosure") / "log.pub")
    assert read_key(mesh.disclosure_key.read_text()).public == signing


def test_a_mesh_without_one_has_no_counters(tmp_path: Path) -> None:
    mesh = write_mesh(tmp_path / "mesh", Plan(["131016"], ["gateway-1"]))
    assert "disclosure" not in mesh.names
    assert not list((mesh.root / "clients").glob("counter-*"))
