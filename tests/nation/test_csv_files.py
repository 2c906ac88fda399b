import csv
import hashlib
import json
import os
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

from nation import HEADERS, NotWritableError, Submission, to_csv, write_changes, write_residents

CODES = ["131016", "141003"]
PROGRAM = """
import sys
from datetime import date
from pathlib import Path
from nation import write_changes, write_residents
out = Path(sys.argv[1])
where = dict(codes=["131016", "141003", "131024"], count=800, seed=5, on=date(2026, 3, 31))
write_residents(out / "residents", **where)
write_changes(out / "changes", **where, start=date(2026, 4, 1), end=date(2026, 4, 30), intensity=20)
"""


def digest(directory: Path) -> dict[str, str]:
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_the_same_seed_gives_the_same_bytes_in_every_process(tmp_path: Path) -> None:
    digests = []
    for hash_seed in ("1", "2"):
        out = tmp_path / hash_seed
        environment = os.environ | {
            "PYTHONHASHSEED": hash_seed,
            "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
        }
        subprocess.run([sys.executable, "-c", PROGRAM, str(out)], check=True, env=environment, timeout=60)
        digests.append(digest(out))
    assert digests[0] == digests[1]
    assert set(digests[0]) == {
        f"{part}/{name}"
        for part in ("residents", "changes")
        for name in ("131016.csv", "141003.csv", "131024.csv", "truth.jsonl")
    }


def test_another_seed_gives_other_people(tmp_path: Path) -> None:
    for seed in (1, 2):
        write_residents(tmp_path / str(seed), CODES, count=50, seed=seed, on=date(2026, 4, 1))
    first, second = (digest(tmp_path / str(seed)) for seed in (1, 2))
    assert not set(first.values()) & set(second.values())


@pytest.mark.parametrize("encoding", ["utf-8", "cp932"])
def test_files_read_back_in_their_encoding_with_either_header(tmp_path: Path, encoding: str) -> None:
    on = date(2026, 3, 31)
    written = write_residents(tmp_path / "r", CODES, count=400, seed=2, on=on, encoding=encoding, japanese_header=True)
    assert [path.name for path in written] == ["131016.csv", "141003.csv"]
    with written[0].open(encoding=encoding, newline="") as file:
        rows = list(csv.DictReader(file))
    assert set(rows[0]) == set(HEADERS.values())
    assert all(row["氏名"] and row["市区町村コード"] == "131016" for row in rows)

    changes = write_changes(
        tmp_path / "c", CODES, count=400, seed=2, on=on, start=date(2026, 4, 1), end=date(2026, 4, 30), intensity=20,
        encoding=encoding,
    )  # fmt: skip
    with changes[0].open(encoding=encoding, newline="") as file:
        ids = [row["message_id"] for row in csv.DictReader(file)]
    assert ids == sorted(ids)


def test_changes_follow_the_residents_of_the_same_arguments(tmp_path: Path) -> None:
    on = date(2026, 3, 31)
    write_residents(tmp_path / "r", CODES, count=300, seed=9, on=on)
    write_changes(tmp_path / "c", CODES, count=300, seed=9, on=on, start=date(2026, 4, 1), end=date(2026, 4, 30))
    before, after = (
        {(line["scope"], line["resident_code"]): line for line in map(json.loads, path.read_text("utf-8").splitlines())}
        for path in (tmp_path / "r" / "truth.jsonl", tmp_path / "c" / "truth.jsonl")
    )
    assert set(before) <= set(after)
    assert len({code for _, code in before}) == 300
    assert {line["version"] for line in before.values()} == {1}
    assert any(after[key] != line for key, line in before.items())


def test_a_character_that_the_encoding_lacks_is_refused_by_line_and_not_by_name() -> None:
    rows = [Submission("131016", {"name": name}, date(2026, 4, 1)) for name in ("山田", "辻\U000e0100")]
    with pytest.raises(NotWritableError, match=r"line 3 .* cp932") as refused:
        to_csv(rows, encoding="cp932")
    assert "辻" not in str(refused.value)
