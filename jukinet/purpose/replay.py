"""Past questions under a draft: which of them would another edition have decided differently? (改正案の影響)

Rule: nothing is guessed, and nothing is left out in silence. Where all that an entry may stand for (`readings`) comes
out the same, that is told; where not, it counts as one of which nothing can be known, with the reason. All other
entries are counted by what they are.

Every question is put as if the draft were in force: on its own day, or on the draft's first day if that is later. How
long a seal (封印) lasts is counted from its own day. What the statute table had no part in (a banned organisation, an
unlisted agency, a malformed question) is left out. The agency directory is the given one, so give the one of that time:
its listings are taken as in force on every day, because the ledger says already whether they were. Of an acknowledged
recall of a sealed answer no entry says the day, only that it was no later than its own.

A refusal does not say whether a seal was wanted. Where the draft opens what was refused, it is told as answered.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Final, NamedTuple, TypeAlias

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2 as ledger
from jukinet.domain.seal import MOST_MONTHS, is_within
from jukinet.mesh.clock import JAPAN
from jukinet.mesh.errors import name_of
from jukinet.purpose.agencies import AgencyDirectory
from jukinet.purpose.decision import PurposePolicy, Question
from jukinet.purpose.editions import Editions
from jukinet.purpose.kinds import KINDS, TAKES_AWAY, way_of
from jukinet.purpose.readings import SEALABLE, Reading, messages, readings
from jukinet.purpose.statute import StatuteTable, StatuteTableError

_Refusal: TypeAlias = errors.ErrorReason.ValueType

_NONE: Final = errors.ERROR_REASON_UNSPECIFIED
_SEAL: Final = errors.ERROR_REASON_SEAL_NOT_ALLOWED
_BY_THE_TABLE: Final = frozenset(
    {
        _NONE,
        errors.ERROR_REASON_PURPOSE_UNKNOWN,
        errors.ERROR_REASON_PURPOSE_EXPIRED,
        errors.ERROR_REASON_PURPOSE_NOT_GRANTED,
        errors.ERROR_REASON_PROVISION_NOT_ALLOWED,
        errors.ERROR_REASON_METHOD_NOT_ALLOWED,
        errors.ERROR_REASON_FIELD_NOT_ALLOWED,
        _SEAL,
    }
)


class Change(NamedTuple):
    """What a kind of past question came to, and what it would come to under the draft."""

    agency: str
    """SPIFFE ID."""
    action: ledger.Action.ValueType
    purpose: str
    edition: str
    """By which it was decided; empty in entries of layout 1."""
    was: _Refusal
    """Refusal; UNSPECIFIED for an answer."""
    would_be: _Refusal


class Untold(NamedTuple):
    """A kind of entry of which nothing is told."""

    action: ledger.Action.ValueType
    why: str
    """For people."""


@dataclass
class Replay:
    """Result of a replay: numbers of entries."""

    same: int = 0
    different: Counter[Change] = field(default_factory=Counter)
    cannot_know: Counter[Untold] = field(default_factory=Counter)
    """Questions that the table decided, of which too little is known."""
    left_out: Counter[Untold] = field(default_factory=Counter)
    """In whose outcome the statute table had no part."""
    unknown_editions: set[str] = field(default_factory=set)
    """Approved or cited in the ledger, and not among those that are known."""

    @property
    def questions(self) -> int:
        """All that the statute table decided."""
        return self.same + self.different.total() + self.cannot_know.total()

    @property
    def entries(self) -> int:
        """All of the ledger."""
        return self.questions + self.left_out.total()


def replay(
    entries: Iterable[ledger.Entry], draft: StatuteTable, directory: AgencyDirectory, *, known: Editions
) -> Replay:
    """Decides the questions of a ledger once more, under a draft.

    Args:
        entries: sound entries of a ledger.
        draft: the edition in question.
        directory: the agencies by SPIFFE ID, as they were.
        known: by which the questions may have been decided.

    Returns:
        What would have been decided differently, by agency, action and row.

    Raises:
        PolicyError: the draft's rows do not fit the policies.
        StatuteTableError: the ledger holds the approval of an edition that has the name of a known one and is another.
    """
    always = {uri: replace(agency, valid_from=date.min, valid_to=date.max) for uri, agency in directory.items()}
    replaying = _Replaying(PurposePolicy(Editions([draft]), always), draft, known)
    for message in messages(entries):
        replaying.take(message)
    return replaying.found


class _Replaying:
    """A replay under way."""

    def __init__(self, policy: PurposePolicy, draft: StatuteTable, known: Editions) -> None:
        self.found = Replay()
        self._policy = policy
        self._draft = draft
        self._known = known

    def take(self, message: Sequence[ledger.Entry]) -> None:
        """Decides the entries of one message, or counts an entry that is no question."""
        decided: list[ledger.Entry] = []
        for entry in message:
            self._note_edition(entry)
            if why := _why_left_out(entry):
                self.found.left_out[Untold(entry.action, why)] += 1
            else:
                decided.append(entry)
        if not decided:
            return
        outcomes = self._outcomes(message)
        unknown = _why_unknown(message[0], outcomes)
        for entry in decided:
            if unknown:
                self.found.cannot_know[Untold(entry.action, unknown)] += 1
            elif outcomes == {entry.refusal}:
                self.found.same += 1
            else:
                (would_be,) = outcomes
                change = Change(entry.agency, entry.action, entry.purpose, entry.edition, entry.refusal, would_be)
                self.found.different[change] += 1

    def _note_edition(self, entry: ledger.Entry) -> None:
        """Raises StatuteTableError, see above."""
        if not entry.edition or entry.action == ledger.ACTION_PROPOSE_EDITION:
            return
        known = self._known.named(entry.edition)
        if known is None:
            self.found.unknown_editions.add(entry.edition)
        elif entry.action == ledger.ACTION_APPROVE_EDITION and entry.edition_digest != known.digest:
            raise StatuteTableError(f"the ledger approves another edition called {entry.edition}")

    def _outcomes(self, message: Sequence[ledger.Entry]) -> set[_Refusal]:
        """To what a message may come."""
        seals, days = self._seals(message), self._days(message[0])
        return {
            self._outcome(message[0], reading, seal, on)
            for reading in readings(message)
            for seal in seals
            for on in days
        }

    def _days(self, entry: ledger.Entry) -> set[date]:
        """Days on which a question may have been asked, as if the draft were in force: the first and the last one."""
        last = max(_day(entry), self._draft.in_force_from)
        return {self._draft.in_force_from, last} if _waited(entry) else {last}

    def _outcome(self, entry: ledger.Entry, reading: Reading, seal: _Refusal, day: date) -> _Refusal:
        """As `Desk.decide` of the gateway, for each method in turn: first the law, then the seal."""
        way = way_of(entry.action)
        for method in reading.methods:
            decision = self._policy.decide(Question(entry.agency, entry.purpose, day, method, reading.fields, way))
            if refusal := decision.refusal or seal:
                return refusal
        return _NONE

    def _seals(self, message: Sequence[ledger.Entry]) -> set[_Refusal]:
        """What the draft may say about the seal of a message."""
        entry, months = message[0], self._draft.seal_months(message[0].purpose)
        if entry.version < 3 or entry.action not in SEALABLE:
            return {_NONE}
        if until := next((each.sealed_until for each in message if each.sealed_until), ""):
            return {_NONE if is_within(until, _day(entry), months=months) else _SEAL}
        by = self._known.named(entry.edition)
        if entry.refusal == _SEAL:  # what was too long for the edition of that day is so for one that allows no more
            return {_SEAL} if months <= (by.seal_months(entry.purpose) if by else 0) else {_NONE, _SEAL}
        if entry.refusal in _BY_THE_TABLE - {_NONE} or any(each.person_token for each in message):
            return {_NONE}
        # Nobody was found. Where a seal was wanted, the edition of that day let it be.
        then = by.seal_months(entry.purpose) if by else MOST_MONTHS
        return {_NONE} if then <= months else {_NONE, _SEAL}


def _why_left_out(entry: ledger.Entry) -> str:
    """Why the table had no part in an entry; empty where it had."""
    if entry.action not in KINDS or entry.action in TAKES_AWAY:
        return "asks the statute table nothing"
    return "" if entry.refusal in _BY_THE_TABLE else f"refused for another reason: {name_of(entry.refusal)}"


def _waited(entry: ledger.Entry) -> bool:
    """Whether an entry does not say on which day it was decided, only until when it was held back."""
    return entry.action == ledger.ACTION_ACKNOWLEDGE_RECALL and bool(entry.sealed_until)


def _why_unknown(entry: ledger.Entry, outcomes: set[_Refusal]) -> str:
    """Why it cannot be known to what a message would come; empty where it can."""
    if errors.ERROR_REASON_AGENCY_UNKNOWN in outcomes:
        return "the directory does not list the agency"
    if len(outcomes) == 1:
        return ""
    if _waited(entry):
        return "no entry says when a recall of a sealed answer was acknowledged"
    if outcomes == {_NONE, _SEAL}:
        return "no entry says whether a seal was wanted, or how long"
    return "no entry says how all persons were named, or all that was wanted"


def _day(entry: ledger.Entry) -> date:
    return entry.time.ToDatetime(tzinfo=JAPAN).date()
