"""docs/intake.md: its examples are lawful, its reject file is what is written, its tables are whole."""

import datetime
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

from jukinet._pb.jukinet.intake.v1.intake_pb2 import Submission, SubmitChangeResponse
from jukinet._pb.jukinet.register.v1 import identity_pb2
from jukinet.cli.answers_file import COLUMNS as ANSWER_COLUMNS
from jukinet.cli.answers_file import AnswersFile
from jukinet.cli.change_columns import COLUMNS
from jukinet.cli.change_file import LineProblem, open_change_file, read_changes
from jukinet.cli.reject_record import reject_header, reject_record
from jukinet.domain.apply import apply
from jukinet.domain.change import REASONS, resident_codes
from jukinet.domain.resident_code import SYNTHETIC_PREFIX
from jukinet.domain.submission import complete

PAGE = (Path(__file__).parents[2] / "docs" / "intake.md").read_text("utf-8")
FENCE = re.compile(r"^```(?:csv|json) (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CHANGES, ANSWERS = PAGE.split("\n## The answers file\n")
TODAY = datetime.date(2026, 6, 1)


Answers: TypeAlias = list[tuple[str, SubmitChangeResponse]]


def take_in(path: Path) -> Iterator[Answers]:
    """Take the page's change files in, each in turn at `path`, as the servers of its municipalities do."""
    registers: dict[str, dict[str, identity_pb2.Resident]] = {}
    sequences: Counter[str] = Counter()
    for about, text in FENCE.findall(PAGE):
        if not about.startswith("municipality="):
            continue
        municipality = about.removeprefix("municipality=")
        register = registers.setdefault(municipality, {})
        path.write_text(text, "utf-8")
        answers = []
        for _, submission in read_changes(path):
            assert isinstance(submission, Submission)
            assert all(code.startswith(SYNTHETIC_PREFIX) for code in resident_codes(submission))
            change = complete(submission, municipality=municipality, today=TODAY, current=register)
            rows = apply(change, municipality=municipality, scope=municipality, current=register)
            register.update((row.record.resident_code, row) for row in rows)
            sequences[municipality] += 1
            place = SubmitChangeResponse(version=change.version, epoch=1, sequence=sequences[municipality])
            answers.append((submission.message_id, place))
        yield answers


def test_the_examples_are_lawful_one_after_the_other(tmp_path: Path) -> None:
    versions = [answer.version for answers in take_in(tmp_path / "changes") for _, answer in answers]
    assert versions == [1, 2, 3, 4, 5, 6, 7, 1, 2]


def test_the_answers_files_shown_are_the_ones_that_are_written(tmp_path: Path) -> None:
    written = []
    for number, answers in enumerate(take_in(tmp_path / "changes")):
        path = tmp_path / f"answers-{number}"
        with AnswersFile(path, open_change_file(tmp_path / "changes")) as file:
            for message_id, answer in answers:
                file.add(message_id, answer)
        written.append(path.read_text("utf-8"))
    shown = [text for about, text in FENCE.findall(PAGE) if about == "answers"]
    # The move-out, whose version the certificate needs, and the move-in, whose headers are Japanese.
    assert shown == written[1:3]


def test_the_table_of_answers_holds_all_columns() -> None:
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+?) \|", ANSWERS, re.MULTILINE)
    assert dict(rows) == ANSWER_COLUMNS


def test_the_reject_file_shown_is_the_one_that_is_written(tmp_path: Path) -> None:
    (shown,) = [text for about, text in FENCE.findall(PAGE) if about == "rejected"]
    path = tmp_path / "changes"
    path.write_text(
        "message_id,reason,event_date,resident_code\n"
        "131016-2026-001300,死亡,2026-02-30,00004567897\n"
        "131016-2026-001301,死亡,2026-05-01\n",
        "utf-8",
    )
    source = open_change_file(path)
    written = reject_header(source)
    for line in source.lines():
        problem = line.content
        assert isinstance(problem, LineProblem)
        where = f"{problem.column}: " if problem.column else ""
        written += reject_record(source, line.text, reason="INVALID_MESSAGE", message=where + problem.message)
    assert written == shown


def test_the_tables_hold_all_columns_and_reasons() -> None:
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+?) \|", CHANGES, re.MULTILINE)
    columns = [(column.name, column.japanese) for column in COLUMNS]
    reasons = [(facts.name, facts.japanese) for facts in REASONS.values()]
    assert [row for row in rows if not row[0].startswith("Submit")] == columns + reasons
