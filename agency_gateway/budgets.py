"""What each agency and operator asked today, and whether one question more is within its budget (照会の上限).

Rule 1: a question is charged before anybody is looked up, and the same whatever comes of it; one that is over budget is
refused, with an entry, and is not charged. Of a message of a batch from which nothing leaves one person stays charged:
it has one entry, and an agency whose center is away tries it again and again.
Rule 2: the ledger is the account. Every charged question has its entry, and at a start the counts are made again from
today's entries; so they hold across restarts, and nobody changes them who cannot change the ledger. Between a charge
and its entry a crash may come: then no answer left either. Who leaves in between has his entry (`going_on`).
Rule 3: who was asked about is counted by a digest under a key of this process, and kept in memory for the day alone.
The entry says only whether the person was new; after a restart everybody is new once more, so no more is allowed.
Rule 4: who is asked about under seal (封印) is counted apart, and each time after a restart: the entry of a sealed
question says the same whoever was asked about before, and that of an open one says nothing about sealed ones. A
resident is given the entries about himself, at once those of open questions.

Budgets are those of one ledger. What an agency and an operator may ask in a day the center counts too, for all gateways
together (`center_node/asked_today.py`).

Source: docs/threat-model.md, threats 15 to 17.
"""

from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, NamedTuple

from agency_gateway.named_today import NamedToday
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2 import INQUIRY_METHOD_INDIVIDUAL_NUMBER
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2 as ledger
from jukinet.mesh.clock import end_of_day_in_japan
from jukinet.purpose.agencies import AgencyDirectory
from jukinet.purpose.budgets import Budget, row_of

Kind = Literal["search", "number", "batch"]

_MINUTE: Final = timedelta(minutes=1)
NOT_CHARGED: Final = frozenset({errors.ERROR_REASON_BUDGET_EXCEEDED, errors.ERROR_REASON_OPERATOR_FROZEN})
"""Refusals of a proved question that cost nothing of its budget."""
_NAMES_NOBODY: Final = frozenset(
    {ledger.ACTION_WATCH, ledger.ACTION_END_WATCH, ledger.ACTION_TELL_CHANGE, ledger.ACTION_ACKNOWLEDGE_RECALL}
)
"""What concerns lists of later changes (異動情報) and recalls: nobody is searched for, and nothing is charged."""


class OverBudget(Exception):
    """One question more is over a limit; `limit` is its name in `Budget`."""

    def __init__(self, limit: str) -> None:
        super().__init__(limit)
        self.limit = limit


class Charge(NamedTuple):
    """What one question, or one message of a batch, costs."""

    agency: str
    operator: bytes
    """His pseudonym in the ledger."""
    kind: Kind
    purpose: str
    persons: int = 1
    sealed: bool = False


@dataclass(slots=True)
class _Operator:
    searches_day: int = 0
    batch_day: int = 0
    searches: deque[float] = field(default_factory=deque)
    """Moments of the last minute, seconds since 1970."""
    numbers: deque[float] = field(default_factory=deque)


@dataclass(slots=True)
class _Agency:
    searches: int = 0
    subjects: int = 0
    batch: int = 0
    rows: Counter[str] = field(default_factory=Counter)


class Budgets:
    """The counts of today.

    Args:
        directory: the agencies with their limits.
    """

    def __init__(self, directory: AgencyDirectory) -> None:
        self._directory = directory
        self._known = NamedToday()
        self._begin(datetime.min.replace(tzinfo=UTC))

    def charge(self, charge: Charge, subject: bytes, now: datetime) -> bool:
        """Charges a question.

        Args:
            charge: what it costs.
            subject: the person as he was named, serialised; empty for a batch.
            now: UTC.

        Returns:
            Whether the agency asks about this person for the first time today, as far as is remembered: of a sealed
            question, for the first time under seal, and of an open one, openly.

        Raises:
            OverBudget: it is over a limit; nothing was charged.
        """
        self._turn_to(now)
        agency, operator = self._agencies[charge.agency], self._operators[charge.agency, charge.operator]
        _forget(operator, now)
        person = b"" if charge.kind == "batch" else self._known.digest(charge.agency.encode(), subject, *_apart(charge))
        new = bool(person) and not self._known.knows(person, now=now)
        listed = self._directory.get(charge.agency)
        for limit, most, count in _counts(listed.budget if listed else Budget(), charge, agency, operator, new=new):
            if count > most:
                raise OverBudget(limit)
        _add(charge, agency, operator, new=new, now=now)
        if new:
            self._known.add(person, now=now)
        return new

    def keep_one(self, charge: Charge, charged_at: datetime) -> None:
        """Lets a message of a batch that was refused as a whole count one person, as its one entry does after a start.

        Args:
            charge: the message's.
            charged_at: when, UTC; what was charged on another day is forgotten already.
        """
        if end_of_day_in_japan(charged_at) == self._day_ends:
            agency, operator = self._agencies[charge.agency], self._operators[charge.agency, charge.operator]
            _add(charge._replace(persons=1 - charge.persons), agency, operator, new=False, now=charged_at)

    def restore(self, entry: ledger.Entry) -> None:
        """Counts an entry of the ledger that was charged today; all others change nothing."""
        if not entry.operator_proof or entry.refusal in NOT_CHARGED or entry.action in _NAMES_NOBODY:
            return
        moment = entry.time.ToDatetime(tzinfo=UTC)
        if end_of_day_in_japan(moment) < self._day_ends:
            return
        self._turn_to(moment)
        kind: Kind = "search"
        if entry.action == ledger.ACTION_INQUIRE_BATCH:
            kind = "batch"
        elif entry.method == INQUIRY_METHOD_INDIVIDUAL_NUMBER:
            kind = "number"
        charge = Charge(entry.agency, entry.operator_pseudonym, kind, entry.purpose)
        agency, operator = self._agencies[charge.agency], self._operators[charge.agency, charge.operator]
        _add(charge, agency, operator, new=entry.new_subject, now=moment)

    def _turn_to(self, now: datetime) -> None:
        if now >= self._day_ends:  # a clock that was put back opens no second day
            self._begin(end_of_day_in_japan(now))

    def _begin(self, ends: datetime) -> None:
        self._day_ends = ends
        self._operators: defaultdict[tuple[str, bytes], _Operator] = defaultdict(_Operator)
        self._agencies: defaultdict[str, _Agency] = defaultdict(_Agency)


def _add(charge: Charge, agency: _Agency, operator: _Operator, *, new: bool, now: datetime) -> None:
    agency.rows[row_of(charge.purpose)] += charge.persons
    if charge.kind == "batch":
        agency.batch += charge.persons
        operator.batch_day += charge.persons
        return
    agency.subjects += new
    if charge.kind == "number":
        operator.numbers.append(now.timestamp())
    else:
        agency.searches += 1
        operator.searches_day += 1
        operator.searches.append(now.timestamp())


def _apart(charge: Charge) -> tuple[bytes, ...]:
    return (b"sealed",) if charge.sealed else ()


def _counts(
    budget: Budget, charge: Charge, agency: _Agency, operator: _Operator, *, new: bool
) -> list[tuple[str, int, int]]:
    """Each limit that a charge touches: its name, the limit, and what the count would be.

    The minute's come last: whoever reached a day's too is told of that one, and does not wait for a minute in vain.
    """
    row, touched = row_of(charge.purpose), list[tuple[str, int, int]]()
    if row in budget.row_questions_day:
        touched.append(("row_questions_day", budget.row_questions_day[row], agency.rows[row] + charge.persons))
    if charge.kind == "batch":
        touched.append(("agency_batch_day", budget.agency_batch_day, agency.batch + charge.persons))
        if (most := budget.operator_batch_day) is not None:
            touched.append(("operator_batch_day", most, operator.batch_day + charge.persons))
        return touched
    touched.append(("agency_subjects_day", budget.agency_subjects_day, agency.subjects + new))
    if charge.kind == "number":
        return [*touched, ("operator_numbers_minute", budget.operator_numbers_minute, len(operator.numbers) + 1)]
    return [
        *touched,
        ("operator_searches_day", budget.operator_searches_day, operator.searches_day + 1),
        ("agency_searches_day", budget.agency_searches_day, agency.searches + 1),
        ("operator_searches_minute", budget.operator_searches_minute, len(operator.searches) + 1),
    ]


def _forget(operator: _Operator, now: datetime) -> None:
    """Lets go of what is more than a minute old."""
    oldest = (now - _MINUTE).timestamp()
    for moments in (operator.searches, operator.numbers):
        while moments and moments[0] <= oldest:
            moments.popleft()
