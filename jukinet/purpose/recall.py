"""Recall marks: how a gateway finds again whom it provided with what was corrected since (旧値の回収).

Rule: a mark stands for one version of one person's record, for answers in one month, and says nothing else. The center
makes it under its own key with each answer that is about somebody; the gateway keeps it beside the ledger, where nobody
can tell whose it is. Of a correction the center names the marks of those versions that were wrong, and no others, so a
gateway learns which of its entries are one person's only where that person was recorded wrongly. The mark of a sealed
answer (封印) is another one: it tells not even that.

By the version, not by a time: which answer held which value must not hang on two clocks.
Source: docs/decisions/0066-a-correction-finds-who-was-told.md; RFC 2104 (HMAC).
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import lru_cache, partial
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from jukinet.mesh.mac import mac

YEARS: Final = 7
"""As long as provisions are kept on record; what was provided earlier is not recalled."""
_CHANGE: Final = "change"


class RecallMarks:
    """Makes marks; `root_key` is the center's, 32 bytes."""

    def __init__(self, root_key: bytes) -> None:
        self._root_key = root_key

    def of_answers(self, moment: datetime, *, sealed: bool) -> Callable[[str, int], bytes]:
        """What makes the mark, 32 bytes, of each answer of a moment.

        Args:
            moment: timezone-aware.
            sealed: whether the answers' entries are.

        Returns: a function of the resident code, eleven digits as in the record that is provided, and of the version
            (更新順番号) of that record.
        """
        return partial(_mark, self._key(_answers(_month(moment), sealed=sealed)))

    def of_change(self, resident_code: str, version: int) -> bytes:
        """The mark of a change that is told (異動情報), 32 bytes: one for all times, since it may be told much later.

        It gives nothing away: the change's position in the history is told with it.
        """
        return _mark(self._key(_CHANGE), resident_code, version)

    def all_of(
        self, resident_code: str, version: int, *, first: datetime, last: datetime, now: datetime
    ) -> Iterator[tuple[bytes, bool]]:
        """All marks of one version of a record; and whether something may still be told under each.

        Args:
            resident_code, version: as above.
            first: before anybody can have been provided with it, timezone-aware.
            last: when it was replaced; an answer that was under way may be of the month after.
            now: timezone-aware.
        """
        yield self.of_change(resident_code, version), True
        this = _month(now)
        for month in range(min(this, _month(last) + 1), max(_month(first), this - 12 * YEARS) - 1, -1):
            for sealed in (False, True):
                yield _mark(self._key(_answers(month, sealed=sealed)), resident_code, version), month > this - 2

    def _key(self, kind: str) -> bytes:
        return _derived(self._root_key, kind)


def _mark(key: bytes, resident_code: str, version: int) -> bytes:
    return mac(key, f"{version} {resident_code}".encode())


def _answers(month: int, *, sealed: bool) -> str:
    """The kind of the answers of a month; months are counted from the year 0."""
    return f"{'sealed' if sealed else 'answer'} {month}"


def _month(moment: datetime) -> int:
    in_utc = moment.astimezone(UTC)
    return in_utc.year * 12 + in_utc.month


@lru_cache(maxsize=512)
def _derived(root_key: bytes, kind: str) -> bytes:
    info = f"jukinet recall mark v1 {kind}".encode()
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(root_key)
