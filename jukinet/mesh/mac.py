"""Keyed digests (HMAC-SHA-256) of short messages: tokens, marks, names, and what is derived for one question.

Source: RFC 2104; FIPS 198-1.
"""

from functools import lru_cache
from hashlib import sha256
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC

_KEYS: Final = 512
"""The recall marks of seven years have two a month."""
_BLOCK_BYTES: Final = 64
_INNER, _OUTER = (bytes(byte ^ pad for byte in range(256)) for pad in (0x36, 0x5C))


def mac(key: bytes, message: bytes) -> bytes:
    """The digest, 32 bytes, of one of many messages under few keys.

    What is derived from the key alone is kept, which leaves a third of the time. So only keys of the node itself belong
    here, never those of a person or of a question.
    """
    digest = _begun(key).copy()
    digest.update(message)
    return digest.finalize()


def mac_once(key: bytes, message: bytes) -> bytes:
    """The digest, 32 bytes, under a key that is of one message alone; nothing of it is kept.

    By its two hashes: `hmac.digest` spends as long again on looking up its algorithm.
    """
    block = (sha256(key).digest() if len(key) > _BLOCK_BYTES else key).ljust(_BLOCK_BYTES, b"\0")
    inner = sha256(block.translate(_INNER) + message).digest()
    return sha256(block.translate(_OUTER) + inner).digest()


@lru_cache(maxsize=_KEYS)
def _begun(key: bytes) -> HMAC:
    return HMAC(key, SHA256())
