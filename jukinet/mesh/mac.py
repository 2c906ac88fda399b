"""Keyed digests (HMAC-SHA-256) of many messages under few keys: tokens, marks and names.

What is derived from a key alone is kept, which leaves a third of the time. So only keys of the node itself belong here,
never those of a person or of a question.

Source: RFC 2104; FIPS 198-1.
"""

from functools import lru_cache
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC

_KEYS: Final = 512
"""The recall marks of seven years have two a month."""


def mac(key: bytes, message: bytes) -> bytes:
    """The digest of a message, 32 bytes."""
    digest = _begun(key).copy()
    digest.update(message)
    return digest.finalize()


@lru_cache(maxsize=_KEYS)
def _begun(key: bytes) -> HMAC:
    return HMAC(key, SHA256())
