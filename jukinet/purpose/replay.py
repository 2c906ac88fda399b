"""Past questions under a draft: which of them would another edition have decided differently? (改正案の影響)

Rule: nothing is guessed. An entry of layout 2 says what was asked; one of layout 1 does not say how the person was
named nor, unless something was provided, which items were wanted. Where every question that such an entry may stand for
comes out the same, that is told; where not, it counts as one of which nothing can be known.

Every question is put as if the draft were in force: on its own day, or on the draft's first day if that is later. What
the statute table had no part in (a banned organisation, an unlisted agency, a malformed question) is left out. The
agency directory is the given one, so give the one of that time: its listings are taken as in force on every day,
because the ledger says already whether they were.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Final, NamedTuple

from jukinet._pb.jukinet.errors.v1 import errors_pb2
from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2
from jukinet.mesh.clock import JAPAN
from jukinet.purpose.agencies import AgencyDirectory
from jukinet.purpose.articles import Provision
from jukinet.purpose.decision import PurposePolicy, Question
from jukinet.purpose.editions import Editions
from jukinet.purpose.statute import StatuteTable

_METHODS: Final = (inquiry_pb2.INQUIRY_METHOD_FOUR_ITEMS, inquiry_pb2.INQUIRY_METHOD_INDIVIDUAL_NUMBER)
_WAYS: "Final[Mapping[int, Provision | None]]" = {
    ledger_pb2.ACTION_INQUIRE_BATCH: "batch",
    ledger_pb2.ACTION_WATCH: "changes",
    ledger_pb2.ACTION_END_WATCH: "changes",
    ledger_pb2.ACTION_TELL_CHANGE: "changes",
    ledger_pb2.ACTION_ACKNOWLEDGE_RECALL: None,
}
_ALL_FIELDS: Final = tuple(number for number in inquiry_pb2.IdentityField.values() if number)
_BY_THE_TABLE: Final = frozenset(
    {
        errors_pb2.ERROR_REASON_UNSPECIFIED,
        errors_pb2.ERROR_REASON_PURPOSE_UNKNOWN,
        errors_pb2.ERROR_REASON_PURPOSE_EXPIRED,
        errors_pb2.ERROR_REASON_PURPOSE_NOT_GRANTED,
        errors_pb2.ERROR_REASON_PROVISION_NOT_ALLOWED,
        errors_pb2.ERROR_REASON_METHOD_NOT_ALLOWED,
        errors_pb2.ERROR_REASON_FIELD_NOT_ALLOWED,
    }
)


class Change(NamedTuple):
    """What a kind of past question came to, and what it would come to under the draft."""

    agency: str
    """SPIFFE ID."""
    purpose: str
    edition: str
    """By which it was decided; empty in entries of layout 1."""
    was: "errors_pb2.ErrorReason.ValueType"
    """Refusal; UNSPECIFIED for an answer."""
    would_be: "errors_pb2.ErrorReason.ValueType"


@dataclass
class Replay:
    """Result of a replay: numbers of questions."""

    same: int = 0
    not_by_the_table: int = 0
    """In whose outcome the statute table had no part."""
    cannot_know: int = 0
    """Entries of layout 1 that do not say enough, and agencies that the directory does not list."""
    different: Counter[Change] = field(default_factory=Counter)

    @property
    def questions(self) -> int:
        """All questions of the ledger."""
        return self.same + self.not_by_the_table + self.cannot_know + self.different.total()


def replay(entries: Iterable[ledger_pb2.Entry], draft: StatuteTable, directory: AgencyDirectory) -> Replay:
    """Decides the questions of a ledger once more, under a draft.

    Args:
        entries: sound entries of a ledger; acts of operators among them are passed over.
        draft: the edition in question.
        directory: the agencies by SPIFFE ID, as they were.

    Returns:
        What would have been decided differently, by agency and row.

    Raises:
        PolicyError: the draft's rows do not fit the policies.
    """
    always = {uri: replace(agency, valid_from=date.min, valid_to=date.max) for uri, agency in directory.items()}
    policy = PurposePolicy(Editions([draft]), always)
    found = Replay()
    for entry in entries:
        if entry.result != ledger_pb2.RESULT_DONE:
            _take(found, entry, policy, draft.in_force_from)
    return found


def _take(found: Replay, entry: ledger_pb2.Entry, policy: PurposePolicy, first_day: date) -> None:
    if entry.refusal not in _BY_THE_TABLE:
        found.not_by_the_table += 1
        return
    outcomes = {policy.decide(question).refusal for question in _questions(entry, first_day)}
    if len(outcomes) > 1 or errors_pb2.ERROR_REASON_AGENCY_UNKNOWN in outcomes:
        found.cannot_know += 1
    elif outcomes == {entry.refusal}:
        found.same += 1
    else:
        found.different[Change(entry.agency, entry.purpose, entry.edition, entry.refusal, outcomes.pop())] += 1


def _questions(entry: ledger_pb2.Entry, first_day: date) -> Iterator[Question]:
    """The questions that an entry may stand for: one, if it says enough. Their day is that of the entry's time."""
    day = max(entry.time.ToDatetime(tzinfo=JAPAN).date(), first_day)
    for method in _methods(entry):
        for fields in _fields(entry):
            yield Question(entry.agency, entry.purpose, day, method, fields, _WAYS.get(entry.action, "immediate"))


def _methods(entry: ledger_pb2.Entry) -> "Iterable[inquiry_pb2.InquiryMethod.ValueType]":
    if entry.version > 1:
        return (inquiry_pb2.InquiryMethod.ValueType(entry.method),)
    return _METHODS[:1] if entry.action == ledger_pb2.ACTION_VERIFY_IDENTITY else _METHODS


def _fields(entry: ledger_pb2.Entry) -> "Iterable[tuple[inquiry_pb2.IdentityField.ValueType, ...]]":
    if entry.version > 1:
        wanted: Iterable[int] = entry.wanted
    elif entry.action == ledger_pb2.ACTION_VERIFY_IDENTITY or entry.result == ledger_pb2.RESULT_PROVIDED:
        wanted = entry.fields
    else:
        # More items are refused sooner and never later: if the fewest and the most come out the same, all others do.
        return ((), tuple(map(inquiry_pb2.IdentityField.ValueType, _ALL_FIELDS)))
    return (tuple(map(inquiry_pb2.IdentityField.ValueType, wanted)),)
