"""`jukinet submit` against a communication server of its own process: what the command leaves on disk and says."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import Result

from jukinet.cli.init import Plan, write_mesh
from jukinet.cli.output import Exit
from jukinet.cli.processes import MeshProcesses
from tests.commands import jukinet

CODE = "131016"
CHANGES = """\
電文番号,異動事由,異動年月日,住民票コード,氏名,生年月日,性別,市区町村コード,町字,転出先市区町村コード
A-1,出生,2026-04-01,00260401122,髙橋 さくら,2026-04-01,女,131016,丸の内一丁目,
A-2,死亡,2026-04-01,00004567897,,,,,,
A-3,国内転出,2026-04-20,00260401122,,,,,,141003
"""


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A mesh of which only the communication server runs: an answer waits for nobody above."""
    processes = MeshProcesses(write_mesh(tmp_path_factory.mktemp("submit") / "mesh", Plan([CODE], ["gateway-1"])))
    processes.start(f"municipality-{CODE}")
    try:
        asyncio.run(processes.wait_healthy([f"municipality-{CODE}"]))
        yield processes.mesh.root
    finally:
        asyncio.run(processes.terminate_all())


def submit(mesh: Path, file: Path, *more: str | Path) -> Result:
    return jukinet("submit", file, "--mesh", mesh, "--municipality", CODE, *more)


def test_a_clerk_finds_the_version_for_the_move_out_certificate(mesh: Path, tmp_path: Path) -> None:
    file, answers = tmp_path / "changes.csv", tmp_path / "answers.csv"
    file.write_text(CHANGES, "utf-8")
    first = submit(mesh, file, "--answers", answers)
    assert first.exit_code == Exit.REFUSED, first.output
    assert f"The versions of the accepted lines are in {answers}." in first.stderr
    header = "電文番号,更新順番号,通知世代,通知通番,既受理\n"
    assert answers.read_text("utf-8") == header + "A-1,1,1,1,false\nA-3,2,1,2,false\n"
    _, refused = (tmp_path / "changes.rejects.csv").read_text("utf-8").splitlines()
    assert refused.startswith("A-2,")

    taken = submit(mesh, file, "--answers", answers, "--rejects", tmp_path / "rejects-2")
    assert taken.exit_code == Exit.USAGE
    assert "exists already and is left alone" in taken.stderr

    again = submit(mesh, file, "--answers", tmp_path / "answers-2", "--rejects", tmp_path / "rejects-2", "--json")
    assert again.exit_code == Exit.REFUSED
    assert json.loads(again.stdout)["answers"] == str(tmp_path / "answers-2")
    assert (tmp_path / "answers-2").read_text("utf-8") == header + "A-1,1,1,1,true\nA-3,2,1,2,true\n"


def test_a_file_of_which_nothing_is_accepted_has_no_answers(mesh: Path, tmp_path: Path) -> None:
    file, answers = tmp_path / "changes.csv", tmp_path / "answers.csv"
    file.write_text("message_id,reason,event_date,resident_code\nA-9,死亡,2026-04-01,00004567897\n", "utf-8")
    result = submit(mesh, file, "--answers", answers, "--json")
    assert result.exit_code == Exit.REFUSED
    assert json.loads(result.stdout)["answers"] is None
    assert not answers.exists()


def test_answers_and_refusals_do_not_go_to_the_same_file(mesh: Path, tmp_path: Path) -> None:
    file = tmp_path / "changes.csv"
    file.write_text(CHANGES, "utf-8")
    result = submit(mesh, file, "--answers", tmp_path / "changes.rejects.csv")
    assert result.exit_code == Exit.USAGE
    assert "cannot be both" in result.stderr
