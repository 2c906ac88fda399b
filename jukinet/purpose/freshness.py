"""The center's signature over what it says of a municipality's freshness (最新性の証明).

The gateway passes the statement on and cannot make one: an agency that demands a maximum age need not take the
gateway's word for it.
"""

from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2 import Freshness

_CONTEXT: Final = b"jukinet freshness v1\0"


def sign_freshness(said: Freshness, key: Ed25519PrivateKey) -> Freshness:
    """The statement with its signature, 64 bytes of Ed25519; `said` is without one."""
    said.signature = key.sign(_CONTEXT + said.SerializeToString(deterministic=True))
    return said


def is_signed(said: Freshness, key: Ed25519PublicKey) -> bool:
    """Whether the center whose key this is said it so."""
    bare = Freshness()
    bare.CopyFrom(said)
    bare.ClearField("signature")
    try:
        key.verify(said.signature, _CONTEXT + bare.SerializeToString(deterministic=True))
    except InvalidSignature:
        return False
    return True
