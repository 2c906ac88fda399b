"""An operator (操作者) at the command line: with his key he signs each question that he asks."""

from datetime import datetime
from pathlib import Path
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from jukinet.cli.output import Exit, Failure
from jukinet.mesh.clock import now
from jukinet.mesh.identity import IdentityError, identity_in
from jukinet.mesh.pki import PkiError, load_signing_key
from jukinet.purpose.operator_proof import Question, sign

_Q = TypeVar("_Q", bound=Question)


class Signing:
    """An operator who has logged on: his key, and the certificate with which his agency calls.

    Args:
        key: his own.
        certificate: PEM file of the agency's certificate.

    Raises:
        Failure: the certificate is not one of an agency.
    """

    def __init__(self, key: Ed25519PrivateKey, certificate: Path) -> None:
        self._key = key
        self._logged_on_at: datetime = now()
        try:
            leaf = x509.load_pem_x509_certificate(certificate.read_bytes())
            self.agency = identity_in(leaf).uri
            """SPIFFE ID of the agency."""
        except (OSError, ValueError, IdentityError, x509.ExtensionNotFound) as error:
            raise Failure(
                f"{certificate} is not the certificate of an agency ({type(error).__name__}).", Exit.CONFIGURATION
            ) from None
        self._fingerprint = leaf.fingerprint(hashes.SHA256())

    @classmethod
    def of(cls, certificate: Path, key: Path) -> "Signing":
        """Logs an operator on, by the files of his agency's certificate and of his key.

        Raises:
            Failure: his key or the certificate cannot be read.
        """
        try:
            return cls(load_signing_key(key), certificate)
        except PkiError as error:
            raise Failure(str(error), Exit.CONFIGURATION) from None

    def __call__(self, question: _Q) -> _Q:
        """Signs a question as it is going to be sent; gives the same one."""
        return sign(
            question,
            self._key,
            agency=self.agency,
            certificate=self._fingerprint,
            now=now(),
            logged_on_at=self._logged_on_at,
        )
