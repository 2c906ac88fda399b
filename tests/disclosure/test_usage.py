"""An answer shows what the ledgers hold of a resident in a period: all of it, of nobody else, and no more."""

import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf import json_format
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, insert

from jukinet._pb.jukinet.disclosure.v1 import disclosure_pb2 as disclosure
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2
from jukinet.disclosure import schema, usage_rows, usage_store
from jukinet.disclosure.node import load_editions
from jukinet.disclosure.usage import LONGEST_YEARS, NOTICE, PAGE_ROWS, PART_ROWS, ROW_BYTES, Period, UsageOffice, padded
from jukinet.disclosure.usage_rows import rows_of
from jukinet.ledger.export import export
from jukinet.ledger.note import VerifierKey
from jukinet.ledger.verify.usage import _months, verify_usage
from jukinet.ledger.verify.usage_report import UsageReport
from jukinet.mesh.clock import JAPAN
from jukinet.mesh.config import ConfigError
from jukinet.mesh.errors import Refused
from jukinet.mesh.limits import ANSWER_BYTES
from jukinet.purpose.edition import load_statute, parse_edition, program_edition
from jukinet.purpose.editions import Editions
from nation.codes import CodePool

Node = Any  # the fixture's own class lives in conftest.py
CODE, OTHER, NOBODY = (CodePool(Random(seed)).draw_resident_code() for seed in (1, 2, 3))
KEY = Ed25519PrivateKey.from_private_bytes(b"\x04" * 32)
AMENDED = (
    program_edition()
    .replace(b'name = "2019-01"', b'name = "2026-04"')
    .replace(load_statute().rows["B1-77"].label_ja.encode(), "改正された事務".encode())
)
OFFICE = UsageOffice(
    node="spiffe://nodes.jukinet/disclosure",
    token_key=b"\x09" * 32,
    key=KEY,
    editions=Editions([load_statute(), parse_edition(AMENDED)]),
    names={"spiffe://agencies.jukinet/agency/pension-service": ("日本年金機構", "Japan Pension Service")},
    provider="spiffe://nodes.jukinet/center",
)
APRIL = Period(date(2026, 4, 1), date(2026, 4, 30))
CHECK = "00000000-0000-4000-8000-000000000001"
MADE_AT = datetime(2026, 4, 24, 3, tzinfo=UTC)
LOOK = usage_store.Look("jukinet/gateway-1", contradicted=False, verified_at=0)
days = st.dates(date(2019, 1, 1), date(2035, 12, 31))


def us(moment: datetime) -> int:
    return int(moment.timestamp()) * 1_000_000


def told(
    node: Node, code: str = CODE, period: Period = APRIL, *, look: usage_store.Look = LOOK, first_row: int = 0
) -> disclosure.FindUsageResponse:
    with node.reader.connect() as connection:
        searched = usage_store.search_now(connection, [look])
        return OFFICE.answer(
            connection, code, period, searched, check_id=CHECK, made_at=us(MADE_AT), first_row=first_row
        )


def told_in_parts(node: Node, **asked: Any) -> list[disclosure.FindUsageResponse]:
    """The answer in as many parts as it takes."""
    parts: list[disclosure.FindUsageResponse] = []
    first_row: int | None = 0
    while first_row is not None:
        parts.append(told(node, first_row=first_row, **asked))
        first_row = usage_rows.next_row(disclosure.Usage.FromString(parts[-1].usage))
    return parts


def indexes(answer: disclosure.FindUsageResponse) -> list[int]:
    return [row.index for row in disclosure.Usage.FromString(answer.usage).rows if row.entry]


@pytest.fixture
async def filled(node: Node, leaf: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch) -> Node:
    """Entries about two residents, in turn, and some about nobody; two days apart, from March on."""
    about = [CODE, OTHER, "", CODE]
    node.gateway.leaves = [
        leaf(number, about[number % 4], time=datetime(2026, 3, 20, tzinfo=UTC) + timedelta(days=2 * number))
        for number in range(24)
    ]
    monkeypatch.setattr("jukinet.disclosure.mirror.now_us", lambda: us(MADE_AT))
    await node.mirror.look()
    return node


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


@given(st.lists(st.integers(0, 4000), max_size=50))
def test_every_answer_has_a_multiple_of_twenty_rows_of_one_length(sizes: list[int]) -> None:
    rows = padded([disclosure.UsageRow(index=7, entry=bytes(size)) for size in sizes])
    assert len(rows) % PAGE_ROWS == 0
    assert len(sizes) <= len(rows) < len(sizes) + PAGE_ROWS + (not sizes)
    assert {row.ByteSize() % ROW_BYTES for row in rows} == {0}
    if max(sizes, default=0) <= 1700:
        assert {row.ByteSize() for row in rows} == {ROW_BYTES}


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


@given(days, days)
def test_a_period_is_at_most_seven_years_and_does_not_end_before_it_begins(first: date, last: date) -> None:
    fits = first <= last and last.year - first.year <= LONGEST_YEARS
    refusals = []
    try:
        Period(first, last).check()
    except Refused as refused:
        refusals = [refused.reason]
    assert refusals == ([] if fits else [errors.ERROR_REASON_USAGE_TOO_LONG])


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


# ---- the verifier ----------------------------------------------------------------------------------------------------


class Files:
    """An answer, its ledger and the keys, as files."""

    def __init__(self, folder: Path, node: Node, ledger_key: Path) -> None:
        self.answer, self.node_key, self.ledger = folder / "usage.json", folder / "node.vkey", folder / "ledger.jsonl"
        self.ledger_key = ledger_key
        self.node_key.write_text(f"{VerifierKey('jukinet/disclosure', KEY.public_key())}\n")
        self.leaves, self.witnesses = list(node.gateway.leaves), [str(each.key) for each in _cosigners()]
        self.write_ledger(self.leaves, node.gateway._note())

    def write_ledger(self, leaves: list[bytes], note: str) -> None:
        with self.ledger.open("w", encoding="utf-8", newline="\n") as file:
            export(leaves, note, file)

    def verify(self, *parts: disclosure.FindUsageResponse, **options: Any) -> UsageReport:
        self.answer.write_text("\n".join(map(json_format.MessageToJson, parts)))
        given = {"ledger_keys": [self.ledger_key], "ledgers": [self.ledger], "witnesses": self.witnesses, **options}
        return verify_usage(self.answer, self.node_key, **given)

    def altered(self, answer: disclosure.FindUsageResponse, change: Callable[[Any], None]) -> set[str]:
        """What is found in an answer that the node itself altered, and signed."""
        usage = disclosure.Usage.FromString(answer.usage)
        change(usage)
        body = usage.SerializeToString(deterministic=True)
        lie = disclosure.FindUsageResponse(usage=body, signature=KEY.sign(b"jukinet usage v1\0" + body))
        return {finding.check for finding in self.verify(lie).findings.first_ones}


def _cosigners() -> Any:
    from tests.disclosure.conftest import COSIGNERS

    return COSIGNERS


@pytest.fixture
def files(filled: Node, keys: dict[str, Path], tmp_path: Path) -> Files:
    return Files(tmp_path, filled, keys["ledger"])


async def test_a_sound_answer_verifies_and_with_the_ledger_it_is_complete(filled: Node, files: Files) -> None:
    answer = told(filled)
    report = files.verify(answer)
    assert report.findings.first_ones == []
    assert (report.rows, report.complete, report.findings.exit_code) == (8, True, 0)
    assert "SOUND AND COMPLETE" in report.to_text()
    alone = files.verify(answer, ledgers=[])
    assert alone.findings.sound
    assert not alone.complete
    assert "to count again" in alone.to_text()


def grown(files: Files, node: Node, *more: bytes) -> None:
    node.gateway.leaves.extend(more)
    files.write_ledger(node.gateway.leaves, node.gateway._note())


async def test_what_a_ledger_has_after_the_search_is_counted_and_what_is_about_the_resident_is_named(
    filled: Node, files: Files, leaf: Any
) -> None:
    later = MADE_AT + timedelta(days=1)
    grown(files, filled, leaf(90, CODE, time=later), leaf(91, OTHER, time=later), leaf(92, time=later))
    report = files.verify(told(filled))
    assert (report.complete, report.exit_code) == (True, 0)
    assert (report.later_entries, report.later) == (3, ["entry 24 of jukinet/gateway-1, 2026-04-25T12:00:00+09:00"])
    assert "entry 24 of jukinet/gateway-1, 2026-04-25T12:00:00+09:00, is not in the answer" in report.to_text()
    assert report.to_text().endswith("SOUND AND COMPLETE UNTIL 2026-04-24T12:00:00+09:00\n")
    assert json.loads(report.to_json())["later"] == report.later


@pytest.mark.parametrize(("earlier", "found"), [(timedelta(minutes=11), ["outdated"]), (timedelta(minutes=9), [])])
async def test_an_answer_that_ends_before_the_moment_up_to_which_it_claims_to_hold_is_found_out(
    filled: Node, files: Files, leaf: Any, earlier: timedelta, found: list[str]
) -> None:
    """A gateway may add entries for ten minutes that no quorum cosigned yet."""
    grown(files, filled, leaf(90, CODE, time=MADE_AT - earlier), leaf(91, time=MADE_AT - timedelta(days=9)))
    report = files.verify(told(filled))
    assert [finding.check for finding in report.findings.first_ones] == found


async def test_what_a_ledger_file_has_after_the_search_is_that_of_its_own_checkpoint(
    filled: Node, files: Files, leaf: Any
) -> None:
    grown(files, filled, leaf(90))
    later = leaf(91, CODE, time=MADE_AT + timedelta(days=1))
    files.write_ledger([*filled.gateway.leaves[:-1], later], filled.gateway._note())
    report = files.verify(told(filled))
    assert "its own checkpoint" in report.findings.first_ones[0].message


async def test_a_ledger_that_contradicted_itself_is_a_verdict_of_its_own(filled: Node, files: Files) -> None:
    answer = told(filled, look=LOOK._replace(contradicted=True))
    report = files.verify(answer)
    assert [finding.check for finding in report.findings.first_ones] == ["contradicted"]
    assert (report.contradicted, report.complete, report.exit_code) == (True, False, 3)
    assert report.to_text().endswith("CONTRADICTED\n")
    assert usage_rows.contradicted(disclosure.Usage.FromString(answer.usage)) == ["jukinet/gateway-1"]
    worse = files.verify(answer, witnesses=files.witnesses, quorum=3)
    assert (worse.contradicted, worse.exit_code, worse.verdict) == (False, 1, "NOT SOUND")


async def test_every_ledger_whose_key_is_given_was_searched(filled: Node, files: Files, tmp_path: Path) -> None:
    other = tmp_path / "other.vkey"
    other.write_text(f"{VerifierKey('jukinet/gateway-2', KEY.public_key())}\n")
    answer = told(filled)
    report = files.verify(answer, ledger_keys=[files.ledger_key, other])
    assert [finding.message for finding in report.findings.first_ones] == [
        "jukinet/gateway-2, whose key was given, was not searched"
    ]
    other.write_text(f"{VerifierKey('jukinet/gateway-1', KEY.public_key())}\n")
    assert files.verify(answer, ledger_keys=[files.ledger_key, other]).exit_code == 2


async def test_an_answer_holds_until_the_ledger_was_looked_at_last_and_not_only_until_it_grew(filled: Node) -> None:
    def holds(look: usage_store.Look) -> str:
        return usage_rows.until(disclosure.Usage.FromString(told(filled, look=look).usage))

    assert holds(LOOK) == "2026-04-24T12:00:00+09:00"
    assert holds(LOOK._replace(verified_at=us(MADE_AT + timedelta(hours=1)))) == "2026-04-24T13:00:00+09:00"


def _row_left_out(usage: Any) -> None:
    usage.rows[3].CopyFrom(disclosure.UsageRow(padding=bytes(9)))


def _row_of_another(usage: Any) -> None:
    usage.tokens[1].token = b"\x01" * 32


def _row_twice(usage: Any) -> None:
    usage.rows[7].CopyFrom(usage.rows[6])


def _wrong_index(usage: Any) -> None:
    usage.rows[0].index += 1


def _short_proof(usage: Any) -> None:
    del usage.rows[0].proof[-1]


def _month_left_out(usage: Any) -> None:
    del usage.tokens[1]


def _shorter_period(usage: Any) -> None:
    usage.first_day.day = 15


def _other_checkpoint(usage: Any) -> None:
    usage.ledgers[0].checkpoint = usage.ledgers[0].checkpoint.replace("\n24\n", "\n23\n")


def _other_size(usage: Any) -> None:
    usage.ledgers[0].size -= 1


def _no_cosignature(usage: Any) -> None:
    note = usage.ledgers[0].checkpoint
    usage.ledgers[0].checkpoint = "".join(line for line in note.splitlines(keepends=True) if "witness" not in line)


def _no_padding(usage: Any) -> None:
    del usage.rows[8:]


def _nothing_searched(usage: Any) -> None:
    del usage.ledgers[:]


def _rows_kept_back(usage: Any) -> None:
    usage.total_rows += 1


def _no_moment(usage: Any) -> None:
    usage.ledgers[0].ClearField("verified_at")


def _moment_after_the_answer(usage: Any) -> None:
    usage.ledgers[0].verified_at.FromDatetime(MADE_AT + timedelta(seconds=1))


def _moment_that_there_is_not(usage: Any) -> None:
    usage.ledgers[0].verified_at.seconds = 2**62


@pytest.mark.parametrize(
    ("lie", "found"),
    [
        (_row_left_out, "complete"),
        (_row_of_another, "row"),
        (_row_twice, "row"),
        (_wrong_index, "proof"),
        (_short_proof, "proof"),
        (_month_left_out, "tokens"),
        (_shorter_period, "row"),
        (_other_checkpoint, "checkpoint"),
        (_other_size, "ledger"),
        (_no_cosignature, "witness"),
        (_no_padding, "rows"),
        (_nothing_searched, "ledger"),
        (_rows_kept_back, "parts"),
        (_no_moment, "ledger"),
        (_moment_after_the_answer, "ledger"),
        (_moment_that_there_is_not, "input"),
    ],
)
async def test_a_node_that_lies_is_found_out(filled: Node, files: Files, lie: Any, found: str) -> None:
    assert found in files.altered(told(filled), lie)


async def test_an_answer_signed_by_another_key_is_found_out(filled: Node, files: Files) -> None:
    answer = told(filled)
    answer.signature = Ed25519PrivateKey.generate().sign(b"jukinet usage v1\0" + answer.usage)
    assert [finding.check for finding in files.verify(answer).findings.first_ones] == ["signature"]


async def test_another_ledger_of_the_same_name_is_found_out(filled: Node, files: Files, leaf: Any) -> None:
    files.write_ledger([*files.leaves[:-1], leaf(91)], filled.gateway._note())
    assert {finding.check for finding in files.verify(told(filled)).findings.first_ones} == {"ledger"}


@settings(max_examples=30)
@given(st.binary(max_size=300))
def test_whatever_is_in_the_file_the_verifier_reports(content: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        answer, key = Path(folder) / "usage.json", Path(folder) / "key"
        answer.write_bytes(content)
        key.write_text(f"{VerifierKey('jukinet/disclosure', KEY.public_key())}\n")
        assert verify_usage(answer, key, []).findings.exit_code in (1, 2)


# ---- once a day ------------------------------------------------------------------------------------------------------


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
        assert usage_store.told_on(connection, subject, day) == answer
        assert usage_store.told_on(connection, subject, day + timedelta(days=1)) is None
    with pytest.raises(Refused, match="USAGE_ASKED_TODAY"):
        await keep(subject, day, answer._replace(check_id=CHECK[:-1] + "2"))
    with pytest.raises(Refused, match="IDENTITY_CHECK_INVALID"):
        await keep(subject, day + timedelta(days=1), answer)
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
        again = usage_store.told_on(connection, subject, day)
    assert again is not None
    assert [each.verified_at for each in again.searched] == [us(MADE_AT)]


def test_a_ledger_that_was_never_verified_lets_nobody_say_that_an_answer_is_complete(node: Node) -> None:
    with node.reader.connect() as connection, pytest.raises(Refused, match="LEDGER_NOT_MIRRORED"):
        usage_store.search_now(connection, [LOOK])
