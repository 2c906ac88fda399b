"""Sealed entries (封印): counted at once, shown to the person concerned from a day on and not before.

Rules:

1. A sealed entry is an entry like any other: in the tree at once, with agency, purpose, time and the day on which it
   opens. Only the person's token is another one. It is keyed by the day, so that whoever has a person's tokens of all
   months does not know it; and by the question, so that it is like that of no other entry.
2. Nothing is kept to be opened later. Who has the root key makes a person's key of a day again, and gives it to that
   person from that day on: then it is provable which of the entries that were there all the time are theirs.

3. Whom many look at is to be seen although they seal it, by the gateway that answered, over a restart too, on that day
   alone: beside the body of a sealed question stands its tag under the person's crowd key of the day. That key comes
   from the center with each later answer about the person, and nobody else can make it.

Source: docs/decisions/0061-sealed-entries.md.
"""

import hmac
from datetime import date
from functools import lru_cache

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from jukinet.mesh.mac import mac


def seal_key(root_key: bytes, until: str, resident_code: str) -> bytes:
    """A person's key (住民票コード) of the entries that open on a day, 32 bytes.

    Args:
        root_key: of the person tokens, 32 bytes.
        until: the day, such as `2027-04-01`.
        resident_code: eleven digits.
    Raises ValueError for a root key of another length.
    """
    return mac(_derived(root_key, f"jukinet seal v1 {until}"), resident_code.encode())


def sealed_token(key: bytes, request_id: str) -> bytes:
    """The 32 bytes that stand for the person in the entry of one question.

    Args:
        key: of `seal_key`.
        request_id: of the question.
    """
    return hmac.digest(key, request_id.encode(), "sha256")


def crowd_key(root_key: bytes, day: date, resident_code: str) -> bytes:
    """A person's key of the questions of one day, 32 bytes.

    Args:
        root_key: of the person tokens, 32 bytes.
        day: of the questions, in Japan.
        resident_code: eleven digits.
    Raises ValueError for a root key of another length.
    """
    return mac(_derived(root_key, f"jukinet crowd v1 {day}"), resident_code.encode())


def crowd_tag(key: bytes, request_id: str) -> bytes:
    """The 32 bytes by which one question about a person is known again with the key of `crowd_key`, and not without."""
    return hmac.digest(key, request_id.encode(), "sha256")


@lru_cache(maxsize=256)
def _derived(root_key: bytes, info: str) -> bytes:
    if len(root_key) != 32:
        raise ValueError("a root key has 32 bytes")
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=info.encode()).derive(root_key)
