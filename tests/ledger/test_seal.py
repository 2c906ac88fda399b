"""A sealed entry is one of the ledger at once, and says nothing by which it could be tied to its person."""

from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2 as ledger
from jukinet.ledger.entry import EntryKeys, make_entry, month_key, person_token
from jukinet.ledger.errors import EntryInvalid
from jukinet.ledger.layout import decode, encode
from jukinet.ledger.seal import seal_key, sealed_token
from jukinet.ledger.verify.findings import Unsound
from jukinet.ledger.verify.layout import read_entry
from nation.codes import CodePool

ROOT = bytes(range(32))
CODE, OTHER = (CodePool(Random(seed)).draw_resident_code() for seed in (1, 2))
FIRST, SECOND = ("5f7d1c1e-0000-4000-8000-00000000000" + digit for digit in "12")
UNTIL = "2027-04-01"


def sealed(**parts: Any) -> ledger.Entry:
    return make_entry(
        EntryKeys(bytes(32)),
        **{
            "time": datetime(2026, 4, 1, tzinfo=UTC),
            "request_id": FIRST,
            "agency": "spiffe://agencies.jukinet/agency/a",
            "operator": "op-1",
            "purpose": "B1-77",
            "article": "30-9",
            "case_reference": "case-1",
            "action": ledger.ACTION_INQUIRE,
            "result": ledger.RESULT_PROVIDED,
            "policy_digest": bytes(32),
            "method": 1,
            "wanted": [1],
            "fields": [1],
            "edition": "2026-04",
            "token": sealed_token(seal_key(ROOT, UNTIL, CODE), FIRST),
            "answer": b"answer",
            "sealed_until": UNTIL,
            **parts,
        },
    )


def test_writer_and_verifier_take_a_sealed_entry() -> None:
    for action in (ledger.ACTION_INQUIRE, ledger.ACTION_VERIFY_IDENTITY, ledger.ACTION_INQUIRE_BATCH):
        leaf = encode(sealed(action=action))
        assert decode(leaf) == read_entry(leaf)


@pytest.mark.parametrize(
    "wrong",
    [
        {"sealed_until": "2027-04-02"},
        {"sealed_until": "2026-04-01"},
        {"sealed_until": "2031-05-01"},
        {"sealed_until": "never"},
        {"version": 2},
        {"action": ledger.ACTION_WATCH},
        {"action": ledger.ACTION_TELL_CHANGE},
        {"result": ledger.RESULT_NO_SINGLE_MATCH, "person_token": b"", "fields": []},
        {
            "result": ledger.RESULT_REFUSED,
            "refusal": errors.ERROR_REASON_SEAL_NOT_ALLOWED,
            "person_token": b"",
            "fields": [],
            "answer_digest": b"",
        },
    ],
    ids=["no first", "past", "too long", "no day", "older layout", "list", "change", "nobody", "refused"],
)
def test_what_may_not_be_sealed_is_no_entry_for_writer_and_verifier(wrong: dict[str, Any]) -> None:
    entry = sealed()
    for name, value in wrong.items():
        if name == "fields":
            del entry.fields[:]
        else:
            setattr(entry, name, value)
    leaf = entry.SerializeToString(deterministic=True)
    with pytest.raises(EntryInvalid, match="sealed_until"):
        decode(leaf)
    with pytest.raises(Unsound, match="sealed_until"):
        read_entry(leaf)


def test_a_sealed_entry_of_no_time_is_refused_and_not_dated() -> None:
    entry = sealed()
    entry.time.seconds = 2**62
    leaf = entry.SerializeToString(deterministic=True)
    with pytest.raises(EntryInvalid, match="time"):
        decode(leaf)
    with pytest.raises(Unsound, match="time"):
        read_entry(leaf)


def test_the_token_of_a_sealed_entry_is_like_no_other_of_its_person() -> None:
    moments = [datetime(2026, month, 1, tzinfo=UTC) for month in range(1, 13)]
    tokens = [person_token(month_key(ROOT, moment), CODE) for moment in moments]
    keys = [seal_key(ROOT, until, code) for until in (UNTIL, "2027-05-01") for code in (CODE, OTHER)]
    tokens += [sealed_token(key, request_id) for key in keys for request_id in (FIRST, SECOND)]
    assert len({*tokens, *keys}) == len(tokens) + len(keys)


def test_a_key_of_another_length_seals_nothing() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        seal_key(ROOT[1:], UNTIL, CODE)
