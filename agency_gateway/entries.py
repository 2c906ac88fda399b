"""Makes the ledger entries (記録) of a question, or of all those of one message of a batch.

Rule: each person has an entry and a sealed body of their own, the same as if asked about alone. What the persons of a
message share is only derived once: agency, affair, law and time, and the question but for whom it is about. And each
step is taken for all of them before the next one: a step that comes again at once finds its code and its data in the
processor's caches.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from agency_gateway.asked import Asked
from agency_gateway.record import Recorded
from jukinet._pb.jukinet.body.v1.body_pb2 import Body
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2 as ledger
from jukinet._pb.jukinet.provision.v1 import provision_pb2 as provision
from jukinet.ledger import body
from jukinet.ledger.entry import EntryKeys, made_like, make_entry
from jukinet.ledger.seal import crowd_tag
from jukinet.purpose.decision import Decision

_RESULTS = {
    inquiry.INQUIRY_OUTCOME_MATCH: ledger.RESULT_PROVIDED,
    inquiry.INQUIRY_OUTCOME_NO_SINGLE_MATCH: ledger.RESULT_NO_SINGLE_MATCH,
    inquiry.INQUIRY_OUTCOME_NOT_PROVIDED: ledger.RESULT_NOT_PROVIDED,
}


class Answered(NamedTuple):
    """A question that is answered."""

    request_id: str
    method: "inquiry.InquiryMethod.ValueType"
    subject: inquiry.Subject
    found: provision.Provision
    answer: bytes
    """The message of the answer without the receipt."""


class Refusal(NamedTuple):
    """A question, or a message as a whole, that is refused."""

    request_id: str
    method: "inquiry.InquiryMethod.ValueType"
    reason: "errors.ErrorReason.ValueType"


class Entries:
    """The entries of one question, or of all questions of one message.

    Args:
        keys: of the ledger's pseudonyms and digests.
        asked: the question, or the message as a whole.
        decision: about it; None where none was made.
        policy_digest: of what decided, 32 bytes.
        time: of all of them, timezone-aware.
    """

    def __init__(
        self, keys: EntryKeys, asked: Asked, decision: Decision | None, *, policy_digest: bytes, time: datetime
    ) -> None:
        self._keys = keys
        self._asked = asked
        self._decision = decision
        self._policy_digest = policy_digest
        self._time = time
        self._models: dict[tuple[int, int, int, bool], ledger.Entry] = {}
        """The first entry of each kind, after which the others are made."""

    def of(self, questions: Sequence[Answered | Refusal]) -> list[Recorded]:
        """Of each of these; with its sealed body where it is answered."""
        answers = iter(self._answers([each for each in questions if isinstance(each, Answered)]))
        return [
            next(answers)
            if isinstance(each, Answered)
            else Recorded(self._entry(each.request_id, ledger.RESULT_REFUSED, each.reason, method=each.method))
            for each in questions
        ]

    def change(self, request_id: str, answer: bytes, *, token: bytes, mark: bytes) -> Recorded:
        """Of a change that is told; `answer` is its message without the receipt. It has no body."""
        return Recorded(self._entry(request_id, ledger.RESULT_PROVIDED, token=token, answer=answer), mark=mark)

    def act(self, request_id: str, answer: bytes, *, token: bytes = b"") -> Recorded:
        """Of what an agency did to a list; `answer` is its message without the receipts. It has no body."""
        return Recorded(self._entry(request_id, ledger.RESULT_DONE, token=token, answer=answer))

    def _answers(self, answered: Sequence[Answered]) -> list[Recorded]:
        asked = self._asked
        common = Body(context=asked.context, fields=asked.fields).SerializeToString()
        opened = [
            body.Opened(
                plain=common + own,
                key=each.found.body_key,
                place=each.found.body_place,
                request_id=each.request_id,
                crowd_tag=self._crowd_tag(each),
            )
            for each, own in zip(answered, list(map(_about, answered)), strict=True)
        ]
        sealed = body.seal(opened, asked.agency)
        entries = [
            self._entry(
                each.request_id,
                _RESULTS[each.found.outcome],
                method=each.method,
                token=each.found.sealed_token if asked.sealed_until else each.found.person_token,
                answer=each.answer,
                body_digest=digest,
            )
            for each, digest in zip(answered, list(map(body.digest, sealed)), strict=True)
        ]
        return [
            Recorded(
                entry,
                kept,
                watched_by=each.found.person_token if asked.sealed_until else b"",
                mark=each.found.recall_mark if each.found.outcome == inquiry.INQUIRY_OUTCOME_MATCH else b"",
                crowd_key=each.found.crowd_key,
                look_up=each.found.look_up,
                known_under_seal=asked.known_under_seal,
            )
            for each, entry, kept in zip(answered, entries, sealed, strict=True)
        ]

    def _crowd_tag(self, each: Answered) -> bytes:
        key = each.found.crowd_key if self._asked.sealed_until else b""
        return crowd_tag(key, each.request_id) if key else b""

    def _entry(
        self,
        request_id: str,
        result: "ledger.Result.ValueType",
        refusal: "errors.ErrorReason.ValueType" = errors.ERROR_REASON_UNSPECIFIED,
        *,
        method: "inquiry.InquiryMethod.ValueType | None" = None,
        token: bytes = b"",
        answer: bytes | None = None,
        body_digest: bytes = b"",
    ) -> ledger.Entry:
        asked, decision = self._asked, self._decision
        method = asked.method if method is None else method
        kind = method, result, refusal, bool(token)
        if model := self._models.get(kind):
            return made_like(
                model, self._keys, request_id=request_id, token=token, answer=answer, body_digest=body_digest
            )
        made = self._models[kind] = make_entry(
            self._keys,
            time=self._time,
            request_id=request_id,
            agency=asked.agency,
            operator=asked.context.operator,
            purpose=asked.context.purpose,
            article=decision.article if decision else "",
            case_reference=asked.context.case_reference,
            action=asked.action,
            result=result,
            policy_digest=self._policy_digest,
            method=method,
            wanted=asked.fields,
            edition=decision.edition if decision else "",
            refusal=refusal,
            fields=asked.fields if result == ledger.RESULT_PROVIDED else (),
            token=token,
            answer=answer,
            proof=asked.proof,
            new_subject=asked.new_subject,
            body_digest=body_digest,
            sealed_until=asked.sealed_until if token else "",
            under_seal=bool(asked.sealed_until),
        )
        return made


def _about(each: Answered) -> bytes:
    """What a body says of its own person alone, serialised; put behind the rest it is one message with it."""
    own = Body(outcome=each.found.outcome)
    own.subject.CopyFrom(each.subject)
    for source in each.found.freshness:
        own.freshness.add().CopyFrom(source)
    return own.SerializeToString()
