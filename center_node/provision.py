"""Provides identity records to gateways (本人確認情報の提供, Act art. 30-9 to 30-12).

Rule: the gateway's verdict counts for nothing. Each question's ticket is checked, the decision is made again by the
center's own policy, directory and statute table, and only then is a resident table read. What is provided is cut to
what was asked.
"""

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import date, datetime
from functools import partial
from itertools import islice
from typing import Final, NamedTuple

import grpc
from sqlalchemy import Connection, Engine

from center_node.asked_today import AskedToday
from center_node.body_keys import Answered, BodyKeys
from center_node.cut import cut
from center_node.freshness import Sources
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

_UNTRACED: Final = nullcontext()
_WAYS: "dict[provision.ProvisionKind.ValueType, Way]" = {
    provision.PROVISION_KIND_RECORD: "immediate",
    provision.PROVISION_KIND_VERIFICATION: "immediate",
    provision.PROVISION_KIND_BATCH: "batch",
}


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
        asked = [_Asked(ticket, questions, self._refusal(ticket, questions, moment)) for ticket, questions in together]
        if all(each.refusal for each in asked):
            response = provision.ProvideResponse()
            for each in asked:
                _begin(response, each)
            return response
        try:
            await self._asked_today.keep()
            response, told = await read_soon(self._reader, lambda connection: self._answers(connection, asked, moment))
            keys = await self._body_keys.keys_for([each.about for each in told], moment.now)
        except StoreError as failure:
            raise as_refusal(failure) from None
        for (answer, _), (key, place) in zip(told, keys, strict=True):
            answer.body_key = key
            answer.body_place.CopyFrom(place)
        return response

    def _refusal(
        self, ticket: provision.Ticket, questions: Sequence[provision.Question], moment: "_Moment"
    ) -> "errors.ErrorReason.ValueType":
        """Why these questions get no look-up; UNSPECIFIED when they get one. No resident table is read."""
        subjects = [question.subject for question in questions]
        try:
            with _span("provision.decide", questions[0], **{"jukinet.purpose": ticket.purpose}):
                self._tickets.use(ticket, subjects=subjects, now=moment.now)
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

    def _answers(
        self, connection: Connection, asked: Sequence["_Asked"], moment: "_Moment"
    ) -> "tuple[provision.ProvideResponse, list[_Told]]":
        """The answers, and those of them whose bodies will be sealed."""
        response, told = provision.ProvideResponse(), []
        token = partial(person_token, month_key(self._token_key, moment.now))
        for each in asked:
            answers = _begin(response, each)
            if each.refusal:
                continue
            stated = self._stated(each.ticket, moment, token)
            for number, (question, answer) in enumerate(zip(each.questions, answers, strict=True)):
                about = self._answer(connection, stated, question, stated.question_id(number), into=answer)
                if about is not None:
                    told.append(_Told(answer, about))
        return response, told

    def _stated(self, ticket: provision.Ticket, moment: "_Moment", token: Callable[[str], bytes]) -> "_Stated":
        agency, purpose = ticket.agency, ticket.purpose
        return _Stated(
            ticket=ticket,
            agency=agency,
            day=moment.day,
            batch=ticket.kind == provision.PROVISION_KIND_BATCH,
            fields=tuple(ticket.fields),
            sealed_until=ticket.sealed_until,
            sealable=self._policy.seals_on(moment.day),
            maximum_age_us=ticket.maximum_age_seconds * 1_000_000,
            covers=self._policy.territory(agency, purpose, moment.day),
            person_token=token,
            recall_mark=self._recalls.of_answers(moment.now, sealed=bool(ticket.sealed_until)),
            held_mark=self._held.of_ticket(ticket),
        )

    def _answer(
        self,
        connection: Connection,
        stated: "_Stated",
        question: provision.Question,
        question_id: str,
        *,
        into: provision.Provision,
    ) -> Answered | None:
        """Writes what is provided. Returns about whom; None where it is refused after all."""
        subject = question.subject
        nobody = Answered(stated.agency, question_id, "")
        source = self._sources.of_question(connection, subject, maximum_age_us=stated.maximum_age_us)
        if not source.answers:
            source.tell(into)
            return nobody
        try:
            with _span("provision.look_up", question):
                resident = _look_up(connection, subject, stated.day)
        except RecordDamaged:
            into.refusal = errors.ERROR_REASON_DEPENDENCY_UNAVAILABLE
            return None
        # Asked for nobody too, so that a resident elsewhere takes no longer than none.
        covered = stated.covers(resident.holder if resident else NOWHERE)
        if resident is None or not covered:
            source.tell(into)
            return nobody
        said = self._sources.of(connection, resident.holder)
        if stated.maximum_age_us and not self._sources.is_fresh(said, maximum_age_us=stated.maximum_age_us):
            source.tell(into)
            return nobody
        into.outcome = inquiry.INQUIRY_OUTCOME_MATCH
        into.freshness.append(said.message)
        resident_code = resident.record.resident_code
        self._put_marks(resident, resident_code, stated, question_id, into=into)
        if stated.ticket.for_watch:
            into.handle = self._handles.make(_handle_of(resident, stated.ticket, subject))
        if stated.fields:
            cut(resident, stated.fields, into=into.provided)
            into.held = stated.held_mark(subject, resident_code, into.provided)
            if is_held(into.held, held=question.held):
                into.unchanged = True
                into.ClearField("provided")
        return Answered(stated.agency, question_id, resident_code)

    def _put_marks(
        self, resident: Resident, resident_code: str, stated: "_Stated", question_id: str, *, into: provision.Provision
    ) -> None:
        """Writes by what the person and the record are known again: in the ledger, by a correction, by a detector."""
        into.person_token = stated.person_token(resident_code)
        into.recall_mark = stated.recall_mark(resident_code, resident.version)
        if stated.sealable:
            into.crowd_key = crowd_key(self._token_key, stated.day, resident_code)
        if stated.sealed_until:
            key = seal_key(self._token_key, stated.sealed_until, resident_code)
            into.sealed_token = sealed_token(key, question_id)


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
    """A ticket and its questions; `refusal` says why they get no look-up, UNSPECIFIED when they get one."""

    ticket: provision.Ticket
    questions: list[provision.Question]
    refusal: "errors.ErrorReason.ValueType"


class _Stated(NamedTuple):
    """What a ticket says of all its questions, read and derived once."""

    ticket: provision.Ticket
    agency: str
    day: date
    batch: bool
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

    def question_id(self, number: int) -> str:
        """Request id of a question, by which its ledger entry goes; a batch's ticket has that of the message."""
        request_id = self.ticket.request_id
        return question_id(request_id, number) if self.batch else request_id


class _Told(NamedTuple):
    """An answer, and about whom it is."""

    answer: provision.Provision
    about: Answered


def _span(name: str, question: provision.Question, **attributes: str) -> AbstractContextManager[object]:
    """A span of the question's own trace; most questions are not traced."""
    if not question.traceparent:
        return _UNTRACED
    return tracing.span(name, parent=question.traceparent, **attributes)


def _begin(response: provision.ProvideResponse, asked: _Asked) -> list[provision.Provision]:
    """The places of the answers to a ticket's questions, with what is said whatever is found."""
    return [
        response.provisions.add(request_id=asked.ticket.request_id, subject_digest=digest, refusal=asked.refusal)
        for digest in digests_in(asked.ticket)
    ]


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
