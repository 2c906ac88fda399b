"""What is sealed is counted at once, shown from its day on and not before, and nothing else can hide behind it."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from jukinet._pb.jukinet.disclosure.v1 import disclosure_pb2 as disclosure
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2 as ledger
from jukinet.disclosure import usage_store
from jukinet.disclosure.usage import Period
from jukinet.disclosure.usage_rows import rows_of
from jukinet.ledger.seal import seal_key, sealed_token
from jukinet.mesh.clock import JAPAN
from tests.disclosure.answers import APRIL, CHECK, CODE, LOOK, MADE_AT, NOBODY, OFFICE, OTHER, Files, indexes, us

Node = Any  # the fixture's own class lives in conftest.py
JULY = "2026-07-01"
BEFORE = datetime(2026, 6, 30, 23, 59, 59, tzinfo=JAPAN)
ON_THE_DAY = datetime(2026, 7, 1, tzinfo=JAPAN)


def told(node: Node, at: datetime, code: str = CODE, period: Period = APRIL) -> disclosure.FindUsageResponse:
    with node.reader.connect() as connection:
        searched = usage_store.search_now(connection, [LOOK])
        moment = int(at.timestamp()) * 1_000_000
        return OFFICE.answer(connection, code, period, searched, check_id=CHECK, made_at=moment)


def usage_of(answer: disclosure.FindUsageResponse) -> disclosure.Usage:
    return disclosure.Usage.FromString(answer.usage)


@pytest.fixture
async def filled(node: Node, leaf: Any, monkeypatch: pytest.MonkeyPatch) -> Node:
    """Plain entries, and four sealed ones: two of the resident, one of another until later, one outside the period. At
    the end a recall that was held back until its answer opened: it hides nobody."""

    def sealed(number: int, code: str, until: str, day: int) -> bytes:
        token = sealed_token(seal_key(OFFICE.token_key, until, code), f"5f7d1c1e-0000-4000-8000-{number:012x}")
        time = datetime(2026, 4, 1, 3, tzinfo=UTC) + timedelta(days=day)
        made: bytes = leaf(number, code, time=time, token=token, sealed_until=until)
        return made

    node.gateway.leaves = [
        leaf(0, CODE),
        sealed(1, CODE, JULY, 1),
        leaf(2, OTHER),
        sealed(3, OTHER, "2027-01-01", 2),
        sealed(4, CODE, JULY, 3),
        sealed(5, CODE, JULY, 40),
        leaf(6),
        leaf(7, action=ledger.ACTION_RECALL, result=ledger.RESULT_DONE, method=0, wanted=[], sealed_until="2026-04-01"),
    ]
    monkeypatch.setattr("jukinet.disclosure.mirror.now_us", lambda: us(MADE_AT))
    await node.mirror.look()
    return node


async def test_until_its_day_a_sealed_entry_is_counted_and_not_shown(filled: Node, files: Files) -> None:
    answer = told(filled, BEFORE)
    assert indexes(answer) == [0]
    assert [each.sealed for each in usage_of(answer).ledgers] == [3]
    report = files.verify(answer)
    assert (report.findings.first_ones, report.complete, report.sealed) == ([], True, 3)
    assert "of everybody together" in report.to_text()


async def test_from_its_day_on_it_is_shown_with_proof_that_it_was_there_all_the_time(
    filled: Node, files: Files
) -> None:
    early, answer = told(filled, BEFORE), told(filled, ON_THE_DAY)
    assert indexes(answer) == [4, 1, 0]
    assert [row["sealed_until"] for row in rows_of(usage_of(answer))] == [JULY, JULY, ""]
    assert [each.sealed for each in usage_of(answer).ledgers] == [1]
    assert usage_of(answer).ledgers[0].checkpoint == usage_of(early).ledgers[0].checkpoint
    report = files.verify(answer)
    assert (report.findings.first_ones, report.complete, report.rows) == ([], True, 3)
    assert indexes(told(filled, ON_THE_DAY, OTHER)) == [2]
    assert indexes(told(filled, datetime(2027, 1, 1, tzinfo=JAPAN), OTHER)) == [3, 2]


async def test_the_answer_before_the_day_differs_by_nothing_from_that_of_who_was_not_asked_about(filled: Node) -> None:
    one, other = (usage_of(told(filled, BEFORE, code)) for code in (CODE, NOBODY))
    assert [each.sealed_until for each in one.seal_keys] == [each.sealed_until for each in other.seal_keys]
    assert [each.sealed_until for each in one.seal_keys] == ["2026-05-01", "2026-06-01"]
    assert (one.ledgers, one.notice, len(one.rows)) == (other.ledgers, other.notice, len(other.rows))


async def test_nothing_that_is_told_before_the_day_ties_a_sealed_entry_to_the_resident(filled: Node) -> None:
    told_early = usage_of(told(filled, BEFORE))
    keys = [each.token for each in told_early.tokens] + [each.key for each in told_early.seal_keys]
    with filled.reader.connect() as connection:
        from jukinet.disclosure.mirror_store import find, find_sealed
        from jukinet.ledger.layout import decode

        entries = [decode(each.entry) for each in find_sealed(connection, *Period(date(2026, 4, 1), date(2026, 5, 31)))]
        assert [each.place for each in find(connection, keys)] == [0]
    assert len(entries) == 4
    for entry in entries:
        assert entry.person_token not in {sealed_token(key, entry.request_id) for key in keys}


def _fewer_are_sealed(usage: Any) -> None:
    usage.ledgers[0].sealed -= 1


def _key_left_out(usage: Any) -> None:
    del usage.seal_keys[-1]


def _key_of_another(usage: Any) -> None:
    usage.seal_keys[-1].key = bytes(32)


def _short_key(usage: Any) -> None:
    usage.seal_keys[-1].key = bytes(31)


def _opened_row_left_out(usage: Any) -> None:
    usage.rows[0].CopyFrom(disclosure.UsageRow(padding=bytes(9)))


def _key_too_early(usage: Any) -> None:
    key = seal_key(OFFICE.token_key, "2026-08-01", CODE)
    usage.seal_keys.add(sealed_until="2026-08-01", key=key)


def _made_earlier(usage: Any) -> None:
    usage.made_at.FromDatetime(BEFORE)


@pytest.mark.parametrize(
    ("lie", "found"),
    [
        (_fewer_are_sealed, "sealed"),
        (_key_left_out, "seals"),
        (_key_left_out, "row"),
        (_key_of_another, "row"),
        (_short_key, "seals"),
        (_opened_row_left_out, "complete"),
        (_key_too_early, "seals"),
        (_made_earlier, "seals"),
    ],
)
async def test_who_hides_behind_a_seal_or_breaks_one_is_found_out(
    filled: Node, files: Files, lie: Any, found: str
) -> None:
    assert found in files.altered(told(filled, ON_THE_DAY), lie)
