"""Reading signed checkpoints and the cosignatures on them.

Source: c2sp.org/signed-note, c2sp.org/tlog-checkpoint, c2sp.org/tlog-cosignature.
"""

import base64
import hashlib
import re
from collections.abc import Sequence
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from jukinet.ledger.verify.findings import Unsound
from jukinet.ledger.verify.tree import SignedTree

_KEY = re.compile(r"([^\s+\x00-\x1f]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]{44})\n?")
_BODY = re.compile(r"([^\n]+)\n(0|[1-9][0-9]{0,18})\n([A-Za-z0-9+/]{43}=)\n")
_MAX_SIZE = 2**63 - 1
_SIGNATURE = re.compile(r"— ([^\s+\x00-\x1f]+) ([A-Za-z0-9+/]+={0,2})")


class Key(NamedTuple):
    """An Ed25519 key, the name that it signs under and the four bytes that say so in a signature."""

    name: str
    key_id: bytes
    public: Ed25519PublicKey


def read_key(text: str) -> Key:
    """A ledger's key, `name+keyid+base64`. Raises Unsound."""
    return _read_key(text, b"\x01", "key file")


def read_witness_key(text: str) -> Key:
    """A witness's key, `name+keyid+base64` with the type of cosignatures. Raises Unsound."""
    return _read_key(text, b"\x04", "witness's key")


def _read_key(text: str, kind: bytes, what: str) -> Key:
    matched = _KEY.fullmatch(text)
    if not matched:
        raise Unsound(f"the {what} is not one line name+keyid+base64 with an Ed25519 key")
    name, encoded = matched[1], decode_base64(matched[3])
    key_id = hashlib.sha256(name.encode() + b"\n" + encoded).digest()[:4]
    if encoded[:1] != kind or key_id.hex() != matched[2]:
        raise Unsound(f"the {what}'s key id does not fit its name and key")
    return Key(name, key_id, Ed25519PublicKey.from_public_bytes(encoded[1:]))


def read_checkpoint(note: str, key: Key) -> SignedTree:
    """What a checkpoint says, once the signature by `key` is verified. Raises Unsound."""
    text, blank, tail = note.rpartition("\n\n")
    text += "\n"
    body = _BODY.fullmatch(text)
    if not blank or not tail.endswith("\n") or not body:
        raise Unsound("the checkpoint is malformed")
    if body[1] != key.name:
        raise Unsound("the checkpoint is of another ledger than the key")
    if int(body[2]) > _MAX_SIZE:
        raise Unsound("the checkpoint's size is out of range")
    signatures = [_read_signature(line) for line in tail[:-1].split("\n")]
    own = [signature for name, key_id, signature in signatures if (name, key_id) == (key.name, key.key_id)]
    if not own:
        raise Unsound("the checkpoint is not signed by the given key")
    for signature in own:
        try:
            key.public.verify(signature, text.encode("utf-8", "surrogatepass"))
        except InvalidSignature:
            raise Unsound("the checkpoint's signature does not verify") from None
    return SignedTree(int(body[2]), decode_base64(body[3]))


def cosigned_by(note: str, witnesses: Sequence[Key]) -> list[str]:
    """Names of the witnesses whose cosignature stands on a checkpoint that `read_checkpoint` took; each once.

    Raises:
        Unsound: a line names one of these keys and does not hold.
    """
    text, _, tail = note.rpartition("\n\n")
    signatures = [_read_signature(line) for line in tail[:-1].split("\n")]
    names = []
    for witness in witnesses:
        own = [signature for name, key_id, signature in signatures if (name, key_id) == witness[:2]]
        for signature in own:
            _check_cosignature(f"{text}\n", signature, witness)
        if own:
            names.append(witness.name)
    return names


def _check_cosignature(text: str, signature: bytes, witness: Key) -> None:
    seconds = int.from_bytes(signature[:8], "big")
    message = f"cosignature/v1\ntime {seconds}\n{text}".encode("utf-8", "surrogatepass")
    try:
        if len(signature) != 72 or seconds > _MAX_SIZE:
            raise InvalidSignature
        witness.public.verify(signature[8:], message)
    except InvalidSignature:
        raise Unsound(f"the cosignature of {witness.name} does not verify") from None


def _read_signature(line: str) -> tuple[str, bytes, bytes]:
    matched = _SIGNATURE.fullmatch(line)
    if not matched:
        raise Unsound("a signature line of the checkpoint is malformed")
    decoded = decode_base64(matched[2])
    return matched[1], decoded[:4], decoded[4:]


def decode_base64(text: str) -> bytes:
    """Bytes of canonical base64. Raises Unsound for any other spelling."""
    try:
        decoded = base64.b64decode(text, validate=True)
    except ValueError:
        raise Unsound("base64 is malformed") from None
    if base64.b64encode(decoded).decode() != text:
        raise Unsound("base64 is not canonical")
    return decoded
