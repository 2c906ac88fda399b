"""The gateway's signature on the answers to a message of a signed file job (一括提供): whoever they are handed to can
check them.

Rule: it covers what was asked and what was answered together, and for whom. So no answer can be put beside another
question, into another job or under another agency, and none can be changed. That all of a job is answered follows from
the job itself, of which the gateway knows nothing: it keeps nothing of a batch.

The key is that of the ledger, whose public half whoever checks receipts has already. A note of the ledger (C2SP
signed-note) holds no zero byte, so neither signature can be taken for the other.
"""

import hashlib
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.message import Message

from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry

_CONTEXT: Final = b"jukinet batch answer v1\0"


def sign_answers(
    request: inquiry.InquireBatchRequest,
    response: inquiry.InquireBatchResponse,
    *,
    agency: str,
    key: Ed25519PrivateKey,
) -> None:
    """Puts the gateway's signature into a response, as `InquireBatchResponse` in the contract says.

    Args:
        request: as it came; not changed.
        response: complete, receipts included, but for the signature.
        agency: SPIFFE ID of the agency that asked.
        key: of the gateway's ledger.
    """
    asked = inquiry.InquireBatchRequest()
    asked.CopyFrom(request)
    asked.context.ClearField("operator_proof")
    parts = (agency.encode(), _digest(asked), _digest(response))
    response.signature = key.sign(_CONTEXT + b"".join(len(part).to_bytes(4, "big") + part for part in parts))


def _digest(message: Message) -> bytes:
    return hashlib.sha256(message.SerializeToString(deterministic=True)).digest()
