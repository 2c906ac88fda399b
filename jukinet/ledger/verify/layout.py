"""What an entry may look like, so that nothing about a person can hide in it.

Layout 2 has four fields more than layout 1, of which no entry of layout 1 has any. It knows acts of operators too,
which speak of an edition of the law and of nobody's question, and disclosures, which speak of a resident and a counter.
Layout 3 has the proof of the operator who asked, the digest of a body that is kept elsewhere, the act of taking one and
the first day of a month until which an answer about one person is sealed, five years off at most. That such an answer
was recalled, and that this was acknowledged, is there from that day on, with it, and not before.
"""

import re
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone

from google.protobuf.message import DecodeError

from jukinet._pb.jukinet.errors.v1.errors_pb2 import ERROR_REASON_PRIVATE_SECTOR_BANNED
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2
from jukinet.ledger.verify.findings import Unsound

_PATTERNS = {
    "request_id": re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
    "agency": re.compile(r"spiffe://(agencies|nodes|operators)\.jukinet(/[A-Za-z0-9][A-Za-z0-9._-]{0,62}){1,3}"),
    "purpose": re.compile(r"B[1-6]-[0-9]{1,3}(-[0-9]{1,3}){0,2}\*?(\.[0-9]{1,3})?"),
    "article": re.compile(r"(number-act-)?[0-9]{1,3}(-[0-9]{1,3}){0,3}(\([0-9]{1,2}\))?"),
}
_EDITION = re.compile(r"[0-9]{4}-[0-9]{2}(\.[0-9]{1,2})?")
_ABSENT_IN_REFUSALS = ("purpose", "article")
_ABSENT_IN_ACTS = (
    *("purpose", "article", "person_token", "refusal", "fields", "answer_digest", "method", "wanted"),
    *("operator_proof", "new_subject", "body_digest"),
)
_NEW_IN = {
    2: ("method", "wanted", "edition", "edition_digest"),
    3: ("operator_proof", "new_subject", "body_digest", "about_operator", "sealed_until"),
}
_DIGESTS = ("operator_pseudonym", "case_commitment", "policy_digest")
_REFUSED = ledger_pb2.RESULT_REFUSED
_PROVIDED = ledger_pb2.RESULT_PROVIDED
_DONE = ledger_pb2.RESULT_DONE
_ACTS = {ledger_pb2.ACTION_PROPOSE_EDITION: 2, ledger_pb2.ACTION_APPROVE_EDITION: 2, ledger_pb2.ACTION_TAKE_BODY: 3}
"""With the layout that knows them first."""
_DISCLOSURES = (
    ledger_pb2.ACTION_DISCLOSE_USAGE,
    ledger_pb2.ACTION_REQUEST_RECORD,
    ledger_pb2.ACTION_DISCLOSE_RECORD,
    ledger_pb2.ACTION_CORRECT_RECORD,
    ledger_pb2.ACTION_CLOSE_REQUEST,
)
_TOLD = (ledger_pb2.ACTION_DISCLOSE_USAGE, ledger_pb2.ACTION_DISCLOSE_RECORD)
_ABSENT_IN_DISCLOSURES = (
    *("purpose", "fields", "method", "wanted", "edition", "edition_digest"),
    *("operator_proof", "new_subject", "body_digest"),
)
_FREEZES = (
    ledger_pb2.ACTION_FREEZE_OPERATOR,
    ledger_pb2.ACTION_PROPOSE_RELEASE,
    ledger_pb2.ACTION_RELEASE_OPERATOR,
)
_ABSENT_IN_FREEZES = (*_ABSENT_IN_ACTS, "edition", "edition_digest")
_RECALLS = (ledger_pb2.ACTION_RECALL, ledger_pb2.ACTION_ACKNOWLEDGE_RECALL)
_ABOUT_NOBODY = (ledger_pb2.ACTION_END_WATCH, *_RECALLS)
_MAX_FIELD = 7
_MAX_METHOD = 2
_SEALABLE = (ledger_pb2.ACTION_INQUIRE, ledger_pb2.ACTION_VERIFY_IDENTITY, ledger_pb2.ACTION_INQUIRE_BATCH)
_SEAL = re.compile(r"([0-9]{4})-(0[1-9]|1[0-2])-01")
_MAX_SEALED_MONTHS = 60
_JAPAN = timezone(timedelta(hours=9))
_END_OF_TIME = 253_402_300_800  # Year 10000: the end of what a Timestamp may say.


def read_entry(leaf: bytes) -> ledger_pb2.Entry:
    """The entry in a leaf. Raises Unsound when it is not a canonical entry within its layout."""
    entry = ledger_pb2.Entry()
    try:
        entry.ParseFromString(leaf)
    except DecodeError:
        raise Unsound("is not a serialised Entry") from None
    entry.DiscardUnknownFields()
    if entry.SerializeToString(deterministic=True) != leaf:
        raise Unsound("has unknown fields or is not serialised canonically")
    for name in _wrong_fields(entry):
        raise Unsound(f"has a wrong {name}")
    return entry


def _wrong_fields(entry: ledger_pb2.Entry) -> list[str]:
    wrong = [name for name in _DIGESTS if len(getattr(entry, name)) != 32]
    wrong += [name for name in ("request_id", "agency") if not _PATTERNS[name].fullmatch(getattr(entry, name))]
    wrong += _wrong_time(entry)
    if entry.version not in (1, 2, 3):
        wrong.append("version")
    for version, names in _NEW_IN.items():
        if entry.version < version:
            wrong += [name for name in names if getattr(entry, name)]
    if len(entry.about_operator) != (32 if entry.action in _FREEZES else 0):
        wrong.append("about_operator")
    if entry.sealed_until and not _may_be_sealed(entry):
        wrong.append("sealed_until")
    if entry.action in _FREEZES:
        return wrong + _wrong_in_freeze(entry)
    if entry.action in _ACTS:
        return wrong + _wrong_in_act(entry)
    if entry.action in _DISCLOSURES:
        return wrong + _wrong_in_disclosure(entry)
    return wrong + _wrong_in_question(entry) + _wrong_in_new(entry) + _wrong_outcome(entry, entry.result == _REFUSED)


def _wrong_time(entry: ledger_pb2.Entry) -> list[str]:
    sound = 0 < entry.time.seconds < _END_OF_TIME and 0 <= entry.time.nanos < 1_000_000_000
    return [] if sound else ["time"]


def _may_be_sealed(entry: ledger_pb2.Entry) -> bool:
    until = _SEAL.fullmatch(entry.sealed_until)
    if until is None or _wrong_time(entry):
        return False
    made = datetime.fromtimestamp(entry.time.seconds, _JAPAN)
    months = (int(until[1]) - made.year) * 12 + int(until[2]) - made.month
    if entry.action in _RECALLS:
        return entry.result == _DONE and months <= 0
    return entry.action in _SEALABLE and bool(entry.person_token) and 0 < months <= _MAX_SEALED_MONTHS


def _wrong_in_act(entry: ledger_pb2.Entry) -> list[str]:
    wrong = [name for name in _ABSENT_IN_ACTS if getattr(entry, name)]
    if entry.version < _ACTS[entry.action]:
        wrong.append("action")
    if entry.result != _DONE:
        wrong.append("result")
    if entry.action == ledger_pb2.ACTION_TAKE_BODY:
        return wrong + [name for name in ("edition", "edition_digest") if getattr(entry, name)]
    if not _EDITION.fullmatch(entry.edition):
        wrong.append("edition")
    if len(entry.edition_digest) != 32:
        wrong.append("edition_digest")
    return wrong


def _wrong_in_freeze(entry: ledger_pb2.Entry) -> list[str]:
    wrong = [name for name in _ABSENT_IN_FREEZES if getattr(entry, name)]
    if entry.version < 3:
        wrong.append("action")
    if entry.result != _DONE:
        wrong.append("result")
    return wrong


def _wrong_in_disclosure(entry: ledger_pb2.Entry) -> list[str]:
    wrong = [name for name in _ABSENT_IN_DISCLOSURES if getattr(entry, name)]
    refused = entry.result == _REFUSED
    if entry.version == 1:
        wrong.append("action")
    if entry.result not in (_DONE, _REFUSED):
        wrong.append("result")
    if bool(entry.refusal) != refused or entry.refusal < 0:
        wrong.append("refusal")
    if entry.article and not _PATTERNS["article"].fullmatch(entry.article):
        wrong.append("article")
    if len(entry.answer_digest) != (0 if refused else 32):
        wrong.append("answer_digest")
    told = entry.action in _TOLD and not refused
    if len(entry.person_token) != 32 and (entry.person_token or told):
        wrong.append("person_token")
    return wrong


def _wrong_in_new(entry: ledger_pb2.Entry) -> list[str]:
    """What only a recall, and a call of which nothing but the ban on private use is on record, may not have."""
    if entry.action not in (*_RECALLS, ledger_pb2.ACTION_OTHER_CALL):
        return []
    banned = entry.refusal == ERROR_REASON_PRIVATE_SECTOR_BANNED
    other = entry.action == ledger_pb2.ACTION_OTHER_CALL and not banned
    return ["action"] * (entry.version < 3) + ["person_token"] * bool(entry.person_token) + ["refusal"] * other


def _wrong_in_question(entry: ledger_pb2.Entry) -> list[str]:
    refused = entry.result == _REFUSED
    wrong = [
        name
        for name in _ABSENT_IN_REFUSALS
        if not _PATTERNS[name].fullmatch(value := getattr(entry, name)) and not (refused and not value)
    ]
    if not entry.action or entry.action not in ledger_pb2.Action.values():
        wrong.append("action")
    if entry.edition_digest:
        wrong.append("edition_digest")
    if entry.operator_proof and len(entry.operator_proof) != 32:
        wrong.append("operator_proof")
    if entry.new_subject and not entry.operator_proof:
        wrong.append("new_subject")
    if len(entry.body_digest) not in ((0,) if refused else (0, 32)):
        wrong.append("body_digest")
    if entry.version > 1:
        if not (0 if refused or entry.action in _ABOUT_NOBODY else 1) <= entry.method <= _MAX_METHOD:
            wrong.append("method")
        if not (_EDITION.fullmatch(entry.edition) or (refused and not entry.edition)):
            wrong.append("edition")
        if not _rise(entry.wanted) or not set(entry.fields) <= set(entry.wanted):
            wrong.append("wanted")
    return wrong


def _wrong_outcome(entry: ledger_pb2.Entry, refused: bool) -> list[str]:
    wrong = []
    provided = entry.result == _PROVIDED
    is_done = entry.action in (ledger_pb2.ACTION_WATCH, *_ABOUT_NOBODY)
    known = entry.result in ledger_pb2.Result.values() and entry.result
    if not known or (not refused and (entry.result == _DONE) != is_done):
        wrong.append("result")
    if bool(entry.refusal) != refused or entry.refusal < 0:
        wrong.append("refusal")
    if len(entry.answer_digest) != (0 if refused else 32):
        wrong.append("answer_digest")
    if len(entry.person_token) != 32 and (provided or entry.person_token):
        wrong.append("person_token")
    if entry.fields and not (provided and _rise(entry.fields)):
        wrong.append("fields")
    return wrong


def _rise(numbers: Iterable[int]) -> bool:
    """Whether these are numbers of items, each once, in order."""
    listed = list(numbers)
    return listed == sorted(set(listed)) and all(1 <= number <= _MAX_FIELD for number in listed)
