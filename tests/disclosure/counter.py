"""A counter (窓口), and the checks of identity that it signs."""

from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from jukinet._pb.jukinet.disclosure.v1 import disclosure_pb2 as disclosure
from jukinet.mesh import clock
from jukinet.mesh.identity import Identity
from jukinet.purpose.identity_check import sign_check
from tests.disclosure.answers import CODE

COUNTER = Identity("counter", "131016").uri
CHECKS = Ed25519PrivateKey.from_private_bytes(b"\x06" * 32)


def check(
    number: int = 1, code: str = CODE, affair: "disclosure.Affair.ValueType" = disclosure.AFFAIR_FIND_USAGE
) -> disclosure.SignedIdentityCheck:
    made = disclosure.IdentityCheck(
        id=str(UUID(int=number)),
        counter=COUNTER,
        clerk="7",
        resident_code=code,
        proof=disclosure.IDENTITY_PROOF_PHOTO_DOCUMENT,
        affair=affair,
    )
    made.checked_at.FromDatetime(clock.now())
    return sign_check(made, CHECKS)
