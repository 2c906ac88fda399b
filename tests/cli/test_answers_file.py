"""The answers file: whole rows of what was answered, for its owner's eyes, in no other file's place."""

import os
import resource
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from jukinet._pb.jukinet.intake.v1.intake_pb2 import SubmitChangeResponse
from jukinet.cli.answers_file import AnswersFile, AnswersFileExists
from jukinet.cli.change_file import ChangeFile, open_change_file

ENGLISH = "message_id,reason,event_date,resident_code"
JAPANESE = "電文番号,異動事由,異動年月日,住民票コード"
HEADER = "message_id,version,epoch,sequence,repeated\n"


def changes(folder: Path, header: str = ENGLISH, *, encoding: str = "utf-8", line_end: str = "\n") -> ChangeFile:
    path = folder / "changes"
    path.write_bytes((header + line_end).encode(encoding))
    return open_change_file(path)


def answer(version: int, *, repeated: bool = False) -> SubmitChangeResponse:
    return SubmitChangeResponse(version=version, epoch=1, sequence=version + 100, repeated=repeated)


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """As on a full disk, writing beyond `size` bytes fails, after what still fits was written."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_row_says_which_version_and_which_place_in_the_stream_a_change_got(tmp_path: Path) -> None:
    with AnswersFile(tmp_path / "answers", changes(tmp_path)) as answers:
        answers.add("K-1", answer(2))
        answers.add("K-2", answer(18446744073709551500, repeated=True))
    assert (tmp_path / "answers").read_text("utf-8") == (
        HEADER + "K-1,2,1,102,false\nK-2,18446744073709551500,1,18446744073709551600,true\n"
    )


@pytest.mark.parametrize(
    ("header", "encoding", "line_end"),
    [
        (ENGLISH, "utf-8", "\n"),
        (ENGLISH, "utf-8-sig", "\r\n"),
        (JAPANESE, "utf-8", "\n"),
        (JAPANESE, "utf-8-sig", "\r\n"),
        (JAPANESE, "cp932", "\r\n"),
        ('{"message_id": "K-1"}', "utf-8", "\n"),
    ],
)
def test_header_encoding_and_line_ends_are_those_of_the_change_file(
    tmp_path: Path, header: str, encoding: str, line_end: str
) -> None:
    with AnswersFile(tmp_path / "answers", changes(tmp_path, header, encoding=encoding, line_end=line_end)) as answers:
        answers.add("K-1", answer(2))
    wanted = "電文番号,更新順番号,通知世代,通知通番,既受理" if header == JAPANESE else HEADER.rstrip()
    written = (tmp_path / "answers").read_bytes()
    assert written == f"{wanted}{line_end}K-1,2,1,102,false{line_end}".encode(encoding)


def test_an_answer_is_in_the_file_as_soon_as_it_is_told(tmp_path: Path) -> None:
    with AnswersFile(tmp_path / "answers", changes(tmp_path)) as answers:
        for version in (1, 2, 3):
            answers.add("K-1", answer(version))
            assert (tmp_path / "answers").read_text("utf-8").endswith(f"K-1,{version},1,{version + 100},false\n")


def test_only_the_owner_can_read_the_answers(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with AnswersFile(tmp_path / "answers", changes(tmp_path)):
            assert stat.S_IMODE((tmp_path / "answers").stat().st_mode) == 0o600
    finally:
        os.umask(before)


def test_without_an_answer_no_file_stays_behind(tmp_path: Path) -> None:
    for _ in range(2):
        with AnswersFile(tmp_path / "answers", changes(tmp_path)):
            pass
        assert not (tmp_path / "answers").exists()


def test_no_other_file_is_touched(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("other")
    (tmp_path / "link").symlink_to(tmp_path / "absent")
    for name in ("other", "link", "changes"):
        with pytest.raises(AnswersFileExists, match=name) as exists:
            AnswersFile(tmp_path / name, changes(tmp_path))
        assert exists.value.path == tmp_path / name
    assert (tmp_path / "other").read_text() == "other"
    assert not (tmp_path / "absent").exists()


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as missing:
        AnswersFile(tmp_path / "none" / "answers", changes(tmp_path))
    assert str(missing.value.filename) == str(tmp_path / "none" / "answers")


def test_where_the_disk_is_full_the_file_holds_whole_rows_and_goes_on_with_whole_rows(tmp_path: Path) -> None:
    first, third = "K-1,2,1,102,false\n", "K-3,4,1,104,false\n"
    with AnswersFile(tmp_path / "answers", changes(tmp_path)) as answers:
        answers.add("K-1", answer(2))
        with files_of_at_most(len(HEADER + first) + 5), pytest.raises(OSError, match="too large") as full:
            answers.add("K-2", answer(3))
        assert str(full.value.filename) == str(tmp_path / "answers")
        assert (tmp_path / "answers").read_text("utf-8") == HEADER + first
        answers.add("K-3", answer(4))
    assert (tmp_path / "answers").read_text("utf-8") == HEADER + first + third


def test_where_not_even_the_header_fits_nothing_stays_behind(tmp_path: Path) -> None:
    source = changes(tmp_path)
    with files_of_at_most(10), pytest.raises(OSError, match="too large"):
        AnswersFile(tmp_path / "answers", source)
    assert not (tmp_path / "answers").exists()
