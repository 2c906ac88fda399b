"""The reject file takes no other file's place and is its owner's alone; `test_submit.py` tells what stands in it."""

import os
import stat
from pathlib import Path

import pytest

from jukinet.cli.change_file import open_change_file
from jukinet.cli.reject_file import RejectFile, RejectFileExists
from tests.cli.intake import names_in, write


def test_a_name_that_is_taken_meanwhile_is_left_alone_too(tmp_path: Path) -> None:
    source = open_change_file(write(tmp_path / "f", ["bad"]))
    rejects = RejectFile(tmp_path / "rejects", source)
    for line in source.lines():
        rejects.add(line, reason="INVALID_MESSAGE", message="")
    (tmp_path / "rejects").write_text("other")
    with pytest.raises(RejectFileExists):
        rejects.publish()
    assert (tmp_path / "rejects").read_text() == "other"
    assert names_in(tmp_path) == ["f", "rejects"]


def test_the_reject_file_is_private_from_its_first_byte(tmp_path: Path) -> None:
    source = open_change_file(write(tmp_path / "f", ["bad"]))
    rejects = RejectFile(tmp_path / "rejects", source)
    for line in source.lines():
        rejects.add(line, reason="INVALID_MESSAGE", message="")
    (draft,) = (entry for entry in tmp_path.iterdir() if entry.name != "f")
    assert stat.S_IMODE(os.stat(draft).st_mode) == 0o600
    rejects.discard()
    assert not draft.exists()
