"""What the yearly report promises: it counts what was signed, tells nothing small, and comes out the same again."""

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jukinet._pb.jukinet.errors.v1 import errors_pb2
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2
from jukinet.ledger.entry import make_disclosure
from jukinet.ledger.layout import encode
from jukinet.ledger.reasons_ja import REASONS_JA
from jukinet.ledger.verify.findings import Unsound
from jukinet.ledger.yearly_page import Name, as_csv, as_json, as_page
from jukinet.ledger.yearly_report import SMALLEST, YearlyReport, report_year
from tests.ledger.ledger_files import (
    AGENCIES,
    APRIL,
    BANNED,
    KEYS,
    MAY,
    NOT_GRANTED,
    Ledger,
    act,
    leaf,
    refusal,
    spiffe,
    write,
)

LATER = datetime(2028, 5, 1, tzinfo=UTC)
JUNE = datetime(2026, 5, 31, 15, 0, 5, tzinfo=UTC)
"""The first moment at which May is over: midnight in Japan, and five seconds by which entries may lie back."""


def over(path: Path, leaves: Sequence[bytes], *, name: str = "jukinet/gateway-1") -> Ledger:
    """A ledger in which the months of these entries are over."""
    return write(path, [*leaves, act(LATER)], name=name)


def year_of(
    *ledgers: Ledger, year: int = 2026, checkpoints: Sequence[str] = (), ended: Sequence[str] = ()
) -> YearlyReport:
    return report_year(year, [each.path for each in ledgers], [each.key for each in ledgers], checkpoints, ended)


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
    report = year_of(over(tmp_path / "ledger", leaves))
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
    ledger = over(tmp_path / "ledger", leaves)
    assert [month for _, month, _ in numbers(year_of(ledger), "provided")] == ["2026-04", "2027-03"]
    assert [month for _, month, _ in numbers(year_of(ledger, year=2025), "provided")] == ["2026-03"]
    assert [month for _, month, _ in numbers(year_of(ledger, year=2027), "provided")] == ["2027-04"]


def test_only_what_was_provided_counts_as_provided_and_what_was_not_is_told_apart(tmp_path: Path) -> None:
    nobody = {"result": ledger_pb2.RESULT_NO_SINGLE_MATCH, "fields": (), "token": b""}
    leaves = [leaf(number, APRIL, **nobody) for number in range(11)]
    leaves += [refusal(number, APRIL, NOT_GRANTED) for number in range(11, 23)]
    report = year_of(over(tmp_path / "ledger", leaves))
    assert numbers(report, "provided") == {}
    assert numbers(report, "no_single_match") == {("", "2026-04", ""): 11}
    assert numbers(report, "refused") == {("", "2026-04", "PURPOSE_NOT_GRANTED"): 12}


@pytest.mark.parametrize(
    ("action", "article"),
    [
        (ledger_pb2.ACTION_INQUIRE, "30-9"),
        (ledger_pb2.ACTION_VERIFY_IDENTITY, "30-9"),
        (ledger_pb2.ACTION_INQUIRE_BATCH, "30-9"),
        (ledger_pb2.ACTION_WATCH, "30-9"),
        (ledger_pb2.ACTION_END_WATCH, ""),
        (ledger_pb2.ACTION_TELL_CHANGE, ""),
        (ledger_pb2.ACTION_ACKNOWLEDGE_RECALL, ""),
    ],
)
def test_what_is_refused_is_counted_whatever_was_asked(
    tmp_path: Path, action: "ledger_pb2.Action.ValueType", article: str
) -> None:
    leaves = [refusal(number, APRIL, NOT_GRANTED, action=action, article=article) for number in range(11)]
    report = year_of(over(tmp_path / "ledger", leaves))
    assert numbers(report, "refused") == {("", "2026-04", "PURPOSE_NOT_GRANTED"): 11}


def test_what_a_counter_was_refused_is_no_refusal_of_an_agency(tmp_path: Path) -> None:
    refused: dict[str, Any] = {"refusal": errors_pb2.ERROR_REASON_IDENTITY_CHECK_INVALID, "policy_digest": bytes(32)}
    actions = (
        ledger_pb2.ACTION_DISCLOSE_USAGE,
        ledger_pb2.ACTION_REQUEST_RECORD,
        ledger_pb2.ACTION_DISCLOSE_RECORD,
        ledger_pb2.ACTION_CORRECT_RECORD,
    )
    leaves = [
        encode(
            make_disclosure(
                KEYS,
                time=APRIL,
                counter="spiffe://nodes.jukinet/counter/131016",
                clerk="c-1",
                check_id="5f7d1c1e-0000-4000-8000-000000000000",
                action=action,
                **refused,
            )
        )
        for action in actions
    ]
    assert year_of(over(tmp_path / "ledger", leaves)).lines == []


def test_each_reason_of_a_refusal_has_a_japanese_name_of_its_own() -> None:
    reasons = {value.name.removeprefix("ERROR_REASON_") for value in errors_pb2.ErrorReason.DESCRIPTOR.values}
    assert set(REASONS_JA) == reasons - {"UNSPECIFIED"}
    assert len(set(REASONS_JA.values())) == len(REASONS_JA)
    assert all(re.search("[ぁ-んァ-ヶ一-龠]", name) for name in REASONS_JA.values())


def test_a_page_says_in_japanese_why_something_was_refused(tmp_path: Path) -> None:
    page = as_page(year_of(over(tmp_path / "ledger", [refusal(0, APRIL, NOT_GRANTED)])), {})
    assert '<th scope="row">その機関に認められない利用事務 PURPOSE_NOT_GRANTED</th>' in page


def test_a_page_writes_dates_as_japan_does(tmp_path: Path) -> None:
    page = as_page(year_of(over(tmp_path / "ledger", [leaf(0, APRIL)])), {})
    assert "令和8年度（令和8年4月1日～令和9年3月31日）" in page
    for month in ("令和8年4月", "令和8年12月", "令和9年1月", "令和9年3月"):
        assert f'<th scope="col">{month} ' in page


def test_resident_codes_are_counted_beside(tmp_path: Path) -> None:
    leaves = [leaf(number, APRIL, fields=(1, 6)) for number in range(10)]
    leaves += [leaf(number, APRIL) for number in range(10, 20)]
    report = year_of(over(tmp_path / "ledger", leaves))
    assert numbers(report, "resident_code") == {("", "2026-04", ""): 10}
    assert numbers(report, "provided") == {("pension-service", "2026-04", ""): 20}


def test_sealed_provisions_are_counted_at_once_and_beside(tmp_path: Path) -> None:
    leaves = [leaf(number, APRIL, sealed_until="2027-04-01") for number in range(10)]
    done: dict[str, Any] = {"result": ledger_pb2.RESULT_DONE, "fields": (), "token": b"", "sealed_until": "2026-04-01"}
    leaves += [leaf(number, APRIL, action=ledger_pb2.ACTION_RECALL, **done) for number in range(10, 20)]
    report = year_of(over(tmp_path / "ledger", leaves))
    assert numbers(report, "sealed") == {("", "2026-04", ""): 10}
    assert numbers(report, "provided") == {("pension-service", "2026-04", ""): 10}
    assert "from a later day on" in as_page(report, {})


def test_each_attempt_of_a_private_organisation_is_counted_and_none_is_named(tmp_path: Path) -> None:
    leaves = [refusal(number, APRIL, BANNED, "example-bank") for number in range(3)]
    # Whose certificate says that it is private; those of before stand in the ledger as agencies.
    leaves.append(refusal(3, APRIL, BANNED, "spiffe://agencies.jukinet/private/example-bank"))
    report = year_of(over(tmp_path / "ledger", leaves))
    assert numbers(report, "private_attempt") == {("", "2026-04", ""): 4}
    for form in (as_json, as_csv, as_page):
        assert "example-bank" not in form(report, {spiffe("example-bank"): Name("例示銀行", "Example Bank")})


@given(st.lists(st.tuples(st.sampled_from(AGENCIES), st.sampled_from((APRIL, MAY)), st.integers(0, 25)), max_size=5))
def test_no_number_under_ten_stands_anywhere_nor_can_be_subtracted(
    tmp_path_factory: pytest.TempPathFactory, drawn: list[tuple[str, datetime, int]]
) -> None:
    in_order = sorted(drawn, key=lambda each: each[1])
    leaves = [leaf(0, time, agency=spiffe(agency)) for agency, time, count in in_order for _ in range(count)]
    report = year_of(over(tmp_path_factory.mktemp("ledger") / "ledger", leaves))
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
        for agency, time, sealed, count in sorted(drawn, key=lambda each: each[1])
        for _ in range(count)
    ]
    report = year_of(over(tmp_path_factory.mktemp("ledger") / "ledger", leaves))
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
    report = year_of(over(tmp_path / "ledger", leaves))
    assert numbers(report, "resident_code") == {("", "2026-04", ""): 12}


def test_a_month_that_is_not_over_is_left_out_and_not_called_zero(tmp_path: Path) -> None:
    leaves = [leaf(number, APRIL, fields=(1, 6)) for number in range(10)] + [leaf(10, MAY, agency=spiffe(AGENCIES[1]))]
    leaves += [refusal(number, JUNE, BANNED, "example-bank") for number in range(11, 30)]
    report = year_of(write(tmp_path / "ledger", leaves))
    (source,) = report.sources
    assert source.covered_to == "2026-06-01T00:00:05+09:00"
    assert {line.month for line in report.lines} == {"2026-04", "2026-05"}
    page = as_page(report, {})
    row = page.split(f"{spiffe(AGENCIES[0])} · 即時提供", 1)[1].split("</tr>", 1)[0]
    assert row.count("<td>0</td>") == 1
    assert row.count("<td>—</td>") == 10
    assert '<th scope="row">全体 all</th><td>10</td><td>0</td><td>—</td>' in page
    assert source.covered_to in page
    assert "令和8年6月1日0時00分05秒まで" in page


def test_each_form_says_up_to_which_month_it_goes(tmp_path: Path) -> None:
    leaves = [leaf(number, APRIL) for number in range(10)]
    report = year_of(write(tmp_path / "ledger", [*leaves, act(MAY)]))
    assert report.last_month == "2026-04"
    assert json.loads(as_json(report, {}))["last_month"] == "2026-04"
    assert as_csv(report, {}).splitlines()[1] == "last_month,,,,2026-04,,,"
    assert "令和8年4月分まで" in as_page(report, {})
    nothing = year_of(write(tmp_path / "ledger", leaves))
    assert (nothing.last_month, nothing.lines) == ("", [])
    assert json.loads(as_json(nothing, {}))["last_month"] == ""
    assert as_csv(nothing, {}).splitlines()[1:] == ["last_month,,,,,,,"]
    page = as_page(nothing, {})
    assert "終わった月はまだない" in page
    assert "なし" not in page, "nobody knows yet"


@pytest.mark.parametrize(
    ("newest", "last_month"),
    [
        (JUNE - timedelta(seconds=6), "2026-04"),
        (JUNE - timedelta(microseconds=1), "2026-04"),
        (JUNE, "2026-05"),
        (datetime(2026, 3, 31, 15, 0, 5, tzinfo=UTC), ""),
        (datetime(2027, 3, 31, 15, 0, 4, tzinfo=UTC), "2027-02"),
        (datetime(2027, 3, 31, 15, 0, 5, tzinfo=UTC), "2027-03"),
        (LATER, "2027-03"),
    ],
)
def test_a_month_is_over_when_no_entry_of_it_can_come_any_more(
    tmp_path: Path, newest: datetime, last_month: str
) -> None:
    assert year_of(write(tmp_path / "ledger", [act(newest)])).last_month == last_month


@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 4_999_999), st.integers(1, 12)), min_size=1, max_size=12),
    st.data(),
)
def test_two_reports_say_the_same_of_each_month_that_was_over_in_the_first(
    tmp_path_factory: pytest.TempPathFactory, drawn: list[tuple[int, int, int]], data: st.DataObject
) -> None:
    """Of any two checkpoints, with entries as far out of order as a sound ledger has them."""
    time, leaves = datetime(2026, 4, 30, 14, 59, 20, tzinfo=UTC), list[bytes]()
    for seconds, back_us, count in drawn:
        time += timedelta(seconds=seconds)
        late = time - timedelta(microseconds=back_us)
        leaves += [leaf(0, time)] + [leaf(0, late, action=ledger_pb2.ACTION_INQUIRE_BATCH) for _ in range(count)]
    size = data.draw(st.integers(1, len(leaves)))
    now = write(tmp_path_factory.mktemp("now") / "ledger", leaves)
    then = write(tmp_path_factory.mktemp("then") / "ledger", leaves[:size])
    first, second = year_of(now, checkpoints=[then.checkpoint]), year_of(now)
    assert first.last_month <= second.last_month
    assert first.lines == [line for line in second.lines if line.month <= first.last_month]


@pytest.mark.parametrize("back_seconds", [[5.000001], [3, 6], [3, 0, 6]])
def test_an_entry_that_comes_too_late_ends_the_report(tmp_path: Path, back_seconds: list[float]) -> None:
    """With it, this report would differ from one of before by what came late. Small steps do not add up to more."""
    later = [leaf(number, JUNE - timedelta(seconds=back)) for number, back in enumerate(back_seconds)]
    with pytest.raises(Unsound, match="lies before an earlier one in time"):
        year_of(write(tmp_path / "ledger", [act(JUNE), *later]))


def test_a_month_is_over_when_it_is_over_in_every_ledger(tmp_path: Path) -> None:
    ahead = over(tmp_path / "ahead", [leaf(number, MAY) for number in range(20)])
    behind = write(tmp_path / "behind", [leaf(20, APRIL), act(MAY)], name="jukinet/gateway-2")
    empty = write(tmp_path / "empty", [], name="jukinet/gateway-3")
    assert (year_of(ahead).last_month, len(year_of(ahead).lines)) == ("2027-03", 1)
    assert year_of(ahead, behind).last_month == "2026-04"
    assert numbers(year_of(ahead, behind), "provided") == {("pension-service", "2026-04", ""): None}
    assert year_of(ahead, empty).last_month == ""


def test_a_ledger_that_has_ended_holds_no_month_open_and_the_report_says_so(tmp_path: Path) -> None:
    ahead = over(tmp_path / "ahead", [leaf(number, MAY) for number in range(20)])
    ended = write(tmp_path / "ended", [leaf(20, MAY)], name="jukinet/gateway-2")
    report = year_of(ahead, ended, ended=["jukinet/gateway-2"])
    assert report.last_month == "2027-03"
    assert numbers(report, "provided") == {("pension-service", "2026-05", ""): 21}
    assert [source["ended"] for source in json.loads(as_json(report, {}))["ledgers"]] == [False, True]
    assert as_page(report, {}).count("以後の記録はない") == 1
    with pytest.raises(Unsound, match=r"ended is no given ledger: jukinet/gateway-2"):
        year_of(ahead, ended=["jukinet/gateway-2"])


def test_ledgers_of_several_gateways_are_one_report(tmp_path: Path) -> None:
    first = over(tmp_path / "first", [leaf(number, APRIL) for number in range(6)])
    second = over(tmp_path / "second", [leaf(number, APRIL) for number in range(6)], name="jukinet/gateway-2")
    report = year_of(second, first)
    assert numbers(report, "provided") == {("pension-service", "2026-04", ""): 12}
    assert [source.origin for source in report.sources] == ["jukinet/gateway-1", "jukinet/gateway-2"]
    assert as_json(report, {}) == as_json(year_of(first, second), {})


def test_a_report_comes_out_the_same_from_its_checkpoint_when_the_ledger_has_grown(tmp_path: Path) -> None:
    leaves = [leaf(number, APRIL) for number in range(40)]
    then = write(tmp_path / "then", [*leaves[:25], act(MAY)])
    now = over(tmp_path / "now", [*leaves[:25], act(MAY), *(leaf(number, MAY) for number in range(25, 40))])
    assert numbers(year_of(now), "provided")[("pension-service", "2026-05", "")] == 15
    assert numbers(year_of(then), "provided") == {("pension-service", "2026-04", ""): 25}
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
    true = over(tmp_path / "true", leaves)
    false = over(tmp_path / "false", change(leaves))
    text = false.path.read_text(encoding="utf-8").split("\n", 1)[1]
    header = true.path.read_text(encoding="utf-8").split("\n", 1)[0]
    false.path.write_text(f"{header}\n{text}", encoding="utf-8")
    with pytest.raises(Unsound, match="not those that were signed"):
        year_of(false)


def test_what_is_given_wrongly_is_named(tmp_path: Path) -> None:
    ledger = over(tmp_path / "ledger", [leaf(0, APRIL)])
    other = over(tmp_path / "other", [leaf(0, APRIL)], name="jukinet/gateway-2")
    with pytest.raises(Unsound, match=r"no key of jukinet/gateway-2"):
        report_year(2026, [ledger.path, other.path], [ledger.key])
    with pytest.raises(Unsound, match="given twice"):
        year_of(ledger, ledger)
    with pytest.raises(Unsound, match="of no given ledger: jukinet/gateway-2"):
        year_of(ledger, checkpoints=[other.checkpoint])


def test_a_checkpoint_beyond_the_ledger_is_refused(tmp_path: Path) -> None:
    leaves = [leaf(number, APRIL) for number in range(4)]
    ledger, later = over(tmp_path / "ledger", leaves), over(tmp_path / "later", [*leaves, leaf(4, APRIL)])
    with pytest.raises(Unsound, match="not those that were signed"):
        year_of(ledger, checkpoints=[later.checkpoint])


def test_the_three_forms_say_the_same(tmp_path: Path) -> None:
    leaves = [leaf(number, APRIL) for number in range(1234)] + [leaf(number, MAY) for number in range(3)]
    report = year_of(over(tmp_path / "ledger", leaves))
    names = {spiffe("pension-service"): Name("日本年金機構", "Japan Pension Service <&>")}
    lines = json.loads(as_json(report, names))["lines"]
    rows = list(csv.DictReader(io.StringIO(as_csv(report, names), newline="")))
    assert [line["number"] for line in lines] == [1234, None]
    assert [(row["number"], row["name_ja"]) for row in rows[1:]] == [("1234", "日本年金機構"), ("", "日本年金機構")]
    page = as_page(report, names)
    assert "日本年金機構 Japan Pension Service &lt;&amp;&gt;" in page
    assert page.count("<td>1,234</td>") == 2, "the month and the sum"
    assert "<td>&lt; 10</td>" in page
