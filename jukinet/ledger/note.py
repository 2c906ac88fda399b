"""Signed notes and checkpoints: how the ledger puts its name to a tree.

Rule: one text has one encoding. Whatever could be written in two ways (base64 with stray bits, a size with leading
zeros, a blank at the end of a line) is refused, so that a checkpoint can be compared byte by byte.

A checkpoint is a note whose text is three lines: origin, tree size, root. Its signature line names the key by the
origin and by a key id of four bytes. Signatures by other keys (`cosignature`) may follow and are passed over.

Source: c2sp.org/signed-note, c2sp.org/tlog-checkpoint; Ed25519: RFC 8032.
"""

import base64
import binascii
import hashlib
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from jukinet.ledger.errors import NoteInvalid
from jukinet.ledger.merkle import HASH_BYTES

_ED25519 = b"\x01"
_MAX_NOTE_BYTES = 65_536
_MAX_SIGNATURES = 64
_MAX_SIZE = 2**63 - 1
_SIGNATURE_MARK = "— "


class Checkpoint(NamedTuple):
    """What a checkpoint says."""

    origin: str
    size: int
    root: bytes


class VerifierKey:
    """Public half of a note key: a name and an Ed25519 key, written `name+keyid+base64`."""

    def __init__(self, name: str, public_key: Ed25519PublicKey) -> None:
        require_key_name(name)
        self.name = name
        self.public_key = public_key
        self._encoded = _ED25519 + public_key.public_bytes_raw()
        self.key_id = hashlib.sha256(name.encode() + b"\n" + self._encoded).digest()[:4]

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{base64.b64encode(self._encoded).decode()}"

    @classmethod
    def parse(cls, text: str) -> "VerifierKey":
        """Reads `name+keyid+base64`. Raises NoteInvalid when it is not one."""
        parts = text.split("+", 2)
        if len(parts) != 3:
            raise NoteInvalid("A verifier key is name+keyid+base64.")
        encoded = decode_base64(parts[2])
        if len(encoded) != 33 or encoded[:1] != _ED25519:
            raise NoteInvalid("The verifier key is not of Ed25519.")
        key = cls(parts[0], Ed25519PublicKey.from_public_bytes(encoded[1:]))
        if key.key_id.hex() != parts[1]:
            raise NoteInvalid("The verifier key's id does not fit its name and key.")
        return key


class Signer:
    """Private half of a note key; its name is the ledger's origin."""

    def __init__(self, name: str, private_key: Ed25519PrivateKey) -> None:
        self._private_key = private_key
        self.verifier = VerifierKey(name, private_key.public_key())

    def sign(self, text: str) -> str:
        """The signed note over `text`, which ends in a newline. Raises NoteInvalid when it cannot be a note's text."""
        _require_note_characters(text)
        if not text.endswith("\n") or text == "\n":
            raise NoteInvalid("A note's text ends in a newline.")
        signature = self.verifier.key_id + self._private_key.sign(text.encode())
        return f"{text}\n{signature_line(self.verifier.name, signature)}"


def open_note(note: str, key: VerifierKey) -> str:
    """The text of a note, once its signature by `key` is verified.

    Raises NoteInvalid when the note is malformed, `key` did not sign it or its signature is false.
    """
    text, signatures = _parse(note)
    verified = False
    for name, signature in signatures:
        if name != key.name or signature[:4] != key.key_id:
            continue
        try:
            key.public_key.verify(signature[4:], text.encode())
        except InvalidSignature:
            raise NoteInvalid("The signature does not verify.") from None
        verified = True
    if not verified:
        raise NoteInvalid("It is not signed by the expected key.")
    return text


def sign_checkpoint(signer: Signer, size: int, root: bytes) -> str:
    """The signed checkpoint of the tree with this size and root; its origin is the signer's name."""
    return signer.sign(f"{signer.verifier.name}\n{size}\n{base64.b64encode(root).decode()}\n")


def open_checkpoint(note: str, key: VerifierKey) -> Checkpoint:
    """What a signed checkpoint says, once its signature and origin are verified.

    Raises NoteInvalid when it does not hold.
    """
    lines = open_note(note, key).split("\n")
    # Extension lines are signed but cannot be audited, and this ledger writes none.
    if len(lines) != 4:
        raise NoteInvalid("A checkpoint has exactly the lines origin, size and root.")
    origin, size, root = lines[0], _decode_size(lines[1]), decode_base64(lines[2])
    if origin != key.name:
        raise NoteInvalid("The checkpoint is of another origin than the key.")
    if len(root) != HASH_BYTES:
        raise NoteInvalid("The root is not a SHA-256 hash.")
    return Checkpoint(origin, size, root)


def text_of(note: str) -> str:
    """The signed text of a note, its last newline included, nothing verified. Raises NoteInvalid."""
    return _parse(note)[0]


def _parse(note: str) -> tuple[str, list[tuple[str, bytes]]]:
    _require_note_characters(note)
    if not note.endswith("\n"):
        raise NoteInvalid("A note ends in a newline.")
    head, separator, tail = note[:-1].rpartition("\n\n")
    lines = tail.split("\n")
    if not separator or not head or len(lines) > _MAX_SIGNATURES:
        raise NoteInvalid("A note is text, a blank line and signature lines.")
    return head + "\n", [parse_signature(line) for line in lines]


def signature_line(name: str, signature: bytes) -> str:
    """A signature line, its newline included; `signature` begins with the key id."""
    return f"{_SIGNATURE_MARK}{name} {base64.b64encode(signature).decode()}\n"


def parse_signature(line: str) -> tuple[str, bytes]:
    """Name of the key and signature, key id in front, of a signature line without its newline. Raises NoteInvalid."""
    name, separator, encoded = line.removeprefix(_SIGNATURE_MARK).partition(" ")
    if not line.startswith(_SIGNATURE_MARK) or not separator:
        raise NoteInvalid("A signature line is a dash, a key name and base64.")
    require_key_name(name)
    signature = decode_base64(encoded)
    if len(signature) <= 4:
        raise NoteInvalid("A signature is a key id and more.")
    return name, signature


def require_key_name(name: str) -> None:
    """Makes sure that a key may be called so. Raises NoteInvalid."""
    if not name or "+" in name or any(character.isspace() or character < " " for character in name):
        raise NoteInvalid("A key name has no blank and no plus sign.")


def _require_note_characters(note: str) -> None:
    if len(note) > _MAX_NOTE_BYTES:
        raise NoteInvalid("It is over the size limit.")
    if any(character < " " and character != "\n" for character in note) or not _is_utf8(note):
        raise NoteInvalid("It holds a control character or a lone surrogate.")


def _is_utf8(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def decode_base64(text: str) -> bytes:
    """Bytes of canonical base64. Raises NoteInvalid for any other spelling."""
    try:
        decoded = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise NoteInvalid("It holds malformed base64.") from None
    # Python passes over stray bits in the last character; two spellings of one hash are one too many.
    if base64.b64encode(decoded).decode() != text:
        raise NoteInvalid("It holds base64 that is not canonical.")
    return decoded


def _decode_size(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 19 or (text[0] == "0" and text != "0"):
        raise NoteInvalid("The tree size is not a plain decimal number.")
    size = int(text)
    if size > _MAX_SIZE:
        raise NoteInvalid("The tree size is out of range.")
    return size
