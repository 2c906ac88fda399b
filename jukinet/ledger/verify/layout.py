"""What an entry may look like, so that nothing about a person can hide in it."""

import re

from google.protobuf.message import DecodeError

from jukinet._pb.jukinet.ledger.v1 import ledger_pb2
from jukinet.ledger.verify.report import Unsound

_PATTERNS = {
    "request_id": re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
    "agency": re.compile(r"spiffe://(agencies|nodes|operators)\.jukinet(/[A-Za-z0-9][A-Za-z0-9._-]{0,62}){1,3}"),
    "purpose": re.compile(r"B[1-6]-[0-9]{1,3}(-[0-9]{1,3}){0,2}\*?(\.[0-9]{1,3})?"),
    "article": re.compile(r"(number-act-)?[0-9]{1,3}(-[0-9]{1,3}){0,3}(\([0-9]{1,2}\))?"),
}
_ABSENT_IN_REFUSALS = ("purpose", "article")
_DIGESTS = ("operator_pseudonym", "case_commitment", "policy_digest")
_REFUSED = ledger_pb2.RESULT_REFUSED
_PROVIDED = ledger_pb2.RESULT_PROVIDED
_MAX_FIELD = 7
_END_OF_TIME = 253_402_300_800  # Year 10000: the end of what a Timestamp may say.


def read_entry(leaf: bytes) -> ledger_pb2.Entry:
    """The entry in a leaf. Raises Unsound when it is not a canonical entry of version 1 within its layout."""
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
    refused = entry.result == _REFUSED
    wrong = [
        name
        for name, pattern in _PATTERNS.items()
        if not pattern.fullmatch(value := getattr(entry, name))
        and not (refused and not value and name in _ABSENT_IN_REFUSALS)
    ]
    wrong += [name for name in _DIGESTS if len(getattr(entry, name)) != 32]
    if entry.version != 1:
        wrong.append("version")
    if not (0 < entry.time.seconds < _END_OF_TIME and 0 <= entry.time.nanos < 1_000_000_000):
        wrong.append("time")
    if not entry.action or entry.action not in ledger_pb2.Action.values():
        wrong.append("action")
    return wrong + _wrong_outcome(entry, refused)


def _wrong_outcome(entry: ledger_pb2.Entry, refused: bool) -> list[str]:
    wrong = []
    provided = entry.result == _PROVIDED
    if not entry.result or entry.result not in ledger_pb2.Result.values():
        wrong.append("result")
    if bool(entry.refusal) != refused or entry.refusal < 0:
        wrong.append("refusal")
    if len(entry.answer_digest) != (0 if refused else 32):
        wrong.append("answer_digest")
    if len(entry.person_token) != 32 and (provided or entry.person_token):
        wrong.append("person_token")
    fields = list(entry.fields)
    if fields and not (provided and fields == sorted(set(fields)) and fields[0] >= 1 and fields[-1] <= _MAX_FIELD):
        wrong.append("fields")
    return wrong
