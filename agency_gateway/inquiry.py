"""Answers agencies' questions (照会, 本人確認): decided here, decided again at the center, on record before the reply.

One question goes through, top to bottom: who asks (the certificate) → may they (policy) → which person of theirs asks
(the operator's proof) → ticket → the center's answer → is it about the person and the question that we asked → ledger
entry on disk → reply with its receipt. Every way out, a refusal too, passes the ledger. Those of a batch go the same
way side by side. A question that is charged goes this way to its entry though its caller leaves.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from datetime import datetime
from functools import partial
from typing import TypeVar

import grpc
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agency_gateway.asked import Asked, asked_by_call
from agency_gateway.batch import in_order
from agency_gateway.batch_seal import sign_answers
from agency_gateway.center import Center
from agency_gateway.desk import Desk
from agency_gateway.entries import Answered, Refusal
from agency_gateway.named_today import NamedToday
from agency_gateway.record import Recorded
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2_grpc import InquiryServiceServicer
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2 as ledger
from jukinet._pb.jukinet.provision.v1 import provision_pb2 as provision
from jukinet.mesh import tracing
from jukinet.mesh.clock import now
from jukinet.mesh.errors import Refused
from jukinet.mesh.identity import AGENCIES
from jukinet.mesh.interceptors import RefusedCall, current_caller
from jukinet.mesh.turns import in_turns
from jukinet.purpose.decision import Decision
from jukinet.purpose.ticket import method_of, question_id

_ACTIONS = {
    "/jukinet.inquiry.v1.InquiryService/Inquire": ledger.ACTION_INQUIRE,
    "/jukinet.inquiry.v1.InquiryService/VerifyIdentity": ledger.ACTION_VERIFY_IDENTITY,
    "/jukinet.inquiry.v1.InquiryService/InquireBatch": ledger.ACTION_INQUIRE_BATCH,
    "/jukinet.watch.v1.WatchService/Watch": ledger.ACTION_WATCH,
    "/jukinet.watch.v1.WatchService/EndWatch": ledger.ACTION_END_WATCH,
    "/jukinet.watch.v1.WatchService/WatchChanges": ledger.ACTION_TELL_CHANGE,
    "/jukinet.recall.v1.RecallService/TellRecalls": ledger.ACTION_ACKNOWLEDGE_RECALL,
}

_TOLD_BY_THE_LEDGER = {errors.ERROR_REASON_PRIVATE_SECTOR_BANNED, errors.ERROR_REASON_LEDGER_UNAVAILABLE}
"""What a handler says to a private organisation once the attempt is on record, or could not be put there."""

A = TypeVar("A", inquiry.InquireResponse, inquiry.VerifyIdentityResponse)


class InquiryService(InquiryServiceServicer):
    """The gateway's face to agencies.

    Args:
        desk: decides questions and keeps their entries.
        center: the way to the center.
        answer_key: of the ledger; it signs the answers under a job.
    """

    def __init__(self, *, desk: Desk, center: Center, answer_key: Ed25519PrivateKey) -> None:
        self._desk = desk
        self._center = center
        self._answer_key = answer_key
        self._answered = NamedToday()
        self._stopping = asyncio.Event()

    async def Inquire(  # gRPC names its methods so
        self,
        request: inquiry.InquireRequest,
        context: "grpc.aio.ServicerContext[inquiry.InquireRequest, inquiry.InquireResponse]",
    ) -> inquiry.InquireResponse:
        """Provides the wanted items of the one person who matches (Act art. 30-9 to 30-12)."""
        asked = asked_by_call(
            request,
            action=ledger.ACTION_INQUIRE,
            method=method_of(request.subject),
            fields=tuple(request.fields),
            sealed_until=request.sealed_until,
        )
        question = self._answered.digest(*_as_named(asked, request.subject))

        def answer_of(found: provision.Provision, decision: Decision) -> inquiry.InquireResponse:
            answer = inquiry.InquireResponse(
                request_id=request.context.request_id,
                outcome=found.outcome,
                legal_basis=decision.basis,
                freshness=found.freshness,
                handle=found.handle,
            )
            # By the question alone: whether it was asked is no secret of a person, what was found may be.
            answer.repeated = not (asked.sealed_until or request.held) and self._answered.knows(question, now=now())
            _put_record(answer, found)
            return answer

        answer = await self._answer(asked, request.subject, answer_of, for_watch=request.for_watch, held=request.held)
        if not asked.sealed_until:  # of a sealed question nobody is told
            self._answered.add(question, now=now())
        return answer

    async def VerifyIdentity(  # gRPC names its methods so
        self,
        request: inquiry.VerifyIdentityRequest,
        context: "grpc.aio.ServicerContext[inquiry.VerifyIdentityRequest, inquiry.VerifyIdentityResponse]",
    ) -> inquiry.VerifyIdentityResponse:
        """Tells whether exactly one person is as stated (本人確認)."""
        asked = asked_by_call(
            request,
            action=ledger.ACTION_VERIFY_IDENTITY,
            method=inquiry.INQUIRY_METHOD_FOUR_ITEMS,
            fields=(),
            sealed_until=request.sealed_until,
        )
        subject = inquiry.Subject(four_items=request.four_items)

        def answer_of(found: provision.Provision, decision: Decision) -> inquiry.VerifyIdentityResponse:
            return inquiry.VerifyIdentityResponse(
                request_id=request.context.request_id,
                verified=found.outcome == inquiry.INQUIRY_OUTCOME_MATCH,
                outcome=found.outcome,
                freshness=found.freshness,
                legal_basis=decision.basis,
            )

        return await self._answer(asked, subject, answer_of)

    async def InquireBatch(  # gRPC names its methods so
        self,
        request_iterator: AsyncIterator[inquiry.InquireBatchRequest],
        context: "grpc.aio.ServicerContext[inquiry.InquireBatchRequest, inquiry.InquireBatchResponse]",
    ) -> AsyncIterator[inquiry.InquireBatchResponse]:
        """Provides the wanted items of many persons, message by message (一括提供)."""
        messages = self._desk.readable(current_caller().uri, ledger.ACTION_INQUIRE_BATCH, request_iterator)
        answers = in_order(messages, self._answer_batch, stopping=self._stopping)
        async with aclosing(answers):
            async for response in answers:
                yield response

    async def end_batches(self) -> None:
        """Lets streams end with what they have read: the node stops."""
        self._stopping.set()

    async def note_refusal(self, call: RefusedCall) -> None:
        """Puts on record what was refused before a question could be read: malformed, without a deadline, too many.

        Of a private organisation (Act art. 30-38) that is every call, to whatever service; it hears of the ban alone.
        Raises Refused, which is then said instead: PRIVATE_SECTOR_BANNED, LEDGER_UNAVAILABLE.
        """
        if call.caller is None or call.caller.trust_domain != AGENCIES:
            return
        agency, action = call.caller.uri, _ACTIONS.get(call.rpc)
        if self._desk.bans(agency):
            missing = not call.entered or call.refused.reason not in _TOLD_BY_THE_LEDGER
        else:
            missing = not call.entered and action is not None
        if missing:
            await self._desk.refuse_unread(agency, action or ledger.ACTION_OTHER_CALL, call.refused.reason)

    async def _answer(
        self,
        asked: Asked,
        subject: inquiry.Subject,
        answer_of: "Callable[[provision.Provision, Decision], A]",
        *,
        for_watch: bool = False,
        held: bytes = b"",
    ) -> A:
        """Answers a question about one person. Once it is charged it goes on to its entry if the caller leaves, too."""
        decision = await self._desk.decide(asked)
        asked = await self._desk.admit(asked, decision, [subject])
        ticket = asked.ticket(subject, decision, for_watch=for_watch)
        finish = partial(self._finish, asked, decision, subject, answer_of)
        try:
            with tracing.span("inquiry.provide"):
                waiting = self._center.ask(ticket, subject, held=held)
                try:
                    found = await self._center.provided(waiting)
                except asyncio.CancelledError:
                    self._desk.going_on.begin(self._go_on(asked, decision, waiting, finish))
                    raise
        except Refused as refused:
            await self._desk.refuse(asked, refused.reason, decision, limit=refused.limit)
        return await finish(found)

    async def _go_on(
        self,
        asked: Asked,
        decision: Decision,
        waiting: "asyncio.Future[provision.Provision]",
        finish: Callable[[provision.Provision], Awaitable[object]],
    ) -> None:
        """Does what is left of a question that was charged and whose caller has left: all but telling him."""
        try:
            found = await self._center.provided(waiting)
        except Refused as refused:
            await self._desk.refuse(asked, refused.reason, decision, limit=refused.limit)
        await finish(found)

    async def _finish(
        self,
        asked: Asked,
        decision: Decision,
        subject: inquiry.Subject,
        answer_of: "Callable[[provision.Provision, Decision], A]",
        found: provision.Provision,
    ) -> A:
        """The answer to a question, which is on record, with its receipt."""
        answer = answer_of(found, decision)
        answered = Answered(asked.request_id, asked.method, subject, found, answer.SerializeToString())
        await self._keep([answer], self._desk.entries(asked, decision).of([answered]))
        return answer

    async def _answer_batch(self, request: inquiry.InquireBatchRequest) -> inquiry.InquireBatchResponse:
        """Answers about all persons of a message, or refuses it as a whole: then nothing of it leaves."""
        whole = asked_by_call(
            request,
            action=ledger.ACTION_INQUIRE_BATCH,
            method=inquiry.INQUIRY_METHOD_UNSPECIFIED,
            fields=tuple(request.fields),
            sealed_until=request.sealed_until,
        )
        subjects = list(request.subjects)
        methods = [method_of(subject) for subject in subjects]
        decisions = {way: await self._desk.decide(whole._replace(method=way)) for way in dict.fromkeys(methods)}
        decision = decisions[methods[0]]
        charged_at = now()
        whole = await self._desk.admit(whole, decision, subjects)
        return await self._desk.going_on.to_its_end(self._answer_charged(request, whole, charged_at, decision, methods))

    async def _answer_charged(
        self,
        request: inquiry.InquireBatchRequest,
        whole: Asked,
        charged_at: datetime,
        decision: Decision,
        methods: "Sequence[inquiry.InquiryMethod.ValueType]",
    ) -> inquiry.InquireBatchResponse:
        subjects = list(request.subjects)
        try:
            ticket = whole.batch_ticket(subjects, decision, for_watch=request.for_watch)
            found = await self._center.provide_all(ticket, subjects, held=request.held)
        except Refused as refused:
            await self._desk.refuse_whole(whole, decision, refused, len(subjects), charged_at)
        await self._desk.go_on(whole, decision)  # what his other messages told him is on record by now
        response = inquiry.InquireBatchResponse(request_id=whole.request_id, legal_basis=decision.basis)
        answers = [_answer_of(each, response.answers.add()) for each in found]
        ids = [question_id(whole.request_id, number) for number in range(len(found))]
        questions = [
            Refusal(one, method, each.reason)
            if isinstance(each, Refused)
            else Answered(one, method, subject, each, answer.SerializeToString())
            for one, method, subject, each, answer in zip(ids, methods, subjects, found, answers, strict=True)
        ]
        entries, recorded = self._desk.entries(whole, decision), list[Recorded]()
        async for some in in_turns(questions):
            recorded += entries.of(some)
        await self._keep(answers, recorded)
        if request.job:
            sign_answers(request, response, agency=whole.agency, key=self._answer_key)
        return response

    async def _keep(
        self,
        answers: "Sequence[inquiry.InquireResponse | inquiry.VerifyIdentityResponse | inquiry.BatchAnswer]",
        entries: Sequence[Recorded],
    ) -> None:
        """Puts the entries of answers on record, and each one's receipt into its answer."""
        with tracing.span("ledger.append"):
            receipts = await self._desk.keep(entries)
        for answer, receipt in zip(answers, receipts, strict=True):
            answer.receipt.CopyFrom(receipt)


def _as_named(asked: Asked, subject: inquiry.Subject) -> tuple[bytes, ...]:
    """By what a question is known again the same day (二重照会)."""
    affair = asked.agency.encode(), asked.context.purpose.encode(), bytes(sorted(asked.fields))
    return *affair, subject.SerializeToString(deterministic=True)


def _answer_of(found: provision.Provision | Refused, answer: inquiry.BatchAnswer) -> inquiry.BatchAnswer:
    """Writes the answer about one person of a message into an empty one."""
    if isinstance(found, Refused):
        answer.refusal = found.reason
        return answer
    answer.outcome = found.outcome
    _put_record(answer, found)
    for source in found.freshness:  # `extend` takes longer
        answer.freshness.add().CopyFrom(source)
    answer.handle = found.handle
    return answer


def _put_record(answer: inquiry.InquireResponse | inquiry.BatchAnswer, found: provision.Provision) -> None:
    """Writes what is provided on a match, or that the agency holds it already; nothing otherwise."""
    if found.outcome != inquiry.INQUIRY_OUTCOME_MATCH:
        return
    answer.held = found.held
    answer.unchanged = found.unchanged
    if not found.unchanged:
        answer.provided.CopyFrom(found.provided)
