"""A later batch sends the mark of what is held of each person whom it names as the earlier one did, and no other."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2 import FourItems, InquireBatchRequest, Subject
from jukinet.cli.batch_answers import FORMAT, BatchAnswers, answer_line
from jukinet.cli.held_marks import read_marks, with_marks
from jukinet.cli.output import Failure
from jukinet.ledger.verify import batch_result
from jukinet.ledger.verify.batch_job import Person, put_persons

PEOPLE = [Subject(four_items=FourItems(name=f"試験{number}")) for number in range(4)]
MARKS = [bytes([number]) * 32 for number in range(4)]


def answers(path: Path, *held: int, kind: str = FORMAT) -> Path:
    with BatchAnswers(path, {}, kind=kind) as file:
        for number in held:
            mark = base64.b64encode(MARKS[number]).decode()
            file.keep([answer_line(number + 1, Person(PEOPLE[number]), {"outcome": "x", "held": mark})])
        file.keep([answer_line(9, Person(PEOPLE[3]), {"outcome": "nobody"})])
        file.keep([{"line": 9, "message": {}}, {"line": 10, "problem": "no object"}])
    return path


@pytest.mark.parametrize("kind", [FORMAT, batch_result.FORMAT])
def test_each_person_has_the_mark_of_the_answer_about_him_in_whichever_line(tmp_path: Path, kind: str) -> None:
    held = answers(tmp_path / "answers", 2, 0, kind=kind)
    failure = Failure("no object")
    asked: list[tuple[int, Subject | Failure]] = [*enumerate(PEOPLE, 1)]
    found = dict(with_marks([*asked, (5, failure)], read_marks(held)))
    assert found.pop(5) is failure
    assert found == {
        1: Person(PEOPLE[0], MARKS[0]),
        2: Person(PEOPLE[1]),
        3: Person(PEOPLE[2], MARKS[2]),
        4: Person(PEOPLE[3]),
    }
    assert [who for _, who in with_marks(enumerate(PEOPLE), {})] == [Person(each) for each in PEOPLE]


def test_the_newest_of_two_answers_counts_and_one_that_was_cut_off_does_not(tmp_path: Path) -> None:
    held = answers(tmp_path / "answers", 0)
    mark = base64.b64encode(MARKS[1]).decode()
    line = json.dumps(answer_line(1, Person(PEOPLE[0]), {"held": mark})).encode()
    held.write_bytes(held.read_bytes() + line)
    assert dict(with_marks([(1, PEOPLE[0])], read_marks(held))) == {1: Person(PEOPLE[0], MARKS[0])}
    held.write_bytes(held.read_bytes() + b"\n")
    assert dict(with_marks([(1, PEOPLE[0])], read_marks(held))) == {1: Person(PEOPLE[0], MARKS[1])}


def _with_a_line(path: Path, line: Any) -> None:
    answers(path, 0)
    path.write_text(f"{path.read_text('utf-8')}{json.dumps(line)}\n", "utf-8")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_text("diary of somebody secret\n"),
        lambda path: path.write_text('{"outcome": "somebody secret", "held": "AA=="}\n'),
        lambda path: path.write_text("[]\n"),
        lambda path: path.unlink(),
        lambda path: _with_a_line(path, "secret"),
        lambda path: _with_a_line(path, {"person": "secret", "held": base64.b64encode(MARKS[0]).decode()}),
        lambda path: _with_a_line(path, {"held": base64.b64encode(MARKS[0]).decode()}),
        lambda path: _with_a_line(path, {"person": "00", "held": "secret"}),
        lambda path: _with_a_line(path, {"person": "00", "held": base64.b64encode(b"short").decode()}),
    ],
)
def test_a_file_of_something_else_is_refused_and_not_quoted(tmp_path: Path, spoil: Any) -> None:
    held = answers(tmp_path / "answers", 0)
    spoil(held)
    with pytest.raises(Failure) as refused:
        list(with_marks([(1, PEOPLE[0])], read_marks(held)))
    assert "secret" not in str(refused.value)


def test_a_message_says_of_each_person_what_is_held_or_of_none() -> None:
    some, none = InquireBatchRequest(), InquireBatchRequest()
    put_persons(some, [Person(PEOPLE[0]), Person(PEOPLE[1], MARKS[1])])
    put_persons(none, [Person(PEOPLE[0]), Person(PEOPLE[1])])
    assert (list(some.held), list(none.held)) == ([b"", MARKS[1]], [])
    assert list(some.subjects) == list(none.subjects) == PEOPLE[:2]
