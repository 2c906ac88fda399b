"""Provides identity records to gateways (本人確認情報の提供, Act art. 30-9 to 30-12).

Rule: the gateway's verdict counts for nothing. Each question's ticket is checked, the decision is made again by the
center's own policy, directory and statute table, and only then is a resident table read. What is provided is cut to
what was asked.
"""

import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import date
from functools import partial
from itertools import islice
from typing import Final

import grpc
from sqlalchemy import Engine

from center_node.answers import Answers, Asked, Moment, Opened, Told
from center_node.asked_today import AskedToday
from center_node.body_keys import BodyKeys
from center_node.freshness import Sources
from center_node.frozen import FrozenOperators
from center_node.terminals import Terminals
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.provision.v1 import provision_pb2 as provision
from jukinet._pb.jukinet.provision.v1.provision_pb2_grpc import ProvisionServiceServicer
from jukinet.mesh import tracing
from jukinet.mesh.clock import now, today_in_japan
from jukinet.mesh.errors import Refused, name_of
from jukinet.mesh.interceptors import current_caller
from jukinet.mesh.turns import in_turns
from jukinet.purpose.articles import Provision as Way
from jukinet.purpose.decision import PurposePolicy, Question
from jukinet.purpose.ticket import TicketInvalid, TicketOffice, digests_in, method_of
from jukinet.store.errors import StoreError, as_refusal
from jukinet.store.reading import read_soon

log = logging.getLogger(__name__)

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
        frozen: whose questions get no answer.
        terminals: where their operators sit; the same as of all other questions.
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
        frozen: FrozenOperators,
        terminals: Terminals,
    ) -> None:
        self._reader = reader
        self._policy = policy
        self._tickets = tickets
        self._body_keys = body_keys
        self._asked_today = asked_today
        self._frozen = frozen
        self._terminals = terminals
        self._answers = Answers(policy=policy, token_key=token_key, sources=sources)

    async def Provide(  # gRPC names its methods so
        self,
        request: provision.ProvideRequest,
        context: "grpc.aio.ServicerContext[provision.ProvideRequest, provision.ProvideResponse]",
    ) -> provision.ProvideResponse:
        """Looks the persons up. A question that is refused takes nothing from the others.

        Raises Refused: TICKET_INVALID, when the sheet of tickets does not hold; DEPENDENCY_UNAVAILABLE.
        """
        moment = Moment(now(), today_in_japan())
        try:
            tickets = self._tickets.accept(request.tickets, caller=current_caller().uri, now=moment.now)
            together = _by_ticket(tickets.tickets, request.questions)
        except TicketInvalid as invalid:
            raise Refused(invalid.reason, detail=invalid.why) from None
        asked = [Asked(ticket, questions, self._refusal(ticket, questions, moment)) for ticket, questions in together]
        response = provision.ProvideResponse()
        opened = self._answers.begin(response, asked, moment)
        if not opened:
            return response
        try:
            await self._asked_today.keep()
            told = await self._told(opened, moment.day)
            keys = await self._body_keys.keys_for([each.about for each in told], moment.now)
        except StoreError as failure:
            raise as_refusal(failure) from None
        for (answer, _), (key, place) in zip(told, keys, strict=True):
            answer.body_key = key
            answer.body_place.CopyFrom(place)
        return response

    async def _told(self, opened: Sequence[Opened], day: date) -> list[Told]:
        told: list[Told] = []
        async for some in in_turns(opened):
            told += await read_soon(self._reader, partial(self._answers.give, opened=some, day=day))
        return told

    def _refusal(
        self, ticket: provision.Ticket, questions: Sequence[provision.Question], moment: Moment
    ) -> Refused | None:
        """Why these questions get no look-up; None when they get one. No resident table is read."""
        subjects = [question.subject for question in questions]
        try:
            with _span(questions[0], ticket.purpose):
                self._tickets.use(ticket, subjects=subjects, now=moment.now)
                self._decide(ticket, {method_of(subject) for subject in subjects}, moment.day)
                self._frozen.require_free(ticket)
                self._terminals.require_seat(ticket)
                self._asked_today.charge(ticket, subjects, moment.day)
        except TicketInvalid as invalid:
            log.warning("a ticket was refused: %s", invalid.why)
            return Refused(invalid.reason)
        except Refused as refused:
            log.warning(
                "a gateway asked beyond the law or a budget, or for who may not ask now",
                extra={"reason": name_of(refused.reason)},
            )
            return refused
        return None

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


def _by_ticket(
    tickets: Sequence[provision.Ticket], questions: Sequence[provision.Question]
) -> list[tuple[provision.Ticket, list[provision.Question]]]:
    """The questions of each ticket. Raises TicketInvalid when there are more or fewer than the tickets say."""
    left = iter(questions)
    together = [(ticket, list(islice(left, len(digests_in(ticket))))) for ticket in tickets]
    if next(left, None) is not None or any(len(each) != len(digests_in(ticket)) for ticket, each in together):
        raise TicketInvalid("they are for another number of questions")
    return together


def _span(question: provision.Question, purpose: str) -> AbstractContextManager[object]:
    """A span of the decision in the question's own trace; most questions are not traced."""
    if not question.traceparent:
        return _UNTRACED
    return tracing.span("provision.decide", parent=question.traceparent, **{"jukinet.purpose": purpose})
