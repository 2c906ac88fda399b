"""Answers agencies' questions (照会, 本人確認): decided here, decided again at the center, on record before the reply.

One question goes through, top to bottom: who asks (the certificate) → may they (policy) → ticket → the center's
answer → is it about the person and the question that we asked → ledger entry on disk → reply with its receipt. Every
way out, a refusal too, passes the ledger.
"""

import logging
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agency_gateway.record import Record
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2_grpc import InquiryServiceServicer
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2 as ledger
from jukinet._pb.jukinet.provision.v1 import provision_pb2 as provision
from jukinet.ledger.entry import EntryKeys, make_entry
from jukinet.mesh import metrics, tracing
from jukinet.mesh.clock import now, today_in_japan
from jukinet.mesh.errors import Refused, name_of, reason_of
from jukinet.mesh.interceptors import RefusedCall, current_caller
from jukinet.mesh.rpc_spans import HEADER, client_call
from jukinet.purpose.decision import Decision, PurposePolicy, Question
from jukinet.purpose.ticket import method_of, sign_ticket, subject_digest

if TYPE_CHECKING:
    from jukinet._pb.jukinet.provision.v1.provision_pb2_grpc import ProvisionServiceAsyncStub

log = logging.getLogger(__name__)

_CENTER_SECONDS = 5.0
_PROVIDE = "jukinet.provision.v1.ProvisionService/Provide"
_ACTIONS = {
    "/jukinet.inquiry.v1.InquiryService/Inquire": ledger.ACTION_INQUIRE,
    "/jukinet.inquiry.v1.InquiryService/VerifyIdentity": ledger.ACTION_VERIFY_IDENTITY,
}


@dataclass(frozen=True, slots=True)
class _Asked:
    """One question in the gateway's own terms."""

    agency: str
    context: inquiry.InquiryContext
    subject: inquiry.Subject
    action: "ledger.Action.ValueType"
    method: "inquiry.InquiryMethod.ValueType"
    fields: "tuple[inquiry.IdentityField.ValueType, ...]"


class InquiryService(InquiryServiceServicer):
    """The gateway's face to agencies."""

    def __init__(
        self,
        *,
        identity: str,
        policy: PurposePolicy,
        policy_digest: bytes,
        center: "ProvisionServiceAsyncStub",
        ticket_key: Ed25519PrivateKey,
        keys: EntryKeys,
        record: Record,
    ) -> None:
        self._identity = identity
        self._policy = policy
        self._policy_digest = policy_digest
        self._center = center
        self._ticket_key = ticket_key
        self._keys = keys
        self._record = record

    async def Inquire(  # gRPC names its methods so
        self,
        request: inquiry.InquireRequest,
        context: "grpc.aio.ServicerContext[inquiry.InquireRequest, inquiry.InquireResponse]",
    ) -> inquiry.InquireResponse:
        """Provides the wanted items of the one person who matches (Act art. 30-9 to 30-12)."""
        question = _Asked(
            agency=current_caller().uri,
            context=request.context,
            subject=request.subject,
            action=ledger.ACTION_INQUIRE,
            method=method_of(request.subject),
            fields=tuple(request.fields),
        )
        decision = await self._decide(question)
        found = await self._ask_center(question, decision)
        answer = inquiry.InquireResponse(
            request_id=request.context.request_id,
            outcome=found.outcome,
            provided=found.provided if found.outcome == inquiry.INQUIRY_OUTCOME_MATCH else None,
            legal_basis=decision.basis,
            freshness=found.freshness,
        )
        answer.receipt.CopyFrom(await self._keep_answer(question, decision, found, answer.SerializeToString()))
        return answer

    async def VerifyIdentity(  # gRPC names its methods so
        self,
        request: inquiry.VerifyIdentityRequest,
        context: "grpc.aio.ServicerContext[inquiry.VerifyIdentityRequest, inquiry.VerifyIdentityResponse]",
    ) -> inquiry.VerifyIdentityResponse:
        """Tells whether exactly one person is as stated (本人確認)."""
        question = _Asked(
            agency=current_caller().uri,
            context=request.context,
            subject=inquiry.Subject(four_items=request.four_items),
            action=ledger.ACTION_VERIFY_IDENTITY,
            method=inquiry.INQUIRY_METHOD_FOUR_ITEMS,
            fields=(),
        )
        decision = await self._decide(question)
        found = await self._ask_center(question, decision)
        answer = inquiry.VerifyIdentityResponse(
            request_id=request.context.request_id,
            verified=found.outcome == inquiry.INQUIRY_OUTCOME_MATCH,
            legal_basis=decision.basis,
        )
        answer.receipt.CopyFrom(await self._keep_answer(question, decision, found, answer.SerializeToString()))
        return answer

    async def note_refusal(self, call: RefusedCall) -> None:
        """Puts on record what was refused before a question could be read: malformed, without a deadline, too many.

        Raises Refused: LEDGER_UNAVAILABLE, which is then said instead.
        """
        action = _ACTIONS.get(call.rpc)
        if action is None or call.entered or call.caller is None or call.caller.kind != "agency":
            return
        unread = _Asked(
            agency=call.caller.uri,
            # Nothing of a question that breaks the contract is kept, not even the id that it claims.
            context=inquiry.InquiryContext(request_id=str(uuid.uuid4())),
            subject=inquiry.Subject(),
            action=action,
            method=inquiry.INQUIRY_METHOD_UNSPECIFIED,
            fields=(),
        )
        await self._keep(unread, article="", result=ledger.RESULT_REFUSED, refusal=call.refused.reason)

    async def _decide(self, asked: _Asked) -> Decision:
        if not self._record.is_open():  # nobody's data is fetched for an answer that cannot be put on record
            await self._refuse(asked, errors.ERROR_REASON_LEDGER_UNAVAILABLE, "")
        with tracing.span("inquiry.decide", **{"jukinet.purpose": asked.context.purpose}):
            decision = self._policy.decide(
                Question(asked.agency, asked.context.purpose, today_in_japan(), asked.method, asked.fields)
            )
        if not decision.allowed:
            await self._refuse(asked, decision.refusal, decision.article)
        return decision

    async def _refuse(self, asked: _Asked, reason: "errors.ErrorReason.ValueType", article: str) -> None:
        await self._keep(asked, article=article, result=ledger.RESULT_REFUSED, refusal=reason)
        log.info("question refused", extra={"reason": name_of(reason), "peer": asked.agency})
        raise Refused(reason)

    async def _ask_center(self, asked: _Asked, decision: Decision) -> provision.ProvideResponse:
        request_id = asked.context.request_id
        ticket = provision.Ticket(
            gateway=self._identity,
            agency=asked.agency,
            purpose=asked.context.purpose,
            request_id=request_id,
            kind=provision.PROVISION_KIND_RECORD if asked.fields else provision.PROVISION_KIND_VERIFICATION,
            method=asked.method,
            fields=asked.fields,
            subject_digest=subject_digest(asked.subject, request_id),
        )
        signed = sign_ticket(ticket, self._ticket_key, now=now())
        try:
            with client_call(_PROVIDE) as context:
                found = await self._center.Provide(
                    provision.ProvideRequest(ticket=signed, subject=asked.subject),
                    timeout=_CENTER_SECONDS,
                    metadata=((HEADER, context),) if context else (),
                )
        except grpc.aio.AioRpcError as error:
            reason = reason_of(error)
            if reason is None or error.code() is not grpc.StatusCode.PERMISSION_DENIED:
                reason = errors.ERROR_REASON_DEPENDENCY_UNAVAILABLE
            await self._refuse(asked, reason, decision.article)
            raise
        if found.request_id != request_id or found.subject_digest != ticket.subject_digest:
            log.error("the center answered another question")
            await self._refuse(asked, errors.ERROR_REASON_DEPENDENCY_UNAVAILABLE, decision.article)
        return found

    async def _keep_answer(
        self, asked: _Asked, decision: Decision, found: provision.ProvideResponse, answer: bytes
    ) -> ledger.Receipt:
        matched = found.outcome == inquiry.INQUIRY_OUTCOME_MATCH
        return await self._keep(
            asked,
            article=decision.article,
            result=ledger.RESULT_PROVIDED if matched else ledger.RESULT_NO_SINGLE_MATCH,
            fields=asked.fields if matched else (),
            token=found.person_token,
            answer=answer,
        )

    async def _keep(  # the parts of one entry
        self,
        asked: _Asked,
        *,
        article: str,
        result: "ledger.Result.ValueType",
        refusal: "errors.ErrorReason.ValueType" = errors.ERROR_REASON_UNSPECIFIED,
        fields: "tuple[inquiry.IdentityField.ValueType, ...]" = (),
        token: bytes = b"",
        answer: bytes | None = None,
    ) -> ledger.Receipt:
        with tracing.span("ledger.append"):
            entry = make_entry(
                self._keys,
                time=now(),
                request_id=asked.context.request_id,
                agency=asked.agency,
                operator=asked.context.operator,
                purpose=asked.context.purpose,
                article=article,
                case_reference=asked.context.case_reference,
                action=asked.action,
                result=result,
                refusal=refusal,
                fields=fields,
                token=token,
                answer=answer,
                policy_digest=self._policy_digest,
            )
            try:
                receipt = await self._record.keep(entry)
            except Refused as refused:
                metrics.inquiry(ledger.RESULT_REFUSED, refused.reason)
                raise
            metrics.inquiry(result, refusal or None)
            return receipt
