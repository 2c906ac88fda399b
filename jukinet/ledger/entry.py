"""Makes the ledger's entries: what stands for persons, operators and cases, and what an entry says (記録の作成).

Rules:

1. Every field is within the layout (`layout`): there is none into which a name or an address could be written.
2. A resident code has only 10^10 values, so a plain hash of it can be undone within hours. Persons, operators and cases
   stand in the ledger as HMACs under keys that the ledger's readers do not hold.
3. Person tokens change their key every month (UTC), so that the ledger alone gives no profile over years. Whoever holds
   the root key, and only he, can find a person's entries of all months (開示).
4. Since layout 2 an entry says also what was asked (how the person was named, the wanted items) and which edition of
   the law decided, so that every decision can be made again; since layout 3, what the operator signed, so that he
   cannot deny it, and it binds the body that is kept beside the tree (`body`). Entries of older layouts stay what they
   are; no new ones are made.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from jukinet._pb.jukinet.errors.v1 import errors_pb2
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2
from jukinet.ledger.errors import EntryInvalid
from jukinet.ledger.layout import PURPOSE, VERSION, check
from jukinet.mesh.mac import mac

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class EntryKeys:
    """The gateway's own keys for pseudonyms, commitments, digests and tags, derived from one root key of 32 bytes."""

    __slots__ = ("_answer", "_case", "_proof", "_pseudonym", "_recall", "_sealed_case")

    def __init__(self, root_key: bytes) -> None:
        operator = _derive(root_key, "operator")
        # Asked for three times a question, and an agency has few operators.
        self._pseudonym = lru_cache(maxsize=4096)(lambda *names: _mac(operator, *map(str.encode, names)))
        self._case = _derive(root_key, "case")
        self._sealed_case = _derive(root_key, "sealed case")
        self._answer = _derive(root_key, "answer")
        self._proof = _derive(root_key, "proof")
        self._recall = _derive(root_key, "recall place")

    def operator_pseudonym(self, agency: str, operator: str) -> bytes:
        """32 bytes that stand for an operator (操作者) of this agency, the same ones each time."""
        return self._pseudonym(agency, operator)

    def case_commitment(self, agency: str, case_reference: str, *, under_seal: bool = False) -> bytes:
        """32 bytes that bind the agency to its case (事案) without telling it.

        Questions under seal (封印) have one of their own: a resident is shown his open entries at once, and by one in
        common he would find the sealed ones of the same case.
        """
        return _mac(self._sealed_case if under_seal else self._case, agency.encode(), case_reference.encode())

    def proof_digest(self, statement: bytes, signature: bytes) -> bytes:
        """32 bytes that bind an operator to what he signed. Keyed, since with a bare signature and his public key one
        could try out who was asked about."""
        return _mac(self._proof, statement, signature)

    def answer_digest(self, answer: bytes) -> bytes:
        """32 bytes that bind the gateway to the serialised answer without telling it."""
        return mac(self._answer, _framed(answer))

    def recall_tag(self, gateway: str, agency: str, purpose: str, position: int) -> bytes:
        """16 bytes that only this gateway can make, and tells this agency alone: that it told the recall there."""
        names = map(str.encode, (gateway, agency, purpose))
        return _mac(self._recall, *names, position.to_bytes(8, "big"))[:16]


def month_key(root_key: bytes, time: datetime) -> bytes:
    """The key of person tokens for the month (UTC) that `time` lies in.

    Args:
        root_key: 32 bytes, held where persons are looked up, never where the ledger is read.
        time: timezone-aware; the time of the entry.
    Raises ValueError for a time without a zone or a key of another length.
    """
    if time.tzinfo is None:
        raise ValueError("the time of an entry needs a time zone")
    return _derive(root_key, f"person {time.astimezone(UTC):%Y-%m}")


def person_token(key: bytes, resident_code: str) -> bytes:
    """The 32 bytes that stand for a person (住民票コード) in the month whose key this is.

    Args:
        key: of `month_key`.
        resident_code: eleven digits.
    """
    return _mac(key, b"person token", resident_code.encode())


def make_entry(
    keys: EntryKeys,
    *,
    time: datetime,
    request_id: str,
    agency: str,
    operator: str,
    purpose: str,
    article: str,
    case_reference: str,
    action: ledger_pb2.Action.ValueType,
    result: ledger_pb2.Result.ValueType,
    policy_digest: bytes,
    method: int,
    wanted: Iterable[int],
    edition: str,
    refusal: errors_pb2.ErrorReason.ValueType = errors_pb2.ERROR_REASON_UNSPECIFIED,
    fields: Iterable[int] = (),
    token: bytes = b"",
    answer: bytes | None = None,
    proof: bytes = b"",
    new_subject: bool = False,
    body_digest: bytes = b"",
    sealed_until: str = "",
    under_seal: bool = False,
) -> ledger_pb2.Entry:
    """The entry of one answer or refusal.

    Args:
        keys: the gateway's.
        time: of the decision, timezone-aware.
        request_id: UUID in lower case.
        agency: SPIFFE ID of the certificate.
        operator: the agency's own id of the operator; only its pseudonym is kept.
        purpose: row and item, such as `B1-77.12`, as the question named it. A refusal may have none; one that no row
            could be called is left out of a refusal, since its digits could be a person's number.
        article: such as `30-9`, `30-15(1)` or `number-act-9`; may be empty for a refusal.
        case_reference: the agency's own; only a commitment is kept.
        action: what was asked for.
        result: what became of it.
        policy_digest: SHA-256, 32 bytes.
        method: number of the InquiryMethod by which the person was named; 0 for a refusal that did not read it.
        wanted: numbers of the IdentityFields that were asked for.
        edition: of the statute table that decided, such as `2019-01`; may be empty for a refusal.
        refusal: why, for a refusal only.
        fields: numbers of the released IdentityFields.
        token: `person_token`, or empty when nobody was found.
        answer: the serialised answer without its receipt; None for a refusal.
        proof: `EntryKeys.proof_digest` of the operator's proof; empty where it did not hold or was not looked at.
        new_subject: whether the agency asks about this person for the first time today, and true for each sealed
            question (封印) about one person; false without a proof.
        body_digest: of the sealed body, 32 bytes; empty where there is none.
        sealed_until: day on which it may be shown to the person, whom `seal.sealed_token` stands for then; empty = now.
        under_seal: whether it was asked under seal, whoever was found.
    Raises EntryInvalid naming the field that breaks the layout.
    """
    refused = result == ledger_pb2.RESULT_REFUSED
    entry = ledger_pb2.Entry(
        version=VERSION,
        request_id=request_id,
        agency=agency,
        operator_pseudonym=keys.operator_pseudonym(agency, operator),
        purpose="" if refused and not PURPOSE.fullmatch(purpose) else purpose,
        article=article,
        case_commitment=keys.case_commitment(agency, case_reference, under_seal=under_seal),
        person_token=token,
        action=action,
        result=result,
        refusal=refusal,
        fields=sorted(fields),
        policy_digest=policy_digest,
        answer_digest=b"" if answer is None else keys.answer_digest(answer),
        method=method,
        wanted=sorted(wanted),
        edition=edition,
        operator_proof=proof,
        new_subject=new_subject,
        body_digest=body_digest,
        sealed_until=sealed_until,
    )
    return _dated(entry, time)


def made_like(
    model: ledger_pb2.Entry,
    keys: EntryKeys,
    *,
    request_id: str,
    token: bytes = b"",
    answer: bytes | None = None,
    body_digest: bytes = b"",
) -> ledger_pb2.Entry:
    """The entry of another person of a batch with whom it went the same way: all but what is given is as in `model`.

    Args:
        model: an entry of `make_entry`, checked there; not changed. It has a token, an answer and a body, or has not,
            as this one.
        keys, request_id, token, answer, body_digest: as for `make_entry`.
    Raises EntryInvalid for a token that is none. The rest is checked with all other fields before it becomes a leaf.
    """
    if len(token) != len(model.person_token):
        raise EntryInvalid("Field person_token.")
    entry = ledger_pb2.Entry()
    entry.CopyFrom(model)
    entry.request_id, entry.person_token, entry.body_digest = request_id, token, body_digest
    entry.answer_digest = b"" if answer is None else keys.answer_digest(answer)
    return entry


def make_act(
    keys: EntryKeys,
    *,
    time: datetime,
    request_id: str,
    gateway: str,
    operator: str,
    action: ledger_pb2.Action.ValueType,
    about: str,
    policy_digest: bytes,
    edition: str = "",
    edition_digest: bytes = b"",
) -> ledger_pb2.Entry:
    """The entry of what an operator (運用者) did: to the law that the gateway decides by, or with what it keeps.

    Args:
        keys: the gateway's.
        time: of the act, timezone-aware.
        request_id: a new UUID in lower case.
        gateway: SPIFFE ID of the gateway itself.
        operator: SPIFFE ID of the operator; only a pseudonym is kept, the same one each time.
        action: what the operator did.
        about: to what: name of the edition, index of the entry; only a commitment is kept.
        policy_digest: SHA-256 of what decided before the act, 32 bytes.
        edition: name of the edition acted on, such as `2026-04`; empty for any other act.
        edition_digest: SHA-256 of its file, 32 bytes; likewise.
    Raises EntryInvalid naming the field that breaks the layout.
    """
    entry = ledger_pb2.Entry(
        version=VERSION,
        request_id=request_id,
        agency=gateway,
        operator_pseudonym=keys.operator_pseudonym(gateway, operator),
        case_commitment=keys.case_commitment(gateway, about),
        action=action,
        result=ledger_pb2.RESULT_DONE,
        policy_digest=policy_digest,
        edition=edition,
        edition_digest=edition_digest,
    )
    return _dated(entry, time)


def make_disclosure(
    keys: EntryKeys,
    *,
    time: datetime,
    counter: str,
    clerk: str,
    check_id: str,
    action: ledger_pb2.Action.ValueType,
    policy_digest: bytes,
    article: str = "",
    token: bytes = b"",
    answer: bytes | None = None,
    refusal: errors_pb2.ErrorReason.ValueType = errors_pb2.ERROR_REASON_UNSPECIFIED,
) -> ledger_pb2.Entry:
    """The entry of what the disclosure node told a resident, or refused to.

    Args:
        keys: the disclosure node's.
        time: timezone-aware.
        counter: SPIFFE ID of the counter.
        clerk: the counter's own id of the clerk; only a pseudonym is kept.
        check_id: id of the check of identity, a UUID in lower case.
        action: one of the disclosures.
        policy_digest: SHA-256 of the statute table and the directory by which it was told, 32 bytes.
        article: such as `30-32`; empty where it is not this Act that opens it.
        token: `person_token` of the resident; may be empty for a refusal.
        answer: serialised; None for a refusal.
        refusal: why, for a refusal only.
    Raises EntryInvalid naming the field that breaks the layout.
    """
    entry = ledger_pb2.Entry(
        version=VERSION,
        request_id=check_id,
        agency=counter,
        operator_pseudonym=keys.operator_pseudonym(counter, clerk),
        case_commitment=keys.case_commitment(counter, check_id),
        article=article,
        person_token=token,
        action=action,
        result=ledger_pb2.RESULT_REFUSED if refusal else ledger_pb2.RESULT_DONE,
        refusal=refusal,
        policy_digest=policy_digest,
        answer_digest=b"" if answer is None else keys.answer_digest(answer),
    )
    return _dated(entry, time)


def _dated(entry: ledger_pb2.Entry, time: datetime) -> ledger_pb2.Entry:
    if time.tzinfo is None:
        raise EntryInvalid("Field time: it needs a time zone.")
    since = time - _EPOCH
    entry.time.seconds = since.days * 86400 + since.seconds
    entry.time.nanos = since.microseconds * 1000
    check(entry)
    return entry


@lru_cache(maxsize=16)
def _derive(root_key: bytes, use: str) -> bytes:
    if len(root_key) != 32:
        raise ValueError("a root key has 32 bytes")
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=b"jukinet ledger v1 " + use.encode()).derive(root_key)


def _mac(key: bytes, *parts: bytes) -> bytes:
    return mac(key, b"".join(map(_framed, parts)))


def _framed(part: bytes) -> bytes:
    # Lengths in front keep ("ab", "c") and ("a", "bc") apart.
    return len(part).to_bytes(4, "big") + part
