"""The center's signature over what it says of a municipality's freshness (最新性の証明).

What it is for, and how an agency checks it: `jukinet/ledger/verify/freshness.py`.
"""

from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2 import Freshness

_CONTEXT: Final = b"jukinet freshness v1\0"


def sign_freshness(said: Freshness, key: Ed25519PrivateKey) -> Freshness:
    """The statement with its signature, 64 bytes of Ed25519; `said` is without one."""
    said.signature = key.sign(_CONTEXT + said.SerializeToString(deterministic=True))
    return said
