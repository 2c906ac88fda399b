"""The digest by which the key of a certificate is known: SHA-256 of its SubjectPublicKeyInfo, 64 hexadecimal digits.

It stays the same when a certificate is renewed for the same key, and is another one for every other key, whoever issues
a certificate for it.

Source: RFC 7469 section 2.4 (why the whole of SubjectPublicKeyInfo); RFC 5280 section 4.1.2.7.
"""

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes, PublicKeyTypes

_READERS: Final[dict[bytes, Callable[[bytes], PublicKeyTypes]]] = {
    b"CERTIFICATE": lambda pem: x509.load_pem_x509_certificate(pem).public_key(),
    b"CERTIFICATE REQUEST": lambda pem: x509.load_pem_x509_csr(pem).public_key(),
    b"PUBLIC KEY": serialization.load_pem_public_key,
}
"""What holds a public key, by the first line of its PEM."""


class NoPublicKey(ValueError):
    """There is no public key in the file. Name a certificate, a request for one (CSR) or a public key, in PEM."""


def key_digest(key: PublicKeyTypes | CertificatePublicKeyTypes) -> str:
    """Gives the digest of a public key."""
    return sha256(
        key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    ).hexdigest()


def key_digest_in(path: Path) -> str:
    """Gives the digest of the key in a file.

    Args:
        path: a certificate, a request for one, or a public key, in PEM.

    Raises:
        NoPublicKey: the file cannot be read, or holds none of them. A private key is none either: it stays where it
            was made.
    """
    try:
        pem = path.read_bytes()
        kind = pem.partition(b"-----BEGIN ")[2].partition(b"-----")[0]
        return key_digest(_READERS[kind](pem))
    except (OSError, ValueError, KeyError) as error:
        raise NoPublicKey(f"{path} cannot be used ({type(error).__name__}). {NoPublicKey.__doc__}") from None
