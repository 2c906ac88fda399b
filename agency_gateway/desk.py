"""What every question passes at a gateway, however it comes: the law's decision and the proof of the operator who asks
before it, and the ledger entry after it.

Every way out, a refusal too, passes the ledger.
"""

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import NoReturn, TypeVar

from agency_gateway.admission import Admission, NotAdmitted
from agency_gateway.appending import Act, Kept
from agency_gateway.asked import Asked, asked_by_call
from agency_gateway.deferred_refusals import DeferredRefusals
from agency_gateway.detectors import Seen
from agency_gateway.entries import Entries, Refusal
from agency_gateway.going_on import GoingOn
from agency_gateway.record import Record, Recorded
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2 as ledger
from jukinet.ledger.entry import EntryKeys
from jukinet.mesh import metrics, tracing
from jukinet.mesh.clock import now, today_in_japan
from jukinet.mesh.errors import Refused, name_of
from jukinet.purpose.decision import Decision, PurposePolicy, Question
from jukinet.purpose.kinds import NOT_READ, TAKES_AWAY
from jukinet.purpose.operator_proof import Question as OperatorQuestion

log = logging.getLogger(__name__)

R = TypeVar("R")

_DEFERRED = {errors.ERROR_REASON_BUDGET_EXCEEDED, errors.ERROR_REASON_OPERATOR_FROZEN}


class Desk:
    """Decides questions and keeps the entries of their answers and refusals.

    Args:
        policy: the law, the statute table and the agencies.
        admission: which operators may ask for an agency, and how much.
        keys: of the ledger's pseudonyms and digests.
        record: the way into the ledger.
    """

    def __init__(self, *, policy: PurposePolicy, admission: Admission, keys: EntryKeys, record: Record) -> None:
        self._policy = policy
        self._admission = admission
        self._keys = keys
        self._record = record
        self._deferred = DeferredRefusals()
        self.going_on = GoingOn()
        """What goes on although its caller has left."""

    async def decide(self, asked: Asked) -> Decision:
        """Raises Refused, with the reason of the law, after that is on record; LEDGER_UNAVAILABLE."""
        with tracing.span("inquiry.decide", **{"jukinet.purpose": asked.context.purpose}):
            who, purpose, day = asked.agency, asked.context.purpose, today_in_japan()
            question = Question(who, purpose, day, asked.method, asked.fields, asked.way)
            decide = self._policy.decide_ending if asked.action in TAKES_AWAY else self._policy.decide
            decision = decide(question)
        if not decision.allowed:
            await self.refuse(asked, decision.refusal, decision)
        if not self._record.is_open():  # nobody's data is fetched for an answer that cannot be put on record
            await self.refuse(asked, errors.ERROR_REASON_LEDGER_UNAVAILABLE, decision)
        if asked.sealed_until and not self._policy.may_seal(purpose, asked.sealed_until, day):
            await self.refuse(asked, errors.ERROR_REASON_SEAL_NOT_ALLOWED, decision)
        return decision

    async def admit(self, asked: Asked, decision: Decision, subjects: Sequence[inquiry.Subject]) -> Asked:
        """The question about these persons with the proof of its operator, who may ask it now; it is charged.

        Raises Refused, after that is on record, for the reasons of `Admission.admit`; LEDGER_UNAVAILABLE.
        """
        try:
            return await self._admission.admit(asked, subjects, outside=self._outside(asked, subjects))
        except NotAdmitted as refused:
            await self.refuse(refused.asked, refused.reason, decision, limit=refused.limit)

    async def refuse_whole(
        self, asked: Asked, decision: Decision, refused: Refused, persons: int, charged_at: datetime
    ) -> NoReturn:
        """Raises Refused, after that is on record, for an admitted message about so many of which nothing leaves."""
        self._admission.refused_whole(asked, persons, charged_at)
        await self.refuse(asked, refused.reason, decision, limit=refused.limit)

    async def prove(self, asked: Asked, decision: Decision) -> Asked:
        """The question with the proof of its operator, who may ask it now; where nobody is looked up and all is free.

        Raises Refused, after that is on record, for the reasons of `Admission.prove`; LEDGER_UNAVAILABLE.
        """
        try:
            return await self._admission.prove(asked)
        except NotAdmitted as refused:
            await self.refuse(refused.asked, refused.reason, decision)

    async def go_on(self, asked: Asked, decision: Decision) -> None:
        """Returns where the operator of an admitted message was not frozen while it was under way.

        Raises Refused, after that is on record: OPERATOR_FROZEN; LEDGER_UNAVAILABLE.
        """
        try:
            await self._admission.go_on(asked)
        except NotAdmitted as refused:
            await self.refuse(refused.asked, refused.reason, decision)

    async def admit_unnamed(
        self,
        question: OperatorQuestion,
        action: "ledger.Action.ValueType",
        fields: "tuple[inquiry.IdentityField.ValueType, ...]" = (),
    ) -> tuple[Asked, Decision]:
        """The question of the call that is running, lawful and signed by its operator, where it names nobody.

        Raises Refused, after that is on record, for the reasons of `decide` and `prove`; LEDGER_UNAVAILABLE.
        """
        asked = asked_by_call(question, action=action, method=NOT_READ, fields=fields)
        decision = await self.decide(asked)
        return await self.prove(asked, decision), decision

    async def carry_out(self, asked: Asked, decision: Decision, told: bytes, act: Act, *, until: str = "") -> None:
        """Lets what an agency did take effect together with its entry; `told` is what it did that about, which
        is sealed `until` a day.

        Raises Refused: LEDGER_UNAVAILABLE.
        """
        # An id of its own: one that was used before would leave a refusal on record beside the effect.
        done = self.entries(asked, decision).act(str(uuid.uuid4()), told)
        await self._record.carry_out(done.entry, act, until=until)

    def _outside(self, asked: Asked, subjects: Sequence[inquiry.Subject]) -> int:
        """How many persons are looked for where the agency may hear of nobody."""
        named = [each.four_items.address.local_government_code for each in subjects if each.HasField("four_items")]
        may_hear = self._policy.territory(asked.agency, asked.context.purpose, today_in_japan())
        outside = {code for code in set(named) if not may_hear(code)}
        return sum(code in outside for code in named)

    async def refuse(
        self, asked: Asked, reason: "errors.ErrorReason.ValueType", decision: Decision, *, limit: str = ""
    ) -> NoReturn:
        """Raises Refused, with this reason, after that is on record; with one that stands for a while, later.

        `limit` is the one that is reached, for BUDGET_EXCEEDED.

        LEDGER_UNAVAILABLE when it cannot be put on record.
        """

        async def put_on_record() -> None:
            with tracing.span("ledger.append"):
                await self.keep_refusal(asked, reason, decision)
            log.info("question refused", extra={"reason": name_of(reason), "peer": asked.agency})

        await (self._deferred.keep(put_on_record) if reason in _DEFERRED else put_on_record())
        raise Refused(reason, limit=limit)

    async def settle(self) -> None:
        """Returns when all that was charged or refused is on record, or cannot be: the node stops."""
        await asyncio.gather(self._deferred.settle(), self.going_on.settle())

    async def refuse_unread(
        self, agency: str, action: "ledger.Action.ValueType", reason: "errors.ErrorReason.ValueType"
    ) -> None:
        """Puts on record what was refused before a question could be read: malformed, without a deadline, too many.

        Raises Refused: LEDGER_UNAVAILABLE; PRIVATE_SECTOR_BANNED, which is on record then and is to be said instead,
        whatever is wrong with a call of whom the law bans.
        """
        ban = self._ban_on(agency)
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
            await self.keep_refusal(unread, ban.refusal if ban else reason, ban)
        if ban:
            raise Refused(ban.refusal)

    def bans(self, agency: str) -> bool:
        """Whether the law bans all that an agency asks, as a private organisation (Act art. 30-38)."""
        return self._ban_on(agency) is not None

    def _ban_on(self, agency: str) -> Decision | None:
        return self._policy.ban_on(agency, today_in_japan())

    async def keep_refusal(
        self, asked: Asked, reason: "errors.ErrorReason.ValueType", decision: Decision | None
    ) -> ledger.Receipt:
        """Puts a refusal on record; without a decision where none was made."""
        refusal = Refusal(asked.request_id, asked.method, reason)
        (receipt,) = await self.keep(self.entries(asked, decision).of([refusal]))
        return receipt

    def entries(self, asked: Asked, decision: Decision | None) -> Entries:
        """Makes the entries of a question or of a message; without a decision where none was made."""
        digest = decision.digest if decision else self._policy.digest_on(today_in_japan())
        return Entries(self._keys, asked, decision, policy_digest=digest, time=now())

    async def keep(self, entries: Sequence[Recorded]) -> list[ledger.Receipt]:
        """Returns when the entries are on disk: a receipt for each. They come to be there if the caller leaves, too.

        Raises Refused: LEDGER_UNAVAILABLE, REQUEST_ID_REUSED; what was to be answered must not leave then.
        """
        handed_in = self._record.hand_in(entries)
        try:
            receipts = await self._receipts(entries, handed_in)
        except asyncio.CancelledError:
            self.going_on.begin(self._keep_unheard(entries, handed_in))
            raise
        await self._watch(entries)
        return receipts

    async def _keep_unheard(self, entries: Sequence[Recorded], handed_in: "asyncio.Future[Kept]") -> None:
        await self._receipts(entries, handed_in)
        await self._watch(entries)

    async def _receipts(self, entries: Sequence[Recorded], handed_in: "asyncio.Future[Kept]") -> list[ledger.Receipt]:
        try:
            return await self._record.receipts(handed_in)
        except Refused as refused:
            metrics.inquiry(ledger.RESULT_REFUSED, refused.reason, count=len(entries))
            raise

    async def _watch(self, entries: Sequence[Recorded]) -> None:
        await self._admission.watch(map(_as_watched, entries))
        outcomes = [(each.entry.result, each.entry.refusal) for each in entries]
        for result, refusal in set(outcomes):
            metrics.inquiry(result, refusal or None, count=outcomes.count((result, refusal)))

    async def readable(
        self, agency: str, action: "ledger.Action.ValueType", requests: AsyncIterator[R]
    ) -> AsyncIterator[R]:
        """The messages of a stream; one that cannot be read ends it, and is on record."""
        try:
            async for request in requests:
                yield request
        except Refused as refused:
            await self.refuse_unread(agency, action, refused.reason)
            raise


def _as_watched(recorded: Recorded) -> Seen:
    """What the detectors look at: whom many look at is to be seen although the entry is sealed."""
    entry = recorded.entry
    if recorded.watched_by:
        entry = ledger.Entry()
        entry.CopyFrom(recorded.entry)
        entry.person_token = recorded.watched_by
    return Seen(entry, recorded.crowd_key, look_up=recorded.look_up, known_under_seal=recorded.known_under_seal)
