"""Certificates and keys for development, demonstration and tests: three CAs, leaves, Ed25519 pairs.

Rule: one CA a trust domain (nodes, agencies, operators), each bound to its own domain by name constraints, so that the
CA of the agencies can never make a node. A leaf carries one SPIFFE ID. A production network takes its
certificates from its own CA, in the same shape.

Source: RFC 5280; SPIFFE X.509-SVID; FIPS 186-5 (P-256, Ed25519).
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from jukinet.mesh.identity import AGENCIES, NODES, OPERATORS, Identity

TRUST_DOMAINS: Final = (NODES, AGENCIES, OPERATORS)
CA_DAYS: Final = 3650
# Clocks of a caller and a node may differ by this much.
_CLOCK_SKEW: Final = timedelta(minutes=5)


class PkiError(ValueError):
    """A key or certificate file is not what it should be. Make it again with `jukinet mesh init`."""


@dataclass(frozen=True)
class Authority:
    """The CA of one trust domain."""

    trust_domain: str
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> bytes:
        """Certificate in PEM, for those who trust this CA."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)


@dataclass(frozen=True)
class Leaf:
    """A certificate and its key, both in PEM."""

    certificate: bytes
    key: bytes


def create_authority(trust_domain: str, *, days: int = CA_DAYS) -> Authority:
    """Makes the CA of a trust domain.

    Args:
        trust_domain: one of `TRUST_DOMAINS`.
        days: how long it holds.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{trust_domain} CA")])
    only_this_domain = x509.NameConstraints(
        permitted_subtrees=[x509.UniformResourceIdentifier(trust_domain), x509.DNSName(trust_domain)],
        excluded_subtrees=None,
    )
    builder = (
        _dated(days)
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(only_this_domain, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier(f"spiffe://{trust_domain}")]), critical=False
        )
    )
    return Authority(trust_domain, builder.sign(key, hashes.SHA256()), key)


def issue(
    authority: Authority, identity: Identity, *, days: int, server: bool, key: ec.EllipticCurvePrivateKey | None = None
) -> Leaf:
    """Makes a certificate for a member of the network.

    Args:
        authority: CA of the identity's trust domain.
        identity: whom it names.
        days: how long it holds.
        server: True for one that others dial: it may serve, and carries the DNS form of the identity as well.
        key: of a certificate that is renewed; a new one is made if None.

    Raises:
        PkiError: the CA is another domain's.
    """
    if identity.trust_domain != authority.trust_domain:
        raise PkiError(f"The CA of {authority.trust_domain} issues nothing for {identity.trust_domain}.")
    key = key or ec.generate_private_key(ec.SECP256R1())
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(identity.uri)]
    usages = [ExtendedKeyUsageOID.CLIENT_AUTH]
    if server:
        names.append(x509.DNSName(identity.server_name))
        usages.append(ExtendedKeyUsageOID.SERVER_AUTH)
    certificate = (
        _dated(days)
        .subject_name(x509.Name([]))
        .issuer_name(authority.certificate.subject)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False)
        # Critical, because the subject is empty (RFC 5280 section 4.2.1.6).
        .add_extension(x509.SubjectAlternativeName(names), critical=True)
        .sign(authority.key, hashes.SHA256())
    )
    return Leaf(certificate.public_bytes(serialization.Encoding.PEM), _private_pem(key))


def write_leaf(leaf: Leaf, directory: Path, stem: str) -> tuple[Path, Path]:
    """Writes `STEM.pem` and, readable by its owner alone, `STEM.key`.

    Returns:
        Paths of certificate and key.
    """
    certificate, key = directory / f"{stem}.pem", directory / f"{stem}.key"
    write_secret(key, leaf.key)
    write_public(certificate, leaf.certificate)
    return certificate, key


def write_authority(authority: Authority, directory: Path) -> tuple[Path, Path]:
    """Writes a CA as `nodes-ca.pem` and `nodes-ca.key` or their like.

    Returns:
        Paths of certificate and key.
    """
    leaf = Leaf(authority.pem, _private_pem(authority.key))
    return write_leaf(leaf, directory, f"{authority.trust_domain.partition('.')[0]}-ca")


def load_authority(trust_domain: str, directory: Path) -> Authority:
    """Reads what `write_authority` wrote.

    Raises:
        PkiError: another kind of key.
        OSError, ValueError: a file is missing or is not PEM.
    """
    stem = f"{trust_domain.partition('.')[0]}-ca"
    certificate = x509.load_pem_x509_certificate((directory / f"{stem}.pem").read_bytes())
    key = serialization.load_pem_private_key((directory / f"{stem}.key").read_bytes(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise PkiError(f"{stem}.key is not a P-256 key. {PkiError.__doc__}")
    return Authority(trust_domain, certificate, key)


def create_signing_key(directory: Path, name: str) -> tuple[Path, Path]:
    """Makes an Ed25519 pair for seals, tickets or checkpoints: `NAME.key` for its owner and `NAME.pub` for all.

    Returns:
        Paths of the private and the public key.
    """
    key = ed25519.Ed25519PrivateKey.generate()
    private, public = directory / f"{name}.key", directory / f"{name}.pub"
    write_secret(private, _private_pem(key))
    write_public(
        public,
        key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo),
    )
    return private, public


def load_signing_key(path: Path) -> ed25519.Ed25519PrivateKey:
    """Reads a private signing key.

    Raises:
        PkiError: another kind of key, or no key.
    """
    key = _loaded(path, lambda data: serialization.load_pem_private_key(data, password=None))
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise PkiError(f"{path.name} is not an Ed25519 private key. {PkiError.__doc__}")
    return key


def load_public_key(path: Path) -> ed25519.Ed25519PublicKey:
    """Reads a public signing key.

    Raises:
        PkiError: another kind of key, or no key.
    """
    key = _loaded(path, serialization.load_pem_public_key)
    if not isinstance(key, ed25519.Ed25519PublicKey):
        raise PkiError(f"{path.name} is not an Ed25519 public key. {PkiError.__doc__}")
    return key


def load_public_keys(directory: Path) -> dict[str, ed25519.Ed25519PublicKey]:
    """Reads every `NAME.pub` of a directory.

    Returns:
        Keys by NAME, such as a municipality's code.

    Raises:
        PkiError: the directory is missing, or a file in it is not a public key.
    """
    if not directory.is_dir():
        raise PkiError(f"The key directory {directory} is missing. {PkiError.__doc__}")
    return {path.stem: load_public_key(path) for path in sorted(directory.glob("*.pub"))}


def write_secret(path: Path, data: bytes) -> None:
    """Writes a file that only its owner can read, from its first byte on."""
    _write(path, data, 0o600)


def write_public(path: Path, data: bytes) -> None:
    """Writes a file that all can read."""
    _write(path, data, 0o644)


def _write(path: Path, data: bytes, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Replaced in one step, so that a node that reads its certificate again never sees half a file.
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(file.fileno(), mode)
        file.write(data)
    temporary.replace(path)


def _loaded(path: Path, load: Callable[[bytes], object]) -> object:
    try:
        return load(path.read_bytes())
    except (OSError, ValueError, TypeError) as error:
        raise PkiError(f"{path} cannot be read as a key ({type(error).__name__}). {PkiError.__doc__}") from None


def _dated(days: int) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + timedelta(days=days))
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _private_pem(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def certificate_end(path: Path) -> datetime:
    """Tells until when a certificate holds.

    Raises:
        PkiError: the file holds no certificate.
    """
    certificate = _loaded(path, x509.load_pem_x509_certificate)
    if not isinstance(certificate, x509.Certificate):
        raise PkiError(f"{path} holds no certificate. {PkiError.__doc__}")
    return certificate.not_valid_after_utc


def load_secret(path: Path) -> bytes:
    """Reads a symmetric root key: 32 bytes, written as 64 hexadecimal digits.

    Raises:
        PkiError: the file does not hold such a key.
    """
    try:
        key = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except (OSError, ValueError) as error:
        raise PkiError(f"{path}: {type(error).__name__}. A secret key file holds 64 hexadecimal digits.") from None
    if len(key) != 32:
        raise PkiError(f"{path} holds {len(key)} bytes. A secret key has 32, written as 64 hexadecimal digits.")
    return key
