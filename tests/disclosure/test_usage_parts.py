"""An answer has as many parts as it takes, of which none may be missing; its length says little of what is in it."""

from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jukinet._pb.jukinet.disclosure.v1 import disclosure_pb2 as disclosure
from jukinet.disclosure.usage import PAGE_ROWS, PART_ROWS, ROW_BYTES, Period, padded
from jukinet.mesh.limits import ANSWER_BYTES
from tests.disclosure.answers import CODE, LOOK, MADE_AT, NOBODY, Files, indexes, told, told_in_parts, us

Node = Any  # the fixture's own class lives in conftest.py


@given(st.lists(st.integers(0, 4000), max_size=50))
def test_every_answer_has_a_multiple_of_twenty_rows_of_one_length(sizes: list[int]) -> None:
    rows = padded([disclosure.UsageRow(index=7, entry=bytes(size)) for size in sizes])
    assert len(rows) % PAGE_ROWS == 0
    assert len(sizes) <= len(rows) < len(sizes) + PAGE_ROWS + (not sizes)
    assert {row.ByteSize() % ROW_BYTES for row in rows} == {0}
    if max(sizes, default=0) <= 1700:
        assert {row.ByteSize() for row in rows} == {ROW_BYTES}


async def test_whoever_was_asked_about_however_often_is_told_of_all_of_it_in_parts(
    node: Node, leaf: Any, keys: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.gateway.leaves = [leaf(number, CODE) for number in range(2 * PART_ROWS + 1)]
    monkeypatch.setattr("jukinet.disclosure.mirror.now_us", lambda: us(MADE_AT))
    await node.mirror.look()
    day = Period(date(2026, 4, 1), date(2026, 4, 1))
    parts = told_in_parts(node, period=day)
    assert [index for part in parts for index in indexes(part)] == list(range(2 * PART_ROWS, -1, -1))
    assert [len(disclosure.Usage.FromString(part.usage).rows) for part in parts] == [PART_ROWS, PART_ROWS, PAGE_ROWS]
    assert max(part.ByteSize() for part in parts) < ANSWER_BYTES / 4
    report = Files(tmp_path, node, keys["ledger"]).verify(*parts[::-1])
    assert report.findings.first_ones == []
    assert (report.parts, report.rows, report.complete) == (3, 2 * PART_ROWS + 1, True)


async def test_an_answer_about_nobody_is_as_long_as_one_about_somebody(filled: Node) -> None:
    nobody, somebody = told(filled, NOBODY), told(filled)
    assert (len(indexes(nobody)), len(indexes(somebody))) == (0, 8)
    assert nobody.ByteSize() == somebody.ByteSize()


@pytest.fixture
def parts(filled: Node, monkeypatch: pytest.MonkeyPatch) -> list[disclosure.FindUsageResponse]:
    """An answer of eight rows in three parts."""
    monkeypatch.setattr("jukinet.disclosure.usage.PART_ROWS", 3)
    made = told_in_parts(filled)
    assert [indexes(part) for part in made] == [[20, 19, 16], [15, 12, 11], [8, 7]]
    return made


@pytest.mark.parametrize("kept", [[1, 2], [0, 2], [0, 1], [0, 0, 1, 2], [0, 0, 2], [2]])
async def test_the_verifier_wants_every_part_once(
    parts: list[disclosure.FindUsageResponse], files: "Files", kept: list[int]
) -> None:
    assert files.verify(*parts).complete
    report = files.verify(*(parts[number] for number in kept), ledgers=[])
    assert "parts" in {finding.check for finding in report.findings.first_ones}


async def test_parts_of_different_answers_are_no_answer(
    parts: list[disclosure.FindUsageResponse], filled: Node, files: "Files"
) -> None:
    later = told(filled, first_row=6, look=LOOK._replace(verified_at=us(MADE_AT) + 1))
    report = files.verify(*parts[:2], later, ledgers=[])
    assert "2 different answers" in report.findings.first_ones[0].message


async def test_each_part_is_signed(parts: list[disclosure.FindUsageResponse], files: "Files") -> None:
    parts[2].signature = bytes(64)
    assert "signature" in {finding.check for finding in files.verify(*parts).findings.first_ones}


async def test_an_answer_of_before_parts_has_all_its_rows(filled: Node, files: "Files") -> None:
    def as_before(usage: Any) -> None:
        usage.ClearField("first_row")
        usage.ClearField("total_rows")

    assert files.altered(told(filled), as_before) == set()
