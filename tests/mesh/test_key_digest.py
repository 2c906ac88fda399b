"""The digest of a certificate's key: the same for the same key in every form, and what OpenSSL makes of it."""

from hashlib import sha256
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from jukinet.mesh import pki
from jukinet.mesh.identity import AGENCIES, Identity
from jukinet.mesh.key_digest import NoPublicKey, key_digest, key_digest_in

AGENCY = Identity("agency", "pension-service")
OF_OPENSSL = """-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEafu/MVgFVFmUZuo1hFKxu3p/mkue
yz8ZUq039rCrzzICNhD2Hm7paCMDkNUsnNfz3bPmR0iWnh63LThNphbvrw==
-----END PUBLIC KEY-----
"""


def test_a_key_has_one_digest_in_each_certificate_request_and_file_of_its_own(tmp_path: Path) -> None:
    authority, key = pki.create_authority(AGENCIES), ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    public = serialization.PublicFormat.SubjectPublicKeyInfo
    forms = [
        pki.issue(authority, AGENCY, days=1, server=False, key=key).certificate,
        pki.issue(pki.create_authority(AGENCIES), AGENCY, days=9, server=True, key=key).certificate,
        request.public_bytes(serialization.Encoding.PEM),
        key.public_key().public_bytes(serialization.Encoding.PEM, public),
    ]
    files = [tmp_path / f"{number}.pem" for number in range(len(forms))]
    for file, form in zip(files, forms, strict=True):
        file.write_bytes(form)
    der = key.public_key().public_bytes(serialization.Encoding.DER, public)
    assert {key_digest_in(file) for file in files} == {key_digest(key.public_key())} == {sha256(der).hexdigest()}


def test_another_key_of_the_same_agency_has_another_digest(tmp_path: Path) -> None:
    authority = pki.create_authority(AGENCIES)
    digests = set()
    for name in ("a", "b"):
        certificate, _ = pki.write_leaf(pki.issue(authority, AGENCY, days=1, server=False), tmp_path, name)
        digests.add(key_digest_in(certificate))
    assert len(digests) == 2


def test_the_digest_is_the_one_that_openssl_prints(tmp_path: Path) -> None:
    """By `openssl pkey -pubin -in key.pub -outform DER | openssl dgst -sha256`."""
    (tmp_path / "key.pub").write_text(OF_OPENSSL, "ascii")
    assert key_digest_in(tmp_path / "key.pub") == "2a231779b184bffe7dfbd82d6058915204c1cc462888f84b6b5058fb8f1ba45a"


@pytest.mark.parametrize(
    "content",
    [
        None,
        b"",
        b"\xff",
        b"-----BEGIN CERTIFICATE-----\n",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----",
    ],
)
def test_a_file_without_a_public_key_is_refused_by_its_name(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "some.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(NoPublicKey, match=r"some\.pem cannot be used"):
        key_digest_in(path)


def test_a_private_key_is_none_for_a_directory(tmp_path: Path) -> None:
    leaf = pki.issue(pki.create_authority(AGENCIES), AGENCY, days=1, server=False)
    _, key = pki.write_leaf(leaf, tmp_path, "tls")
    with pytest.raises(NoPublicKey):
        key_digest_in(key)
