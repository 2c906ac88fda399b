"""Certificates that are not what they should be: nobody gets past the gateway, a CS or the center with one."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2_grpc import InquiryServiceStub
from jukinet._pb.jukinet.intake.v1.intake_pb2 import SubmitChangeRequest
from jukinet._pb.jukinet.intake.v1.intake_pb2_grpc import IntakeServiceStub
from jukinet._pb.jukinet.provision.v1.provision_pb2 import ProvideRequest
from jukinet._pb.jukinet.provision.v1.provision_pb2_grpc import ProvisionServiceStub
from jukinet.mesh import pki
from jukinet.mesh.identity import Identity
from jukinet.mesh.tls import TlsFiles

Network = Any  # the fixture's own class lives in conftest.py
CHIYODA = "131016"
AGENCY, ROW = Identity("agency", "prefecture-130001"), "B3-2"
"""Nobody else asks as this agency: its operator sits at one terminal, which here is a certificate of its own."""


@dataclass(frozen=True)
class Door:
    """An RPC and who may call it; the defective certificates pretend to be him."""

    node: str
    owner: Identity
    call: Callable[[Network, grpc.aio.Channel], Any]


def _submit(network: Network, channel: grpc.aio.Channel) -> Any:
    record = network.person(CHIYODA)
    request = SubmitChangeRequest(submission=network.submission("ENTRY_EX_OFFICIO", record))
    return IntakeServiceStub(channel).SubmitChange(request, timeout=5)


def _inquire(network: Network, channel: grpc.aio.Channel) -> Any:
    return InquiryServiceStub(channel).Inquire(network.question(network.person(CHIYODA), ROW), timeout=5)


def _provide(_network: Network, channel: grpc.aio.Channel) -> Any:
    return ProvisionServiceStub(channel).Provide(ProvideRequest(), timeout=5)


DOORS = [
    Door("gateway-1", AGENCY, _inquire),
    Door("municipality-131016", Identity("municipal-system", CHIYODA), _submit),
    Door("center", Identity("gateway", "gateway-1"), _provide),
]
doors = pytest.mark.parametrize("door", DOORS, ids=[door.node for door in DOORS])


def certificate(
    folder: Path,
    authority: pki.Authority,
    names: Iterable[x509.GeneralName],
    key: ec.EllipticCurvePrivateKey,
    *,
    days: int = 1,
    subject: str = "",
) -> TlsFiles:
    """A leaf with any names, such as our own `pki` never makes; the CN, if any, is one that a node might trust."""
    now = datetime.now(UTC)
    common_name = [x509.NameAttribute(NameOID.COMMON_NAME, subject)] if subject else []
    builder = (
        x509.CertificateBuilder()
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=10))
        .not_valid_after(now + timedelta(days=days))
        .subject_name(x509.Name(common_name))
        .issuer_name(authority.certificate.subject)
        .public_key(key.public_key())
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
    )
    if alternatives := list(names):
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=not subject)
    leaf = builder.sign(authority.key, hashes.SHA256())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    pem = leaf.public_bytes(serialization.Encoding.PEM)
    paths = pki.write_leaf(pki.Leaf(pem, private), folder, "tls")
    return TlsFiles(*paths, nodes_ca=folder / "nodes-ca.pem")


@pytest.fixture
def leaf_of(network: Network, tmp_path: Path) -> Callable[..., TlsFiles]:
    """Makes a leaf that the CA of the owner's trust domain signed."""
    (tmp_path / "nodes-ca.pem").write_bytes(network.mesh.authority("nodes").read_bytes())

    def make(
        owner: Identity, *names: x509.GeneralName, authority: pki.Authority | None = None, **more: Any
    ) -> TlsFiles:
        # An agency's is refused for its defect, and not for a key that its directory does not list.
        key = network.listed_key(owner) if owner.kind == "agency" else ec.generate_private_key(ec.SECP256R1())
        return certificate(tmp_path, authority or network.authority(owner), names, key, **more)

    return make


def uri(identity: Identity) -> x509.UniformResourceIdentifier:
    return x509.UniformResourceIdentifier(identity.uri)


@doors
async def test_the_same_leaf_is_taken_when_nothing_is_wrong_with_it(
    network: Network, leaf_of: Callable[..., TlsFiles], refused: Any, door: Door
) -> None:
    """The control of the tests below: what they change is all that keeps the caller out."""
    async with network.channel(door.node, leaf_of(door.owner, uri(door.owner))) as channel:
        if door.node != "center":
            await door.call(network, channel)
            return
        with refused() as refusal:
            await door.call(network, channel)
    assert refusal.name == "INVALID_MESSAGE"


@doors
@pytest.mark.parametrize("defect", ["no name", "two URIs", "DNS name only", "another's DNS name as well"])
async def test_a_certificate_without_exactly_one_identity_is_refused_with_its_reason(
    network: Network, leaf_of: Callable[..., TlsFiles], refused: Any, door: Door, defect: str
) -> None:
    owner, domain = door.owner, door.owner.trust_domain
    tls = {
        "no name": lambda: leaf_of(owner, subject=owner.uri),
        "two URIs": lambda: leaf_of(owner, uri(owner), x509.UniformResourceIdentifier(f"spiffe://{domain}/other")),
        "DNS name only": lambda: leaf_of(owner, x509.DNSName(owner.server_name)),
        "another's DNS name as well": lambda: leaf_of(owner, uri(owner), x509.DNSName(f"other.{domain}")),
    }[defect]()
    async with network.channel(door.node, tls) as channel:
        with refused() as refusal:
            await door.call(network, channel)
    assert (refusal.name, refusal.code) == ("IDENTITY_UNCLEAR", grpc.StatusCode.UNAUTHENTICATED)


@doors
@pytest.mark.parametrize("defect", ["expired", "a CA of the same name", "the CA of another trust domain"])
async def test_a_certificate_that_does_not_verify_ends_in_the_handshake(
    network: Network, leaf_of: Callable[..., TlsFiles], refused: Any, door: Door, defect: str
) -> None:
    owner = door.owner
    tls = {
        "expired": lambda: leaf_of(owner, uri(owner), days=-1),
        "a CA of the same name": lambda: leaf_of(owner, uri(owner), authority=pki.create_authority(owner.trust_domain)),
        # Its name constraints forbid it, and so does every node by itself.
        "the CA of another trust domain": lambda: leaf_of(
            owner, uri(owner), authority=network.authority(Identity("operator", "operator"))
        ),
    }[defect]()
    async with network.channel(door.node, tls) as channel:
        with refused() as refusal:
            await door.call(network, channel)
    assert (refusal.reason, refusal.code) == (None, grpc.StatusCode.UNAVAILABLE)


@doors
async def test_no_certificate_at_all_ends_in_the_handshake(network: Network, refused: Any, door: Door) -> None:
    roots = grpc.ssl_channel_credentials(network.mesh.authority("nodes").read_bytes())
    name = network.mesh.config(door.node).identity.server_name
    options = [("grpc.ssl_target_name_override", name), ("grpc.enable_http_proxy", 0)]
    async with grpc.aio.secure_channel(network.mesh.address(door.node), roots, options=options) as channel:
        with refused() as refusal:
            await door.call(network, channel)
    assert (refusal.reason, refusal.code) == (None, grpc.StatusCode.UNAVAILABLE)
