"""Cosignatures: how a witness (立会人) puts its name to a checkpoint that it saw, with the time at which it saw it.

Rule: a cosignature says "at this time, the largest consistent tree of this log that I know has this root". So a witness
makes one only for what it has on disk, and never for an older tree than that.

A cosignature is a signature line of the checkpoint's note. It names the witness's key; its bytes are a time in seconds
since 1970 and an Ed25519 signature over a header, that time and the checkpoint's text. Keys are written as those of
notes, with a type of their own, so that neither can be taken for the other.

Source: c2sp.org/tlog-cosignature (Ed25519); Ed25519: RFC 8032.
"""

import base64
import hashlib

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from jukinet.ledger.errors import NoteInvalid
from jukinet.ledger.note import decode_base64, parse_signature, require_key_name, signature_line

_TYPE = b"\x04"
_TIME_BYTES = 8
_END_OF_TIME = 2**63


class WitnessKey:
    """Public half of a witness's key: a name and an Ed25519 key, written `name+keyid+base64`."""

    def __init__(self, name: str, public_key: Ed25519PublicKey) -> None:
        require_key_name(name)
        self.name = name
        self.public_key = public_key
        self._encoded = _TYPE + public_key.public_bytes_raw()
        self.key_id = hashlib.sha256(name.encode() + b"\n" + self._encoded).digest()[:4]

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{base64.b64encode(self._encoded).decode()}"

    @classmethod
    def parse(cls, text: str) -> "WitnessKey":
        """Reads `name+keyid+base64`. Raises NoteInvalid when it is not the key of a witness."""
        parts = text.split("+", 2)
        if len(parts) != 3:
            raise NoteInvalid("A witness's key is name+keyid+base64.")
        encoded = decode_base64(parts[2])
        if len(encoded) != 33 or encoded[:1] != _TYPE:
            raise NoteInvalid("The key is not one for Ed25519 cosignatures.")
        key = cls(parts[0], Ed25519PublicKey.from_public_bytes(encoded[1:]))
        if key.key_id.hex() != parts[1]:
            raise NoteInvalid("The witness's key id does not fit its name and key.")
        return key

    def verify(self, line: str, text: str) -> int:
        """Checks one cosignature.

        Args:
            line: signature line, its newline included.
            text: of the checkpoint, its last newline included.
        Returns: the time at which it was made, in seconds since 1970.
        Raises NoteInvalid when it is malformed, by another key, or false.
        """
        if not line.endswith("\n") or "\n" in line[:-1]:
            raise NoteInvalid("A cosignature is one line.")
        name, signature = parse_signature(line[:-1])
        if name != self.name or signature[:4] != self.key_id:
            raise NoteInvalid("It is not cosigned by the expected key.")
        seconds = int.from_bytes(signature[4 : 4 + _TIME_BYTES], "big")
        if len(signature) != 4 + _TIME_BYTES + 64 or seconds >= _END_OF_TIME:
            raise NoteInvalid("A cosignature is a key id, a time and 64 bytes.")
        try:
            self.public_key.verify(signature[4 + _TIME_BYTES :], _message(text, seconds))
        except InvalidSignature:
            raise NoteInvalid("The cosignature does not verify.") from None
        return seconds


class Cosigner:
    """Private half of a witness's key."""

    def __init__(self, name: str, private_key: Ed25519PrivateKey) -> None:
        self._private_key = private_key
        self.key = WitnessKey(name, private_key.public_key())

    def cosign(self, text: str, seconds: int) -> str:
        """The signature line for a checkpoint.

        Args:
            text: of the checkpoint, its last newline included.
            seconds: since 1970, when this was the largest tree that the witness knew.
        """
        signature = self._private_key.sign(_message(text, seconds))
        return signature_line(self.key.name, self.key.key_id + seconds.to_bytes(_TIME_BYTES, "big") + signature)


def key_name(witness: str) -> str:
    """The name of a witness's key, by the witness's own name."""
    return f"jukinet/{witness}"


def _message(text: str, seconds: int) -> bytes:
    return f"cosignature/v1\ntime {seconds}\n{text}".encode()
