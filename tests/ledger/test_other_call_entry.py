"""A call that is no question is on record only as what the ban on private use refused (Act art. 30-38)."""

from datetime import UTC, datetime
from typing import Any

import pytest

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2 as ledger
from jukinet.ledger.errors import EntryInvalid
from jukinet.ledger.layout import decode
from jukinet.ledger.verify.findings import Unsound
from jukinet.ledger.verify.layout import read_entry
from tests.ledger.ledger_files import leaf

NOTHING: dict[str, Any] = {"fields": (), "token": b"", "answer": None, "purpose": "", "method": 0, "wanted": ()}


def banned() -> bytes:
    return leaf(
        1,
        datetime(2026, 4, 1, tzinfo=UTC),
        action=ledger.ACTION_OTHER_CALL,
        result=ledger.RESULT_REFUSED,
        refusal=errors.ERROR_REASON_PRIVATE_SECTOR_BANNED,
        article="30-38",
        **NOTHING,
    )


def test_writer_and_verifier_take_a_call_that_was_banned() -> None:
    assert decode(banned()) == read_entry(banned())


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"refusal": errors.ERROR_REASON_INVALID_MESSAGE}, "refusal"),
        ({"result": ledger.RESULT_DONE, "refusal": 0, "answer_digest": bytes(32)}, "refusal|purpose"),
        ({"person_token": bytes(32)}, "person_token"),
        ({"version": 2}, "action"),
    ],
)
def test_what_else_such_a_call_could_say_is_no_entry(wrong: dict[str, Any], named: str) -> None:
    told = ledger.Entry.FromString(banned())
    for name, value in wrong.items():
        setattr(told, name, value)
    changed = told.SerializeToString(deterministic=True)
    with pytest.raises(EntryInvalid):
        decode(changed)
    with pytest.raises(Unsound, match=named):
        read_entry(changed)
