"""`make contract` compares with every state of the contract since the last break by intention."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROTO = Path("protos/post/v1/letter.proto")
BREAKS = Path("protos/breaks.md")
# Nothing of the developer's own repository or settings, even if a hook of git runs the tests.
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")} | {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_AUTHOR_NAME": "test",
    "GIT_AUTHOR_EMAIL": "test@example.invalid",
    "GIT_COMMITTER_NAME": "test",
    "GIT_COMMITTER_EMAIL": "test@example.invalid",
}


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository of one message, whose contract says where the comparison begins."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "third_party").mkdir()
    (tmp_path / "third_party" / "README").touch()
    (tmp_path / "buf.yaml").write_text(
        "version: v2\nmodules:\n  - path: protos\nbreaking:\n  use:\n    - FILE\n", "utf-8"
    )
    _git(tmp_path, "init", "--quiet")
    (tmp_path / PROTO.parent).mkdir(parents=True)
    (tmp_path / BREAKS).write_text("begins here\n", "utf-8")
    _commit(tmp_path, "string sender = 1;")
    return tmp_path


def test_a_field_that_came_and_changed_within_one_submission_is_found(repository: Path) -> None:
    _commit(repository, "string sender = 1;", "string weight = 2;")
    _commit(repository, "string sender = 1;", "uint32 weight = 2;")
    _commit(repository, "string sender = 1;", "uint32 weight = 2;", "string stamp = 3;")
    result = _make_contract(repository)
    assert result.returncode != 0
    assert 'Field "2" with name "weight" on message "Letter" changed type' in result.stdout


def test_a_change_that_is_not_committed_is_found(repository: Path) -> None:
    _write(repository, "uint32 sender = 1;")
    assert _make_contract(repository).returncode != 0


def test_a_contract_that_only_grows_passes(repository: Path) -> None:
    _commit(repository, "string sender = 1;", "string weight = 2;")
    result = _make_contract(repository)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.count("buf breaking --against") == 2


def test_a_break_by_intention_passes_and_is_guarded_from_then_on(repository: Path) -> None:
    (repository / BREAKS).write_text("begins here\nsender is a number\n", "utf-8")
    _write(repository, "uint32 sender = 1;")
    assert _make_contract(repository).returncode == 0
    _commit(repository, "uint32 sender = 1;")
    assert _make_contract(repository).returncode == 0
    _commit(repository, "string sender = 1;")
    assert _make_contract(repository).returncode != 0


def test_without_a_history_nothing_passes(repository: Path) -> None:
    shutil.rmtree(repository / ".git")
    assert _make_contract(repository).returncode != 0


def _write(repository: Path, *fields: str) -> None:
    lines = ["// A letter.", "message Letter {", *(f"  // A field.\n  {field}" for field in fields), "}"]
    text = 'syntax = "proto3";\n\npackage post.v1;\n\n' + "\n".join(lines) + "\n"
    (repository / PROTO).write_text(text, "utf-8")


def _commit(repository: Path, *fields: str) -> None:
    _write(repository, *fields)
    _git(repository, "add", ".")
    _git(repository, "commit", "--quiet", "-m", "Change")


def _git(repository: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=repository, env=ENVIRONMENT, check=True, timeout=60)


def _make_contract(repository: Path) -> "subprocess.CompletedProcess[str]":
    # The set-up of this very Python is used: the repository of the test has none.
    command = ["make", "contract", "--old-file=setup", f"BIN={Path(sys.executable).parent}"]
    return subprocess.run(
        command, cwd=repository, env=ENVIRONMENT, check=False, capture_output=True, text=True, timeout=60
    )
