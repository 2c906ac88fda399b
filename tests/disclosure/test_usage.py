"""An answer shows what the ledgers hold of a resident in a period, and of nobody else; to each once a day."""

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from hypothesis import example, given
from hypothesis import strategies as st
from sqlalchemy import Connection, insert

from jukinet._pb.jukinet.disclosure.v1 import disclosure_pb2 as disclosure
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2
from jukinet.disclosure import schema, usage_store
from jukinet.disclosure.node import load_editions
from jukinet.disclosure.usage import NOTICE, Period, first_of_longest
from jukinet.disclosure.usage_rows import rows_of
from jukinet.ledger.verify.usage import _months
from jukinet.mesh.clock import JAPAN
from jukinet.mesh.config import ConfigError
from jukinet.mesh.errors import Refused
from jukinet.purpose.edition import load_statute
from tests.disclosure.answers import AMENDED, APRIL, CHECK, CODE, LOOK, MADE_AT, NOBODY, OTHER, indexes, told, us

Node = Any  # the fixture's own class lives in conftest.py
days = st.dates(date(2019, 1, 1), date(2035, 12, 31))


async def test_the_rows_are_the_residents_entries_of_the_period_newest_first(filled: Node) -> None:
    assert indexes(told(filled)) == [20, 19, 16, 15, 12, 11, 8, 7]
    assert indexes(told(filled, OTHER)) == [17, 13, 9]
    assert indexes(told(filled, NOBODY)) == []
    everything = Period(date(2026, 3, 1), date(2026, 12, 31))
    assert indexes(told(filled, CODE, everything)) == [23, 20, 19, 16, 15, 12, 11, 8, 7, 4, 3, 0]
    assert indexes(told(filled, CODE, Period(date(2026, 4, 7), date(2026, 4, 7)))) == []


async def test_an_entry_whose_token_is_of_the_month_before_is_found(node: Node, leaf: Any) -> None:
    """The center made the token a moment before midnight (UTC), the gateway the entry a moment after it."""
    before = datetime(2026, 3, 31, 23, 59, 59, 990_000, tzinfo=UTC)
    token = ledger_pb2.Entry.FromString(leaf(0, CODE, time=before)).person_token
    node.gateway.leaves = [leaf(0, CODE, time=before + timedelta(milliseconds=20), token=token)]
    await node.mirror.look()
    assert indexes(told(node)) == [0]


async def test_a_row_says_who_why_and_what_and_neither_operator_nor_case(filled: Node) -> None:
    usage = disclosure.Usage.FromString(told(filled).usage)
    row = rows_of(usage)[0]
    assert row["recipient_ja"] == "日本年金機構"
    assert (row["function_ja"], row["article"], row["items_ja"]) == ("即時提供（照会）", "30-9", ["氏名"])
    assert row["affair_ja"] == load_statute().rows["B1-77"].label_ja
    assert row["time"].startswith("2026-04-29T09:00:00")
    shown = json.dumps(row) + json_format.MessageToJson(usage)
    assert "op-17" not in shown
    assert "case-1" not in shown


async def test_an_affair_is_called_as_by_the_edition_that_the_entry_cites(node: Node, leaf: Any) -> None:
    node.gateway.leaves = [
        leaf(0, CODE, edition="2019-01"),
        leaf(1, CODE, edition="2026-04"),
        leaf(2, CODE, edition="2026-05"),
    ]
    await node.mirror.look()
    unknown, amended, first = rows_of(disclosure.Usage.FromString(told(node).usage))
    assert first["affair_ja"] == load_statute().rows["B1-77"].label_ja
    assert amended["affair_ja"] == "改正された事務"
    assert "版「2026-05」が開示ノードにない" in unknown["affair_ja"]
    assert "does not have edition 2026-05" in unknown["affair_en"]
    assert (unknown["law_ja"], unknown["purpose"]) == ("", "B1-77.12")


def test_the_editions_of_a_folder_stand_beside_that_of_the_program(tmp_path: Path) -> None:
    (tmp_path / "2026.toml").write_bytes(AMENDED)
    assert [each.edition for each in load_editions(tmp_path)] == ["2019-01", "2026-04"]
    assert [each.edition for each in load_editions(None)] == ["2019-01"]
    with pytest.raises(ConfigError, match="FileNotFoundError"):
        load_editions(tmp_path / "nowhere")


def test_a_resident_is_told_to_ask_under_the_former_code_too() -> None:
    assert "変更前の住民票コードで改めて請求" in NOTICE
    assert "asks once more, under the former one" in NOTICE


@given(days, days)
def test_node_and_verifier_agree_on_the_months_of_a_period(one: date, other: date) -> None:
    period = Period(min(one, other), max(one, other))
    months = [f"{month.astimezone(UTC):%Y-%m}" for month in period.months()]
    assert months == _months(*period)
    for day in period:
        for moment in (
            datetime(day.year, day.month, day.day, tzinfo=JAPAN),
            datetime(day.year, day.month, day.day, 23, 59, 59, tzinfo=JAPAN),
        ):
            assert period.holds(moment)
            for skew in (timedelta(hours=-1), timedelta(0), timedelta(hours=1)):
                assert f"{(moment + skew).astimezone(UTC):%Y-%m}" in months


@given(st.dates(), st.dates(), st.dates())
@example(date.min, date(1, 2, 1), date.max)
@example(date(9999, 12, 1), date.max, date.max)
@example(date(2002, 8, 4), date(2002, 8, 4), date.max)
@example(date(2002, 8, 5), date(2009, 8, 5), date(2009, 8, 5))
@example(date(2019, 1, 1), date(2026, 1, 2), date.max)
@example(date(2019, 1, 1), date(2026, 12, 31), date.max)
@example(date(2021, 3, 1), date(2028, 2, 29), date.max)
@example(date(2021, 2, 28), date(2028, 2, 29), date.max)
@example(date(2020, 2, 29), date(2027, 3, 1), date.max)
@example(date(2026, 4, 1), date(2026, 4, 2), date(2026, 4, 1))
def test_a_period_has_seven_years_of_the_network_to_the_day_and_no_day_to_come(
    first: date, last: date, today: date
) -> None:
    seven_years = (last.year - 7, last.month, last.day) <= (first.year, first.month, first.day)
    fits = date(2002, 8, 5) <= first <= last <= today and seven_years
    refusals = []
    try:
        Period(first, last).check(today)
    except Refused as refused:
        refusals = [refused.reason]
    assert refusals == ([] if fits else [errors.ERROR_REASON_USAGE_TOO_LONG])


@given(st.dates(date(2002, 8, 5)))
def test_the_longest_period_that_ends_on_a_day_is_told_of_and_no_longer_one(last: date) -> None:
    first = first_of_longest(last)
    Period(first, last).check(last)
    with pytest.raises(Refused, match="USAGE_TOO_LONG"):
        Period(first - timedelta(days=1), last).check(last)


async def test_a_resident_is_told_once_a_day_and_a_check_serves_once(filled: Node) -> None:
    subject, day = b"\x01" * 32, date(2026, 4, 30)
    with filled.reader.connect() as connection:
        looked = LOOK._replace(contradicted=True, verified_at=us(MADE_AT) + 7)
        searched = usage_store.search_now(connection, [looked])
    answer = usage_store.Told(CHECK, APRIL, 1_777_000_000_123_457, searched)

    def keep(who: bytes, when: date, what: usage_store.Told) -> Any:
        return filled.writer.run(lambda connection: usage_store.keep_told(connection, who, when, what))

    await keep(subject, day, answer)
    with filled.reader.connect() as connection:
        for today in (day, day + timedelta(days=1)):
            assert usage_store.told_for(connection, subject, today, CHECK, APRIL) == answer
        assert usage_store.told_for(connection, subject, day + timedelta(days=1), CHECK[:-1] + "2", APRIL) is None
    with pytest.raises(Refused, match="USAGE_ASKED_TODAY"):
        await keep(subject, day, answer._replace(check_id=CHECK[:-1] + "2"))
    with pytest.raises(Refused, match="IDENTITY_CHECK_INVALID"):
        await keep(b"\x02" * 32, day, answer)
    await keep(subject, day + timedelta(days=1), answer._replace(check_id=CHECK[:-1] + "3"))
    await keep(b"\x02" * 32, day, answer._replace(check_id=CHECK[:-1] + "4"))


async def test_an_answer_of_before_the_moment_was_kept_is_had_again_with_that_of_its_checkpoint(filled: Node) -> None:
    subject, day = b"\x01" * 32, date(2026, 4, 30)
    told_before = {"subject": subject, "day": f"{day}", "check_id": CHECK, "made_at": us(MADE_AT)}
    searched = {"check_id": CHECK, "origin": LOOK.origin, "size": 24, "contradicted": False}

    def keep(connection: Connection) -> None:
        connection.execute(insert(schema.usages), {**told_before, "first_day": f"{day}", "last_day": f"{day}"})
        connection.execute(insert(schema.searched), searched)

    await filled.writer.run(keep)
    with filled.reader.connect() as connection:
        again = usage_store.told_for(connection, subject, day, CHECK, Period(day, day))
    assert again is not None
    assert [each.verified_at for each in again.searched] == [us(MADE_AT)]


def test_a_ledger_that_was_never_verified_lets_nobody_say_that_an_answer_is_complete(node: Node) -> None:
    with node.reader.connect() as connection, pytest.raises(Refused, match="LEDGER_NOT_MIRRORED"):
        usage_store.search_now(connection, [LOOK])
