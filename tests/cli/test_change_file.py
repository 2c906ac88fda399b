"""Change files: what a municipal system writes is what the communication server gets, and a bad line stands alone."""

import csv
import datetime
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jukinet._pb.jukinet.errors.v1 import errors_pb2
from jukinet._pb.jukinet.intake.v1.intake_pb2 import Submission
from jukinet._pb.jukinet.register.v1 import identity_pb2
from jukinet.cli.change_columns import COLUMNS, column_at
from jukinet.cli.change_file import (
    MAX_LINE_BYTES,
    REJECT_COLUMNS,
    ChangeFileRefused,
    ChangeLine,
    EncodingUnknown,
    HeaderRefused,
    LineProblem,
    open_change_file,
    read_changes,
)
from jukinet.cli.reject_record import reject_header, reject_record
from jukinet.domain.change import REASONS, Act
from tests.change_columns import values_of

NAMES = tuple(column.name for column in COLUMNS)
JAPANESE = tuple(column.japanese for column in COLUMNS)
BIRTH = {
    "message_id": "K-1",
    "reason": "ENTRY_BIRTH",
    "event_date": "2026-04-01",
    "resident_code": "00000000000",
    "name": "髙橋 さくら",
    "birth_date": "2026-04-01",
    "sex": "female",
    "local_government_code": "131016",
    "town": "丸の内一丁目",
}
DEATH = {"message_id": "K-2", "reason": "死亡", "event_date": "令和8年4月1日", "resident_code": "00000000000"}


def write_csv(
    path: Path, rows: Sequence[dict[str, str]], *, header: Sequence[str] = NAMES, encoding: str = "utf-8"
) -> Path:
    with path.open("w", encoding=encoding, newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(header)
        writer.writerows([row.get(name, "") for name in NAMES[: len(header)]] for row in rows)
    return path


def write_text(path: Path, *lines: str, encoding: str = "utf-8") -> Path:
    path.write_bytes("\n".join(lines).encode(encoding))
    return path


def contents(path: Path) -> list[Submission | LineProblem]:
    return [content for _, content in read_changes(path)]


# --- what is written is what is read ---


def encodable(codec: str) -> st.SearchStrategy[str]:
    if codec != "cp932":
        return st.characters(codec=codec, exclude_categories=("Cc", "Cs"))

    def survives(letter: str) -> bool:
        raw = letter.encode(codec, "ignore")
        return bool(raw) and raw.decode(codec, "ignore") == letter and letter not in "\x80\xa0\uf8f0\uf8f1\uf8f2\uf8f3"

    letters = "".join(map(chr, range(0x20, 0xFFFF)))
    return st.sampled_from([letter for letter in letters if letter != "\x7f" and survives(letter)])


LETTERS = {codec: encodable(codec) for codec in ("utf-8", "cp932")}
DIGITS = st.sampled_from("0123456789")


def digits(length: int) -> st.SearchStrategy[str]:
    return st.text(DIGITS, min_size=length, max_size=length)


def maybe(strategy: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(st.just(""), strategy)


@st.composite
def submissions(draw: st.DrawFn, codec: str) -> Submission:
    def text(most: int = 12, least: int = 0) -> str:
        return draw(st.text(LETTERS[codec], min_size=least, max_size=most))

    facts = draw(st.sampled_from(list(REASONS.values())))
    code = draw(digits(11))
    day = draw(st.dates(min_value=datetime.date(1868, 1, 25)))
    made = Submission(
        message_id=draw(st.from_regex(r"[A-Za-z0-9._-]{1,64}", fullmatch=True)),
        reason=facts.reason,
        event_date=identity_pb2.CalendarDate(year=day.year, month=day.month, day=day.day),
        resident_code=code,
    )
    if facts.act not in (Act.DELETION, Act.PROTECTION) or draw(st.booleans()):
        known = draw(st.integers(0, 3))
        made.record.CopyFrom(
            identity_pb2.IdentityRecord(
                resident_code=code,
                name=identity_pb2.PersonName(
                    legal=text(least=1),
                    furigana=text(),
                    former_surname=text(),
                    former_surname_furigana=text(),
                    alias=text(),
                    alias_furigana=text(),
                ),
                birth_date=identity_pb2.BirthDate(
                    **dict(zip(("year", "month", "day")[:known], (day.year, day.month, day.day), strict=False))
                ),
                sex=draw(st.sampled_from(identity_pb2.Sex.values()[1:])),
                address=identity_pb2.Address(
                    local_government_code=draw(digits(6)), town=text(least=1), block=text(), building=text()
                ),
                individual_number=draw(maybe(digits(12))),
            )
        )
    if facts.reason == 1:
        made.previous_municipality = draw(digits(6))
    if facts.reason == 7:
        made.next_municipality = draw(digits(6))
    if facts.reason in (1, 2, 4, 5, 6):
        made.transfer_version = draw(st.integers(1 if facts.reason == 1 else 0, 2**63 - 2))
    if facts.act is Act.ENTRY:
        made.protected = draw(st.booleans())
    if facts.reason in (16, 17, 18):
        made.previous_individual_number = draw(digits(12) if facts.reason < 18 else maybe(digits(12)))
    if facts.reason in (19, 20):
        made.previous_resident_code = draw(digits(11).filter(lambda code: code != made.resident_code))
    return made


@pytest.mark.parametrize("header", [NAMES, JAPANESE], ids=["english", "japanese"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp932"])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(data=st.data())
def test_a_submission_survives_the_csv_file(
    tmp_path: Path, encoding: str, header: tuple[str, ...], data: st.DataObject
) -> None:
    stated = data.draw(st.lists(submissions("cp932" if encoding == "cp932" else "utf-8"), max_size=4))
    path = write_csv(tmp_path / "changes", [values_of(one) for one in stated], header=header, encoding=encoding)
    assert contents(path) == stated
    # What is both, such as ASCII, is read as UTF-8; the content is the same.
    assert open_change_file(path).encoding in (encoding, "utf-8")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(stated=st.lists(submissions("utf-8"), min_size=1, max_size=3), ascii_only=st.booleans())
def test_a_submission_survives_json_lines(tmp_path: Path, stated: list[Submission], ascii_only: bool) -> None:
    lines = [json.dumps(values_of(one), ensure_ascii=ascii_only) for one in stated]
    assert contents(write_text(tmp_path / "changes", *lines)) == stated


def test_columns_may_stand_in_any_order_and_language_and_be_left_out(tmp_path: Path) -> None:
    path = write_text(tmp_path / "f", "住民票コード,message_id,異動年月日,reason", "00000000000,K-2,令和8年4月1日,死亡")
    (found,) = contents(path)
    assert isinstance(found, Submission)
    assert (found.message_id, found.reason, found.event_date.year) == ("K-2", 9, 2026)
    assert not found.HasField("record")


def test_names_are_taken_as_they_stand(tmp_path: Path) -> None:
    name = " ﾀｶﾊｼ　葛󠄀城 "
    (found,) = contents(write_csv(tmp_path / "f", [BIRTH | {"name": name}]))
    assert isinstance(found, Submission)
    assert found.record.name.legal == name


def test_a_file_is_read_record_by_record(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "f", [DEATH | {"message_id": f"K-{number}"} for number in range(5_000)])
    lines = open_change_file(path).lines()
    next(lines)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:2_500]))
    assert sum(1 for _ in lines) < 4_999
    lines.close()


# --- line numbers ---


def test_records_are_numbered_by_their_first_physical_line(tmp_path: Path) -> None:
    path = write_text(
        tmp_path / "f",
        "message_id,reason,event_date,resident_code,name",
        'K-1,死亡,2026-04-01,00000000000,"two\nphysical\nlines"',
        "",
        "K-2,死亡,2026-04-01,00000000000,",
    )
    numbered = list(read_changes(path))
    assert [number for number, _ in numbered] == [2, 6]
    problem = numbered[0][1]
    assert isinstance(problem, LineProblem)
    assert (problem.line, problem.column) == (2, "name")


def test_an_open_quote_costs_only_its_own_line(tmp_path: Path) -> None:
    good = [f"K-{number},死亡,2026-04-01,00000000000" for number in range(20)]
    path = write_text(tmp_path / "f", ",".join(NAMES[:4]), *good[:3], '"K-x,死亡,2026-04-01,00000000000', *good[3:])
    found = list(read_changes(path))
    assert [number for number, content in found if isinstance(content, LineProblem)] == [5]
    assert [content.message_id for _, content in found if isinstance(content, Submission)] == [
        f"K-{number}" for number in range(20)
    ]


def test_two_open_quotes_do_not_swallow_what_lies_between(tmp_path: Path) -> None:
    header = ",".join(NAMES[:4])
    path = write_text(
        tmp_path / "f", header, 'K-1,"死亡,2026-04-01,1', "K-2,死亡,2026-04-01,00000000000", 'K-3,2026-04-01,"1', header
    )
    assert [type(content).__name__ for content in contents(path)] == ["LineProblem", "Submission"] + ["LineProblem"] * 2


# --- bad lines ---

BAD_VALUES = [
    ("message_id", ""),
    ("message_id", "山田"),
    ("reason", ""),
    ("reason", "BIRTHDAY"),
    ("event_date", ""),
    ("event_date", "2026-02-30"),
    ("event_date", "2026-04-00"),
    ("event_date", "令和80000年4月1日"),
    ("resident_code", ""),
    ("resident_code", "1234"),
    ("name", ""),
    ("name", "あ" * 201),
    ("name", "\t"),
    ("birth_date", ""),
    ("birth_date", "1948-00-01"),
    ("birth_date", "yesterday"),
    ("sex", ""),
    ("sex", "M"),
    ("local_government_code", "13101"),
    ("town", ""),
    ("individual_number", "12345"),
    ("previous_individual_number", "000000000000"),
    ("previous_resident_code", "00000000000"),
    ("next_municipality", "131016"),
    ("previous_municipality", "131016"),
    ("transfer_version", "three"),
    ("transfer_version", "-1"),
    ("transfer_version", "99999999999999999999"),
    ("transfer_version", "3"),
]


@pytest.mark.parametrize("header", [NAMES, JAPANESE], ids=["english", "japanese"])
@pytest.mark.parametrize(("column", "value"), BAD_VALUES)
def test_a_bad_value_is_named_by_line_column_and_reason_but_not_repeated(
    tmp_path: Path, header: tuple[str, ...], column: str, value: str
) -> None:
    path = write_csv(tmp_path / "f", [BIRTH, BIRTH | {column: value}, BIRTH], header=header)
    before, problem, after = contents(path)
    assert isinstance(before, Submission)
    assert isinstance(after, Submission)
    assert isinstance(problem, LineProblem)
    called = dict(zip(NAMES, header, strict=True))[column]
    assert (problem.line, problem.column) == (3, called)
    assert problem.reason == errors_pb2.ERROR_REASON_INVALID_MESSAGE
    assert problem.message
    assert not value or len(value) < 3 or value not in problem.message


@pytest.mark.parametrize(
    "line",
    [
        "K-1,死亡,2026-04-01",
        "K-1,死亡,2026-04-01,00000000000,",
        ",,,",
        '"K-1"x,死亡,2026-04-01,00000000000',
        'K"1",死亡,2026-04-01,00000000000',
        '"K-1,死亡,2026-04-01,00000000000',
    ],
    ids=["short", "long", "empty", "after quote", "quote inside", "open quote"],
)
def test_a_malformed_line_is_refused_and_the_next_goes_on(tmp_path: Path, line: str) -> None:
    path = write_text(tmp_path / "f", ",".join(NAMES[:4]), line, "K-2,死亡,2026-04-01,00000000000")
    problem, good = contents(path)
    assert isinstance(problem, LineProblem)
    assert problem.line == 2
    assert problem.reason == errors_pb2.ERROR_REASON_INVALID_MESSAGE
    assert isinstance(good, Submission)


@pytest.mark.parametrize(
    ("line", "column"),
    [
        ("{", ""),
        ("[]", ""),
        ("[" * 5_000, ""),
        ('{"message_id": "K-1", "message_id": "K-2"}', ""),
        (json.dumps(BIRTH | {"nickname": "x"}), ""),
        (json.dumps(BIRTH | {"transfer_version": True}), "transfer_version"),
        (json.dumps(BIRTH | {"name": ["x"]}), "name"),
        (json.dumps(BIRTH | {"resident_code": 0}), "resident_code"),
        (json.dumps(BIRTH | {"name": "\ud800"}), "name"),
        (json.dumps(BIRTH | {"sex": None}), "sex"),
    ],
)
def test_a_bad_json_line_is_refused_and_the_next_goes_on(tmp_path: Path, line: str, column: str) -> None:
    path = write_text(tmp_path / "f", "{}", line, json.dumps(BIRTH | {"transfer_version": None}))
    _, problem, good = contents(path)
    assert isinstance(problem, LineProblem)
    assert (problem.line, problem.column) == (2, column)
    assert isinstance(good, Submission)


def test_json_takes_the_version_as_a_number(tmp_path: Path) -> None:
    move = BIRTH | {"reason": "国内転入", "previous_municipality": "131016", "transfer_version": 7}
    (found,) = contents(write_text(tmp_path / "f", json.dumps(move)))
    assert isinstance(found, Submission)
    assert found.transfer_version == 7


def test_neither_a_line_nor_its_repr_shows_what_it_holds(tmp_path: Path) -> None:
    (line,) = open_change_file(write_csv(tmp_path / "f", [BIRTH])).lines()
    assert repr(line) == "ChangeLine(number=2)"
    assert isinstance(line, ChangeLine)


# --- files refused as a whole ---


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ("", "column 1"),
        ("message_id,reason,event_date,resident_code,mother", "column 5"),
        ("message_id,reason,event_date,resident_code,氏名,name", "column 6 of the header line repeats name"),
        ("message_id,異動事由,resident_code", "lacks event_date"),
        ('message_id,"reason', "quotes"),
    ],
    ids=["none", "unknown", "twice", "missing", "quotes"],
)
def test_a_bad_header_refuses_the_file_at_once(tmp_path: Path, header: str, says: str) -> None:
    with pytest.raises(HeaderRefused, match=says) as refused:
        read_changes(write_text(tmp_path / "f", header, "x"))
    assert refused.value.line == 1
    assert "mother" not in str(refused.value)


def test_an_unclear_encoding_is_named_by_byte_and_line(tmp_path: Path) -> None:
    path = tmp_path / "f"
    start = "message_id,reason\r\n死亡\r\n".encode()
    path.write_bytes(start + b"ab\xff\r\n")
    with pytest.raises(EncodingUnknown) as refused:
        open_change_file(path)
    assert (refused.value.offset, refused.value.line) == (len(start) + 2, 3)


@pytest.mark.parametrize("byte", [b"\x80", b"\xa0", b"\xfd", b"\xff"])
def test_bytes_that_the_code_page_leaves_unassigned_are_no_cp932(tmp_path: Path, byte: bytes) -> None:
    path = tmp_path / "f"
    start = "異動事由\n死亡".encode("cp932")
    path.write_bytes(start + byte + b"\n")
    with pytest.raises(EncodingUnknown) as refused:
        open_change_file(path)
    assert (refused.value.offset, refused.value.line) == (len(start), 2)


def test_a_byte_order_mark_settles_the_encoding(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"\xef\xbb\xbf" + "死亡".encode("cp932"))
    with pytest.raises(EncodingUnknown):
        open_change_file(path)


def test_a_line_too_long_for_any_change_refuses_the_file(tmp_path: Path) -> None:
    path = write_text(tmp_path / "f", ",".join(NAMES), "x" * (MAX_LINE_BYTES + 1))
    with pytest.raises(ChangeFileRefused) as refused:
        open_change_file(path)
    assert refused.value.line == 2


# --- fields and columns ---


@pytest.mark.parametrize(
    ("path", "column"),
    [
        ("record.birth_date", "birth_date"),
        ("record.birth_date.month", "birth_date"),
        ("submission.record.name.legal", "name"),
        ("record.address", "local_government_code"),
        ("record.resident_code", "resident_code"),
        ("record", ""),
        ("", ""),
        ("version", ""),
    ],
)
def test_a_field_is_named_by_its_column(path: str, column: str) -> None:
    assert column_at(path) == column


# --- records of a reject file ---


def corrected(text: str, wrong: str, right: str) -> str:
    assert wrong in text
    return text.replace(wrong, right)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "cp932"])
def test_a_reject_file_keeps_the_fields_and_can_be_corrected(tmp_path: Path, encoding: str) -> None:
    path = write_csv(
        tmp_path / "f", [BIRTH | {"sex": "F", "building": '"塔", 2階'}], header=JAPANESE, encoding=encoding
    )
    source = open_change_file(path)
    (line,) = source.lines()
    record = reject_record(source, line.text, reason="INVALID_MESSAGE", message="性別: é wrong")
    assert record.startswith(line.text + ",INVALID_MESSAGE,")
    again = tmp_path / "again"
    again.write_text(reject_header(source) + corrected(record, ",F,", ",女,"), encoding=encoding, newline="")
    (fixed,) = contents(again)
    assert isinstance(fixed, Submission)
    assert fixed.record.address.building == '"塔", 2階'
    assert fixed.record.sex == identity_pb2.SEX_FEMALE


def test_a_second_refusal_takes_the_place_of_the_first(tmp_path: Path) -> None:
    header = [*REJECT_COLUMNS, *NAMES]
    path = write_text(
        tmp_path / "f", ",".join(header), 'DRAINING,"old, message",' + ",".join(DEATH.get(n, "") for n in NAMES)
    )
    source = open_change_file(path)
    (line,) = source.lines()
    assert isinstance(line.content, Submission)
    assert reject_header(source) == ",".join([*NAMES, *REJECT_COLUMNS]) + "\n"
    record = reject_record(source, line.text, reason="NOT_HOLDER", message="new")
    assert record.endswith(",NOT_HOLDER,new\n")
    assert "DRAINING" not in record
    assert "message" not in record


@pytest.mark.parametrize("line", ["K-1,死亡", '"K-1,死亡,2026-04-01,00000000000', "K-1,死亡,2026-04-01,0,0,0"])
def test_a_line_that_fits_no_header_stays_wrong_until_it_is_corrected(tmp_path: Path, line: str) -> None:
    text, source = line, open_change_file(write_text(tmp_path / "f", ",".join(NAMES[:4]), line))
    for _ in range(2):
        record = reject_record(source, text, reason="INVALID_MESSAGE", message="fields, or quotes")
        path = write_text(tmp_path / "again", reject_header(source) + record)
        source = open_change_file(path)
        (found,) = source.lines()
        assert isinstance(found.content, LineProblem)
        assert record.startswith(line)
        text = found.text


@pytest.mark.parametrize("shift", [["x", "INVALID_MESSAGE", "message", ""], ["INVALID_MESSAGE", "message", "", ""]])
def test_a_short_line_that_a_spreadsheet_filled_up_is_not_taken_for_a_change(tmp_path: Path, shift: list[str]) -> None:
    names = [*NAMES[:4], "town", "building"]
    fields = ["K-1", "死亡", "2026-04-01", "00000000000"]
    path = write_text(tmp_path / "f", ",".join([*names, *REJECT_COLUMNS]), ",".join([*fields, *shift]))
    (problem,) = contents(path)
    assert isinstance(problem, LineProblem)
    assert "shifted" in problem.message


@pytest.mark.parametrize("encoding", ["utf-8", "cp932"])
def test_a_rejected_json_line_can_be_corrected(tmp_path: Path, encoding: str) -> None:
    lines = [json.dumps(BIRTH | {"sex": "F", "name": name}, ensure_ascii=False) for name in ("髙橋", "山田")]
    escaped = json.dumps(BIRTH | {"sex": "F", "name": "𠮷田"}).replace("K-1", "山")
    source = open_change_file(write_text(tmp_path / "f", *lines, escaped, "{", encoding=encoding))
    records = [
        reject_record(source, line.text, reason="INVALID_MESSAGE", message="sex: wrong") for line in source.lines()
    ]
    assert reject_header(source) == ""
    assert records[-1] == "{\n"
    again = write_text(tmp_path / "again", corrected("".join(records[:2]), '"F"', '"female"'), encoding=encoding)
    fixed = contents(again)
    assert [one.record.name.legal for one in fixed if isinstance(one, Submission)] == ["髙橋", "山田"]
    assert json.loads(records[2])["name"] == "𠮷田"
    records[2].encode(encoding)
