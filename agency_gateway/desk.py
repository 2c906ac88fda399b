"""What every question passes at a gateway, however it comes: the law's decision and the proof of the operator who asks
before it, and the ledger entry after it.

Every way out, a refusal too, passes the ledger.
"""

import logging
import uuid
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, NoReturn

from agency_gateway.budgets import Budgets, Charge, Kind, OverBudget
from agency_gateway.operators import Operators
from agency_gateway.record import Record, Recorded
from jukinet._pb.jukinet.body.v1.body_pb2 import Body
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2 as ledger
from jukinet._pb.jukinet.provision.v1 import provision_pb2 as provision
from jukinet.ledger import body
from jukinet.ledger.entry import EntryKeys, made_like, make_entry
from jukinet.mesh import metrics, tracing
from jukinet.mesh.clock import now, today_in_japan
from jukinet.mesh.errors import Refused, name_of
from jukinet.mesh.interceptors import Terminal
from jukinet.purpose.articles import Provision
from jukinet.purpose.decision import Decision, PurposePolicy, Question
from jukinet.purpose.ticket import subject_digest, subject_digests

log = logging.getLogger(__name__)


_KINDS = {
    ledger.ACTION_INQUIRE: provision.PROVISION_KIND_RECORD,
    ledger.ACTION_VERIFY_IDENTITY: provision.PROVISION_KIND_VERIFICATION,
    ledger.ACTION_INQUIRE_BATCH: provision.PROVISION_KIND_BATCH,
}
_RESULTS = {
    inquiry.INQUIRY_OUTCOME_MATCH: ledger.RESULT_PROVIDED,
    inquiry.INQUIRY_OUTCOME_NO_SINGLE_MATCH: ledger.RESULT_NO_SINGLE_MATCH,
    inquiry.INQUIRY_OUTCOME_NOT_PROVIDED: ledger.RESULT_NOT_PROVIDED,
}


NOWHERE: Final = Terminal(b"", "")
"""The terminal of what was refused unread."""


class Asked(NamedTuple):
    """One question, or one message of a batch, in the gateway's own terms."""

    agency: str
    request_id: str
    """Of the question; the context's is the message's in a batch."""
    context: inquiry.InquiryContext
    action: "ledger.Action.ValueType"
    method: "inquiry.InquiryMethod.ValueType"
    fields: "tuple[inquiry.IdentityField.ValueType, ...]"
    terminal: Terminal = NOWHERE
    statement: bytes = b""
    """What its operator has to have signed; empty for what was refused unread."""
    proof: bytes = b""
    """Digest of his proof for the ledger, once it was found to hold."""
    new_subject: bool = False
    """Whether the agency asks about this person for the first time today; not for a batch."""

    def ticket(self, subject: inquiry.Subject, decision: Decision) -> provision.Ticket:
        """What the gateway states about it to the center, once it decided to ask."""
        return self._ticket(decision, method=self.method, subject_digest=subject_digest(subject, self.request_id))

    def batch_ticket(self, subjects: Sequence[inquiry.Subject], decision: Decision) -> provision.Ticket:
        """The same of a message of a batch."""
        return self._ticket(decision, subject_digests=subject_digests(subjects, self.request_id))

    def _ticket(self, decision: Decision, **about: Any) -> provision.Ticket:
        return provision.Ticket(
            agency=self.agency,
            purpose=self.context.purpose,
            request_id=self.request_id,
            kind=_KINDS[self.action],
            fields=self.fields,
            edition=decision.edition,
            maximum_age_seconds=self.context.maximum_age_seconds,
            **about,
        )


class Desk:
    """Decides questions and keeps the entries of their answers and refusals.

    Args:
        policy: the law, the statute table and the agencies.
        operators: who may ask for an agency.
        budgets: how much each of them may ask.
        keys: of the ledger's pseudonyms and digests.
        record: the way into the ledger.
    """

    def __init__(
        self, *, policy: PurposePolicy, operators: Operators, budgets: Budgets, keys: EntryKeys, record: Record
    ) -> None:
        self._policy = policy
        self._operators = operators
        self._budgets = budgets
        self._keys = keys
        self._record = record

    async def decide(self, asked: Asked) -> Decision:
        """Raises Refused, with the reason of the law, after that is on record; LEDGER_UNAVAILABLE."""
        if not self._record.is_open():  # nobody's data is fetched for an answer that cannot be put on record
            await self.keep_refusal(asked, errors.ERROR_REASON_LEDGER_UNAVAILABLE, None)
            raise Refused(errors.ERROR_REASON_LEDGER_UNAVAILABLE)
        with tracing.span("inquiry.decide", **{"jukinet.purpose": asked.context.purpose}):
            way: Provision = "batch" if asked.action == ledger.ACTION_INQUIRE_BATCH else "immediate"
            question = Question(asked.agency, asked.context.purpose, today_in_japan(), asked.method, asked.fields, way)
            decision = self._policy.decide(question)
        if not decision.allowed:
            await self.refuse(asked, decision.refusal, decision)
        return decision

    async def admit(self, asked: Asked, decision: Decision, subjects: Sequence[inquiry.Subject]) -> Asked:
        """The question about these persons with the proof of its operator, who may ask it now; it is charged.

        Raises Refused, after that is on record: OPERATOR_PROOF_MISSING, OPERATOR_UNKNOWN, OPERATOR_PROOF_INVALID,
        OPERATOR_PROOF_EXPIRED, OPERATOR_ELSEWHERE, BUDGET_EXCEEDED; LEDGER_UNAVAILABLE.
        """
        context = asked.context
        proof = context.operator_proof if context.HasField("operator_proof") else None
        refusal = self._operators.admit(
            asked.agency, context.operator, proof, asked.statement, terminal=asked.terminal, now=now()
        )
        if refusal:
            await self.refuse(asked, refusal, decision)
        asked = asked._replace(proof=self._keys.proof_digest(asked.statement, context.operator_proof.signature))
        charge, subject = self._charge(asked, len(subjects)), b""
        if charge.kind != "batch":
            subject = subjects[0].SerializeToString(deterministic=True)
        try:
            return asked._replace(new_subject=self._budgets.charge(charge, subject, now()))
        except OverBudget as over:
            metrics.budget_exceeded(over.limit)
            await self.refuse(asked, errors.ERROR_REASON_BUDGET_EXCEEDED, decision)

    def _charge(self, asked: Asked, persons: int) -> Charge:
        kind: Kind = "number" if asked.method == inquiry.INQUIRY_METHOD_INDIVIDUAL_NUMBER else "search"
        if asked.action == ledger.ACTION_INQUIRE_BATCH:
            kind = "batch"
        operator = self._keys.operator_pseudonym(asked.agency, asked.context.operator)
        return Charge(asked.agency, operator, kind, asked.context.purpose, persons)

    async def refuse(self, asked: Asked, reason: "errors.ErrorReason.ValueType", decision: Decision) -> NoReturn:
        """Raises Refused, with this reason, after that is on record."""
        with tracing.span("ledger.append"):
            await self.keep_refusal(asked, reason, decision)
        log.info("question refused", extra={"reason": name_of(reason), "peer": asked.agency})
        raise Refused(reason)

    async def refuse_unread(
        self, agency: str, action: "ledger.Action.ValueType", reason: "errors.ErrorReason.ValueType"
    ) -> None:
        """Puts on record what was refused before a question could be read: malformed, without a deadline, too many."""
        unread = Asked(
            agency=agency,
            # Nothing of a question that breaks the contract is kept, not even the id that it claims.
            request_id=str(uuid.uuid4()),
            context=inquiry.InquiryContext(),
            action=action,
            method=inquiry.INQUIRY_METHOD_UNSPECIFIED,
            fields=(),
        )
        with tracing.span("ledger.append"):
            await self.keep_refusal(unread, reason, None)

    async def keep_refusal(
        self, asked: Asked, reason: "errors.ErrorReason.ValueType", decision: Decision | None
    ) -> ledger.Receipt:
        """Puts a refusal on record; without a decision where none was made."""
        (receipt,) = await self.keep([self.refusal(asked, reason, decision)])
        return receipt

    async def keep(self, entries: Sequence[Recorded]) -> list[ledger.Receipt]:
        """Returns when the entries are on disk: a receipt for each.

        Raises Refused: LEDGER_UNAVAILABLE, REQUEST_ID_REUSED; what was to be answered must not leave then.
        """
        try:
            receipts = await self._record.keep_all(entries)
        except Refused as refused:
            metrics.inquiry(ledger.RESULT_REFUSED, refused.reason, count=len(entries))
            raise
        for (result, refusal), count in Counter((entry.result, entry.refusal) for entry, _ in entries).items():
            metrics.inquiry(result, refusal or None, count=count)
        return receipts

    def refusal(
        self,
        asked: Asked,
        reason: "errors.ErrorReason.ValueType",
        decision: Decision | None,
        like: ledger.Entry | None = None,
    ) -> Recorded:
        """The entry of a refusal; without a decision where none was made. It has no body.

        `like` is another entry of the same message of a batch.
        """
        return Recorded(self._entry(asked, decision, like, result=ledger.RESULT_REFUSED, refusal=reason))

    def answer(
        self,
        asked: Asked,
        decision: Decision,
        subject: inquiry.Subject,
        found: provision.Provision,
        answer: bytes,
        like: ledger.Entry | None = None,
    ) -> Recorded:
        """The entry of an answer and its sealed body; `answer` is its message without the receipt, `like` as above."""
        matched = found.outcome == inquiry.INQUIRY_OUTCOME_MATCH
        sealed = body.seal(
            Body(
                context=asked.context,
                subject=subject,
                fields=asked.fields,
                outcome=found.outcome,
                freshness=found.freshness,
            ),
            found.body_key,
            found.body_place,
            asked.agency,
            asked.request_id,
        )
        entry = self._entry(
            asked,
            decision,
            like,
            result=_RESULTS[found.outcome],
            fields=asked.fields if matched else (),
            token=found.person_token,
            answer=answer,
            body_digest=body.digest(sealed),
        )
        return Recorded(entry, sealed)

    def _entry(self, asked: Asked, decision: Decision | None, like: ledger.Entry | None, **told: Any) -> ledger.Entry:
        if like is not None:
            return made_like(like, self._keys, request_id=asked.request_id, method=asked.method, **told)
        return make_entry(
            self._keys,
            time=now(),
            request_id=asked.request_id,
            agency=asked.agency,
            operator=asked.context.operator,
            purpose=asked.context.purpose,
            article=decision.article if decision else "",
            case_reference=asked.context.case_reference,
            action=asked.action,
            policy_digest=decision.digest if decision else self._policy.digest_on(today_in_japan()),
            method=asked.method,
            wanted=asked.fields,
            edition=decision.edition if decision else "",
            proof=asked.proof,
            new_subject=asked.new_subject,
            **told,
        )
