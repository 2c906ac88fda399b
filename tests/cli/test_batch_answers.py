"""The answers of a batch are on disk as they come, and a batch goes on behind the last whole line."""

import json
from pathlib import Path
from typing import Any

import pytest

from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2 import Subject
from jukinet.cli.batch_answers import FORMAT, BatchAnswers
from jukinet.cli.output import Failure
from jukinet.cli.subject import read_subject, read_subjects
from tests.cli.test_inquire_subject import PERSON, TWICE

BATCH = {"questions_sha256": "00", "purpose": "B1-77", "fields": ["name"]}


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_answers_are_kept_behind_a_line_that_says_whose_they_are(tmp_path: Path) -> None:
    path = tmp_path / "answers"
    with BatchAnswers(path, BATCH) as answers:
        answers.keep([{"line": 1, "outcome": "a"}, {"line": 2, "outcome": "b"}])
        assert (answers.last_line, answers.answered) == (2, 2)
        assert lines(path) == [{"format": FORMAT, **BATCH}, {"line": 1, "outcome": "a"}, {"line": 2, "outcome": "b"}]
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_same_batch_goes_on_behind_its_last_whole_line(tmp_path: Path) -> None:
    path = tmp_path / "answers"
    with BatchAnswers(path, BATCH) as answers:
        answers.keep([{"line": 1}, {"line": 4}])
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"line": 5, "outc')
    with BatchAnswers(path, BATCH) as answers:
        assert (answers.last_line, answers.answered) == (4, 2)
        assert path.read_bytes() == whole
        answers.keep([{"line": 5}])
    assert [line.get("line") for line in lines(path)] == [None, 1, 4, 5]


def test_who_was_not_answered_in_an_earlier_run_still_counts(tmp_path: Path) -> None:
    path = tmp_path / "answers"
    for wanted in (2, 4):
        with BatchAnswers(path, BATCH) as answers:
            answers.keep([{"line": 1, "problem": "x"}, {"line": 2, "outcome": "a"}, {"line": 3, "refusal": "x"}])
            assert answers.faulty == wanted
    with BatchAnswers(path, BATCH) as answers:
        assert (answers.faulty, answers.answered) == (4, 6)


def test_a_header_that_was_cut_off_is_written_again(tmp_path: Path) -> None:
    path = tmp_path / "answers"
    path.write_bytes(b'{"format": "jukinet-ba')
    with BatchAnswers(path, BATCH) as answers:
        assert answers.last_line == 0
    assert lines(path) == [{"format": FORMAT, **BATCH}]


@pytest.mark.parametrize(
    "content",
    ["diary\n", json.dumps({**BATCH, "format": "of tomorrow"}) + "\n", '{"line": 1}\n', "[]\n"],
)
def test_a_file_of_something_else_is_left_alone(tmp_path: Path, content: str) -> None:
    path = tmp_path / "answers"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(
        Failure, match=r"holds something else than one of jukinet-batch-answers/1\. Name another file\."
    ):
        BatchAnswers(path, BATCH)
    assert path.read_text(encoding="utf-8") == content


@pytest.mark.parametrize(
    ("begun", "says"),
    [
        ({**BATCH, "purpose": "B1-72"}, "begun otherwise, by its purpose"),
        ({**BATCH, "questions_sha256": "01", "fields": []}, "begun otherwise, by its fields, questions"),
        ({**BATCH, "of_tomorrow": 1}, "begun otherwise, by its of tomorrow"),
        ({"questions_sha256": "00"}, "does not say its fields, purpose: an older version began it"),
    ],
)
def test_a_file_that_was_begun_otherwise_is_left_alone_and_by_what_is_told(
    tmp_path: Path, begun: dict[str, Any], says: str
) -> None:
    path = tmp_path / "answers"
    path.write_text(json.dumps({"format": FORMAT, **begun}) + "\n", encoding="utf-8")
    before = path.read_bytes()
    with pytest.raises(Failure, match=says):
        BatchAnswers(path, BATCH)
    assert path.read_bytes() == before


def test_many_persons_are_read_from_json_lines_and_each_wrong_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "people"
    sound = json.dumps(PERSON, ensure_ascii=False)
    secret = json.dumps({**PERSON, "birth_date": "the day of secrets"}, ensure_ascii=False)
    nowhere = json.dumps({**PERSON, "local_government_code": "131010"}, ensure_ascii=False)
    path.write_text(f"{sound}\n\n{secret}\nno object\n{sound}\n{nowhere}\n", encoding="utf-8")
    (tmp_path / "one").write_text(sound, encoding="utf-8")
    person = read_subject(tmp_path / "one")
    read = dict(read_subjects(path))
    assert [(number, who) for number, who in read.items() if isinstance(who, Subject)] == [(1, person), (5, person)]
    assert sorted(number for number, who in read.items() if isinstance(who, Failure)) == [3, 4, 6]
    assert "secrets" not in str(read[3])


def test_many_persons_are_read_from_csv(tmp_path: Path) -> None:
    people = tmp_path / "people"
    people.write_text(
        "氏名,生年月日,性別,市区町村コード,町字,番地\n架空　花子,1948-05-03,female,131016,神田,1番地\n名無し\n",
        encoding="utf-8",
    )
    (tmp_path / "one").write_text(json.dumps(PERSON, ensure_ascii=False), encoding="utf-8")
    read = dict(read_subjects(people))
    assert read[2] == read_subject(tmp_path / "one")
    assert isinstance(read[3], Failure)


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ("name,shoe_size", "column 2 "),
        ("name,name", "column 2 .* repeats name"),
        ("氏名,name", "column 2 .* repeats name"),
    ],
)
def test_a_csv_with_an_unknown_or_doubled_column_is_refused(tmp_path: Path, header: str, says: str) -> None:
    people = tmp_path / "people"
    people.write_text(f"{header}\n", encoding="utf-8")
    with pytest.raises(Failure, match=f"columns.*{says}"):
        list(read_subjects(people))


def test_a_line_in_which_an_item_stands_twice_is_named_and_nobody_is_chosen(tmp_path: Path) -> None:
    people = tmp_path / "people"
    people.write_text("\n".join(TWICE), encoding="utf-8")
    assert [type(who) for _, who in read_subjects(people)] == [Failure] * len(TWICE)
