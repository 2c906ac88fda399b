"""A recall and its acknowledgement are entries about an answer, name nobody, and say until when they were held back."""

from datetime import UTC, datetime
from typing import Any

import pytest

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2 as ledger
from jukinet.ledger.entry import EntryKeys, make_entry
from jukinet.ledger.errors import EntryInvalid
from jukinet.ledger.layout import decode, encode
from jukinet.ledger.verify.findings import Unsound
from jukinet.ledger.verify.layout import read_entry

BOTH = (ledger.ACTION_RECALL, ledger.ACTION_ACKNOWLEDGE_RECALL)


def entry(action: "ledger.Action.ValueType", **parts: Any) -> ledger.Entry:
    return make_entry(
        EntryKeys(bytes(32)),
        **{
            "time": datetime(2026, 4, 1, tzinfo=UTC),
            "request_id": "5f7d1c1e-0000-4000-8000-000000000001",
            "agency": "spiffe://agencies.jukinet/agency/a",
            "operator": "op-1",
            "purpose": "B1-77",
            "article": "30-9",
            "case_reference": "case-1",
            "action": action,
            "result": ledger.RESULT_DONE,
            "policy_digest": bytes(32),
            "method": 0,
            "wanted": (),
            "edition": "2026-04",
            "answer": b"recall",
            **parts,
        },
    )


@pytest.mark.parametrize("action", BOTH)
def test_writer_and_verifier_take_what_was_done_and_what_was_refused(action: "ledger.Action.ValueType") -> None:
    refusal = {"result": ledger.RESULT_REFUSED, "refusal": errors.ERROR_REASON_RECALL_POSITION, "answer": None}
    for parts in ({}, {"method": 1}, refusal, {"sealed_until": "2026-04-01"}, {"sealed_until": "2024-12-01"}):
        leaf = encode(entry(action, **parts))
        assert decode(leaf) == read_entry(leaf)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"person_token": bytes(32)}, "person_token"),
        ({"version": 2}, "action"),
        ({"result": ledger.RESULT_PROVIDED}, "result"),
        ({"result": ledger.RESULT_NO_SINGLE_MATCH}, "result"),
        ({"answer_digest": b""}, "answer_digest"),
        ({"purpose": ""}, "purpose"),
        ({"sealed_until": "2026-05-01"}, "sealed_until"),
        ({"sealed_until": "2026-03-02"}, "sealed_until"),
        ({"sealed_until": "2026-04-01", "version": 2}, "sealed_until"),
        (
            {
                "sealed_until": "2026-04-01",
                "result": ledger.RESULT_REFUSED,
                "refusal": errors.ERROR_REASON_RECALL_POSITION,
                "answer_digest": b"",
            },
            "sealed_until",
        ),
    ],
)
@pytest.mark.parametrize("action", BOTH)
def test_what_else_a_recall_could_say_is_no_entry(
    action: "ledger.Action.ValueType", wrong: dict[str, Any], named: str
) -> None:
    told = entry(action)
    for name, value in wrong.items():
        setattr(told, name, value)
    leaf = told.SerializeToString(deterministic=True)
    with pytest.raises(EntryInvalid):
        decode(leaf)
    with pytest.raises(Unsound, match=named):
        read_entry(leaf)
