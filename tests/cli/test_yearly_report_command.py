"""`jukinet ledger report`: the three forms, names from the directory, and what is wrong with a file."""

import json
from pathlib import Path

import pytest

from jukinet.cli.development_agencies import development_agencies
from jukinet.cli.output import Exit
from jukinet.purpose.agencies import format_agencies
from tests.commands import jukinet
from tests.ledger.ledger_files import APRIL, MAY, Ledger, act, leaf, write

ENTRIES = [*(leaf(number, APRIL) for number in range(12)), act(MAY)]


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    made = write(tmp_path / "ledger.jsonl", ENTRIES)
    (tmp_path / "ledger.vkey").write_text(made.key_text, encoding="utf-8")
    return made


def run(ledger: Ledger, *more: str) -> tuple[int, str, str]:
    key = str(ledger.path.with_suffix(".vkey"))
    result = jukinet("ledger", "report", str(ledger.path), "--key", key, "--year", "2026", *more)
    return result.exit_code, result.stdout, result.stderr


def test_the_report_is_printed_in_each_form(ledger: Ledger) -> None:
    code, text, _ = run(ledger, "--format", "json")
    assert code == Exit.OK
    assert [line["number"] for line in json.loads(text)["lines"]] == [12]
    assert run(ledger, "--format", "csv")[1].splitlines()[2].endswith("2026-04,immediate,,12")
    assert run(ledger)[1].startswith("<!doctype html>")


def test_names_stand_beside_the_ids(ledger: Ledger, tmp_path: Path) -> None:
    directory = tmp_path / "agencies.toml"
    directory.write_text(format_agencies(development_agencies("131016")), encoding="utf-8")
    _, text, _ = run(ledger, "--format", "json", "--agencies", str(directory))
    (name,) = json.loads(text)["names"].values()
    assert name == {"ja": "日本年金機構", "en": "Japan Pension Service"}


def test_a_report_from_an_earlier_checkpoint_is_the_earlier_report(ledger: Ledger, tmp_path: Path) -> None:
    _, then, _ = run(ledger)
    (tmp_path / "checkpoint").write_text(ledger.checkpoint, encoding="utf-8")
    write(ledger.path, [*ENTRIES, *(leaf(number, MAY) for number in range(30))])
    assert run(ledger)[1] != then
    assert run(ledger, "--checkpoint", str(tmp_path / "checkpoint"))[1] == then


def test_a_ledger_out_of_service_is_named_by_its_origin(ledger: Ledger) -> None:
    assert json.loads(run(ledger, "--format", "json")[1])["last_month"] == "2026-04"
    _, text, _ = run(ledger, "--format", "json", "--ended", "jukinet/gateway-1")
    assert json.loads(text)["last_month"] == "2027-03"
    code, text, error = run(ledger, "--ended", "jukinet/gateway-9")
    assert (code, text) == (Exit.REFUSED, "")
    assert "jukinet/gateway-9" in error


def test_an_altered_ledger_gives_no_report(ledger: Ledger) -> None:
    lines = ledger.path.read_text(encoding="utf-8").splitlines(keepends=True)
    ledger.path.write_text("".join(lines[:-1]), encoding="utf-8")
    code, text, error = run(ledger)
    assert (code, text) == (Exit.REFUSED, "")
    assert "not those that were signed" in error


def test_a_file_that_cannot_be_read_is_named(ledger: Ledger, tmp_path: Path) -> None:
    code, text, error = run(ledger, "--checkpoint", str(tmp_path / "nowhere"))
    assert (code, text) == (Exit.USAGE, "")
    assert "nowhere" in error
