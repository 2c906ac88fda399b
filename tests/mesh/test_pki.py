"""Development certificates and keys are what they should be, and no one else can read the secrets."""

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID

from jukinet.mesh import pki
from jukinet.mesh.identity import AGENCIES, NODES, OPERATORS, Identity

CS = Identity("municipality", "131016")


def extension(certificate: x509.Certificate, kind: Any) -> Any:
    return certificate.extensions.get_extension_for_class(kind).value


@pytest.mark.parametrize("server", [True, False], ids=["server", "client"])
def test_a_leaf_names_one_identity_and_serves_only_if_it_should(server: bool) -> None:
    authority = pki.create_authority(NODES)
    leaf = x509.load_pem_x509_certificate(pki.issue(authority, CS, days=2, server=server).certificate)
    names = extension(leaf, x509.SubjectAlternativeName)
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [CS.uri]
    assert names.get_values_for_type(x509.DNSName) == ([CS.server_name] if server else [])
    usages = list(extension(leaf, x509.ExtendedKeyUsage))
    assert (ExtendedKeyUsageOID.SERVER_AUTH in usages) == server
    assert ExtendedKeyUsageOID.CLIENT_AUTH in usages
    assert not extension(leaf, x509.BasicConstraints).ca
    assert timedelta(days=1) < leaf.not_valid_after_utc - datetime.now(UTC) <= timedelta(days=2)
    public = leaf.public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)
    assert public.curve.name == "secp256r1"
    leaf.verify_directly_issued_by(authority.certificate)


@pytest.mark.parametrize("domain", [NODES, AGENCIES, OPERATORS])
def test_a_ca_is_bound_to_its_own_trust_domain(domain: str) -> None:
    certificate = pki.create_authority(domain).certificate
    constraints = certificate.extensions.get_extension_for_class(x509.NameConstraints)
    assert constraints.critical
    assert {name.value for name in constraints.value.permitted_subtrees or ()} == {domain}
    assert extension(certificate, x509.BasicConstraints).path_length == 0


@pytest.mark.parametrize("identity", [Identity("agency", "a"), Identity("operator", "o")], ids=str)
def test_a_ca_issues_nothing_for_another_domain(identity: Identity) -> None:
    with pytest.raises(pki.PkiError):
        pki.issue(pki.create_authority(NODES), identity, days=1, server=False)


def test_a_ca_is_read_back_and_goes_on_issuing(tmp_path: Path) -> None:
    authority = pki.create_authority(AGENCIES)
    pki.write_authority(authority, tmp_path)
    again = pki.load_authority(AGENCIES, tmp_path)
    leaf = pki.issue(again, Identity("agency", "a"), days=1, server=False)
    x509.load_pem_x509_certificate(leaf.certificate).verify_directly_issued_by(authority.certificate)


def test_secrets_are_for_their_owner_alone(tmp_path: Path) -> None:
    directory = tmp_path / "keys"
    authority = pki.create_authority(NODES)
    pki.write_authority(authority, directory)
    for _ in range(2):  # writing over what is there keeps the modes
        pki.write_leaf(pki.issue(authority, CS, days=1, server=True), directory, "cs")
        pki.create_signing_key(directory, "131016")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()}
    assert modes == {
        "nodes-ca.pem": 0o644,
        "nodes-ca.key": 0o600,
        "cs.pem": 0o644,
        "cs.key": 0o600,
        "131016.pub": 0o644,
        "131016.key": 0o600,
    }


def test_what_one_key_signs_its_public_half_verifies(tmp_path: Path) -> None:
    private, public = pki.create_signing_key(tmp_path, "131016")
    pki.create_signing_key(tmp_path, "131024")
    keys = pki.load_public_keys(tmp_path)
    assert set(keys) == {"131016", "131024"}
    signature = pki.load_signing_key(private).sign(b"seal")
    keys["131016"].verify(signature, b"seal")
    assert isinstance(pki.load_public_key(public), ed25519.Ed25519PublicKey)


def test_another_kind_of_key_is_refused(tmp_path: Path) -> None:
    authority = pki.create_authority(NODES)
    _, ca_key = pki.write_authority(authority, tmp_path)
    private, public = pki.create_signing_key(tmp_path, "a")
    for load, path in (
        (pki.load_signing_key, ca_key),
        (pki.load_signing_key, public),
        (pki.load_signing_key, tmp_path / "missing"),
        (pki.load_public_key, private),
        (pki.load_public_key, tmp_path / "missing"),
        (pki.load_public_keys, tmp_path / "missing"),
    ):
        with pytest.raises(pki.PkiError):
            load(path)
    public.write_bytes(
        authority.key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    with pytest.raises(pki.PkiError):
        pki.load_public_keys(tmp_path)
    (tmp_path / "nodes-ca.key").write_bytes(private.read_bytes())
    with pytest.raises(pki.PkiError):
        pki.load_authority(NODES, tmp_path)


def test_the_end_of_a_certificate_is_read_from_its_file(tmp_path: Path) -> None:
    leaf = pki.issue(pki.create_authority("nodes.jukinet"), Identity("center"), days=30, server=True)
    certificate, key = pki.write_leaf(leaf, tmp_path, "tls")
    assert 29 <= (pki.certificate_end(certificate) - datetime.now(UTC)).days <= 30
    with pytest.raises(pki.PkiError):
        pki.certificate_end(key)


def test_a_secret_is_32_bytes_in_hexadecimal_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "token.key"
    path.write_text(f"{bytes(range(32)).hex()}\n")
    assert pki.load_secret(path) == bytes(range(32))
    for wrong in ("", "00" * 31, "zz" * 32):
        path.write_text(wrong)
        with pytest.raises(pki.PkiError, match="secret key"):
            pki.load_secret(path)
    with pytest.raises(pki.PkiError):
        pki.load_secret(tmp_path / "missing")
