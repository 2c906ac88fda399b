"""Who is asked about comes from a file, in the columns of a change file, and no error repeats a value."""

import json
from pathlib import Path

import pytest

from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2 import (
    INQUIRY_OUTCOME_MATCH,
    INQUIRY_OUTCOME_NOT_PROVIDED,
    SOURCE_STATE_BEHIND,
    SOURCE_STATE_NOT_JOINED,
    SOURCE_STATE_WAITING,
    FourItems,
    Freshness,
    InquireResponse,
    Subject,
    VerifyIdentityResponse,
)
from jukinet._pb.jukinet.register.v1.identity_pb2 import SEX_FEMALE, Address, BirthDate
from jukinet.cli.answer import inquiry_as_json, show_inquiry, show_verification
from jukinet.cli.inquire import _held_in
from jukinet.cli.output import Exit, Failure
from jukinet.cli.subject import read_individual_number, read_subject
from tests.commands import jukinet

PERSON = {
    "name": "架空　花子",
    "birth_date": "昭和23年5月3日",
    "sex": "女",
    "local_government_code": "131016",
    "town": "神田",
    "block": "1番地",
    "building": "",
}
EXPECTED = Subject(
    four_items=FourItems(
        name="架空　花子",
        birth_date=BirthDate(year=1948, month=5, day=3),
        sex=SEX_FEMALE,
        address=Address(local_government_code="131016", town="神田", block="1番地"),
    )
)


def write(tmp_path: Path, content: object) -> Path:
    path = tmp_path / "person.json"
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return path


def test_four_items_are_read_as_a_change_file_writes_them(tmp_path: Path) -> None:
    assert read_subject(write(tmp_path, PERSON)) == EXPECTED


def test_japanese_keys_are_read_too(tmp_path: Path) -> None:
    japanese = {
        "氏名": "架空　花子",
        "生年月日": "1948-05-03",
        "性別": "female",
        "市区町村コード": "131016",
        "町字": "神田",
        "番地": "1番地",
    }
    assert read_subject(write(tmp_path, japanese)) == EXPECTED


def test_an_individual_number_is_read_from_json_or_text(tmp_path: Path) -> None:
    expected = Subject(individual_number="001234567890")
    assert read_subject(write(tmp_path, {"individual_number": "001234567890"})) == expected
    path = tmp_path / "number"
    path.write_text("001234567890\n")
    assert read_individual_number(path) == expected


@pytest.mark.parametrize(
    "content",
    [
        {**PERSON, "birth_date": "SECRET"},
        {**PERSON, "sex": "SECRET"},
        {**PERSON, "SECRET": "SECRET"},
        {**PERSON, "individual_number": "SECRET"},
        {**PERSON, "furigana": "SECRET"},
        {"name": "SECRET"},
        {"name": ["SECRET"]},
        ["SECRET"],
        {},
    ],
)
def test_what_names_nobody_is_refused_without_repeating_it(tmp_path: Path, content: object) -> None:
    with pytest.raises(Failure) as failure:
        read_subject(write(tmp_path, content))
    assert failure.value.code is Exit.USAGE
    assert "SECRET" not in str(failure.value)


TWICE = [json.dumps(PERSON)[:-1] + more for more in (', "name": "SECRET"}', ', "氏名": "SECRET"}', ', "氏名": ""}')]
"""Objects in which a key stands twice, by its spelling or by its meaning."""


@pytest.mark.parametrize("content", TWICE)
def test_an_item_that_stands_twice_is_refused_and_nobody_is_chosen(tmp_path: Path, content: str) -> None:
    path = tmp_path / "person.json"
    path.write_text(content, "utf-8")
    with pytest.raises(Failure, match="name") as failure:
        read_subject(path)
    assert (failure.value.code, "SECRET" in str(failure.value)) == (Exit.USAGE, False)


@pytest.mark.parametrize("code", ["131010", "999999", "130001", "13101", "１３１０１６"])
def test_a_code_that_no_municipality_can_have_is_refused_before_anybody_is_asked(tmp_path: Path, code: str) -> None:
    with pytest.raises(Failure, match="local_government_code must be") as failure:
        read_subject(write(tmp_path, {**PERSON, "local_government_code": code}))
    assert failure.value.code is Exit.USAGE
    assert code not in str(failure.value)


@pytest.mark.parametrize("content", [b"SECRET", b'{"name": "SECRET', b"\xff\xfeSECRET", b"[" * 100_000])
def test_what_is_no_json_is_refused_without_repeating_it(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "person.json"
    path.write_bytes(content)
    with pytest.raises(Failure) as failure:
        read_subject(path)
    assert "SECRET" not in str(failure.value)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="No such file"):
        read_subject(tmp_path / "nobody.json")


QUESTION = ["--purpose", "B1-77", "--case", "c", "--operator", "o"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["inquire", *QUESTION, "--field", "name"], "--mesh DIR"),
        (["inquire", *QUESTION, "--field", "name", "--mesh", "none"], "no mesh"),
        (["inquire", *QUESTION, "--field", "shoe-size"], "shoe-size"),
        (["inquire", *QUESTION], "--field"),
        (["verify-identity", *QUESTION, "--mesh", "none", "--agency", "pension-service"], "no mesh"),
        (["submit", "file.csv", "--to", "127.0.0.1:1"], "--mesh DIR"),
        (["submit", "file.csv", "--mesh", "none"], "--municipality"),
        (["submit", "file.csv", "--mesh", "none", "--municipality", "1"], "six-digit"),
    ],
)
def test_a_question_without_an_asker_or_a_node_is_wrong_usage(arguments: list[str], says: str) -> None:
    result = jukinet(*arguments)
    assert result.exit_code == Exit.USAGE
    assert says in result.stderr


def test_items_that_were_not_provided_are_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    answer = InquireResponse(outcome=INQUIRY_OUTCOME_MATCH)
    answer.provided.record.birth_date.CopyFrom(BirthDate(year=1948))
    show_inquiry(answer)
    shown = capsys.readouterr().out
    assert "1948" in shown
    assert "sex" not in shown
    assert "name" not in shown


def test_who_was_not_provided_is_told_why_by_the_state_of_the_source(capsys: pytest.CaptureFixture[str]) -> None:
    told = {}
    for state in (SOURCE_STATE_BEHIND, SOURCE_STATE_NOT_JOINED, SOURCE_STATE_WAITING):
        sources = [Freshness(municipality="141011", state=state)]
        show_inquiry(InquireResponse(outcome=INQUIRY_OUTCOME_NOT_PROVIDED, freshness=sources))
        asked = capsys.readouterr().out.splitlines()[0]
        show_verification(VerifyIdentityResponse(outcome=INQUIRY_OUTCOME_NOT_PROVIDED, freshness=sources))
        assert capsys.readouterr().out.splitlines()[0] == asked
        told[state] = asked
    assert "may not all be at the center" in told[SOURCE_STATE_BEHIND]
    assert "no such municipality is in the network" in told[SOURCE_STATE_NOT_JOINED]
    assert "give the city's code, not a ward's" in told[SOURCE_STATE_NOT_JOINED]
    assert "moved in there from a municipality that is behind" in told[SOURCE_STATE_WAITING]


def test_an_answer_that_is_held_is_shown_as_unchanged(capsys: pytest.CaptureFixture[str]) -> None:
    show_inquiry(InquireResponse(outcome=INQUIRY_OUTCOME_MATCH, unchanged=True))
    assert "unchanged since the answer held" in capsys.readouterr().out


def test_who_asked_before_is_told_how_to_be_spared_the_values(capsys: pytest.CaptureFixture[str]) -> None:
    for repeated in (False, True):
        show_inquiry(InquireResponse(outcome=INQUIRY_OUTCOME_MATCH, repeated=repeated))
        assert ("--held FILE" in capsys.readouterr().out) == repeated


def test_what_is_held_is_read_from_an_answer_kept_as_json(tmp_path: Path) -> None:
    answer = InquireResponse(outcome=INQUIRY_OUTCOME_MATCH, held=bytes(range(32)))
    assert _held_in(write(tmp_path, inquiry_as_json(answer))) == bytes(range(32))


@pytest.mark.parametrize("content", [{}, [], {"held": 1}, {"held": "no base64"}])
def test_what_is_no_answer_with_a_match_is_refused_as_held(tmp_path: Path, content: object) -> None:
    with pytest.raises(Failure, match="not an answer with a match"):
        _held_in(write(tmp_path, content))
