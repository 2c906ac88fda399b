"""Certificates of equality: an operator's signed statement that the tiers hold the same rows (整合性確認).

Rule 1: only what was found equal stands in it, with the key of the run and the root, so that any tier can be asked for
the same digest again, long after.
Rule 2: one text has one form, and the signature covers all of it. The key is the one of the operator's own certificate,
which stands beside it; it must have been valid when the statement was made, for such certificates live shortly.

A file has the text, a blank line, `signature` with Base64 (ECDSA with SHA-256, DER), and the certificate in PEM.

Source: RFC 5280; FIPS 186-5 (ECDSA).
"""

import base64
import binascii
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from jukinet.cli.output import Exit, Failure

if TYPE_CHECKING:
    from cryptography import x509

    from jukinet.cli.tiers import Compared
    from jukinet.mesh.tls import TlsFiles

_TITLE: Final = "jukinet certificate of equality v1"
_TIME: Final = "%Y-%m-%dT%H:%M:%SZ"
_SEPARATOR: Final = "\n\nsignature "


@dataclass(frozen=True)
class Statement:
    """What a certificate says that holds."""

    by: str
    """SPIFFE ID of the operator."""
    made: datetime
    lines: tuple[str, ...]
    """One a municipality."""


def sign(compared: "list[Compared]", key: bytes, tls: "TlsFiles", *, now: datetime) -> str:
    """Writes the certificate of what was found equal.

    Args:
        compared: of one run; what is not equal is left out.
        key: of that run.
        tls: certificate and key of the operator.
        now: UTC.

    Raises:
        Failure: nothing is equal, or the key is not of P-256.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    from jukinet.mesh.identity import identity_in

    lines = [_line(found) for found in compared if found.state == "equal"]
    if not lines:
        raise Failure("Nothing was found equal, so there is nothing to certify.")
    certificate = x509.load_pem_x509_certificate(tls.certificate.read_bytes())
    private_key = serialization.load_pem_private_key(tls.key.read_bytes(), password=None)
    if not isinstance(private_key, ec.EllipticCurvePrivateKey):
        raise Failure("The operator's key is not one of an elliptic curve (P-256).", Exit.CONFIGURATION)
    head = [_TITLE, f"by {identity_in(certificate).uri}", f"made {now.strftime(_TIME)}", f"key {key.hex()}"]
    text = "\n".join([*head, *lines])
    signature = base64.b64encode(private_key.sign(text.encode(), ec.ECDSA(hashes.SHA256()))).decode()
    pem = certificate.public_bytes(serialization.Encoding.PEM).decode()
    return f"{text}{_SEPARATOR}{signature}\n{pem}"


def verify(file: Path, authority: Path) -> Statement:
    """Checks a certificate with nothing but the CA of the operators.

    Raises:
        Failure: it cannot be read, or it does not hold.
    """
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature

    try:
        ca = x509.load_pem_x509_certificate(authority.read_bytes())
        text, separator, rest = file.read_text(encoding="utf-8").partition(_SEPARATOR)
        encoded, _, pem = rest.partition("\n")
        certificate = x509.load_pem_x509_certificate(pem.encode())
        signature = base64.b64decode(encoded, validate=True)
    except (OSError, ValueError, binascii.Error) as error:
        raise Failure(f"{file} or {authority} cannot be read ({type(error).__name__}).", Exit.USAGE) from None
    if not separator:
        raise Failure(f"{file} is no certificate of equality.", Exit.USAGE)
    try:
        certificate.verify_directly_issued_by(ca)
        _verify_signature(certificate, signature, text)
    except (InvalidSignature, ValueError, TypeError):
        raise Failure("The certificate does not hold: a signature is false.") from None
    return _read(text, certificate)


def _verify_signature(certificate: "x509.Certificate", signature: bytes, text: str) -> None:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    key = certificate.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise TypeError("not a key of an elliptic curve")
    key.verify(signature, text.encode(), ec.ECDSA(hashes.SHA256()))


def _read(text: str, certificate: "x509.Certificate") -> Statement:
    from jukinet.mesh.identity import identity_in

    title, by, made, _key, *lines = [*text.split("\n"), *[""] * 4]
    lines = [line for line in lines if line]
    identity = identity_in(certificate)
    if title != _TITLE or by != f"by {identity.uri}" or identity.kind != "operator" or not lines:
        raise Failure("The certificate does not hold: it is not of the operator whose certificate is with it.")
    try:
        moment = datetime.strptime(made, f"made {_TIME}").replace(tzinfo=UTC)
    except ValueError:
        raise Failure("The certificate does not hold: it does not say when it was made.") from None
    if not certificate.not_valid_before_utc <= moment <= certificate.not_valid_after_utc:
        raise Failure("The certificate does not hold: the operator's own was not valid when it was made.")
    return Statement(identity.uri, moment, tuple(lines))


def _line(found: "Compared") -> str:
    epoch, sequence = found.position
    return (
        f"equal {found.municipality} epoch {epoch} sequence {sequence} rows {found.rows} waiting {len(found.waiting)} "
        f"root {found.root} at {' '.join(found.nodes)}"
    )
