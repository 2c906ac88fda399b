"""What was named today, so that it is known again when it is named once more.

Rule: it is kept as a digest under a key of this process, in memory, for the day in Japan alone. With digests on disk,
whoever stole disk and key could try names against them. After a restart nothing is known.
"""

import hashlib
import secrets
from datetime import UTC, datetime

from jukinet.mesh.clock import end_of_day_in_japan

_DIGEST_BYTES = 16


class NamedToday:
    """Knows what was named on the day of the latest moment that it heard of."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self._day_ends = datetime.min.replace(tzinfo=UTC)
        self._digests: set[bytes] = set()

    def digest(self, *parts: bytes) -> bytes:
        """What stands here, 16 bytes, for what these parts name together."""
        message = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
        return hashlib.blake2b(message, key=self._key, digest_size=_DIGEST_BYTES).digest()

    def knows(self, digest: bytes, *, now: datetime) -> bool:
        """Whether it was named today."""
        self._turn_to(now)
        return digest in self._digests

    def add(self, digest: bytes, *, now: datetime) -> None:
        """Takes in what is named, until the day ends."""
        self._turn_to(now)
        self._digests.add(digest)

    def _turn_to(self, now: datetime) -> None:
        if now >= self._day_ends:  # a clock that was put back opens no second day
            self._day_ends, self._digests = end_of_day_in_japan(now), set()
