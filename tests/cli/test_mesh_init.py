"""`jukinet mesh init`: what it writes works, keeps its secrets, and takes the place of nothing."""

import os
import stat
import tomllib
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from agency_gateway.witness_list import load_witnesses
from jukinet.cli import init
from jukinet.cli.development_agencies import BANK, PENSION_SERVICE
from jukinet.cli.init import Plan, write_mesh
from jukinet.cli.layout import Mesh
from jukinet.cli.output import Exit, Failure
from jukinet.ledger.note import VerifierKey
from jukinet.mesh.identity import Identity, identity_in, parse_identity
from jukinet.mesh.key_digest import key_digest_in
from jukinet.mesh.pki import load_public_key, load_public_keys, load_signing_key
from jukinet.mesh.tls import TlsMaterial
from jukinet.purpose.agencies import load_agencies
from jukinet.purpose.decision import PurposePolicy
from jukinet.purpose.edition import load_statute
from jukinet.purpose.editions import Editions
from jukinet.witness.node import load_ledger_keys
from tests.commands import jukinet

CODES = ["131016", "131024", "011002"]
NODES = (
    "center",
    "witness-1",
    "witness-2",
    "witness-3",
    "gateway-1",
    "prefecture-010006",
    "prefecture-130001",
    "municipality-011002",
    "municipality-131016",
    "municipality-131024",
)


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Mesh:
    return write_mesh(tmp_path_factory.mktemp("init") / "mesh", Plan(CODES, ["gateway-1"]))


def files(root: Path) -> set[Path]:
    return {path.relative_to(root) for path in root.rglob("*") if path.is_file()}


def test_prefectures_follow_from_the_municipalities_and_the_center_is_always_there(mesh: Mesh) -> None:
    assert mesh.names == NODES


@pytest.mark.parametrize("name", NODES)
def test_every_configuration_holds_and_fits_its_certificate(mesh: Mesh, name: str) -> None:
    config = mesh.config(name)
    material = TlsMaterial(config.tls)
    leaf = x509.load_pem_x509_certificate(config.tls.certificate.read_bytes())
    assert identity_in(leaf) == config.identity
    peer = material.trust.peer_of(config.tls.certificate.read_bytes(), config.identity.uri)
    assert peer.identity == config.identity


@pytest.mark.parametrize("name", [name for name in NODES if not name.startswith(("center", "witness"))])
def test_every_node_dials_the_one_above_it(mesh: Mesh, name: str) -> None:
    above = f"prefecture-{mesh.config(name).name[:2]}0" if name.startswith("municipality") else "center"
    (found,) = [other for other in mesh.names if mesh.address(other) == mesh.config(name).upstream]
    assert found.startswith(above)


def test_all_addresses_differ(mesh: Mesh) -> None:
    assert len({mesh.address(name) for name in mesh.names}) == len(NODES)


def test_secrets_are_readable_by_their_owner_alone(mesh: Mesh) -> None:
    for path in mesh.root.rglob("*"):
        if path.suffix == ".key" or path.name == "node.toml":
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_every_folder_of_a_node_holds_what_the_node_needs_and_no_more(mesh: Mesh) -> None:
    common = {"node.toml", "tls.key", "tls.pem"}
    assert {str(path) for path in files(mesh.folder("municipality-131016"))} == common | {"seal.key", "seal.pub"}
    assert {str(path) for path in files(mesh.folder("prefecture-010006"))} == common | {"seals/011002.pub"}
    keys = {"ticket.key", "ticket.pub", "ledger.key", "ledger.pub", "token.key"}
    lists = {"agencies.toml", "witnesses.toml"}
    assert {str(path) for path in files(mesh.folder("gateway-1"))} == common | keys | lists
    cosigns = {"cosign.key", "cosign.pub", "ledgers/gateway-1.vkey"}
    assert {str(path) for path in files(mesh.folder("witness-2"))} == common | cosigns


def test_the_prefecture_knows_the_seals_of_its_own_municipalities_and_the_center_all(mesh: Mesh) -> None:
    assert set(load_public_keys(mesh.folder("prefecture-130001") / "seals")) == {"131016", "131024"}
    seals = load_public_keys(mesh.folder("center") / "seals")
    assert set(seals) == set(CODES)
    own = load_signing_key(mesh.folder("municipality-131016") / "seal.key").public_key()
    assert _raw(seals["131016"]) == _raw(own)


def test_the_center_knows_the_gateways_ticket_key(mesh: Mesh) -> None:
    own = load_public_key(mesh.folder("gateway-1") / "ticket.pub")
    assert _raw(load_public_keys(mesh.folder("center") / "gateways")["gateway-1"]) == _raw(own)


def test_the_ledgers_public_key_is_the_gateways(mesh: Mesh) -> None:
    key = VerifierKey.parse(mesh.ledger_key("gateway-1").read_text().strip())
    assert key.name == "jukinet/gateway-1"
    assert _raw(key.public_key) == _raw(load_public_key(mesh.folder("gateway-1") / "ledger.pub"))


def test_the_gateway_knows_its_witnesses_and_they_its_ledger(mesh: Mesh) -> None:
    listed = load_witnesses(mesh.folder("gateway-1") / "witnesses.toml")
    assert listed.quorum == 2
    for each, name in zip(listed.witnesses, mesh.witnesses, strict=True):
        assert (each.identity, each.address) == (mesh.config(name).identity, mesh.address(name))
        assert str(each.key) == mesh.witness_key(name).read_text().strip()
        assert _raw(each.key.public_key) == _raw(load_signing_key(mesh.folder(name) / "cosign.key").public_key())
        (known,) = load_ledger_keys(mesh.folder(name) / "ledgers").values()
        assert _raw(known.public) == _raw(load_public_key(mesh.folder("gateway-1") / "ledger.pub"))
    keys = {_raw(each.key.public_key) for each in listed.witnesses}
    assert len(keys) == len(listed.witnesses) == 3


@pytest.mark.parametrize(("witnesses", "quorum"), [(1, 1), (2, 2), (3, 2), (5, 3)])
def test_a_quorum_is_the_smallest_majority(tmp_path: Path, witnesses: int, quorum: int) -> None:
    mesh = write_mesh(tmp_path / "mesh", Plan(["131016"], ["gateway-1"], witnesses=witnesses))
    assert load_witnesses(mesh.folder("gateway-1") / "witnesses.toml").quorum == quorum
    assert len(mesh.witnesses) == witnesses


def test_token_keys_are_32_bytes_and_differ(mesh: Mesh) -> None:
    found = [bytes.fromhex((mesh.folder(name) / "token.key").read_text()) for name in ("center", "gateway-1")]
    assert [len(key) for key in found] == [32, 32]
    assert found[0] != found[1]


def test_center_and_gateway_hold_the_same_directory_and_can_decide_by_it(mesh: Mesh) -> None:
    editions = Editions([load_statute()])
    gateway, center = (load_agencies(mesh.folder(name) / "agencies.toml", editions) for name in ("gateway-1", "center"))
    assert gateway == center
    PurposePolicy(editions, gateway)


def test_each_agency_lists_the_key_of_its_own_certificate_and_no_other(mesh: Mesh) -> None:
    directory = load_agencies(mesh.folder("gateway-1") / "agencies.toml", Editions([load_statute()]))
    for agency in directory.values():
        certificate = mesh.client(parse_identity(agency.spiffe_id)).certificate
        assert agency.certificates == {key_digest_in(certificate)}


def test_the_bank_is_private_and_holds_rows_by_mistake(mesh: Mesh) -> None:
    directory = load_agencies(mesh.folder("center") / "agencies.toml", Editions([load_statute()]))
    bank = directory[Identity("private", BANK).uri]
    assert bank.kind == "private"
    assert bank.rows
    assert directory[Identity("agency", PENSION_SERVICE).uri].bodies == {"japan-pension-service"}


@pytest.mark.parametrize(
    "client",
    [
        Identity("operator", "operator"),
        Identity("agency", PENSION_SERVICE),
        Identity("private", BANK),
        Identity("agency", "municipality-131016"),
        Identity("municipal-system", "011002"),
    ],
    ids=str,
)
def test_every_client_has_a_certificate_of_its_own(mesh: Mesh, client: Identity) -> None:
    tls = mesh.client(client)
    assert identity_in(x509.load_pem_x509_certificate(tls.certificate.read_bytes())) == client


def test_a_client_that_the_mesh_does_not_have_is_told_which_ones_it_has(mesh: Mesh) -> None:
    with pytest.raises(Failure, match="agency-pension-service"):
        mesh.client(Identity("agency", "nobody"))


def test_databases_lie_in_the_folders_of_their_nodes(mesh: Mesh) -> None:
    assert mesh.config("center").database == f"sqlite:///{mesh.folder('center')}/register.db"
    assert mesh.config("gateway-1").database == f"sqlite:///{mesh.folder('gateway-1')}/ledger.db"
    assert mesh.config("witness-1").database == f"sqlite:///{mesh.folder('witness-1')}/witness.db"


def test_a_database_template_gives_each_node_one_of_its_own(tmp_path: Path) -> None:
    template = "postgresql://juki:pass@localhost/juki_{node}"
    mesh = write_mesh(tmp_path / "mesh", Plan(["131016"], ["gateway-1"], template))
    assert mesh.config("municipality-131016").database == "postgresql://juki:pass@localhost/juki_municipality_131016"


@pytest.mark.parametrize("content", ["file", "symlink", "directory"])
def test_nothing_is_overwritten(tmp_path: Path, content: str) -> None:
    target = tmp_path / "mesh"
    if content == "file":
        target.write_text("mine")
    elif content == "symlink":
        target.symlink_to(tmp_path / "nowhere")
    else:
        target.mkdir()
        (target / "mine").write_text("mine")
    before = files(tmp_path)
    result = jukinet("mesh", "init", str(target), "--municipality", "131016")
    assert result.exit_code == Exit.REFUSED
    assert "left alone" in result.stderr
    assert files(tmp_path) == before


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    result = jukinet("mesh", "init", str(tmp_path), "--municipality", "131016", "--gateway", "east")
    assert result.exit_code == Exit.OK
    assert Mesh.open(tmp_path).gateways == ("gateway-east",)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--municipality", "131017"],
        ["--municipality", "130001"],
        ["--municipality", "131016", "--gateway", "East 1"],
        ["--municipality", "131016", "--gateway", "1", "--gateway", "gateway-1"],
        ["--municipality", "131016", "--database", "mysql"],
        ["--municipality", "131016", "--database", "postgresql://localhost/all"],
        [],
    ],
    ids=["check digit", "a prefecture", "gateway name", "same folder", "no URL", "one database", "nothing"],
)
def test_a_plan_that_does_not_hold_writes_nothing(tmp_path: Path, arguments: list[str]) -> None:
    result = jukinet("mesh", "init", str(tmp_path / "mesh"), *arguments)
    assert result.exit_code == Exit.USAGE
    assert os.listdir(tmp_path) == []


def test_a_failure_on_the_way_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(init, "format_toml", fail)
    with pytest.raises(OSError, match="No space"):
        write_mesh(tmp_path / "mesh", Plan(["131016"], ["gateway-1"]))
    assert os.listdir(tmp_path) == []


def test_toml_reads_back_as_it_was_meant() -> None:
    content = {"plain": 'with "quotes" and \\', "section": {"key": "日本", "other": "x", "whole": 10**9, "part": 0.5}}
    assert tomllib.loads(init.format_toml(content)) == content


def test_a_brake_of_the_plans_own_is_that_of_the_receivers_alone(tmp_path: Path) -> None:
    limits = {"brake_floor": 10**9, "brake_deletions": 10**9, "brake_percent": 0.5}
    mesh = write_mesh(tmp_path / "mesh", Plan(["131016"], ["gateway-1"], brake=limits))
    for name in ("center", "prefecture-130001"):
        found = mesh.config(name).limits
        assert (found.brake_floor, found.brake_deletions, found.brake_percent) == (10**9, 10**9, 0.5)
    for name in ("municipality-131016", "gateway-1", "witness-1"):
        assert "limits" not in mesh.config_path(name).read_text("utf-8")


def test_a_node_is_found_by_its_name_or_its_code(mesh: Mesh) -> None:
    assert mesh.find("municipality-131016") == mesh.find("131016") == "municipality-131016"
    for name in ("130000", "", "-"):
        with pytest.raises(Failure, match="Nodes of this mesh"):
            mesh.find(name)


def test_a_folder_without_a_mesh_is_told_so(tmp_path: Path) -> None:
    result = jukinet("mesh", "status", str(tmp_path))
    assert result.exit_code == Exit.USAGE
    assert "mesh init" in result.stderr


def test_a_spoilt_configuration_is_told_with_its_file(tmp_path: Path) -> None:
    mesh = write_mesh(tmp_path / "mesh", Plan(["131016"], ["gateway-1"]))
    mesh.config_path("center").write_text("role = 'centre'\n")
    result = jukinet("mesh", "status", str(mesh.root))
    assert result.exit_code == Exit.UNREACHABLE
    assert "center" in result.stderr
    assert "role is needed" in result.stderr


def test_the_address_that_a_node_wrote_down_counts(tmp_path: Path) -> None:
    mesh = write_mesh(tmp_path / "mesh", Plan(["131016"], ["gateway-1"]))
    path = mesh.config_path("center")
    path.write_text('address_file = "address"\n' + path.read_text())
    assert mesh.address("center") == mesh.config("center").listen
    (mesh.folder("center") / "address").write_text("127.0.0.1:4\n")
    assert mesh.address("center") == "127.0.0.1:4"


def _raw(key: Ed25519PublicKey) -> bytes:
    return key.public_bytes_raw()
