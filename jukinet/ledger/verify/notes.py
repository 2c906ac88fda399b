"""Reading signed checkpoints. Source: c2sp.org/signed-note, c2sp.org/tlog-checkpoint."""

import base64
import hashlib
import re
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from jukinet.ledger.verify.report import Unsound

_KEY = re.compile(r"([^\s+\x00-\x1f]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]{44})\n?")
_BODY = re.compile(r"([^\n]+)\n(0|[1-9][0-9]{0,18})\n([A-Za-z0-9+/]{43}=)\n")
_SIGNATURE = re.compile(r"— ([^\s+\x00-\x1f]+) ([A-Za-z0-9+/]+={0,2})")


class Key(NamedTuple):
    """An Ed25519 key, the name that it signs under and the four bytes that say so in a signature."""

    name: str
    key_id: bytes
    public: Ed25519PublicKey


class SignedTree(NamedTuple):
    """Size and root of a tree that the ledger signed."""

    size: int
    root: bytes


def read_key(text: str) -> Key:
    """The key of a public key file, `name+keyid+base64`. Raises Unsound."""
    matched = _KEY.fullmatch(text)
    if not matched:
        raise Unsound("the key file is not one line name+keyid+base64 with an Ed25519 key")
    name, encoded = matched[1], decode_base64(matched[3])
    key_id = hashlib.sha256(name.encode() + b"\n" + encoded).digest()[:4]
    if encoded[:1] != b"\x01" or key_id.hex() != matched[2]:
        raise Unsound("the key file's key id does not fit its name and key")
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
