"""What lawful questions are answered from the register: whom they mean, the items wanted, and what is known again.

Questions go through each step together: one that comes again at once costs half as much.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import date, datetime
from functools import partial
from itertools import compress
from typing import Final, NamedTuple

from sqlalchemy import Connection

from center_node.body_keys import Answered
from center_node.cut import cut
from center_node.freshness import Said, Sources
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.provision.v1 import provision_pb2 as provision
from jukinet._pb.jukinet.register.v1.identity_pb2 import Resident
from jukinet.ledger.entry import month_key, person_token
from jukinet.ledger.seal import crowd_key, seal_key, sealed_token
from jukinet.mesh import tracing
from jukinet.mesh.clock import now
from jukinet.mesh.errors import Refused
from jukinet.purpose.decision import PurposePolicy
from jukinet.purpose.handle import HandleKeys
from jukinet.purpose.held import HeldMarks, is_held
from jukinet.purpose.recall import RecallMarks
from jukinet.purpose.ticket import digests_in, method_of, question_id
from jukinet.store import search
from jukinet.store.checksum import RecordDamaged

NOWHERE: Final = "000000"
"""In the place of a local government code where there is no resident."""


class Moment(NamedTuple):
    """When a call is answered; all its questions have one day."""

    now: datetime
    day: date
    """In Japan."""


class Asked(NamedTuple):
    """A ticket and its questions; `refusal` says why they get no look-up, None when they get one."""

    ticket: provision.Ticket
    questions: Sequence[provision.Question]
    refusal: Refused | None


class Told(NamedTuple):
    """An answer, and about whom it is."""

    answer: provision.Provision
    about: Answered


class Answers:
    """Answers questions that were decided.

    Args:
        policy: the center's own.
        token_key: makes the persons' tokens.
        sources: how fresh each municipality's reports are.
    """

    def __init__(self, *, policy: PurposePolicy, token_key: bytes, sources: Sources) -> None:
        self._policy = policy
        self._token_key = token_key
        self._sources = sources
        self._handles = HandleKeys(token_key)
        self._held = HeldMarks(token_key)
        self._recalls = RecallMarks(token_key)

    def begin(self, response: provision.ProvideResponse, asked: Sequence[Asked], moment: Moment) -> list["Opened"]:
        """The questions of a call that get a look-up; `response` gets the places of the answers to all of them."""
        token = partial(person_token, month_key(self._token_key, moment.now))
        opened: list[Opened] = []
        for part in asked:
            answers = _begin(response, part)
            if not part.refusal:
                opened += _opened(part, self._stated(part.ticket, moment, token), answers)
        return opened

    def give(self, connection: Connection, opened: Sequence["Opened"], day: date) -> list[Told]:
        """Answers these questions on a day in Japan; gives the answers whose bodies will be sealed."""
        now_us = self._sources.now()
        sources = self._sources.of_questions(
            connection, ((each.subject, each.stated.maximum_age_us) for each in opened), now_us
        )
        found = _look_up(connection, opened, [source.answers for source in sources], day)
        told: list[Told] = []
        matches: list[_Match] = []
        for each, source, resident in zip(opened, sources, found, strict=True):
            if isinstance(resident, RecordDamaged):
                each.answer.refusal = errors.ERROR_REASON_DEPENDENCY_UNAVAILABLE
                continue
            said = None
            if source.answers:
                resident = _heard_of(resident, each.stated)
                each.answer.look_up = provision.LOOK_UP_SOMEBODY if resident else provision.LOOK_UP_NOBODY
                said = self._said_of(connection, resident, each.stated, now_us)
            if resident and said:
                matches.append(_Match(each, resident, said))
            else:
                source.tell(each.answer, is_there=resident is not None)
            resident_code = resident.record.resident_code if resident and said else ""
            told.append(Told(each.answer, Answered(each.stated.ticket.agency, each.question_id, resident_code)))
        self._tell(matches)
        return told

    def _said_of(
        self, connection: Connection, resident: Resident | None, stated: "_Stated", now_us: int
    ) -> Said | None:
        """What is said of who holds the resident's record; None where it is older than the asker allows."""
        if resident is None:
            return None
        said = self._sources.of(connection, resident.holder, now_us)
        oldest = stated.maximum_age_us
        return None if oldest and not said.is_fresh(now_us, maximum_age_us=oldest) else said

    def _tell(self, matches: "Sequence[_Match]") -> None:
        for asked, _, said in matches:
            asked.answer.outcome = inquiry.INQUIRY_OUTCOME_MATCH
            asked.answer.freshness.append(said.message)
        for asked, resident, _ in matches:
            self._put_marks(resident, asked)
        for asked, resident, _ in matches:
            if asked.stated.fields:
                _put_items(resident, asked)

    def _put_marks(self, resident: Resident, asked: "Opened") -> None:
        """Writes by what the person and the record are known again: in the ledger, by a correction, by a detector."""
        into, stated, resident_code = asked.answer, asked.stated, resident.record.resident_code
        into.person_token = stated.person_token(resident_code)
        into.recall_mark = stated.recall_mark(resident_code, resident.version)
        if stated.sealable:
            into.crowd_key = crowd_key(self._token_key, stated.day, resident_code)
        if stated.sealed_until:
            key = seal_key(self._token_key, stated.sealed_until, resident_code)
            into.sealed_token = sealed_token(key, asked.question_id)
        if stated.ticket.for_watch:
            into.handle = self._handles.make(_handle_of(resident, asked))

    def _stated(self, ticket: provision.Ticket, moment: Moment, token: Callable[[str], bytes]) -> "_Stated":
        return _Stated(
            ticket=ticket,
            day=moment.day,
            fields=tuple(ticket.fields),
            sealed_until=ticket.sealed_until,
            sealable=self._policy.seals_on(moment.day),
            maximum_age_us=ticket.maximum_age_seconds * 1_000_000,
            covers=self._policy.territory(ticket.agency, ticket.purpose, moment.day),
            person_token=token,
            recall_mark=self._recalls.of_answers(moment.now, sealed=bool(ticket.sealed_until)),
            held_mark=self._held.of_ticket(ticket),
        )


class _Stated(NamedTuple):
    """What a ticket says of all its questions, read and derived once."""

    ticket: provision.Ticket
    day: date
    fields: "tuple[inquiry.IdentityField.ValueType, ...]"
    """Wanted items; none where only yes or no is wanted."""
    sealed_until: str
    sealable: bool
    """Whether on this day any question may be sealed."""
    maximum_age_us: int
    """0 = as old as it is."""
    covers: Callable[[str], bool]
    person_token: Callable[[str], bytes]
    recall_mark: Callable[[str, int], bytes]
    held_mark: Callable[[inquiry.Subject, str, inquiry.ProvidedRecord], bytes]


class Opened(NamedTuple):
    """A question that gets a look-up."""

    stated: _Stated
    question: provision.Question
    subject: inquiry.Subject
    question_id: str
    """Request id of the question, by which its ledger entry goes; a batch's ticket has that of the message."""
    answer: provision.Provision
    """To be written."""


class _Match(NamedTuple):
    """A question whose answer tells of one resident, on what is said of who holds the record."""

    asked: Opened
    resident: Resident
    said: Said


def _begin(response: provision.ProvideResponse, asked: Asked) -> list[provision.Provision]:
    """The places of the answers to a ticket's questions, with what is said whatever is found."""
    request_id, answers = asked.ticket.request_id, []
    for digest in digests_in(asked.ticket):
        answer = response.provisions.add()
        answer.request_id = request_id
        answer.subject_digest = digest
        if asked.refusal:
            answer.refusal, answer.limit = asked.refusal.reason, asked.refusal.limit
        answers.append(answer)
    return answers


def _opened(asked: Asked, stated: _Stated, answers: Sequence[provision.Provision]) -> list[Opened]:
    request_id, count = asked.ticket.request_id, len(answers)
    batch = asked.ticket.kind == provision.PROVISION_KIND_BATCH
    ids = [question_id(request_id, number) for number in range(count)] if batch else [request_id] * count
    return [
        Opened(stated, question, question.subject, number, answer)
        for question, number, answer in zip(asked.questions, ids, answers, strict=True)
    ]


def _look_up(
    connection: Connection, opened: Sequence[Opened], answers: Sequence[bool], day: date
) -> list[search.Found]:
    """Whom each question means; None also for those that are not looked up."""
    looked_up = list(compress(opened, answers))
    with ExitStack() as spans:
        for each in looked_up:
            if each.question.traceparent:  # most are not traced
                spans.enter_context(tracing.span("provision.look_up", parent=each.question.traceparent))
        found = iter(search.find(connection, [each.subject for each in looked_up], day=day))
    return [next(found) if answered else None for answered in answers]


def _heard_of(resident: Resident | None, stated: _Stated) -> Resident | None:
    """The resident, if the agency may hear of one there."""
    # Asked for nobody too, so that a resident elsewhere takes no longer than none.
    covered = stated.covers(resident.holder if resident else NOWHERE)
    return resident if covered else None


def _put_items(resident: Resident, asked: Opened) -> None:
    """Writes the wanted items, unless the agency holds them already, and their mark."""
    into, stated = asked.answer, asked.stated
    cut(resident, stated.fields, into=into.provided)
    into.held = stated.held_mark(asked.subject, resident.record.resident_code, into.provided)
    if is_held(into.held, held=asked.question.held):
        into.unchanged = True
        into.ClearField("provided")


def _handle_of(resident: Resident, asked: Opened) -> provision.HandleContent:
    ticket = asked.stated.ticket
    made = provision.HandleContent(
        resident_code=resident.record.resident_code,
        agency=ticket.agency,
        purpose=ticket.purpose,
        method=method_of(asked.subject),
        version=resident.version,
    )
    made.made_at.FromDatetime(now())
    return made
