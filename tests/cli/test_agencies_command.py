"""`jukinet agencies key`: the line of the agency directory that lists the keys of certificates."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from jukinet.cli.output import Exit
from jukinet.mesh import pki
from jukinet.mesh.identity import AGENCIES, Identity
from jukinet.mesh.key_digest import key_digest
from jukinet.purpose.certificate_keys import read_certificates
from tests.commands import jukinet

AGENCY = Identity("agency", "pension-service")


def run(*files: Path) -> Any:
    return jukinet("agencies", "key", *map(str, files))


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    leaf = pki.issue(pki.create_authority(AGENCIES), AGENCY, days=1, server=False)
    return pki.write_leaf(leaf, tmp_path, "tls")[0]


def test_the_line_lists_a_certificate_and_the_key_that_is_to_come_after_it(certificate: Path, tmp_path: Path) -> None:
    new = ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(new, hashes.SHA256())
    (tmp_path / "new.csr").write_bytes(request.public_bytes(serialization.Encoding.PEM))
    old = x509.load_pem_x509_certificate(certificate.read_bytes()).public_key()
    listed = tomllib.loads(run(certificate, tmp_path / "new.csr").stdout)["certificates"]
    assert listed == [key_digest(old), key_digest(new.public_key())]
    assert read_certificates(listed) == set(listed)


def test_a_key_that_has_two_certificates_is_listed_once(certificate: Path) -> None:
    assert len(tomllib.loads(run(certificate, certificate).stdout)["certificates"]) == 1


def test_a_private_key_is_not_taken(certificate: Path) -> None:
    refused = run(certificate, certificate.with_suffix(".key"))
    assert refused.exit_code == Exit.CONFIGURATION
    assert (refused.stdout, "tls.key cannot be used" in refused.stderr) == ("", True)
