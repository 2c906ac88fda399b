"""The gateway's way to the center: questions that wait together are asked in one call, under one signature.

Each question keeps its own ticket, its own trace and its own answer, and gets nothing that is not about it: an answer
with another request id or about another person is thrown away.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import grpc
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2 import Subject
from jukinet._pb.jukinet.provision.v1 import provision_pb2 as provision
from jukinet.mesh import tracing
from jukinet.mesh.clock import now
from jukinet.mesh.errors import Refused, code_of, name_of, reason_of
from jukinet.purpose.budgets import LIMITS
from jukinet.purpose.ticket import digests_in, sign_tickets
from jukinet.store.grouping import Grouping
from jukinet.store.writer import WriterClosed

if TYPE_CHECKING:
    from jukinet._pb.jukinet.provision.v1.provision_pb2_grpc import ProvisionServiceAsyncStub

log = logging.getLogger(__name__)

MOST_TOGETHER: Final = 64
PAUSE_SECONDS: Final = 0.03
"""Most that passes between the begins of two calls with single questions because of what the first one took: a call
costs both nodes as much as many questions."""
BATCHES_AT_ONCE: Final = 2
"""Calls of batches under way: while the center works on one, the next one travels."""
_CENTER_SECONDS: Final = 5.0
_KEY_BYTES: Final = 32


class CenterAway(Refused):
    """The call to the center failed: DEPENDENCY_UNAVAILABLE, or why the center refused all questions of the call."""


class TicketRefused(Refused):
    """The center refused a ticket, and with it all who are asked about under it: nobody of them was looked up."""


class _Question(NamedTuple):
    ticket: provision.Ticket
    question: provision.Question


class Center:
    """The center as the gateway sees it.

    Args:
        identity: SPIFFE ID of the gateway.
        stub: the center's provision service.
        ticket_key: the gateway's.
    """

    def __init__(self, *, identity: str, stub: "ProvisionServiceAsyncStub", ticket_key: Ed25519PrivateKey) -> None:
        self._identity = identity
        self._stub = stub
        self._ticket_key = ticket_key
        self._grouping: Grouping[_Question, provision.Provision] = Grouping(
            self._ask, limit=MOST_TOGETHER, pause=PAUSE_SECONDS
        )
        self._batches = asyncio.Semaphore(BATCHES_AT_ONCE)
        self.parts: list[Callable[[], Coroutine[Any, Any, None]]] = [self._grouping.run]
        """To be run beside the server."""

    def ask(
        self, ticket: provision.Ticket, subject: Subject, *, held: bytes = b""
    ) -> "asyncio.Future[provision.Provision]":
        """Asks about one person, whether anybody waits for it or not; `held` marks what the agency holds already."""
        question = provision.Question(subject=subject, traceparent=tracing.traceparent(), held=held)
        return self._grouping.hand_in(_Question(ticket, question))

    async def provided(self, asked: "asyncio.Future[provision.Provision]") -> provision.Provision:
        """What was asked for with `ask`, which goes on if whoever waits here is cancelled.

        Raises CenterAway, and Refused: what the law does not open (the center's own decision), REQUEST_ID_REUSED,
        DEPENDENCY_UNAVAILABLE.
        """
        try:
            return await asyncio.shield(asked)
        except WriterClosed:
            raise CenterAway(errors.ERROR_REASON_DEPENDENCY_UNAVAILABLE, detail="the gateway stops") from None

    async def provide_all(
        self, ticket: provision.Ticket, subjects: Sequence[Subject], *, held: Sequence[bytes] = ()
    ) -> list[provision.Provision | Refused]:
        """Asks about the persons of one message of a batch, in a call of its own.

        Returns: for each what `provided` gives, or what it raises of one person alone.
        Raises CenterAway and TicketRefused: nothing is to be had of the message, now or by law.
        """
        with tracing.span("inquiry.provide"):
            request = provision.ProvideRequest()
            questions = request.questions
            for subject in subjects:
                questions.add().subject.CopyFrom(subject)
            for question, mark in zip(questions, held, strict=bool(held)):
                question.held = mark
            questions[0].traceparent = tracing.traceparent()
            async with self._batches:
                found = await self._call([ticket], request)
        for each in found:
            if isinstance(each, TicketRefused):
                raise each
        return found

    async def _ask(self, group: list[_Question]) -> Sequence[provision.Provision | Exception]:
        tickets, questions = zip(*group, strict=True)
        try:
            return await self._call(tickets, provision.ProvideRequest(questions=questions))
        except CenterAway as away:
            return [CenterAway(away.reason) for _ in group]

    async def _call(
        self, tickets: Sequence[provision.Ticket], request: provision.ProvideRequest
    ) -> list[provision.Provision | Refused]:
        """One call; `request` gets the signed tickets. Raises CenterAway."""
        request.tickets.CopyFrom(sign_tickets(tickets, self._ticket_key, gateway=self._identity, now=now()))
        try:
            answered = await self._stub.Provide(request, timeout=_CENTER_SECONDS)
        except grpc.aio.AioRpcError as error:
            reason = reason_of(error)
            note_refusals([reason])
            raise CenterAway(told(reason)) from None
        asked = [(ticket, digest) for ticket in tickets for digest in digests_in(ticket)]
        if len(answered.provisions) != len(asked):
            log.error("the center answered another number of questions")
            raise CenterAway(errors.ERROR_REASON_DEPENDENCY_UNAVAILABLE)
        note_refusals(each.refusal for each in answered.provisions)
        return list(map(_checked, asked, request.questions, answered.provisions))


def _checked(
    asked: tuple[provision.Ticket, bytes], question: provision.Question, found: provision.Provision
) -> provision.Provision | Refused:
    ticket, digest = asked
    if (found.request_id, found.subject_digest) != (ticket.request_id, digest):
        log.error("the center answered another question")
        return Refused(errors.ERROR_REASON_DEPENDENCY_UNAVAILABLE)
    if not found.refusal and len(found.body_key) != _KEY_BYTES:
        log.error("the center gave no key for the body of a ledger entry")
        return Refused(errors.ERROR_REASON_DEPENDENCY_UNAVAILABLE)
    if found.unchanged and not question.held:
        log.error("the center called unchanged what nobody said to hold")
        return Refused(errors.ERROR_REASON_DEPENDENCY_UNAVAILABLE)
    if ticket.sealed_until and bool(found.sealed_token) != bool(found.person_token):
        log.error("the center sealed no answer: the person would be shown it at once")
        return Refused(errors.ERROR_REASON_DEPENDENCY_UNAVAILABLE)
    if found.refusal == errors.ERROR_REASON_DEPENDENCY_UNAVAILABLE:  # his record is damaged; the others have answers
        return Refused(found.refusal)
    if found.refusal:
        return TicketRefused(told(found.refusal), limit=found.limit if found.limit in LIMITS else "")
    return found


_OF_THE_GATEWAY = frozenset({errors.ERROR_REASON_TICKET_INVALID, errors.ERROR_REASON_CALLER_NOT_ALLOWED})
"""Said of the gateway, as while an edition is in force at one of both: no agency can do anything about it but wait."""
_TOLD = frozenset(
    {
        errors.ERROR_REASON_REQUEST_ID_REUSED,
        errors.ERROR_REASON_BUDGET_EXCEEDED,
        errors.ERROR_REASON_WATCH_EXPIRY,
        errors.ERROR_REASON_WATCH_UNKNOWN,
        errors.ERROR_REASON_WATCH_POSITION,
    }
)


def told(reason: "errors.ErrorReason.ValueType | None") -> "errors.ErrorReason.ValueType":
    """What an agency hears of a refusal by the center: that the law forbids it, that it asked too much today or
    what is wrong with its list or request id, or that no answer is to be had now.
    """
    if reason is None or reason in _OF_THE_GATEWAY:
        return errors.ERROR_REASON_DEPENDENCY_UNAVAILABLE
    if reason in _TOLD or code_of(reason) is grpc.StatusCode.PERMISSION_DENIED:
        return reason
    return errors.ERROR_REASON_DEPENDENCY_UNAVAILABLE


def note_refusals(reasons: "Iterable[errors.ErrorReason.ValueType | None]") -> None:
    """Logs why the center refused the gateway itself in a call, once for each reason: no agency hears of that."""
    for reason in _OF_THE_GATEWAY.intersection(reasons):
        log.error("the center refuses this gateway; its log says why", extra={"reason": name_of(reason)})
