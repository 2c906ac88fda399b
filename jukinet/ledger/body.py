"""The body of an entry (本文): what was asked in full, encrypted beside the tree.

Rules:

1. The leaf holds only the SHA-256 of the sealed body, so a body can become unreadable and the tree stays what it is.
2. The key of a body is derived from a secret of the person and one of the month, which the center alone has, and is
   good for one question. Whoever got it for one body can read no other.
3. Who destroys one of the two secrets makes all bodies under it unreadable, wherever they are kept.
4. What is not about exactly one person is sealed under the month's secret alone.

Source: HKDF is RFC 5869; AES-GCM is NIST SP 800-38D.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from google.protobuf.message import DecodeError

from jukinet._pb.jukinet.body.v1.body_pb2 import Body, KeyPlace, SealedBody
from jukinet.ledger.errors import BodyUnreadable
from jukinet.mesh.mac import mac

NOBODY = ""
"""Stands for the person of a question that was about nobody, or not about exactly one."""
_NONCE_BYTES = 12
_PERSON_BYTES = 32
_PAD_TO = 256
# A length of zeros has the same number of digits from 128 on: three bytes of framing.
_SHORTEST, _PADDING_FRAME = 128, 3
_PADDINGS = [Body(padding=bytes(_SHORTEST + more)).SerializeToString() for more in range(_PAD_TO)]


def names_key(root_key: bytes) -> bytes:
    """The key of persons' names; `root_key` is the center's, 32 bytes."""
    return _derive(root_key, b"person")


def person_name(key: bytes, resident_code: str) -> str:
    """What the center calls a person (住民票コード) in its table of secrets: 64 hexadecimal digits, always the same.

    Args:
        key: of `names_key`.
        resident_code: eleven digits.
    """
    return mac(key, resident_code.encode()).hex()


def place_cipher(month_secret: bytes) -> AESGCM:
    """What seals the places of a month; `month_secret` has 32 bytes."""
    return AESGCM(_derive(month_secret, b"place"))


def body_key(month_secret: bytes, person_secret: bytes, agency: str, request_id: str) -> bytes:
    """The key of the body of one question, 32 bytes.

    Args:
        month_secret: 32 bytes.
        person_secret: 32 bytes; empty for nobody.
        agency: SPIFFE ID of who asked.
        request_id: of the question.
    """
    return _derive(person_secret + month_secret, b"body", _about(agency, request_id))


def seal_place(month: str, cipher: AESGCM, person: str, agency: str, request_id: str, *, nonce: bytes) -> KeyPlace:
    """Where the center finds the key again; who has not the month's secret learns nothing of whom it is.

    Args:
        month: such as `2026-11`.
        cipher: of `place_cipher`.
        person: of `person_name`, or NOBODY.
        agency: SPIFFE ID of who asked.
        request_id: of the question.
        nonce: of `nonces`.
    """
    name = bytes.fromhex(person) if person else bytes(_PERSON_BYTES)
    handle = nonce + cipher.encrypt(nonce, name, _about(agency, request_id))
    return KeyPlace(month=month, handle=handle)


def open_place(place: KeyPlace, month_secret: bytes, agency: str, request_id: str) -> str:
    """Whose secret it takes: the person's name, or NOBODY. Raises BodyUnreadable."""
    nonce, rest = place.handle[:_NONCE_BYTES], place.handle[_NONCE_BYTES:]
    try:
        name = place_cipher(month_secret).decrypt(nonce, rest, _about(agency, request_id))
    except (InvalidTag, ValueError):
        raise BodyUnreadable("The place of its key is not of this question.") from None
    return name.hex() if any(name) else NOBODY


def nonces(count: int) -> Iterator[bytes]:
    """So many nonces for `seal` or `seal_place`, drawn together: each draw lets another thread take the interpreter."""
    drawn = os.urandom(count * _NONCE_BYTES)
    return (drawn[begin : begin + _NONCE_BYTES] for begin in range(0, len(drawn), _NONCE_BYTES))


class Opened(NamedTuple):
    """The body of one question, before it is sealed."""

    plain: bytes
    """Serialised Body without padding, or its parts one behind the other: what was asked."""
    key: bytes
    """Of `body_key`."""
    place: KeyPlace
    """Of `seal_place`."""
    request_id: str
    crowd_tag: bytes = b""
    """Of a sealed question (封印), `jukinet.ledger.seal.crowd_tag`."""


def seal(bodies: Sequence[Opened], agency: str) -> list[bytes]:
    """The serialised SealedBody of each; `agency` is the SPIFFE ID of who asked all of them."""
    drawn = list(nonces(len(bodies)))  # a key may come twice, so no nonce may
    ciphertexts = [
        AESGCM(each.key).encrypt(nonce, _padded(each.plain), _about(agency, each.request_id))
        for each, nonce in zip(bodies, drawn, strict=True)
    ]
    return list(map(_serialised, bodies, drawn, ciphertexts))


def unseal(sealed: bytes, key: bytes, agency: str, request_id: str) -> Body:
    """What was asked. Raises BodyUnreadable: another key, or not what was sealed."""
    try:
        parts = SealedBody.FromString(sealed)
        plain = AESGCM(key).decrypt(parts.nonce, parts.ciphertext, _about(agency, request_id))
        body = Body.FromString(plain)
    except (InvalidTag, ValueError, DecodeError):
        raise BodyUnreadable("The key is not its own, or it is not what was sealed.") from None
    body.ClearField("padding")
    return body


def digest(sealed: bytes) -> bytes:
    """What the leaf holds of a sealed body, 32 bytes."""
    return hashlib.sha256(sealed).digest()


def _serialised(opened: Opened, nonce: bytes, ciphertext: bytes) -> bytes:
    sealed = SealedBody(nonce=nonce, ciphertext=ciphertext, crowd_tag=opened.crowd_tag)
    sealed.place.CopyFrom(opened.place)
    return sealed.SerializeToString()


def _padded(plain: bytes) -> bytes:
    return plain + _PADDINGS[-(len(plain) + _PADDING_FRAME + _SHORTEST) % _PAD_TO]


def _about(agency: str, request_id: str) -> bytes:
    # A request id has no line feed, so two questions have never the same text.
    return f"{request_id}\n{agency}".encode()


def _derive(secret: bytes, use: bytes, about: bytes = b"") -> bytes:
    info = b"jukinet body v1 " + use + b"\n" + about
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(secret)
