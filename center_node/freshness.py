"""How fresh what the center holds is, municipality by municipality (最新性), under the center's signature.

Rules:

1. Up to when the center holds all that a municipality reported is learned from signs of life (`link.standings`). A
   municipality that is not heard of, that its change brake holds, or of which nothing whole is here is never called
   fresh: what is not known is not claimed (`completeness`).
2. Where what a municipality reported since may be missing, or has to wait for another one that is behind, nobody is
   told that somebody is not there: the outcome is "not provided", however old a record the asker allows. The same where
   the municipality itself is older than that, and then nobody is looked up.
3. What is said of a municipality depends on the municipality alone, never on whether somebody was found.
4. Of all municipalities together is said what holds of each: it is as old as the oldest of them, and names none.

A statement is made anew at most once a second: one costs as much as a look-up, and a second is less than a sign of life
takes.
"""

from collections.abc import Callable, Collection, Iterable
from typing import Final, NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection, bindparam, select

from center_node.completeness import Completeness, is_recent
from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.provision.v1.provision_pb2 import Provision
from jukinet.purpose.freshness import sign_freshness
from jukinet.store.schema import origins
from jukinet.store.statement import Prepared

BEHIND_US: Final = 60_000_000
"""A municipality that was not heard of for longer is behind: three signs of life on each of two hops are missing."""
_NATION: Final = "nation"
"""In the place of a municipality where a question names none: all of them together."""
_NOBODY, _UNKNOWN = inquiry.INQUIRY_OUTCOME_NO_SINGLE_MATCH, inquiry.INQUIRY_OUTCOME_NOT_PROVIDED
_SOURCE = Prepared(select(origins.c.sequence, origins.c.as_of).where(origins.c.municipality == bindparam("code")))
"""One whose first snapshot is half in has no origin yet."""


class Said(NamedTuple):
    """What is said of a municipality; times are microseconds since 1970."""

    message: inquiry.Freshness
    """Signed."""
    said_us: int
    complete_us: int
    """Up to when all of it is here; 0 when that is not known."""
    in_effect_us: int
    """Up to when all of it has taken effect; earlier where some of it waits for another municipality's."""
    joined: bool

    def is_fresh(self, now: int, *, maximum_age_us: int) -> bool:
        """Whether all of the municipality was there at this moment up to so long before."""
        return self.complete_us > 0 and now - self.complete_us <= maximum_age_us


class Source(NamedTuple):
    """What an answer rests on before anybody is looked up; the same whoever is asked about."""

    said: tuple[inquiry.Freshness, ...]
    answers: bool
    """Whether anybody is looked up at all."""
    otherwise: "inquiry.InquiryOutcome.ValueType"
    """The outcome if no single person matches, or if nobody is looked up."""

    def tell(self, into: Provision, *, is_there: bool) -> None:
        """Writes that nothing is told, and on what that rests.

        Whoever is there, and of a municipality that was called fresh a moment ago and is held now, is not "not found".
        """
        into.outcome = _UNKNOWN if is_there else self.otherwise
        into.freshness.extend(self.said)


class Sources:
    """What the center says of the municipalities that its answers rest on.

    Args:
        key: of the center; agencies know its public half.
        expected: codes of all municipalities of the network, joined or not.
        complete_as_of: microseconds since 1970 up to which all of a municipality is here; None when that is not known.
        clock: microseconds since 1970.
    """

    def __init__(
        self,
        *,
        key: Ed25519PrivateKey,
        expected: Collection[str],
        complete_as_of: Callable[[str], int | None],
        clock: Callable[[], int],
    ) -> None:
        self._key = key
        self._expected = frozenset(expected)
        self._completeness = Completeness(expected=expected, complete_as_of=complete_as_of)
        self._clock = clock
        self._said: dict[str, Said] = {}

    def now(self) -> int:
        """Microseconds since 1970. Questions answered together are answered at one moment: who was fresh enough to be
        looked up must not be too old to be told of, or somebody who is there would be called not found.
        """
        return self._clock()

    def of(self, connection: Connection, municipality: str, now: int) -> Said:
        """What is said of a municipality at this moment. One that is not of the network has not joined it."""
        last = self._said.get(municipality)
        # Never older than what was read of all: who is there would be too old, and all together fresh.
        if last and is_recent(last.said_us, now) and last.said_us >= self._completeness.read_at:
            return last
        said = self._say(connection, municipality, now)
        # A caller may name any six digits; and who joins now is provided at once.
        if municipality in self._expected and said.joined:
            self._said[municipality] = said
        return said

    def of_questions(
        self, connection: Connection, asked: Iterable[tuple[inquiry.Subject, int]], now: int
    ) -> list[Source]:
        """What the answers rest on.

        Args:
            connection: to the register.
            asked: of each question about whom it is, and the oldest that its asker allows in microseconds, 0 for any.
            now: of `now`.
        """
        where = [
            (
                _NATION if subject.HasField("individual_number") else subject.four_items.address.local_government_code,
                age,
            )
            for subject, age in asked
        ]
        sources = {each: self._source(connection, *each, now) for each in set(where)}
        return [sources[each] for each in where]

    def _source(self, connection: Connection, municipality: str, maximum_age_us: int, now: int) -> Source:
        # Who allows a year may be told of who is there, and not that nobody is.
        allowed_us = min(maximum_age_us or BEHIND_US, BEHIND_US)
        if municipality == _NATION:
            said = self._of_nation(connection, now)
            answers = True
        else:
            said = self.of(connection, municipality, now)
            answers = said.joined and (not maximum_age_us or said.is_fresh(now, maximum_age_us=maximum_age_us))
        whole = said.joined and now - said.in_effect_us <= allowed_us
        return Source((said.message,), answers=answers, otherwise=_NOBODY if whole else _UNKNOWN)

    def of_all(self, connection: Connection, now: int) -> inquiry.Freshness:
        """What is said of all municipalities of the network together at this moment, signed."""
        return self._of_nation(connection, now).message

    def _of_nation(self, connection: Connection, now: int) -> Said:
        oldest = self._completeness.of_nation(connection, now)
        last = self._said.get(_NATION)
        if last and is_recent(last.said_us, now) and last.complete_us == oldest:
            return last
        late = now - oldest > BEHIND_US
        said = inquiry.Freshness(state=inquiry.SOURCE_STATE_BEHIND if late else inquiry.SOURCE_STATE_CONNECTED)
        said.said_at.FromMicroseconds(now)
        if oldest:
            said.complete_as_of.FromMicroseconds(oldest)
        made = self._said[_NATION] = Said(sign_freshness(said, self._key), now, oldest, oldest, joined=True)
        return made

    def _say(self, connection: Connection, municipality: str, now: int) -> Said:
        said = inquiry.Freshness(municipality=municipality, state=inquiry.SOURCE_STATE_NOT_JOINED)
        said.said_at.FromMicroseconds(now)
        row = _SOURCE.row(connection, {"code": municipality})
        if row is None:
            return Said(sign_freshness(said, self._key), now, 0, 0, joined=False)
        said.sequence = row[0]
        said.as_of.FromMicroseconds(row[1])
        complete = self._completeness.of_joined(connection, municipality, now)
        in_effect = self._completeness.in_effect(connection, municipality, complete, now)
        said.state = inquiry.SOURCE_STATE_CONNECTED
        if complete:
            said.complete_as_of.FromMicroseconds(complete)
        if now - complete > BEHIND_US:
            said.state = inquiry.SOURCE_STATE_BEHIND
        elif now - in_effect > BEHIND_US:
            said.state = inquiry.SOURCE_STATE_WAITING
        return Said(sign_freshness(said, self._key), now, complete, in_effect, joined=True)
