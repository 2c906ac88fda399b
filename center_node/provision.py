"""Provides identity records to gateways (本人確認情報の提供, Act art. 30-9 to 30-12).

Rule: the gateway's verdict counts for nothing. Each question's ticket is checked, the decision is made again by the
center's own policy, directory and statute table, and only then is a resident table read. What is provided is cut to
what was asked.
"""

import logging
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import date, datetime
from itertools import islice
from typing import Final, NamedTuple

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy import Connection, Engine

from center_node.asked_today import AskedToday
from center_node.body_keys import Answered, BodyKeys
from center_node.freshness import BEHIND_US, Sources
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.provision.v1 import provision_pb2 as provision
from jukinet._pb.jukinet.provision.v1.provision_pb2_grpc import ProvisionServiceServicer
from jukinet._pb.jukinet.register.v1.identity_pb2 import Resident
from jukinet.ledger.entry import month_key, person_token
from jukinet.ledger.seal import crowd_key, seal_key, sealed_token
from jukinet.mesh import tracing
from jukinet.mesh.clock import now, today_in_japan
from jukinet.mesh.errors import Refused, name_of
from jukinet.mesh.interceptors import current_caller
from jukinet.purpose.articles import Provision as Way
from jukinet.purpose.decision import PurposePolicy, Question
from jukinet.purpose.handle import HandleKeys
from jukinet.purpose.held import HeldMarks, is_held
from jukinet.purpose.recall import RecallMarks
from jukinet.purpose.ticket import TicketInvalid, TicketOffice, digests_in, method_of, question_id
from jukinet.store import search
from jukinet.store.checksum import RecordDamaged
from jukinet.store.errors import StoreError, as_refusal
from jukinet.store.reading import read_soon

log = logging.getLogger(__name__)

NOWHERE = "000000"
"""In the place of a local government code where there is no resident."""

_RECORD_FIELDS = {
    inquiry.IDENTITY_FIELD_NAME: "name",
    inquiry.IDENTITY_FIELD_BIRTH_DATE: "birth_date",
    inquiry.IDENTITY_FIELD_SEX: "sex",
    inquiry.IDENTITY_FIELD_ADDRESS: "address",
    inquiry.IDENTITY_FIELD_INDIVIDUAL_NUMBER: "individual_number",
    inquiry.IDENTITY_FIELD_RESIDENT_CODE: "resident_code",
}
ITEM_NUMBERS: Final = {name: number for number, name in _RECORD_FIELDS.items()}
"""Number of the IdentityField of each item of the record, by its name."""
_NOBODY, _UNKNOWN = inquiry.INQUIRY_OUTCOME_NO_SINGLE_MATCH, inquiry.INQUIRY_OUTCOME_NOT_PROVIDED
_WAYS: "dict[provision.ProvisionKind.ValueType, Way]" = {
    provision.PROVISION_KIND_RECORD: "immediate",
    provision.PROVISION_KIND_VERIFICATION: "immediate",
    provision.PROVISION_KIND_BATCH: "batch",
}
_MESSAGES = frozenset({"name", "birth_date", "address"})
"""Items that are messages of their own."""


class ProvisionService(ProvisionServiceServicer):
    """Answers gateways' tickets from the center's register.

    Args:
        reader: of the register.
        policy: the center's own.
        tickets: checks them.
        token_key: makes the persons' tokens.
        sources: how fresh each municipality's reports are.
        body_keys: gives each answer the key under which its gateway seals what was asked.
        asked_today: charges each question to its agency.
    """

    def __init__(
        self,
        *,
        reader: Engine,
        policy: PurposePolicy,
        tickets: TicketOffice,
        token_key: bytes,
        sources: Sources,
        body_keys: BodyKeys,
        asked_today: AskedToday,
    ) -> None:
        self._reader = reader
        self._sources = sources
        self._policy = policy
        self._tickets = tickets
        self._token_key = token_key
        self._body_keys = body_keys
        self._asked_today = asked_today
        self._handles = HandleKeys(token_key)
        self._held = HeldMarks(token_key)
        self._recalls = RecallMarks(token_key)

    async def Provide(  # gRPC names its methods so
        self,
        request: provision.ProvideRequest,
        context: "grpc.aio.ServicerContext[provision.ProvideRequest, provision.ProvideResponse]",
    ) -> provision.ProvideResponse:
        """Looks the persons up, all in one transaction. A question that is refused takes nothing from the others.

        Raises Refused: TICKET_INVALID, when the sheet of tickets does not hold; DEPENDENCY_UNAVAILABLE.
        """
        moment = _Moment(now(), today_in_japan())
        try:
            tickets = self._tickets.accept(request.tickets, caller=current_caller().uri, now=moment.now)
            together = _by_ticket(tickets.tickets, request.questions)
        except TicketInvalid as invalid:
            raise Refused(errors.ERROR_REASON_TICKET_INVALID, detail=invalid.why) from None
        asked = [
            _Asked(ticket.request_id, number, digest, ticket, question, refusal)
            for ticket, questions in together
            for refusal in [self._refusal(ticket, questions, until=tickets.expires_at, moment=moment)]
            for number, (digest, question) in enumerate(zip(digests_in(ticket), questions, strict=True))
        ]
        if all(each.refusal for each in asked):
            return provision.ProvideResponse(provisions=map(_refused, asked))
        try:
            await self._asked_today.keep()
            found = await read_soon(self._reader, lambda connection: self._answers(connection, asked, moment))
            await self._add_body_keys(asked, found, moment)
        except StoreError as failure:
            raise as_refusal(failure) from None
        return provision.ProvideResponse(provisions=[each.provision for each in found])

    async def _add_body_keys(self, asked: Sequence["_Asked"], found: Sequence["_Found"], moment: "_Moment") -> None:
        sealed = [pair for pair in zip(asked, found, strict=True) if not pair[1].provision.refusal]
        keys = await self._body_keys.keys_for(
            [Answered(each.ticket.agency, each.question_id, one.resident_code) for each, one in sealed], moment.now
        )
        for (_, one), (key, place) in zip(sealed, keys, strict=True):
            one.provision.body_key = key
            one.provision.body_place.CopyFrom(place)

    def _refusal(
        self, ticket: provision.Ticket, questions: Sequence[provision.Question], *, until: Timestamp, moment: "_Moment"
    ) -> "errors.ErrorReason.ValueType":
        """Why these questions get no look-up; UNSPECIFIED when they get one. No resident table is read."""
        subjects = [question.subject for question in questions]
        try:
            with _span("provision.decide", questions[0], **{"jukinet.purpose": ticket.purpose}):
                self._tickets.use(ticket, subjects=subjects, until=until, now=moment.now)
                self._decide(ticket, {method_of(subject) for subject in subjects}, moment.day)
                self._asked_today.charge(ticket, len(subjects), moment.day)
        except TicketInvalid as invalid:
            log.warning("a ticket was refused: %s", invalid.why)
            return errors.ERROR_REASON_TICKET_INVALID
        except Refused as refused:
            log.warning("a gateway asked beyond the law or a budget", extra={"reason": name_of(refused.reason)})
            return refused.reason
        return errors.ERROR_REASON_UNSPECIFIED

    def _decide(self, ticket: provision.Ticket, methods: "set[inquiry.InquiryMethod.ValueType]", day: date) -> None:
        batch = ticket.kind == provision.PROVISION_KIND_BATCH
        if batch != bool(ticket.subject_digests) or not (batch or methods == {ticket.method}):
            raise TicketInvalid("it names the person in another way")
        if bool(ticket.fields) != (ticket.kind != provision.PROVISION_KIND_VERIFICATION):
            raise TicketInvalid("its items do not fit its kind")
        way = _WAYS.get(ticket.kind)
        if way is None:
            raise TicketInvalid("it is for something else")
        for method in methods:
            decision = self._policy.decide(Question(ticket.agency, ticket.purpose, day, method, ticket.fields, way))
            if not decision.allowed:
                raise Refused(decision.refusal)
            if decision.edition != ticket.edition:
                raise TicketInvalid("it was decided by another edition of the statute table")
        if ticket.sealed_until and not self._policy.may_seal(ticket.purpose, ticket.sealed_until, day):
            raise Refused(errors.ERROR_REASON_SEAL_NOT_ALLOWED)

    def _answers(self, connection: Connection, asked: Sequence["_Asked"], moment: "_Moment") -> list["_Found"]:
        key = month_key(self._token_key, moment.now)
        return [self._answer(connection, each, moment, key) for each in asked]

    def _answer(self, connection: Connection, asked: "_Asked", moment: "_Moment", key: bytes) -> "_Found":
        """What is provided; `key` is of the month's person tokens."""
        if asked.refusal:
            return _Found(_refused(asked))
        ticket, subject, day = asked.ticket, asked.question.subject, moment.day
        source = self._source(connection, ticket, subject)
        answer = provision.Provision(
            request_id=asked.request_id,
            subject_digest=asked.subject_digest,
            outcome=source.otherwise,
            freshness=source.said,
        )
        if not source.answers:
            return _Found(answer)
        try:
            with _span("provision.look_up", asked.question):
                resident = _look_up(connection, subject, day)
        except RecordDamaged:
            return _Found(_refused(asked._replace(refusal=errors.ERROR_REASON_DEPENDENCY_UNAVAILABLE)))
        # Asked for nobody too, so that a resident elsewhere takes no longer than none.
        covered = self._policy.covers(ticket.agency, ticket.purpose, resident.holder if resident else NOWHERE, day)
        if resident is None or not covered:
            return _Found(answer)
        said = self._sources.of(connection, resident.holder)
        if ticket.maximum_age_seconds and not self._sources.is_fresh(said, maximum_age_us=_age_us(ticket)):
            return _Found(answer)
        answer.outcome = inquiry.INQUIRY_OUTCOME_MATCH
        answer.person_token = person_token(key, resident.record.resident_code)
        answer.recall_mark = self._recalls.of_answer(
            resident.record.resident_code, resident.version, moment=moment.now, sealed=bool(ticket.sealed_until)
        )
        self._put_seal(answer, asked, resident.record.resident_code, day)
        del answer.freshness[:]
        answer.freshness.append(said)
        if ticket.for_watch:
            answer.handle = self._handles.make(_handle_of(resident, ticket, subject))
        if ticket.kind != provision.PROVISION_KIND_VERIFICATION:
            cut(resident, ticket.fields, into=answer.provided)
            answer.held = self._held.of(ticket, subject, resident.record.resident_code, answer.provided)
            answer.unchanged = is_held(answer.held, held=asked.question.held)
            if answer.unchanged:
                answer.ClearField("provided")
        return _Found(answer, resident.record.resident_code)

    def _put_seal(self, answer: provision.Provision, asked: "_Asked", resident_code: str, day: date) -> None:
        """Writes by what it is known whom a sealed question is about: to the person later, to the detectors now."""
        if self._policy.seals_on(day):
            answer.crowd_key = crowd_key(self._token_key, day, resident_code)
        if until := asked.ticket.sealed_until:
            answer.sealed_token = sealed_token(seal_key(self._token_key, until, resident_code), asked.question_id)

    def _source(self, connection: Connection, ticket: provision.Ticket, subject: inquiry.Subject) -> "_Source":
        """On what the answer rests if nobody is found; the same whoever is asked about."""
        if method_of(subject) == inquiry.INQUIRY_METHOD_INDIVIDUAL_NUMBER:
            fresh = self._sources.nation_is_fresh(connection, maximum_age_us=_age_us(ticket))
            return _Source((), answers=True, otherwise=_NOBODY if fresh else _UNKNOWN)
        said = self._sources.of(connection, subject.four_items.address.local_government_code)
        fresh = self._sources.is_fresh(said, maximum_age_us=_age_us(ticket))
        joined = said.state != inquiry.SOURCE_STATE_NOT_JOINED
        answers = joined and (fresh or not ticket.maximum_age_seconds)
        return _Source((said,), answers=answers, otherwise=_NOBODY if fresh and joined else _UNKNOWN)


def _by_ticket(
    tickets: Sequence[provision.Ticket], questions: Sequence[provision.Question]
) -> list[tuple[provision.Ticket, list[provision.Question]]]:
    """The questions of each ticket. Raises TicketInvalid when there are more or fewer than the tickets say."""
    left = iter(questions)
    together = [(ticket, list(islice(left, len(digests_in(ticket))))) for ticket in tickets]
    if next(left, None) is not None or any(len(each) != len(digests_in(ticket)) for ticket, each in together):
        raise TicketInvalid("they are for another number of questions")
    return together


class _Moment(NamedTuple):
    """When a call is answered; all its questions have one day."""

    now: datetime
    day: date
    """In Japan."""


class _Asked(NamedTuple):
    """One question and its ticket; `refusal` says why it gets no look-up."""

    request_id: str
    number: int
    """Its place among the questions of the ticket."""
    subject_digest: bytes
    ticket: provision.Ticket
    question: provision.Question
    refusal: "errors.ErrorReason.ValueType"

    @property
    def question_id(self) -> str:
        """Request id of the question, by which its ledger entry goes; a batch's ticket has that of the message."""
        batch = self.ticket.kind == provision.PROVISION_KIND_BATCH
        return question_id(self.request_id, self.number) if batch else self.request_id


class _Found(NamedTuple):
    """What is provided, and whose it is; no code where that is nobody's."""

    provision: provision.Provision
    resident_code: str = ""


class _Source(NamedTuple):
    """What an answer rests on before anybody is looked up."""

    said: tuple[inquiry.Freshness, ...]
    answers: bool
    """Whether anybody is looked up at all."""
    otherwise: "inquiry.InquiryOutcome.ValueType"
    """The outcome if no single person matches, or if nobody is looked up."""


def _span(name: str, question: provision.Question, **attributes: str) -> AbstractContextManager[object]:
    """A span of the question's own trace; most questions are not traced."""
    if not question.traceparent:
        return nullcontext()
    return tracing.span(name, parent=question.traceparent, **attributes)


def _refused(asked: _Asked) -> provision.Provision:
    return provision.Provision(request_id=asked.request_id, subject_digest=asked.subject_digest, refusal=asked.refusal)


def cut(
    resident: Resident, fields: "Iterable[inquiry.IdentityField.ValueType]", *, into: inquiry.ProvidedRecord
) -> None:
    """Writes the wanted items of the record, and nothing else, into an empty answer."""
    record, provided = resident.record, into.record
    provided.SetInParent()
    for wanted in fields:
        name = _RECORD_FIELDS.get(wanted)
        if name in _MESSAGES:
            getattr(provided, name).CopyFrom(getattr(record, name))
        elif name:
            setattr(provided, name, getattr(record, name))
        elif wanted == inquiry.IDENTITY_FIELD_CHANGE:
            into.status = resident.status
            into.effective_date.CopyFrom(resident.effective_date)


def _handle_of(resident: Resident, ticket: provision.Ticket, subject: inquiry.Subject) -> provision.HandleContent:
    made = provision.HandleContent(
        resident_code=resident.record.resident_code,
        agency=ticket.agency,
        purpose=ticket.purpose,
        method=method_of(subject),
    )
    made.made_at.FromDatetime(now())
    return made


def _look_up(connection: Connection, subject: inquiry.Subject, day: date) -> Resident | None:
    if method_of(subject) == inquiry.INQUIRY_METHOD_INDIVIDUAL_NUMBER:
        return search.by_individual_number(connection, subject.individual_number, day=day)
    return search.by_four_items(connection, subject.four_items, day=day)


def _age_us(ticket: provision.Ticket) -> int:
    return ticket.maximum_age_seconds * 1_000_000 or BEHIND_US
