"""Calls of a service in this process, as if an identity had made them over the network."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from jukinet.mesh import interceptors
from jukinet.mesh.identity import Identity, Peer

GATEWAY = Identity("gateway", "gateway-1")


@contextmanager
def called_by(identity: Identity) -> Iterator[None]:
    """Runs a block as if this identity had called."""
    peer = Peer(identity=identity, not_after=datetime(2100, 1, 1, tzinfo=UTC), fingerprint="")
    token = interceptors._peer.set(peer)
    try:
        yield
    finally:
        interceptors._peer.reset(token)
