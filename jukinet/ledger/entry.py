"""What a leaf of the ledger says, and that it says nothing about a person (個人情報を含まない記録).

Rules:

1. Every field is a number of a closed list, a fixed-length keyed digest, or a string of a narrow pattern. There is no
   field into which a name or an address could be written, and bytes that do not come from such an entry are refused.
2. A resident code has only 10^10 values, so a plain hash of it can be undone within hours. Persons, operators and cases
   stand in the ledger as HMACs under keys that the ledger's readers do not hold.
3. Person tokens change their key every month (UTC), so that the ledger alone gives no profile over years. Whoever holds
   the root key, and only he, can find a person's entries of all months (開示).
"""

import hashlib
import hmac
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from jukinet._pb.jukinet.errors.v1 import errors_pb2
from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2
from jukinet.ledger.errors import EntryInvalid

VERSION = 1
DIGEST_BYTES = 32

_REQUEST_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_AGENCY = re.compile(r"spiffe://(agencies|nodes|operators)\.jukinet(/[A-Za-z0-9][A-Za-z0-9._-]{0,62}){1,3}")
_PURPOSE = re.compile(r"B[1-6]-[0-9]{1,3}(-[0-9]{1,3}){0,2}[*]?([.][0-9]{1,3})?")
_ARTICLE = re.compile(r"(number-act-)?[0-9]{1,3}(-[0-9]{1,3}){0,3}([(][0-9]{1,2}[)])?")


class EntryKeys:
    """The gateway's own keys for pseudonyms, commitments and digests, derived from one root key of 32 bytes."""

    __slots__ = ("_answer", "_case", "_operator")

    def __init__(self, root_key: bytes) -> None:
        self._operator = _derive(root_key, "operator")
        self._case = _derive(root_key, "case")
        self._answer = _derive(root_key, "answer")

    def operator_pseudonym(self, agency: str, operator: str) -> bytes:
        """32 bytes that stand for an operator (操作者) of this agency, the same ones each time."""
        return _mac(self._operator, agency.encode(), operator.encode())

    def case_commitment(self, agency: str, case_reference: str) -> bytes:
        """32 bytes that bind the agency to its case (事案) without telling it."""
        return _mac(self._case, agency.encode(), case_reference.encode())

    def answer_digest(self, answer: bytes) -> bytes:
        """32 bytes that bind the gateway to the serialised answer without telling it."""
        return _mac(self._answer, answer)


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
    refusal: errors_pb2.ErrorReason.ValueType = errors_pb2.ERROR_REASON_UNSPECIFIED,
    fields: Iterable[int] = (),
    token: bytes = b"",
    answer: bytes | None = None,
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
        refusal: why, for a refusal only.
        fields: numbers of the released IdentityFields.
        token: `person_token`, or empty when nobody was found.
        answer: the serialised answer without its receipt; None for a refusal.
    Raises EntryInvalid naming the field that breaks the layout.
    """
    refused = result == ledger_pb2.RESULT_REFUSED
    entry = ledger_pb2.Entry(
        version=VERSION,
        request_id=request_id,
        agency=agency,
        operator_pseudonym=keys.operator_pseudonym(agency, operator),
        purpose="" if refused and not _PURPOSE.fullmatch(purpose) else purpose,
        article=article,
        case_commitment=keys.case_commitment(agency, case_reference),
        person_token=token,
        action=action,
        result=result,
        refusal=refusal,
        fields=sorted(fields),
        policy_digest=policy_digest,
        answer_digest=b"" if answer is None else keys.answer_digest(answer),
    )
    if time.tzinfo is None:
        raise EntryInvalid("Field time: it needs a time zone.")
    entry.time.FromDatetime(time.astimezone(UTC))
    check(entry)
    return entry


def encode(entry: ledger_pb2.Entry) -> bytes:
    """The leaf of a checked entry. Raises EntryInvalid."""
    check(entry)
    return entry.SerializeToString(deterministic=True)


def decode(leaf: bytes) -> ledger_pb2.Entry:
    """The entry in a leaf.

    Raises EntryInvalid unless `leaf` is exactly what `encode` makes of a sound entry: unknown fields, a second spelling
    or a field out of its pattern could carry what the ledger must not hold.
    """
    entry = ledger_pb2.Entry()
    try:
        entry.ParseFromString(leaf)
    except Exception:
        # The decoder's own error may quote the bytes.
        raise EntryInvalid("It is not a serialised Entry.") from None
    entry.DiscardUnknownFields()
    if entry.SerializeToString(deterministic=True) != leaf:
        raise EntryInvalid("It holds unknown fields or is not serialised canonically.")
    check(entry)
    return entry


def check(entry: ledger_pb2.Entry) -> None:
    """Refuses an entry that could hold more than the layout says. Raises EntryInvalid naming the first bad field."""
    refused = entry.result == ledger_pb2.RESULT_REFUSED
    provided = entry.result == ledger_pb2.RESULT_PROVIDED
    claims = (
        ("version", entry.version == VERSION),
        ("time", entry.HasField("time") and 0 < entry.time.seconds < 253402300800 and 0 <= entry.time.nanos < 10**9),
        ("request_id", _REQUEST_ID.fullmatch(entry.request_id) is not None),
        ("agency", _AGENCY.fullmatch(entry.agency) is not None),
        ("operator_pseudonym", len(entry.operator_pseudonym) == DIGEST_BYTES),
        ("purpose", _PURPOSE.fullmatch(entry.purpose) is not None or (refused and not entry.purpose)),
        ("article", _ARTICLE.fullmatch(entry.article) is not None or (refused and not entry.article)),
        ("case_commitment", len(entry.case_commitment) == DIGEST_BYTES),
        ("person_token", len(entry.person_token) in ((DIGEST_BYTES,) if provided else (0, DIGEST_BYTES))),
        ("action", entry.action in _ACTIONS),
        ("result", entry.result in _RESULTS),
        ("refusal", (entry.refusal in _REFUSALS) if refused else entry.refusal == 0),
        ("fields", _are_released_fields(list(entry.fields), provided)),
        ("policy_digest", len(entry.policy_digest) == DIGEST_BYTES),
        ("answer_digest", len(entry.answer_digest) == (0 if refused else DIGEST_BYTES)),
    )
    for name, holds in claims:
        if not holds:
            raise EntryInvalid(f"Field {name}.")


_ACTIONS = frozenset(ledger_pb2.Action.values()) - {0}
_RESULTS = frozenset(ledger_pb2.Result.values()) - {0}
_REFUSALS = frozenset(errors_pb2.ErrorReason.values()) - {0}
_FIELDS = frozenset(inquiry_pb2.IdentityField.values()) - {0}


def _are_released_fields(fields: list[int], provided: bool) -> bool:
    if not fields:
        return True
    return provided and fields == sorted(set(fields)) and _FIELDS.issuperset(fields)


@lru_cache(maxsize=16)
def _derive(root_key: bytes, use: str) -> bytes:
    if len(root_key) != 32:
        raise ValueError("a root key has 32 bytes")
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=b"jukinet ledger v1 " + use.encode()).derive(root_key)


def _mac(key: bytes, *parts: bytes) -> bytes:
    # Lengths in front keep ("ab", "c") and ("a", "bc") apart.
    message = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    return hmac.new(key, message, hashlib.sha256).digest()
