"""Calls of a service in this process, as if an identity had made them over the network."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from jukinet.mesh import interceptors
from jukinet.mesh.identity import Identity, Peer

GATEWAY = Identity("gateway", "gateway-1")
CERTIFICATE = bytes(range(32))
"""SHA-256 of the certificate with which everybody calls, unless another is said."""
ADDRESS = "ipv4:192.0.2.1:40000"


@contextmanager
def called_by(identity: Identity, *, certificate: bytes = CERTIFICATE, address: str = ADDRESS) -> Iterator[None]:
    """Runs a block as if this identity had called, with this certificate and from this address."""
    not_after = datetime(2100, 1, 1, tzinfo=UTC)
    peer = Peer(identity=identity, not_after=not_after, fingerprint=certificate.hex(), key="")
    tokens = interceptors._peer.set(peer), interceptors._address.set(address)
    try:
        yield
    finally:
        interceptors._peer.reset(tokens[0])
        interceptors._address.reset(tokens[1])
