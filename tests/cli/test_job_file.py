"""A job holds only persons whom a gateway takes, is signed as it stands, and takes the place of no file."""

import base64
import json
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2 import Subject
from jukinet.cli.job_file import _write_persons
from jukinet.cli.output import Exit
from jukinet.ledger.verify.batch_job import Person, person_lines, read_head, read_person, read_public_key, require_whole
from jukinet.ledger.verify.findings import Unsound
from tests.cli.test_inquire_subject import PERSON
from tests.commands import jukinet

AFFAIR = ("--agency", "pension-service", "--purpose", "B1-77.12", "--case", "case-1", "--operator", "op-7")
SOUND = json.dumps(PERSON, ensure_ascii=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    assert jukinet("operator", "key", tmp_path, "op-7").exit_code == 0
    return tmp_path


def ordered(folder: Path, *lines: str, field: str = "birth-date") -> tuple[int, str, str]:
    people = folder / "people.jsonl"
    people.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    key = ("--operator-key", folder / "op-7.key")
    done = jukinet("batch-job", "sign", people, "--out", folder / "job", *AFFAIR, *key, "--field", field, "--json")
    return done.exit_code, done.stdout, done.stderr


def test_a_job_says_who_ordered_what_and_about_whom(folder: Path) -> None:
    code, said, _ = ordered(folder, SOUND, '{"individual_number": "123456789018"}', SOUND)
    assert (code, json.loads(said)["persons"]) == (Exit.OK, 3)
    assert (folder / "job").stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in folder.iterdir()) == ["job", "op-7.key", "op-7.pub", "people.jsonl"]
    with (folder / "job").open("rb") as file:
        job = read_head(file)
        job.require_signed(read_public_key(folder / "op-7.pub"))
        people = [(number, read_person(line)) for number, line in person_lines(file)]
    assert (job.order.agency, job.order.ordered_by) == (
        "spiffe://agencies.jukinet/agency/pension-service",
        "op-7",
    )
    assert (job.order.case, job.order.fields, job.order.persons) == ("case-1", ["BIRTH_DATE"], 3)
    assert [number for number, _ in people] == [3, 4, 5]
    assert people[0][1] == people[2][1]
    assert people[0][1].subject.four_items.name == PERSON["name"]
    assert people[1][1].subject.individual_number == "123456789018"


@pytest.mark.parametrize(
    "wrong",
    [
        "no object",
        '{"name": "somebody secret"}',
        json.dumps({**PERSON, "local_government_code": "130001"}),
        '{"individual_number": "12345"}',
        '{"individual_number": "123456789018", "個人番号": "123456789026"}',
    ],
)
def test_one_wrong_line_and_there_is_no_job(folder: Path, wrong: str) -> None:
    code, _, told = ordered(folder, SOUND, wrong, SOUND)
    assert (code, "line 2: " in told, "secret" in told) == (Exit.REFUSED, True, False)
    assert not (folder / "job").exists()


def test_a_job_about_nobody_is_none(folder: Path) -> None:
    assert ordered(folder, "")[0] == Exit.USAGE
    assert not (folder / "job").exists()


def test_a_job_takes_the_place_of_no_file(folder: Path) -> None:
    (folder / "job").write_text("diary")
    code, _, told = ordered(folder, SOUND)
    assert (code, "left alone" in told, (folder / "job").read_text()) == (Exit.USAGE, True, "diary")


def test_an_order_that_is_not_spelled_as_it_must_be_is_none(folder: Path) -> None:
    ordered(folder, SOUND)
    path = folder / "job"
    line, *rest = path.read_bytes().splitlines(keepends=True)
    order = json.loads(line)
    spelled = [
        json.dumps(order).encode() + b"\n",
        *(
            json.dumps({**order, **changed}, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
            for changed in (
                {"format": "jukinet-batch-job/2"},
                {"more": 1},
                {"persons": True},
                {"persons": 0},
                {"max_age": -1},
                {"fields": "NAME"},
                {"fields": [1]},
                {"persons_sha256": "0"},
            )
        ),
    ]
    for head in spelled:
        path.write_bytes(b"".join([head, *rest]))
        with path.open("rb") as file, pytest.raises(Unsound):
            read_head(file)


def test_persons_are_whole_only_as_they_were_ordered(folder: Path) -> None:
    ordered(folder, SOUND, SOUND)
    with (folder / "job").open("rb") as file:
        job = read_head(file)
        require_whole(file, job.order)
        file.seek(0)
        read_head(file)
        file.readline()
        with pytest.raises(Unsound, match="not those of the order"):
            require_whole(file, job.order)


def _person_line(**more: Any) -> bytes:
    return json.dumps({"individual_number": "123456789018", **more}, separators=(",", ":")).encode()


@given(held=st.one_of(st.just(b""), st.binary(min_size=32, max_size=32)))
def test_what_is_held_of_a_person_is_read_back_from_the_job_as_it_was_ordered(held: bytes) -> None:
    with TemporaryFile() as file:
        _write_persons(file, [(1, Person(Subject(individual_number="123456789018"), held))])
        file.seek(0)
        (line,) = file.read().splitlines()
    assert read_person(line) == Person(Subject(individual_number="123456789018"), held)


@pytest.mark.parametrize("held", ["", "secret", "AA==", base64.b64encode(bytes(33)).decode(), 7, None, ["x"]])
def test_a_mark_that_is_none_makes_a_line_no_person(held: Any) -> None:
    with pytest.raises(Unsound) as unsound:
        read_person(_person_line(held=held))
    assert "secret" not in str(unsound.value)
