"""What the yearly report promises: it counts what was signed, tells nothing small, and comes out the same again."""

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jukinet._pb.jukinet.ledger.v1 import ledger_pb2
from jukinet.ledger.verify.findings import Unsound
from jukinet.ledger.yearly_page import Name, as_csv, as_json, as_page
from jukinet.ledger.yearly_report import SMALLEST, YearlyReport, report_year
from tests.ledger.ledger_files import AGENCIES, APRIL, BANNED, MAY, NOT_GRANTED, Ledger, leaf, refusal, spiffe, write


def year_of(*ledgers: Ledger, year: int = 2026, checkpoints: Sequence[str] = ()) -> YearlyReport:
    return report_year(year, [each.path for each in ledgers], [each.key for each in ledgers], checkpoints)


def numbers(report: YearlyReport, kind: str) -> dict[tuple[str, str, str], int | None]:
    return {
        (line.receiver.rpartition("/")[2], line.month, line.reason): line.number
        for line in report.lines
        if line.kind == kind
    }


def test_provisions_are_counted_by_receiver_month_and_method(tmp_path: Path) -> None:
    leaves = [leaf(number, APRIL) for number in range(12)]
    leaves += [leaf(number, APRIL, agency=spiffe(AGENCIES[1])) for number in range(12, 32)]
    leaves += [leaf(number, MAY, action=ledger_pb2.ACTION_VERIFY_IDENTITY, fields=()) for number in range(32, 45)]
    report = year_of(write(tmp_path / "ledger", leaves))
    assert numbers(report, "provided") == {
        ("pension-service", "2026-04", ""): 12,
        ("national-tax-agency", "2026-04", ""): 20,
        ("pension-service", "2026-05", ""): 13,
    }
    assert {line.method for line in report.lines if line.kind == "provided"} == {"immediate"}


def test_a_month_is_japans_and_a_year_begins_in_april(tmp_path: Path) -> None:
    begins, ends = datetime(2026, 3, 31, 15, tzinfo=UTC), datetime(2027, 3, 31, 15, tzinfo=UTC)
    times = [begins - timedelta(seconds=1), begins, ends - timedelta(seconds=1), ends]
    leaves = [leaf(10 * number + each, time) for number, time in enumerate(times) for each in range(10)]
    ledger = write(tmp_path / "ledger", leaves)
    assert [month for _, month, _ in numbers(year_of(ledger), "provided")] == ["2026-04", "2027-03"]
    assert [month for _, month, _ in numbers(year_of(ledger, year=2025), "provided")] == ["2026-03"]
    assert [month for _, month, _ in numbers(year_of(ledger, year=2027), "provided")] == ["2027-04"]


def test_only_what_was_provided_counts_as_provided_and_what_was_not_is_told_apart(tmp_path: Path) -> None:
    nobody = {"result": ledger_pb2.RESULT_NO_SINGLE_MATCH, "fields": (), "token": b""}
    leaves = [leaf(number, APRIL, **nobody) for number in range(11)]
    leaves += [refusal(number, APRIL, NOT_GRANTED) for number in range(11, 23)]
    report = year_of(write(tmp_path / "ledger", leaves))
    assert numbers(report, "provided") == {}
    assert numbers(report, "no_single_match") == {("", "2026-04", ""): 11}
    assert numbers(report, "refused") == {("", "2026-04", "PURPOSE_NOT_GRANTED"): 12}


def test_resident_codes_are_counted_beside(tmp_path: Path) -> None:
    leaves = [leaf(number, APRIL, fields=(1, 6)) for number in range(10)]
    leaves += [leaf(number, APRIL) for number in range(10, 20)]
    report = year_of(write(tmp_path / "ledger", leaves))
    assert numbers(report, "resident_code") == {("", "2026-04", ""): 10}
    assert numbers(report, "provided") == {("pension-service", "2026-04", ""): 20}


def test_sealed_provisions_are_counted_at_once_and_beside(tmp_path: Path) -> None:
    leaves = [leaf(number, APRIL, sealed_until="2027-04-01") for number in range(10)]
    report = year_of(write(tmp_path / "ledger", leaves))
    assert numbers(report, "sealed") == {("", "2026-04", ""): 10}
    assert numbers(report, "provided") == {("pension-service", "2026-04", ""): 10}
    assert "from a later day on" in as_page(report, {})


def test_each_attempt_of_a_private_organisation_is_counted_and_none_is_named(tmp_path: Path) -> None:
    leaves = [refusal(number, APRIL, BANNED, "example-bank") for number in range(3)]
    # Whose certificate says that it is private; those of before stand in the ledger as agencies.
    leaves.append(refusal(3, APRIL, BANNED, "spiffe://agencies.jukinet/private/example-bank"))
    report = year_of(write(tmp_path / "ledger", leaves))
    assert numbers(report, "private_attempt") == {("", "2026-04", ""): 4}
    for form in (as_json, as_csv, as_page):
        assert "example-bank" not in form(report, {spiffe("example-bank"): Name("例示銀行", "Example Bank")})


@given(st.lists(st.tuples(st.sampled_from(AGENCIES), st.sampled_from((APRIL, MAY)), st.integers(0, 25)), max_size=5))
def test_no_number_under_ten_stands_anywhere_nor_can_be_subtracted(
    tmp_path_factory: pytest.TempPathFactory, drawn: list[tuple[str, datetime, int]]
) -> None:
    leaves = [leaf(0, time, agency=spiffe(agency)) for agency, time, count in drawn for _ in range(count)]
    report = year_of(write(tmp_path_factory.mktemp("ledger") / "ledger", leaves))
    truth = Counter((agency, f"{time:%Y-%m}", "") for agency, time, count in drawn for _ in range(count))
    assert numbers(report, "provided") == {key: n if n >= SMALLEST else None for key, n in truth.items()}
    page = as_page(report, {})
    sums = {agency: sum(n for (who, *_), n in truth.items() if who == agency and n >= SMALLEST) for agency in AGENCIES}
    for agency in {who for who, *_ in truth}:
        row = page.split(f"{spiffe(agency)} · 即時提供", 1)[1].split("</tr>", 1)[0]
        assert row.endswith(f"<td>{sums[agency]}</td>")


@given(
    st.lists(
        st.tuples(st.sampled_from(AGENCIES), st.sampled_from((APRIL, MAY)), st.booleans(), st.integers(0, 25)),
        max_size=6,
    )
)
def test_no_part_of_a_month_gives_away_a_number_under_ten(
    tmp_path_factory: pytest.TempPathFactory, drawn: list[tuple[str, datetime, bool, int]]
) -> None:
    """With every shown number at hand, each group that can be told apart has ten members or none."""
    leaves = [
        leaf(
            0,
            time,
            agency=spiffe(agency),
            sealed_until="2027-04-01" if sealed else "",
            fields=(1, 6) if sealed else (1,),
        )
        for agency, time, sealed, count in drawn
        for _ in range(count)
    ]
    report = year_of(write(tmp_path_factory.mktemp("ledger") / "ledger", leaves))
    shown = numbers(report, "provided")
    for kind in ("sealed", "resident_code"):
        for (_, month, _), part in numbers(report, kind).items():
            if part is not None:
                whole = sum(number or 0 for (_, at, _), number in shown.items() if at == month)
                assert part >= SMALLEST
                assert whole == part or whole - part >= SMALLEST


def test_a_hidden_receiver_counts_in_no_part(tmp_path: Path) -> None:
    leaves = [leaf(number, APRIL, fields=(1, 6)) for number in range(12)]
    leaves += [leaf(number, APRIL, fields=(1, 6), agency=spiffe(AGENCIES[1])) for number in range(12, 21)]
    report = year_of(write(tmp_path / "ledger", leaves))
    assert numbers(report, "resident_code") == {("", "2026-04", ""): 12}


def test_a_month_that_no_record_has_come_to_is_not_called_zero(tmp_path: Path) -> None:
    leaves = [leaf(number, APRIL, fields=(1, 6)) for number in range(10)] + [leaf(10, MAY, agency=spiffe(AGENCIES[1]))]
    report = year_of(write(tmp_path / "ledger", leaves))
    (source,) = report.sources
    assert source.covered_to == "2026-05-10T09:00:00+09:00"
    page = as_page(report, {})
    row = page.split(f"{spiffe(AGENCIES[0])} · 即時提供", 1)[1].split("</tr>", 1)[0]
    assert row.count("<td>0</td>") == 1
    assert row.count("<td>—</td>") == 10
    assert '<th scope="row">全体 all</th><td>10</td><td>0</td><td>—</td>' in page
    assert source.covered_to in page


def test_ledgers_of_several_gateways_are_one_report(tmp_path: Path) -> None:
    first = write(tmp_path / "first", [leaf(number, APRIL) for number in range(6)])
    second = write(tmp_path / "second", [leaf(number, APRIL) for number in range(6)], name="jukinet/gateway-2")
    report = year_of(second, first)
    assert numbers(report, "provided") == {("pension-service", "2026-04", ""): 12}
    assert [source.origin for source in report.sources] == ["jukinet/gateway-1", "jukinet/gateway-2"]
    assert as_json(report, {}) == as_json(year_of(first, second), {})


def test_a_report_comes_out_the_same_from_its_checkpoint_when_the_ledger_has_grown(tmp_path: Path) -> None:
    leaves = [leaf(number, APRIL) for number in range(40)]
    then = write(tmp_path / "then", leaves[:25])
    now = write(tmp_path / "now", leaves)
    assert numbers(year_of(now), "provided") == {("pension-service", "2026-04", ""): 40}
    for form in (as_json, as_csv, as_page):
        assert form(year_of(now, checkpoints=[then.checkpoint]), {}) == form(year_of(then), {})


def altered(leaves: list[bytes]) -> list[bytes]:
    return [*leaves[:7], leaf(7, MAY), *leaves[8:]]


@pytest.mark.parametrize(
    "change", [altered, lambda leaves: leaves[:-1], lambda leaves: leaves[1:], lambda leaves: leaves[::-1]]
)
def test_nothing_is_counted_of_a_ledger_that_is_not_what_was_signed(
    tmp_path: Path, change: Callable[[list[bytes]], list[bytes]]
) -> None:
    leaves = [leaf(number, APRIL) for number in range(20)]
    true = write(tmp_path / "true", leaves)
    false = write(tmp_path / "false", change(leaves))
    text = false.path.read_text(encoding="utf-8").split("\n", 1)[1]
    header = true.path.read_text(encoding="utf-8").split("\n", 1)[0]
    false.path.write_text(f"{header}\n{text}", encoding="utf-8")
    with pytest.raises(Unsound, match="not those that were signed"):
        year_of(false)


def test_what_is_given_wrongly_is_named(tmp_path: Path) -> None:
    ledger = write(tmp_path / "ledger", [leaf(0, APRIL)])
    other = write(tmp_path / "other", [leaf(0, APRIL)], name="jukinet/gateway-2")
    with pytest.raises(Unsound, match=r"no key of jukinet/gateway-2"):
        report_year(2026, [ledger.path, other.path], [ledger.key])
    with pytest.raises(Unsound, match="given twice"):
        year_of(ledger, ledger)
    with pytest.raises(Unsound, match="of no given ledger: jukinet/gateway-2"):
        year_of(ledger, checkpoints=[other.checkpoint])


def test_a_checkpoint_beyond_the_ledger_is_refused(tmp_path: Path) -> None:
    leaves = [leaf(number, APRIL) for number in range(4)]
    ledger, later = write(tmp_path / "ledger", leaves), write(tmp_path / "later", [*leaves, leaf(4, APRIL)])
    with pytest.raises(Unsound, match="not those that were signed"):
        year_of(ledger, checkpoints=[later.checkpoint])


def test_the_three_forms_say_the_same(tmp_path: Path) -> None:
    leaves = [leaf(number, APRIL) for number in range(1234)] + [leaf(number, MAY) for number in range(3)]
    report = year_of(write(tmp_path / "ledger", leaves))
    names = {spiffe("pension-service"): Name("日本年金機構", "Japan Pension Service <&>")}
    lines = json.loads(as_json(report, names))["lines"]
    rows = list(csv.DictReader(io.StringIO(as_csv(report, names), newline="")))
    assert [line["number"] for line in lines] == [1234, None]
    assert [(row["number"], row["name_ja"]) for row in rows] == [("1234", "日本年金機構"), ("", "日本年金機構")]
    page = as_page(report, names)
    assert "日本年金機構 Japan Pension Service &lt;&amp;&gt;" in page
    assert page.count("<td>1,234</td>") == 2, "the month and the sum"
    assert "<td>&lt; 10</td>" in page
