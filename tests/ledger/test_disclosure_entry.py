"""The entry of a disclosure says that a resident was told something, at which counter, and nothing else."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2
from jukinet.ledger.entry import EntryKeys, make_disclosure
from jukinet.ledger.errors import EntryInvalid
from jukinet.ledger.layout import decode, encode
from jukinet.ledger.verify.findings import Unsound
from jukinet.ledger.verify.layout import read_entry

KEYS = EntryKeys(b"\x05" * 32)
GIVEN: dict[str, Any] = {
    "time": datetime(2026, 4, 1, tzinfo=UTC),
    "counter": "spiffe://nodes.jukinet/counter/131016",
    "clerk": "clerk 7",
    "check_id": "5f7d1c1e-0000-4000-8000-000000000001",
    "action": ledger_pb2.ACTION_DISCLOSE_USAGE,
    "policy_digest": b"\x07" * 32,
    "token": b"\x01" * 32,
    "answer": b"answer",
}
REFUSED: dict[str, Any] = {"answer": None, "refusal": errors.ERROR_REASON_USAGE_ASKED_TODAY}


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"article": "30-32"},
        REFUSED,
        {**REFUSED, "token": b""},
        {"action": ledger_pb2.ACTION_DISCLOSE_RECORD},
        {"action": ledger_pb2.ACTION_REQUEST_RECORD, "token": b""},
        {"action": ledger_pb2.ACTION_CORRECT_RECORD, "token": b""},
    ],
    ids=str,
)
def test_a_disclosure_is_an_entry_to_writer_and_verifier(changed: dict[str, Any]) -> None:
    entry = make_disclosure(KEYS, **{**GIVEN, **changed})
    leaf = encode(entry)
    assert decode(leaf) == read_entry(leaf) == entry
    assert entry.result == (ledger_pb2.RESULT_REFUSED if entry.refusal else ledger_pb2.RESULT_DONE)
    assert b"clerk 7" not in leaf


@pytest.mark.parametrize(
    "change",
    [
        lambda entry: setattr(entry, "purpose", "B1-77"),
        lambda entry: setattr(entry, "article", "山田"),
        lambda entry: setattr(entry, "person_token", b""),
        lambda entry: setattr(entry, "person_token", b"\x01" * 31),
        lambda entry: setattr(entry, "result", ledger_pb2.RESULT_PROVIDED),
        lambda entry: setattr(entry, "result", ledger_pb2.RESULT_REFUSED),
        lambda entry: setattr(entry, "refusal", errors.ERROR_REASON_USAGE_ASKED_TODAY),
        lambda entry: setattr(entry, "answer_digest", b""),
        lambda entry: setattr(entry, "method", 1),
        lambda entry: setattr(entry, "edition", "2019-01"),
        lambda entry: setattr(entry, "edition_digest", b"\x01" * 32),
        lambda entry: setattr(entry, "version", 1),
        lambda entry: entry.fields.append(1),
        lambda entry: entry.wanted.append(1),
    ],
)
def test_anything_more_or_less_is_no_disclosure(change: Callable[[ledger_pb2.Entry], Any]) -> None:
    entry = make_disclosure(KEYS, **GIVEN)
    change(entry)
    with pytest.raises(EntryInvalid):
        encode(entry)
    with pytest.raises(Unsound):
        read_entry(entry.SerializeToString(deterministic=True))
