"""Who a peer is: names, SPIFFE IDs, and thirty certificates against a real server."""

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given
from hypothesis import strategies as st

from jukinet._pb.jukinet.errors.v1 import errors_pb2
from jukinet._pb.jukinet.intake.v1 import intake_pb2
from jukinet.mesh.client import open_channel
from jukinet.mesh.errors import Refused, reason_of
from jukinet.mesh.identity import (
    AGENCIES,
    NODES,
    OPERATORS,
    Identity,
    IdentityError,
    Trust,
    parse_identity,
    peer_of_call,
    upstream_of,
)
from jukinet.mesh.pki import Authority
from jukinet.mesh.tls import TlsFiles

CS = Identity("municipality", "131016")
SYSTEM = Identity("municipal-system", "131016")
UNCLEAR = errors_pb2.ERROR_REASON_IDENTITY_UNCLEAR
NOT_ALLOWED = errors_pb2.ERROR_REASON_CALLER_NOT_ALLOWED
HANDSHAKE = "the TLS handshake fails"
ADMITTED = "the handler answers"
GOOD = "spiffe://nodes.jukinet/municipal-system/131016"

IDENTITIES = [
    Identity("municipality", "131016"),
    Identity("municipal-system", "131016"),
    Identity("prefecture", "130001"),
    Identity("center"),
    Identity("gateway", "east-1"),
    Identity("witness", "witness-1"),
    Identity("disclosure"),
    Identity("counter", "131016"),
    Identity("counter", "portal"),
    Identity("agency", "japan-pension-service"),
    Identity("private", "example-bank"),
    Identity("operator", "Tanaka.H"),
]


@pytest.mark.parametrize("identity", IDENTITIES, ids=str)
def test_every_identity_is_read_back_from_its_uri(identity: Identity) -> None:
    assert parse_identity(identity.uri) == identity


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "spiffe://nodes.jukinet",
        "spiffe://nodes.jukinet/",
        "spiffe://nodes.jukinet/center/",
        "spiffe://nodes.jukinet/center/1",
        "spiffe://agencies.jukinet/center",
        "spiffe://nodes.jukinet/agency/a",
        "spiffe://nodes.jukinet/operator/a",
        "SPIFFE://nodes.jukinet/center",
        "spiffe://NODES.jukinet/center",
        "spiffe://nodes.jukinet/Center",
        "spiffe://nodes.jukinet//center",
        "https://nodes.jukinet/center",
        "spiffe://nodes.jukinet/municipality/131017",
        "spiffe://nodes.jukinet/municipality/130001",
        "spiffe://nodes.jukinet/municipality/1310160",
        "spiffe://nodes.jukinet/municipality/131016/",
        "spiffe://nodes.jukinet/municipality/131016\n",
        "spiffe://nodes.jukinet/municipality/１３１０１６",  # full-width digits
        "spiffe://nodes.jukinet/prefecture/131016",
        "spiffe://nodes.jukinet/prefecture/480002",
        "spiffe://nodes.jukinet/gateway/",
        "spiffe://nodes.jukinet/gateway/East",
        "spiffe://nodes.jukinet/gateway/-east",
        "spiffe://nodes.jukinet/witness",
        "spiffe://nodes.jukinet/witness/One",
        "spiffe://operators.jukinet/witness/one",
        "spiffe://nodes.jukinet/disclosure/1",
        "spiffe://nodes.jukinet/counter",
        "spiffe://nodes.jukinet/counter/Portal",
        "spiffe://operators.jukinet/counter/portal",
        "spiffe://agencies.jukinet/agency/../a",
        "spiffe://agencies.jukinet/agency/аgency",  # a Cyrillic letter
        "spiffe://nodes.jukinet/center?x",
        "spiffe://nodes.jukinet/center#x",
        "spiffe://nodes.jukinet:443/center",
        "spiffe://a@nodes.jukinet/center",
    ],
)
def test_anything_else_is_no_identity(uri: str) -> None:
    with pytest.raises(IdentityError):
        parse_identity(uri)


@given(st.text(max_size=60))
def test_whatever_is_read_is_written_the_same(text: str) -> None:
    for uri in (text, f"spiffe://nodes.jukinet/{text}", f"spiffe://agencies.jukinet/agency/{text}"):
        try:
            identity = parse_identity(uri)
        except IdentityError:
            continue
        assert identity.uri == uri


@pytest.mark.parametrize(
    ("lower", "upper"),
    [
        (SYSTEM, CS),
        (CS, Identity("prefecture", "130001")),
        (Identity("municipality", "011002"), Identity("prefecture", "010006")),
        (Identity("prefecture", "130001"), Identity("center")),
        (Identity("gateway", "east"), Identity("center")),
        (Identity("disclosure"), Identity("center")),
        (Identity("counter", "131016"), Identity("disclosure")),
    ],
    ids=str,
)
def test_every_node_knows_whom_it_dials(lower: Identity, upper: Identity) -> None:
    assert upstream_of(lower) == upper


@pytest.mark.parametrize("identity", [Identity("center"), Identity("witness", "a"), Identity("agency", "a")], ids=str)
def test_who_dials_nobody_fixed_is_told_so(identity: Identity) -> None:
    with pytest.raises(IdentityError):
        upstream_of(identity)


@dataclass(frozen=True)
class Forge:
    """Makes certificates that no honest CA would make: these CAs have no name constraints."""

    directory: Path
    authorities: dict[str, Authority] = field(default_factory=dict)

    def authority(self, domain: str, *, name: str = "", **changes: Any) -> Authority:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name or f"{domain} CA")])
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(f"spiffe://{domain}")]
        return Authority(domain, self.sign(subject, key, names, None, ca=True, **changes), key)

    def sign(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        names: list[x509.GeneralName],
        issuer: Authority | None,
        *,
        ca: bool = False,
        starts: timedelta = timedelta(minutes=-5),
        ends: timedelta = timedelta(days=1),
        usage: Any = ExtendedKeyUsageOID.CLIENT_AUTH,
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder(subject_name=subject, public_key=key.public_key())
            .issuer_name(issuer.certificate.subject if issuer else subject)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + starts)
            .not_valid_after(now + ends)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        if not ca:
            builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        return builder.sign(issuer.key if issuer else key, hashes.SHA256())

    def leaf(self, *names: Any, domain: str = NODES, common_name: str = "", **changes: Any) -> tuple[bytes, bytes]:
        """Makes a leaf; plain text names are URIs. Returns certificate and key in PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        issuer = changes.pop("issuer", None) or self.authorities[domain]
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)] if common_name else [])
        general = [x509.UniformResourceIdentifier(name) if isinstance(name, str) else name for name in names]
        return self.pem(self.sign(subject, key, general, issuer, **changes), key)

    def pem(self, certificate: x509.Certificate, key: Any) -> tuple[bytes, bytes]:
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return certificate.public_bytes(serialization.Encoding.PEM), private

    def intermediate(self) -> tuple[bytes, bytes]:
        """Makes a leaf from an intermediate CA, sent with it as a chain."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "somebody")])
        middle = Authority(NODES, self.sign(subject, key, [], self.authorities[NODES], ca=True), key)
        certificate, private = self.leaf(GOOD, issuer=middle)
        return certificate + middle.pem, private


DNS, IP, MAIL = x509.DNSName, x509.IPAddress, x509.RFC822Name
FOREIGN = "spiffe://nodes.jukinet/municipal-system/131024"
SITUATIONS: dict[str, tuple[Callable[[Forge], tuple[bytes, bytes] | None], Any]] = {
    "one SPIFFE ID": (lambda f: f.leaf(GOOD), ADMITTED),
    "one SPIFFE ID and its own DNS form": (lambda f: f.leaf(GOOD, DNS(SYSTEM.server_name)), ADMITTED),
    "a common name that names another": (lambda f: f.leaf(GOOD, common_name="spiffe://nodes.jukinet/center"), ADMITTED),
    "no certificate": (lambda f: None, HANDSHAKE),
    "another CA": (lambda f: f.leaf(GOOD, issuer=f.authority(NODES, name="Other CA")), HANDSHAKE),
    "another CA of the same name": (lambda f: f.leaf(GOOD, issuer=f.authority(NODES)), HANDSHAKE),
    "expired": (lambda f: f.leaf(GOOD, starts=timedelta(-2), ends=timedelta(-1)), HANDSHAKE),
    "not valid yet": (lambda f: f.leaf(GOOD, starts=timedelta(1), ends=timedelta(2)), HANDSHAKE),
    "for servers only": (lambda f: f.leaf(GOOD, usage=ExtendedKeyUsageOID.SERVER_AUTH), HANDSHAKE),
    "for code signing": (lambda f: f.leaf(GOOD, usage=ExtendedKeyUsageOID.CODE_SIGNING), HANDSHAKE),
    "no subject alternative name": (lambda f: f.leaf(common_name=GOOD), UNCLEAR),
    "two SPIFFE IDs": (lambda f: f.leaf(GOOD, FOREIGN), UNCLEAR),
    "the same SPIFFE ID twice": (lambda f: f.leaf(GOOD, GOOD), UNCLEAR),
    "a SPIFFE ID and another URI": (lambda f: f.leaf(GOOD, "https://example.jp/"), UNCLEAR),
    "a DNS name only": (lambda f: f.leaf(DNS("131016.municipal-system.nodes.jukinet")), UNCLEAR),
    "a SPIFFE ID and a foreign DNS name": (lambda f: f.leaf(GOOD, DNS("private.example.jp")), UNCLEAR),
    "a SPIFFE ID and two DNS names": (lambda f: f.leaf(GOOD, DNS(SYSTEM.server_name), DNS("a.example.jp")), UNCLEAR),
    "a SPIFFE ID and an IP address": (lambda f: f.leaf(GOOD, IP(IPv4Address("127.0.0.1"))), UNCLEAR),
    "a SPIFFE ID and a mail address": (lambda f: f.leaf(GOOD, MAIL("a@example.jp")), UNCLEAR),
    "a URI of another scheme": (lambda f: f.leaf(GOOD.replace("spiffe", "https")), UNCLEAR),
    "capitals in the scheme": (lambda f: f.leaf(GOOD.replace("spiffe", "SPIFFE")), UNCLEAR),
    "capitals in the trust domain": (lambda f: f.leaf(GOOD.replace("nodes", "NODES")), UNCLEAR),
    "capitals in the path": (lambda f: f.leaf(GOOD.replace("municipal", "Municipal")), UNCLEAR),
    "a slash at the end": (lambda f: f.leaf(f"{GOOD}/"), UNCLEAR),
    "two slashes": (lambda f: f.leaf(GOOD.replace("/131016", "//131016")), UNCLEAR),
    "an escaped slash": (lambda f: f.leaf(GOOD.replace("/131016", "%2f131016")), UNCLEAR),
    "an escaped full-width digit": (lambda f: f.leaf(GOOD.replace("6", "%EF%BC%96")), UNCLEAR),
    "a dot segment": (lambda f: f.leaf(GOOD.replace("/131016", "/./131016")), UNCLEAR),
    "a query": (lambda f: f.leaf(f"{GOOD}?"), UNCLEAR),
    "a fragment": (lambda f: f.leaf(f"{GOOD}#a"), UNCLEAR),
    "a port": (lambda f: f.leaf(GOOD.replace("jukinet/", "jukinet:443/")), UNCLEAR),
    "an unknown kind": (lambda f: f.leaf("spiffe://nodes.jukinet/cs/131016"), UNCLEAR),
    "no path": (lambda f: f.leaf("spiffe://nodes.jukinet"), UNCLEAR),
    "a code with a wrong check digit": (lambda f: f.leaf(GOOD.replace("131016", "131017")), UNCLEAR),
    "a foreign trust domain": (lambda f: f.leaf(GOOD.replace("nodes.jukinet", "example.jp")), UNCLEAR),
    "a node from the CA of the agencies": (lambda f: f.leaf(GOOD, domain=AGENCIES), UNCLEAR),
    "a node from the CA of the operators": (lambda f: f.leaf(GOOD, domain=OPERATORS), UNCLEAR),
    "an agency from the CA of the nodes": (lambda f: f.leaf("spiffe://agencies.jukinet/agency/a"), UNCLEAR),
    "a node through an intermediate CA": (lambda f: f.intermediate(), UNCLEAR),
    "the CA itself": (lambda f: f.pem(f.authorities[NODES].certificate, f.authorities[NODES].key), UNCLEAR),
    "another municipality's system": (lambda f: f.leaf(FOREIGN), NOT_ALLOWED),
    "an agency": (lambda f: f.leaf("spiffe://agencies.jukinet/agency/a", domain=AGENCIES), NOT_ALLOWED),
    "the center": (lambda f: f.leaf("spiffe://nodes.jukinet/center"), NOT_ALLOWED),
}


@pytest.fixture
def forge(tmp_path: Path) -> Forge:
    forge = Forge(tmp_path)
    for domain in (NODES, AGENCIES, OPERATORS):
        forge.authorities[domain] = forge.authority(domain)
        (tmp_path / f"{domain}.pem").write_bytes(forge.authorities[domain].pem)
    return forge


def files_of(forge: Forge, certificate: bytes, key: bytes, stem: str) -> TlsFiles:
    paths = forge.directory / f"{stem}.pem", forge.directory / f"{stem}.key"
    for path, content in zip(paths, (certificate, key), strict=True):
        path.write_bytes(content)
    return TlsFiles(*paths, *(forge.directory / f"{domain}.pem" for domain in (NODES, AGENCIES, OPERATORS)))


def server_files(forge: Forge) -> TlsFiles:
    leaf = forge.leaf(CS.uri, DNS(CS.server_name), usage=ExtendedKeyUsageOID.SERVER_AUTH)
    return files_of(forge, *leaf, "server")


async def accept(request: Any, context: Any) -> Any:
    return intake_pb2.SubmitChangeResponse(version=1)


@pytest.mark.parametrize("kind", ["UnaryUnary", "StreamStream"])
@pytest.mark.parametrize("situation", SITUATIONS)
async def test_a_certificate_gets_its_verdict(
    situation: str, kind: str, network: Any, kinds: Any, kinds_callers: Any, forge: Forge, call: Any, submission: Any
) -> None:
    make, verdict = SITUATIONS[situation]
    service = kinds(accept)
    node = await network.serve((service.add_to, None), tls=server_files(forge), callers=kinds_callers)
    leaf = make(forge)
    roots = (forge.directory / f"{NODES}.pem").read_bytes()
    credentials = grpc.ssl_channel_credentials(roots, *((leaf[1], leaf[0]) if leaf else (None, None)))
    options = [("grpc.ssl_target_name_override", CS.server_name)]
    async with grpc.aio.secure_channel(node.address, credentials, options=options) as channel:
        if verdict == ADMITTED:
            assert (await call(channel, kind, submission()))[0].version == 1
            assert service.entered == 1
            return
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(channel, kind, submission())
    if verdict == HANDSHAKE:
        assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
        assert reason_of(refused.value) is None
    else:
        assert reason_of(refused.value) == verdict
    assert service.entered == 0


async def test_the_ca_of_the_agencies_cannot_even_begin_to_be_a_node(
    network: Any, kinds: Any, kinds_callers: Any, forge: Forge, call: Any, submission: Any
) -> None:
    """Real CAs are bound to their trust domain by name constraints, so TLS itself refuses."""
    service = kinds(accept)
    node = await network.serve((service.add_to, None), callers=kinds_callers)
    certificate, key = forge.leaf(GOOD, issuer=network.authorities[AGENCIES])
    credentials = grpc.ssl_channel_credentials(network.ca(NODES).read_bytes(), key, certificate)
    options = [("grpc.ssl_target_name_override", CS.server_name)]
    async with grpc.aio.secure_channel(node.address, credentials, options=options) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(channel, "UnaryUnary", submission())
    assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
    assert service.entered == 0


@pytest.mark.parametrize(
    ("names", "reached"),
    [
        ([CS.uri, DNS(CS.server_name)], True),
        ([CS.uri], False),
        ([CS.uri, DNS("center.nodes.jukinet")], False),
        (["spiffe://nodes.jukinet/center", DNS("center.nodes.jukinet")], False),
    ],
    ids=["its own name", "no DNS form", "the DNS form of another", "another server"],
)
async def test_a_client_talks_to_no_server_but_the_one_it_expects(
    names: list[Any],
    reached: bool,
    network: Any,
    kinds: Any,
    kinds_callers: Any,
    forge: Forge,
    call: Any,
    submission: Any,
) -> None:
    service = kinds(accept)
    tls = files_of(forge, *forge.leaf(*names, usage=ExtendedKeyUsageOID.SERVER_AUTH), "server")
    node = await network.serve((service.add_to, None), tls=tls, callers=kinds_callers)
    client = files_of(forge, *forge.leaf(GOOD), "client")
    async with open_channel(node.address, client, server=CS) as channel:
        if reached:
            await call(channel, "UnaryUnary", submission())
        else:
            with pytest.raises(grpc.aio.AioRpcError, match="UNAVAILABLE"):
                await call(channel, "UnaryUnary", submission())
    assert service.entered == reached


async def test_a_server_from_another_ca_is_not_talked_to(
    network: Any, kinds: Any, kinds_callers: Any, forge: Forge, call: Any, submission: Any
) -> None:
    node = await network.serve((kinds(accept).add_to, None), callers=kinds_callers)
    client = files_of(forge, *forge.leaf(GOOD), "client")
    async with open_channel(node.address, client, server=CS) as channel:
        with pytest.raises(grpc.aio.AioRpcError, match="UNAVAILABLE"):
            await call(channel, "UnaryUnary", submission())


async def test_an_older_tls_is_refused(network: Any, kinds: Any, kinds_callers: Any) -> None:
    service = kinds(accept)
    node = await network.serve((service.add_to, None), callers=kinds_callers)
    tls = network.tls(SYSTEM)
    context = ssl.create_default_context(cafile=str(tls.nodes_ca))
    context.load_cert_chain(tls.certificate, tls.key)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    reader, writer = await asyncio.open_connection("127.0.0.1", node.port, ssl=context, server_hostname=CS.server_name)
    assert writer.get_extra_info("ssl_object").version() == "TLSv1.2"
    headers = {
        b":method": b"POST",
        b":scheme": b"https",
        b":path": b"/test.Kinds/UnaryUnary",
        b":authority": CS.server_name.encode(),
        b"content-type": b"application/grpc",
        b"te": b"trailers",
        b"grpc-timeout": b"9S",
    }
    # HTTP/2: preface, SETTINGS, HEADERS of literals (RFC 7541 section 6.2.2), DATA with one empty message.
    block = b"".join(b"\x00" + bytes([len(k)]) + k + bytes([len(v)]) + v for k, v in headers.items())
    frames = [(4, 0, 0, b""), (1, 4, 1, block), (0, 1, 1, bytes(5))]
    writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    writer.writelines(
        len(body).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + body
        for kind, flags, stream, body in frames
    )
    answer = b""
    async with asyncio.timeout(10):
        while b"TLS 1.3 is required." not in answer:
            received = await reader.read(4096)
            assert received, answer
            answer += received
    writer.transport.abort()
    assert service.entered == 0


class Session:
    """What gRPC knows of a TLS session."""

    def __init__(self, **facts: list[bytes]) -> None:
        self.facts = facts

    def auth_context(self) -> dict[str, list[bytes]]:
        return self.facts


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, None),
        ({"ssl_tls_version": [b"TLSv1.2"]}, errors_pb2.ERROR_REASON_TLS_TOO_OLD),
        ({"ssl_tls_version": []}, errors_pb2.ERROR_REASON_TLS_TOO_OLD),
        ({"peer_spiffe_id": []}, UNCLEAR),
        ({"peer_spiffe_id": [GOOD.encode(), FOREIGN.encode()]}, UNCLEAR),
        ({"peer_spiffe_id": [FOREIGN.encode()]}, UNCLEAR),
        ({"peer_spiffe_id": [b"\xff"]}, UNCLEAR),
        ({"x509_pem_cert": []}, UNCLEAR),
        ({"x509_pem_cert": [b"nonsense"]}, UNCLEAR),
    ],
    ids=str,
)
def test_a_session_that_is_not_clear_is_refused(changes: dict[str, Any], reason: Any, forge: Forge) -> None:
    certificate, _ = forge.leaf(GOOD)
    facts = {"ssl_tls_version": [b"TLSv1.3"], "peer_spiffe_id": [GOOD.encode()], "x509_pem_cert": [certificate]}
    context: Any = Session(**(facts | changes))
    trust = Trust({NODES: [forge.authorities[NODES].certificate]})
    if reason is None:
        assert peer_of_call(context, trust).identity == SYSTEM
        return
    with pytest.raises(Refused) as refused:
        peer_of_call(context, trust)
    assert refused.value.reason == reason


@pytest.mark.parametrize("names", [[GOOD, FOREIGN], [GOOD, GOOD], []], ids=str)
def test_a_leaf_with_not_exactly_one_uri_names_nobody(names: list[str], forge: Forge) -> None:
    """Once more without gRPC, which leaves `peer_spiffe_id` out of such a session."""
    trust = Trust({NODES: [forge.authorities[NODES].certificate]})
    with pytest.raises(Refused) as refused:
        trust.peer_of(forge.leaf(*names)[0], GOOD)
    assert refused.value.reason == UNCLEAR


def test_a_ca_that_is_being_replaced_holds_beside_the_new_one(forge: Forge) -> None:
    old, new = forge.authorities[NODES], forge.authority(NODES)
    trust = Trust({NODES: [new.certificate, old.certificate]})
    for issuer in (old, new):
        assert trust.peer_of(forge.leaf(GOOD, issuer=issuer)[0], GOOD).identity == SYSTEM


def test_what_is_remembered_of_certificates_does_not_grow_without_end(
    forge: Forge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Trust, "_REMEMBERED", 2)
    trust = Trust({NODES: [forge.authorities[NODES].certificate]})
    for _ in range(5):
        trust.peer_of(forge.leaf(GOOD)[0], GOOD)
    assert len(trust._known) == 2


@pytest.mark.parametrize("by", ["identity", "fingerprint"])
async def test_a_denied_caller_is_refused_while_its_certificate_still_holds(
    by: str, network: Any, kinds: Any, kinds_callers: Any, call: Any, submission: Any
) -> None:
    client = network.tls(SYSTEM)
    leaf = x509.load_pem_x509_certificate(client.certificate.read_bytes())
    entry = SYSTEM.uri if by == "identity" else f"sha256:{leaf.fingerprint(hashes.SHA256()).hex()}"
    denied = network.directory / "denied"
    denied.write_text(f"# stolen\n\n{entry} # since today\n", encoding="utf-8")
    service = kinds(accept)
    tls = replace(network.tls(CS, server=True), denied=denied)
    node = await network.serve((service.add_to, None), tls=tls, callers=kinds_callers)
    async with open_channel(node.address, client, server=CS) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(channel, "UnaryUnary", submission())
    assert reason_of(refused.value) == NOT_ALLOWED
    assert service.entered == 0
