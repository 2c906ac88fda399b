"""Who a peer is, from its certificate alone.

Rule: the identity of a caller is the one SPIFFE URI in its certificate's subject alternative name, byte for byte,
issued by the CA of that URI's trust domain, over TLS 1.3. A common name, a DNS name, metadata or a message field never
names a caller. Without this rule any certificate of any of our CAs would pass for any node (gRPC itself lets a leaf
with only a DNS name, or with two URIs, reach the handler).

Source: SPIFFE ID and X.509-SVID specifications; RFC 5280 section 4.2.1.6.
"""

import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal, get_args

import grpc
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes

from jukinet._pb.jukinet.errors.v1 import errors_pb2
from jukinet.domain.local_government import is_municipality_code, is_prefecture_code, prefecture_code_of
from jukinet.mesh.errors import Refused
from jukinet.mesh.key_digest import key_digest

Kind = Literal[
    "municipality",
    "municipal-system",
    "prefecture",
    "center",
    "gateway",
    "witness",
    "disclosure",
    "counter",
    "agency",
    "private",
    "operator",
]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

NODES: Final = "nodes.jukinet"
AGENCIES: Final = "agencies.jukinet"
OPERATORS: Final = "operators.jukinet"

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_WORD = r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}"
_IS_NAME: Final[dict[Kind, Callable[[str], bool]]] = {
    "municipality": is_municipality_code,
    "municipal-system": is_municipality_code,
    "prefecture": is_prefecture_code,
    "center": lambda name: name == "",
    "gateway": lambda name: bool(re.fullmatch(_LABEL, name)),
    "witness": lambda name: bool(re.fullmatch(_LABEL, name)),
    "disclosure": lambda name: name == "",
    # A municipality's or prefecture's counter (窓口), or a portal: whoever checks who a resident is.
    "counter": lambda name: bool(re.fullmatch(_LABEL, name)),
    "agency": lambda name: bool(re.fullmatch(_WORD, name)),
    # A private organisation (民間): this word of its certificate bans it from everything (Act art. 30-38).
    "private": lambda name: bool(re.fullmatch(_WORD, name)),
    "operator": lambda name: bool(re.fullmatch(_WORD, name)),
}


class IdentityError(ValueError):
    """This is not an identity of the network. Use the forms of `docs/operations.md`, such as
    spiffe://nodes.jukinet/municipality/131016."""


def trust_domain_of(kind: Kind) -> str:
    """Gives the SPIFFE trust domain whose CA issues certificates of a kind."""
    return {"agency": AGENCIES, "private": AGENCIES, "operator": OPERATORS}.get(kind, NODES)


@dataclass(frozen=True, slots=True)
class Identity:
    """A member of the network.

    Args:
        kind: what it is.
        name: six-digit code (全国地方公共団体コード) of a municipality or prefecture; empty for the center and the
            disclosure node; else a chosen name.
    """

    kind: Kind
    name: str = ""

    def __post_init__(self) -> None:
        if self.kind not in _IS_NAME or not _IS_NAME[self.kind](self.name):
            raise IdentityError(f"No identity of kind {self.kind!r} has this name. {IdentityError.__doc__}")

    @property
    def trust_domain(self) -> str:
        """SPIFFE trust domain of the identity."""
        return trust_domain_of(self.kind)

    @property
    def uri(self) -> str:
        """SPIFFE ID of the identity."""
        path = f"{self.kind}/{self.name}" if self.name else self.kind
        return f"spiffe://{self.trust_domain}/{path}"

    @property
    def server_name(self) -> str:
        """DNS form of the identity, by which a client's TLS stack checks that it reached this very server.

        gRPC compares a server certificate with DNS names and never with URIs, so a server's leaf carries this one name
        beside its SPIFFE URI.
        """
        label = f"{self.name}.{self.kind}" if self.name else self.kind
        return f"{label}.{self.trust_domain}".lower()

    def __str__(self) -> str:
        return self.uri


def parse_identity(uri: str) -> Identity:
    """Reads a SPIFFE ID, byte for byte: no case folding, no escapes, no trailing slash.

    Args:
        uri: such as `spiffe://agencies.jukinet/agency/pension`.

    Returns:
        The identity whose `uri` is exactly the argument.

    Raises:
        IdentityError: it is not the SPIFFE ID of any identity.
    """
    scheme, _, rest = uri.partition("://")
    domain, _, path = rest.partition("/")
    kind, slash, name = path.partition("/")
    if scheme == "spiffe" and kind in KINDS and bool(slash) == bool(name) and domain == trust_domain_of(kind):
        return Identity(kind, name)
    raise IdentityError(f"The URI is not the SPIFFE ID of an identity. {IdentityError.__doc__}")


def upstream_of(identity: Identity) -> Identity:
    """Gives the node that a municipal system, municipality, prefecture, gateway, disclosure node or counter dials.

    Raises:
        IdentityError: the identity dials nobody.
    """
    match identity.kind:
        case "municipal-system":
            return Identity("municipality", identity.name)
        case "municipality":
            return Identity("prefecture", prefecture_code_of(identity.name))
        case "prefecture" | "gateway" | "disclosure":
            return Identity("center")
        case "counter":
            return Identity("disclosure")
        case _:
            raise IdentityError(f"A {identity.kind} has no fixed upstream node. Name the server's identity.")


@dataclass(frozen=True, slots=True)
class Peer:
    """A verified caller and how long its certificate holds."""

    identity: Identity
    not_after: datetime
    fingerprint: str
    key: str
    """Digest of its certificate's public key (`key_digest`)."""

    def require_valid(self, now: datetime) -> None:
        """Refuses when the certificate has run out, as it may on a stream that stays open.

        Raises:
            Refused: IDENTITY_UNCLEAR.
        """
        if now > self.not_after:
            raise _unclear("certificate ran out while the call was open")


class Trust:
    """The CAs by trust domain, and the leaves that were found to be theirs.

    Args:
        authorities: CA certificates of each trust domain; more than one while a CA is being replaced.
        denied: SPIFFE IDs and `sha256:` fingerprints (hex, of the DER leaf) that are refused though their certificate
            still holds.
    """

    _REMEMBERED = 4096

    def __init__(self, authorities: Mapping[str, Iterable[x509.Certificate]], denied: Iterable[str] = ()) -> None:
        self._authorities = {domain: tuple(certificates) for domain, certificates in authorities.items()}
        self.denied = frozenset(denied)
        self._known: OrderedDict[bytes, Peer] = OrderedDict()

    def peer_of(self, leaf: bytes, spiffe_id: str) -> Peer:
        """Verifies that a leaf is the certificate of an identity. The answer is remembered by the leaf's bytes.

        Args:
            leaf: PEM certificate that the TLS handshake verified.
            spiffe_id: the SPIFFE ID that gRPC read from it.

        Raises:
            Refused: IDENTITY_UNCLEAR or, for a denied identity, CALLER_NOT_ALLOWED.
        """
        peer = self._known.get(leaf)
        if peer is None:
            peer = self._verified(leaf)
            self._known[leaf] = peer
            if len(self._known) > self._REMEMBERED:
                self._known.popitem(last=False)
        if peer.identity.uri != spiffe_id:
            raise _unclear("peer_spiffe_id is not the URI in the leaf")
        self.require_admitted(peer)
        return peer

    def require_admitted(self, peer: Peer) -> None:
        """Refuses a peer that came onto the deny list, as it may while its stream stays open.

        Raises:
            Refused: CALLER_NOT_ALLOWED.
        """
        if peer.identity.uri in self.denied or f"sha256:{peer.fingerprint}" in self.denied:
            raise Refused(errors_pb2.ERROR_REASON_CALLER_NOT_ALLOWED, detail="certificate is on the deny list")

    def _verified(self, leaf: bytes) -> Peer:
        try:
            certificate = x509.load_pem_x509_certificate(leaf)
            identity = identity_in(certificate)
        except (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension) as error:
            raise _unclear(f"leaf: {type(error).__name__}") from None
        if not any(_is_issuer(ca, certificate) for ca in self._authorities.get(identity.trust_domain, ())):
            raise _unclear("leaf is not from the CA of its trust domain")
        fingerprint, key = certificate.fingerprint(hashes.SHA256()).hex(), key_digest(certificate.public_key())
        return Peer(identity, certificate.not_valid_after_utc, fingerprint, key)


def identity_in(certificate: x509.Certificate) -> Identity:
    """Reads the identity from a leaf: exactly one URI name, and besides it at most the DNS form of the same identity.

    Raises:
        IdentityError: other names, none, or not an identity.
        cryptography.x509.ExtensionNotFound: no subject alternative name at all.
    """
    names = list(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    uris = [name.value for name in names if isinstance(name, x509.UniformResourceIdentifier)]
    if len(uris) != 1:
        raise IdentityError(f"The certificate has {len(uris)} URI names; exactly one is needed.")
    identity = parse_identity(uris[0])
    others = [name for name in names if not isinstance(name, x509.UniformResourceIdentifier)]
    if others and others != [x509.DNSName(identity.server_name)]:
        raise IdentityError("The certificate has names beside its SPIFFE ID.")
    return identity


def peer_of_call(context: "grpc.aio.ServicerContext[Any, Any]", trust: Trust) -> Peer:
    """Finds out who calls, from the TLS session alone.

    Raises:
        Refused: TLS_TOO_OLD, IDENTITY_UNCLEAR or CALLER_NOT_ALLOWED.
    """
    session = context.auth_context()
    if list(session.get("ssl_tls_version", ())) != [b"TLSv1.3"]:
        raise Refused(errors_pb2.ERROR_REASON_TLS_TOO_OLD)
    spiffe_ids, leaves = list(session.get("peer_spiffe_id", ())), list(session.get("x509_pem_cert", ()))
    if len(spiffe_ids) != 1 or len(leaves) != 1:
        raise _unclear(f"{len(spiffe_ids)} SPIFFE IDs, {len(leaves)} leaves")
    return trust.peer_of(leaves[0], spiffe_ids[0].decode("utf-8", "backslashreplace"))


def load_trust(authorities: Mapping[str, Path | None], denied: Path | None = None) -> Trust:
    """Reads CA certificates by trust domain, and the deny list, from files.

    Args:
        authorities: PEM file of each trust domain; None = callers of that domain are not taken here.
        denied: text file, one SPIFFE ID or `sha256:` fingerprint a line, `#` begins a comment.

    Raises:
        OSError, ValueError: a file is missing or is not what it should be.
    """
    loaded = {
        domain: x509.load_pem_x509_certificates(path.read_bytes()) for domain, path in authorities.items() if path
    }
    lines = denied.read_text(encoding="utf-8").splitlines() if denied else []
    entries = [line.partition("#")[0].strip() for line in lines]
    return Trust(loaded, [entry for entry in entries if entry])


def _is_issuer(ca: x509.Certificate, leaf: x509.Certificate) -> bool:
    try:
        leaf.verify_directly_issued_by(ca)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _unclear(detail: str) -> Refused:
    return Refused(errors_pb2.ERROR_REASON_IDENTITY_UNCLEAR, detail=detail)
