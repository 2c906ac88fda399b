"""What a leaf of the ledger may say, so that nothing about a person can hide in it (個人情報を含まない記録).

Rule: every field is a number of a closed list, a fixed-length keyed digest, or a string of a narrow pattern. Bytes that
do not come from such an entry are refused. Layout 2 added what was asked and the edition that decided, operators' acts
and disclosures; layout 3 the proof of the operator who asked, the digest of a body beside the tree and the day until
which an answer about a person is sealed, or was when it was recalled. Entries of an older layout have none of what came
later, and no new ones are made.
"""

import re
from datetime import timedelta, timezone
from functools import lru_cache
from typing import NamedTuple

from jukinet._pb.jukinet.errors.v1 import errors_pb2
from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2
from jukinet.domain.seal import has_come, is_within
from jukinet.ledger.errors import EntryInvalid

VERSION = 3
VERSIONS = frozenset({1, 2, VERSION})
DIGEST_BYTES = 32

_REQUEST_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_AGENCY = re.compile(r"spiffe://(agencies|nodes|operators)\.jukinet(/[A-Za-z0-9][A-Za-z0-9._-]{0,62}){1,3}")
PURPOSE = re.compile(r"B[1-6]-[0-9]{1,3}(-[0-9]{1,3}){0,2}[*]?([.][0-9]{1,3})?")
_EDITION = re.compile(r"[0-9]{4}-[0-9]{2}([.][0-9]{1,2})?")
_ARTICLE = re.compile(r"(number-act-)?[0-9]{1,3}(-[0-9]{1,3}){0,3}([(][0-9]{1,2}[)])?")


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
    bad = _bad_in_itself(entry) or _bad_in_shape(_shape_of(entry))
    if bad:
        raise EntryInvalid(f"Field {bad}.")


def _bad_in_itself(entry: ledger_pb2.Entry) -> str:
    """The first bad one of the fields that each entry has of its own; empty when none is."""
    if not _is_dated(entry):
        return "time"
    if not _REQUEST_ID.fullmatch(entry.request_id):
        return "request_id"
    if entry.sealed_until and not (entry.version > 2 and _is_seal(entry)):
        return "sealed_until"
    return ""


class _Shape(NamedTuple):
    """The rest of an entry: what many entries share. Of a digest its length, so that none of it tells of a person."""

    version: int
    agency: str
    operator_pseudonym: int
    purpose: str
    article: str
    case_commitment: int
    person_token: int
    action: int
    result: int
    refusal: int
    fields: tuple[int, ...]
    policy_digest: int
    answer_digest: int
    method: int
    wanted: tuple[int, ...]
    edition: str
    edition_digest: int
    body_digest: int
    operator_proof: int
    new_subject: bool
    about_operator: int


def _shape_of(entry: ledger_pb2.Entry) -> _Shape:
    return _Shape(
        entry.version,
        entry.agency,
        len(entry.operator_pseudonym),
        entry.purpose,
        entry.article,
        len(entry.case_commitment),
        len(entry.person_token),
        entry.action,
        entry.result,
        entry.refusal,
        tuple(entry.fields),
        len(entry.policy_digest),
        len(entry.answer_digest),
        entry.method,
        tuple(entry.wanted),
        entry.edition,
        len(entry.edition_digest),
        len(entry.body_digest),
        len(entry.operator_proof),
        entry.new_subject,
        len(entry.about_operator),
    )


# Few agencies, rows, articles, editions and sets of items make up all entries.
@lru_cache(maxsize=1024)
def _bad_in_shape(entry: _Shape) -> str:
    """The first bad field of a shape; empty when all are sound."""
    claims = _common_claims(entry)
    if entry.action in _ACTS:
        claims += _claims_of_act(entry)
    elif entry.action in _DISCLOSURES:
        claims += _claims_of_disclosure(entry)
    elif entry.action in _FREEZES:
        claims += _claims_of_freeze(entry)
    else:
        claims += _claims_of_question(entry)
    return next((name for name, holds in claims if not holds), "")


_Claims = tuple[tuple[str, bool], ...]
_ACTS_ON_EDITIONS = frozenset({ledger_pb2.ACTION_PROPOSE_EDITION, ledger_pb2.ACTION_APPROVE_EDITION})
_ACTS = _ACTS_ON_EDITIONS | {ledger_pb2.ACTION_TAKE_BODY}
_DISCLOSURES = frozenset(
    {
        ledger_pb2.ACTION_DISCLOSE_USAGE,
        ledger_pb2.ACTION_REQUEST_RECORD,
        ledger_pb2.ACTION_DISCLOSE_RECORD,
        ledger_pb2.ACTION_CORRECT_RECORD,
        ledger_pb2.ACTION_CLOSE_REQUEST,
    }
)
# The others may be steps of a letter, where nobody stands at the counter.
_TOLD = frozenset({ledger_pb2.ACTION_DISCLOSE_USAGE, ledger_pb2.ACTION_DISCLOSE_RECORD})
_FREEZES = frozenset(
    {ledger_pb2.ACTION_FREEZE_OPERATOR, ledger_pb2.ACTION_PROPOSE_RELEASE, ledger_pb2.ACTION_RELEASE_OPERATOR}
)
_QUESTIONS = frozenset(ledger_pb2.Action.values()) - _ACTS - _DISCLOSURES - _FREEZES - {0}
_RESULTS = frozenset(ledger_pb2.Result.values()) - {0, ledger_pb2.RESULT_DONE}
_SEALABLE = frozenset({ledger_pb2.ACTION_INQUIRE, ledger_pb2.ACTION_VERIFY_IDENTITY, ledger_pb2.ACTION_INQUIRE_BATCH})
_JAPAN = timezone(timedelta(hours=9))
_RECALLS = frozenset({ledger_pb2.ACTION_RECALL, ledger_pb2.ACTION_ACKNOWLEDGE_RECALL})
_SINCE_3 = _RECALLS | {ledger_pb2.ACTION_OTHER_CALL}
_ABOUT_NOBODY = _RECALLS | {ledger_pb2.ACTION_END_WATCH}
_DONE = _ABOUT_NOBODY | {ledger_pb2.ACTION_WATCH}
_RESULTS_OF_DONE = frozenset({ledger_pb2.RESULT_DONE, ledger_pb2.RESULT_REFUSED})
_REFUSALS = frozenset(errors_pb2.ErrorReason.values()) - {0}
_BAN = errors_pb2.ERROR_REASON_PRIVATE_SECTOR_BANNED
_FIELDS = frozenset(inquiry_pb2.IdentityField.values()) - {0}
_METHODS = frozenset(inquiry_pb2.InquiryMethod.values()) - {0}


def _common_claims(entry: _Shape) -> _Claims:
    return (
        ("version", entry.version in VERSIONS),
        ("agency", _is(_AGENCY, entry.agency)),
        ("operator_pseudonym", entry.operator_pseudonym == DIGEST_BYTES),
        ("case_commitment", entry.case_commitment == DIGEST_BYTES),
        ("policy_digest", entry.policy_digest == DIGEST_BYTES),
        ("operator_proof", not entry.operator_proof or (entry.version > 2 and _is_proof(entry))),
        ("new_subject", not entry.new_subject or bool(entry.operator_proof)),
        ("about_operator", entry.about_operator == (DIGEST_BYTES if entry.action in _FREEZES else 0)),
    )


def _is_dated(entry: ledger_pb2.Entry) -> bool:
    return entry.HasField("time") and 0 < entry.time.seconds < 253402300800 and 0 <= entry.time.nanos < 10**9


def _is_proof(entry: _Shape) -> bool:
    return entry.operator_proof == DIGEST_BYTES and entry.action not in _ACTS | _DISCLOSURES | _FREEZES


def _is_seal(entry: ledger_pb2.Entry) -> bool:
    """Only an answer about one person can be sealed. A recall of it and its acknowledgement come from its day on."""
    if not _is_dated(entry):
        return False
    day = entry.time.ToDatetime(tzinfo=_JAPAN).date()
    if entry.action in _RECALLS:
        return entry.result == ledger_pb2.RESULT_DONE and has_come(entry.sealed_until, day)
    return entry.action in _SEALABLE and bool(entry.person_token) and is_within(entry.sealed_until, day)


def _claims_of_question(entry: _Shape) -> _Claims:
    refused = entry.result == ledger_pb2.RESULT_REFUSED
    provided = entry.result == ledger_pb2.RESULT_PROVIDED
    claims: _Claims = (
        ("purpose", _is(PURPOSE, entry.purpose) or (refused and not entry.purpose)),
        ("article", _is(_ARTICLE, entry.article) or (refused and not entry.article)),
        ("person_token", entry.person_token in ((DIGEST_BYTES,) if provided else (0, DIGEST_BYTES))),
        ("person_token", not (entry.person_token and entry.action in _SINCE_3)),
        ("action", entry.action in _QUESTIONS and (entry.action not in _SINCE_3 or entry.version > 2)),
        ("result", entry.result in (_RESULTS_OF_DONE if entry.action in _DONE else _RESULTS)),
        ("refusal", (entry.refusal in _REFUSALS) if refused else entry.refusal == 0),
        ("fields", not entry.fields or (provided and _are_fields(entry.fields))),
        ("answer_digest", entry.answer_digest == (0 if refused else DIGEST_BYTES)),
        ("edition_digest", not entry.edition_digest),
        ("refusal", entry.action != ledger_pb2.ACTION_OTHER_CALL or entry.refusal == _BAN),
        ("body_digest", entry.body_digest in ((0,) if refused or entry.version < 3 else (0, DIGEST_BYTES))),
    )
    if entry.version == 1:
        return (*claims, ("method", entry.method == 0), ("wanted", not entry.wanted), ("edition", not entry.edition))
    return (
        *claims,
        ("method", entry.method in _METHODS or ((refused or entry.action in _ABOUT_NOBODY) and entry.method == 0)),
        ("wanted", _are_fields(entry.wanted) and set(entry.wanted).issuperset(entry.fields)),
        ("edition", _is(_EDITION, entry.edition) or (refused and not entry.edition)),
    )


def _claims_of_act(entry: _Shape) -> _Claims:
    on_edition = entry.action in _ACTS_ON_EDITIONS
    return (
        ("version", entry.version > (1 if on_edition else 2)),
        ("purpose", not entry.purpose),
        ("article", not entry.article),
        ("person_token", not entry.person_token),
        ("result", entry.result == ledger_pb2.RESULT_DONE),
        ("refusal", entry.refusal == 0),
        ("fields", not entry.fields),
        ("answer_digest", not entry.answer_digest),
        ("method", entry.method == 0),
        ("wanted", not entry.wanted),
        ("edition", _is(_EDITION, entry.edition) if on_edition else not entry.edition),
        ("edition_digest", entry.edition_digest == DIGEST_BYTES if on_edition else not entry.edition_digest),
        ("body_digest", not entry.body_digest),
    )


def _claims_of_disclosure(entry: _Shape) -> _Claims:
    refused = entry.result == ledger_pb2.RESULT_REFUSED
    told = entry.action in _TOLD and not refused
    return (
        ("version", entry.version > 1),
        ("purpose", not entry.purpose),
        ("article", _is(_ARTICLE, entry.article) or not entry.article),
        ("person_token", entry.person_token in ((DIGEST_BYTES,) if told else (0, DIGEST_BYTES))),
        ("result", refused or entry.result == ledger_pb2.RESULT_DONE),
        ("refusal", (entry.refusal in _REFUSALS) if refused else entry.refusal == 0),
        ("fields", not entry.fields),
        ("answer_digest", entry.answer_digest == (0 if refused else DIGEST_BYTES)),
        ("method", entry.method == 0),
        ("wanted", not entry.wanted),
        ("edition", not entry.edition),
        ("edition_digest", not entry.edition_digest),
        ("operator_proof", not entry.operator_proof),
        ("body_digest", not entry.body_digest),
    )


def _claims_of_freeze(entry: _Shape) -> _Claims:
    absent = ("purpose", "article", "person_token", "refusal", "fields", "answer_digest", "method", "wanted", "edition")
    return (
        ("version", entry.version > 2),
        ("result", entry.result == ledger_pb2.RESULT_DONE),
        *((name, not getattr(entry, name)) for name in (*absent, "edition_digest", "body_digest")),
    )


def _is(pattern: re.Pattern[str], text: str) -> bool:
    return pattern.fullmatch(text) is not None


def _are_fields(numbers: tuple[int, ...]) -> bool:
    return list(numbers) == sorted(set(numbers)) and _FIELDS.issuperset(numbers)
