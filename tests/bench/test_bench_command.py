import json
from typing import Any

import pytest

from bench.results import WorkDiffers
from jukinet.cli.bench import app
from tests.commands import jukinet

RESULT_KEYS = {"measure", "value", "unit", "floor", "peer", "ratio"}


def run(*arguments: str) -> tuple[int, str, str]:
    result = jukinet(*arguments, command=app)
    return result.exit_code, result.stdout, result.stderr


def measures(output: str) -> dict[str, Any]:
    report = json.loads(output)
    assert set(report) == {"name", "machine", "results"}
    for result in report["results"]:
        assert set(result) == RESULT_KEYS
        assert result["peer"] is None
        assert result["value"] > 0
        assert result["floor"] > 0
        assert result["ratio"] == pytest.approx(result["value"] / result["floor"], rel=0.02)
    return {result["measure"]: result for result in report["results"]}


@pytest.mark.slow
def test_the_link_is_measured_on_real_nodes_beside_its_floor() -> None:
    code, output, errors = run("link", "--json", "--changes", "100", "--seconds", "0.2", "--rounds", "1")
    assert code == 0, errors
    found = measures(output)
    assert [result["unit"] for result in found.values()] == ["1/s", "us", "ms", "ms", "ms", "ms", "ms"]


@pytest.mark.slow
def test_an_inquiry_is_measured_on_real_nodes_beside_its_floor() -> None:
    code, output, errors = run("inquiry", "--residents", "200", "--seconds", "0.3", "--rounds", "1")
    assert code == 0, errors
    assert "inquiries a second" in output
    assert "load average" in output


@pytest.mark.slow
def test_a_batch_is_measured_on_real_nodes_beside_its_floor() -> None:
    code, output, errors = run("batch", "--json", "--residents", "200", "--persons", "8000", "--rounds", "1")
    assert code == 0, errors
    assert [result["unit"] for result in measures(output).values()] == ["1/s", "us", "us"]


@pytest.mark.slow
def test_a_backlog_is_measured_on_real_nodes_beside_its_floor() -> None:
    code, output, errors = run("drain", "--json", "--changes", "2000")
    assert code == 0, errors
    assert [result["unit"] for result in measures(output).values()] == ["1/s"]


@pytest.mark.slow
def test_lost_registers_are_made_again_on_real_nodes_beside_their_floor() -> None:
    code, output, errors = run("rebuild", "--json", "--residents", "6000")
    assert code == 0, errors
    found = measures(output)
    assert [result["unit"] for result in found.values()] == ["1/s", "1/s", "us", "us", "us", "us", "ms"] * 2


def test_one_spoilt_change_parks_what_stands_behind_it_and_nothing_else() -> None:
    code, output, errors = run("poison", "--json", "--changes", "3000", "--batch", "100")
    assert code == 0, errors
    assert [result["unit"] for result in measures(output).values()] == ["ms", "ms"]


def test_work_that_differs_with_the_poison_is_no_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.poison._POISONED", -1)
    code, output, errors = run("poison", "--json", "--changes", "2000", "--batch", "100")
    assert (code, output) == (1, "")
    assert "parked" in errors


def test_entries_of_the_ledger_are_measured_beside_plain_rows() -> None:
    code, output, errors = run("ledger", "--json", "--entries", "200", "--waiting", "20", "--rounds", "1")
    assert code == 0, errors
    assert [result["unit"] for result in measures(output).values()] == ["1/s", "us", "ms", "ms"]


def test_a_ledger_that_lacks_an_entry_is_no_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.ledger.Record.size", 7)
    code, output, errors = run("ledger", "--json", "--entries", "20", "--waiting", "20", "--rounds", "1")
    assert (code, output) == (1, "")
    assert "holds 7 entries" in errors


def test_a_look_up_in_a_large_register_is_measured_beside_one_in_a_small_one() -> None:
    code, output, errors = run("search", "--json", "--small", "500", "--large", "3000", "--questions", "100")
    assert code == 0, errors
    assert [(name.partition(" among ")[0], result["unit"]) for name, result in measures(output).items()] == [
        ("look-up by four items", "us"),
        ("look-up by four items", "us"),
        ("look-up by individual number", "us"),
        ("look-up by individual number", "us"),
    ]


def test_a_register_in_which_somebody_is_not_found_is_no_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.search.search.find", lambda *_question, **_day: [None])
    code, output, errors = run("search", "--json", "--small", "50", "--large", "50", "--questions", "10")
    assert (code, output) == (1, "")
    assert "not found by four items" in errors


@pytest.mark.parametrize(("name", "runner"), [("link", "run_link"), ("inquiry", "run_inquiry"), ("batch", "run_batch")])
def test_exits_with_1_and_says_why_when_the_work_differs(
    name: str, runner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def differs(**_sizes: object) -> None:
        raise WorkDiffers("expected 5 each, found {'center': 4}")

    monkeypatch.setattr(f"bench.{name}.{runner}", differs)
    code, output, errors = run(name, "--json")
    assert code == 1
    assert output == ""
    assert "center" in errors


def test_refuses_a_run_without_work() -> None:
    assert run("link", "--changes", "0")[0] == 2
    assert run("inquiry", "--rounds", "0")[0] == 2
    assert run("batch", "--persons", "0")[0] == 2
    assert run("rebuild", "--residents", "0")[0] == 2
