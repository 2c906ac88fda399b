"""Makes the ledger entries (記録) of a question, or of those of one message that name their persons in the same way.

Rule: each person has an entry and a sealed body of their own, the same as if asked about alone. What the persons of a
message share is only derived once: agency, affair, law and time, and the question but for whom it is about.
"""

from collections.abc import Iterator
from datetime import datetime
from functools import cached_property

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


class Entries:
    """The entries of one question, or of several of one message that the same decision is about.

    Args:
        keys: of the ledger's pseudonyms and digests.
        asked: the question; of a message, the message with the method of these persons.
        decision: about it; None where none was made.
        policy_digest: of what decided, 32 bytes.
        time: of all of them, timezone-aware.
        persons: how many are answered about at most.
    """

    def __init__(
        self,
        keys: EntryKeys,
        asked: Asked,
        decision: Decision | None,
        *,
        policy_digest: bytes,
        time: datetime,
        persons: int = 1,
    ) -> None:
        self._keys = keys
        self._asked = asked
        self._decision = decision
        self._policy_digest = policy_digest
        self._time = time
        self._persons = persons
        self._models: dict[tuple[int, int, bool], ledger.Entry] = {}
        """The first entry of each kind, after which the others are made."""

    def refusal(self, request_id: str, reason: "errors.ErrorReason.ValueType") -> Recorded:
        """Of a question that is refused. It has no body."""
        return Recorded(self._entry(request_id, ledger.RESULT_REFUSED, reason))

    def answer(self, request_id: str, subject: inquiry.Subject, found: provision.Provision, answer: bytes) -> Recorded:
        """Of an answer, and its sealed body; `answer` is its message without the receipt."""
        asked, key = self._asked, found.crowd_key
        sealed = body.seal(
            self._question + _about(subject, found),
            found.body_key,
            found.body_place,
            asked.agency,
            request_id,
            nonce=next(self._nonces),
            crowd_tag=crowd_tag(key, request_id) if asked.sealed_until and key else b"",
        )
        entry = self._entry(
            request_id,
            _RESULTS[found.outcome],
            token=found.sealed_token if asked.sealed_until else found.person_token,
            answer=answer,
            body_digest=body.digest(sealed),
        )
        watched_by = found.person_token if asked.sealed_until else b""
        mark = found.recall_mark if found.outcome == inquiry.INQUIRY_OUTCOME_MATCH else b""
        return Recorded(entry, sealed, watched_by, mark, key)

    def change(self, request_id: str, answer: bytes, *, token: bytes, mark: bytes) -> Recorded:
        """Of a change that is told; `answer` is its message without the receipt. It has no body."""
        return Recorded(self._entry(request_id, ledger.RESULT_PROVIDED, token=token, answer=answer), mark=mark)

    def act(self, request_id: str, answer: bytes, *, token: bytes = b"") -> Recorded:
        """Of what an agency did to a list; `answer` is its message without the receipts. It has no body."""
        return Recorded(self._entry(request_id, ledger.RESULT_DONE, token=token, answer=answer))

    @cached_property
    def _question(self) -> bytes:
        """What is the same in all bodies, serialised."""
        return Body(context=self._asked.context, fields=self._asked.fields).SerializeToString()

    @cached_property
    def _nonces(self) -> Iterator[bytes]:
        return body.nonces(self._persons)

    def _entry(
        self,
        request_id: str,
        result: "ledger.Result.ValueType",
        refusal: "errors.ErrorReason.ValueType" = errors.ERROR_REASON_UNSPECIFIED,
        *,
        token: bytes = b"",
        answer: bytes | None = None,
        body_digest: bytes = b"",
    ) -> ledger.Entry:
        kind = result, refusal, bool(token)
        if model := self._models.get(kind):
            return made_like(
                model, self._keys, request_id=request_id, token=token, answer=answer, body_digest=body_digest
            )
        asked, decision = self._asked, self._decision
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
            method=asked.method,
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
        )
        return made


def _about(subject: inquiry.Subject, found: provision.Provision) -> bytes:
    """What a body says of its own person alone, serialised."""
    own = Body(outcome=found.outcome)
    own.subject.CopyFrom(subject)
    own.freshness.extend(found.freshness)
    return own.SerializeToString()
