"""Up to when a node holds all that each municipality has reported (最新性), learned from signs of life.

Rule: a sign of life says how far its sender's outbox reaches. Once everything up to there is on disk here, this node
holds all that the sender had reported when it spoke. A municipality's node says so of itself. A prefecture's node
passes on what it knows of each of its municipalities, and its own sequence number covers what it holds of them. Nothing
is kept over a restart: what is not known is not claimed.

The time is the municipality's own clock. One that goes ahead is taken for the moment at which it was heard; one that
lags makes its municipality look older than it is. Where this node's own clock is put back, what it took for later than
now is forgotten: it would hide that nobody was heard of since.
"""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from jukinet._pb.jukinet.link.v1.link_pb2 import Heartbeat, Standing
from jukinet.link.pulse import SILENCE
from jukinet.mesh.identity import Identity

_PENDING: Final = 8
"""Signs of life of one sender that wait for what was reported before them; older ones say less than newer ones."""

_LONG_US: Final = int(SILENCE * 1_000_000)

_Claim = tuple[int, dict[str, int]]


class Standings:
    """What a node knows of the municipalities below it; times are microseconds since 1970.

    `may_bring` tells whether a sender may speak for a municipality; what another one says of it is passed over.
    """

    def __init__(self, may_bring: Callable[[Identity, str], bool]) -> None:
        self._may_bring = may_bring
        self._complete: dict[str, int] = {}
        self._claims: dict[str, deque[_Claim]] = {}
        self._heard_us = 0

    def claimed(self, sender: Identity, heartbeat: Heartbeat, *, now_us: int) -> None:
        """A sender gave a sign of life; it counts when `reached` says that what it names is on disk."""
        if now_us < self._heard_us:
            self._forget_after(now_us)
        self._heard_us = now_us
        told: Iterable[Standing] = heartbeat.standings
        if sender.kind == "municipality":
            told = [Standing(municipality=sender.name, complete_at=heartbeat.complete_at)]
        standings = {
            each.municipality: min(each.complete_at.ToMicroseconds(), now_us)
            for each in told
            if self._may_bring(sender, each.municipality)
        }
        self._claims.setdefault(sender.uri, deque(maxlen=_PENDING)).append((heartbeat.sequence, standings))

    def reached(self, source: str, mark: int) -> bool:
        """Everything of a sender (a SPIFFE ID) up to this sequence number is on disk.

        Returns whether a municipality is heard of again that was not for long: those above should not wait for it.
        """
        claims, news = self._claims.get(source), False
        while claims and claims[0][0] <= mark:
            for municipality, at in claims.popleft()[1].items():
                before = self._complete.get(municipality, 0)
                news = news or at - before > _LONG_US
                self._complete[municipality] = max(at, before)
        return news

    def forget(self, source: str) -> None:
        """A sender's stream begins anew; in a new epoch its numbers may mean other changes."""
        self._claims.pop(source, None)

    def _forget_after(self, now_us: int) -> None:
        self._complete = {code: at for code, at in self._complete.items() if at <= now_us}
        for claims in self._claims.values():
            kept = [(mark, {code: at for code, at in told.items() if at <= now_us}) for mark, told in claims]
            claims.clear()
            claims.extend(kept)

    def complete_as_of(self, municipality: str) -> int | None:
        """Up to when all of a municipality is on disk here; None when that is not known."""
        return self._complete.get(municipality)

    def told(self) -> list[Standing]:
        """For the node above."""
        return [_standing(municipality, at) for municipality, at in sorted(self._complete.items())]


def _standing(municipality: str, at: int) -> Standing:
    standing = Standing(municipality=municipality)
    standing.complete_at.FromMicroseconds(at)
    return standing
