"""`jukinet nation`: change files by seed."""

import json
from pathlib import Path

import pytest

from jukinet.cli.output import Exit
from tests.commands import jukinet

FEW = ["--municipality", "131016", "--count", "30", "--seed", "3"]


def test_the_same_seed_gives_the_same_files(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        assert jukinet("nation", "residents", str(tmp_path / folder), *FEW).exit_code == Exit.OK
    assert (tmp_path / "a" / "131016.csv").read_bytes() == (tmp_path / "b" / "131016.csv").read_bytes()
    assert (tmp_path / "a" / "truth.jsonl").exists()


def test_the_files_and_their_number_of_changes_are_told(tmp_path: Path) -> None:
    result = jukinet("nation", "residents", str(tmp_path), *FEW, "--json")
    assert json.loads(result.stdout) == {"files": [{"file": str(tmp_path / "131016.csv"), "changes": 30}]}
    assert "30 changes" in jukinet("nation", "residents", str(tmp_path), *FEW).stdout


def test_changes_of_a_period_may_be_of_every_reason(tmp_path: Path) -> None:
    period = ["--from", "2026-04-02", "--to", "2026-04-20", "--every-reason"]
    more = ["--encoding", "cp932", "--japanese-header"]
    result = jukinet("nation", "changes", str(tmp_path), *FEW, *period, *more)
    assert result.exit_code == Exit.OK, result.output
    assert (tmp_path / "131016.csv").read_text(encoding="cp932").startswith("電文番号,異動事由")


@pytest.mark.parametrize(
    "arguments",
    [
        ["residents", "--municipality", "999999"],
        ["changes", "--municipality", "131016", "--from", "2026-04-20", "--to", "2026-04-02"],
        ["changes", "--municipality", "131016", "--from", "yesterday", "--to", "2026-04-02"],
        ["residents"],
    ],
    ids=["unknown municipality", "period backwards", "no date", "no municipality"],
)
def test_what_cannot_be_is_wrong_usage(tmp_path: Path, arguments: list[str]) -> None:
    command, *rest = arguments
    result = jukinet("nation", command, str(tmp_path), "--count", "5", *rest)
    assert result.exit_code == Exit.USAGE
    assert result.stderr
