"""Handles: what an agency keeps of a lawful answer, to be told of the person's later changes (異動情報の提供).

Rule: nobody is searched for when a watch begins. The center encrypts, under its own key, whom it answered about, to
whom and for which row; only what it wrote itself it reads again, for the same agency and row and for ninety days.

A handle tells nobody else anything: it is as long for everybody, two of one person differ, and one that was altered or
belongs to another is refused as a whole.

Source: Act art. 30-9 and following (provision of later changes); RFC 5116 (authenticated encryption).
"""

import os
from datetime import UTC, datetime, timedelta

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from jukinet._pb.jukinet.provision.v1.provision_pb2 import HandleContent

LIFETIME = timedelta(days=90)
_SKEW = timedelta(seconds=5)
_CONTEXT = b"jukinet watch handle v1"
_NONCE_BYTES = 12
_PADDED_BYTES = 384
"""Length of every content, so that a handle's length tells nothing of agency or row."""


class HandleInvalid(Exception):
    """A handle does not hold for this agency, row and moment."""


class HandleKeys:
    """Makes and reads handles; `root_key` is the center's, 32 bytes."""

    def __init__(self, root_key: bytes) -> None:
        self._cipher = AESGCM(HKDF(algorithm=SHA256(), length=32, salt=None, info=_CONTEXT).derive(root_key))

    def make(self, content: HandleContent) -> bytes:
        """The handle of an answer."""
        body = content.SerializeToString()
        nonce = os.urandom(_NONCE_BYTES)
        padded = len(body).to_bytes(2, "big") + body.ljust(_PADDED_BYTES, b"\0")
        return nonce + self._cipher.encrypt(nonce, padded, _CONTEXT)

    def read(self, handle: bytes, *, agency: str, purpose: str, now: datetime) -> HandleContent:
        """What a handle says.

        Args:
            handle: of `make`.
            agency: SPIFFE ID of who presents it.
            purpose: row and item for which.
            now: timezone-aware.

        Raises:
            HandleInvalid: it was not made here, or for another agency or row, or more than ninety days ago.
        """
        nonce, sealed = handle[:_NONCE_BYTES], handle[_NONCE_BYTES:]
        try:
            padded = self._cipher.decrypt(nonce, sealed, _CONTEXT)
        except (InvalidTag, ValueError):
            raise HandleInvalid from None
        content = HandleContent.FromString(padded[2 : 2 + int.from_bytes(padded[:2], "big")])
        made = content.made_at.ToDatetime(tzinfo=UTC)
        if (content.agency, content.purpose) != (agency, purpose) or not made - _SKEW <= now <= made + LIFETIME:
            raise HandleInvalid
        return content
