"""What is wrong in a file of changes comes back to be corrected, and all that is right goes in."""

import asyncio
import csv
import io
import json
import sys
from pathlib import Path
from typing import Any

from jukinet._pb.jukinet.intake.v1.intake_pb2 import Submission
from tests.change_columns import values_of
from tests.journeys.mistakes import corrected, wrong_digit

Network = Any  # the fixture's own class lives in conftest.py
CHIYODA, OKUTAMA = "131016", "133086"
CS = "municipality-131016"


async def jukinet_submit(network: Network, path: Path, code: int) -> tuple[dict[str, Any], str]:
    """Runs the program as a clerk does; gives what it printed as JSON and what it told on standard error."""
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "jukinet.cli", "submit", str(path), "--json", "--seconds", "20"),
        *("--mesh", str(network.mesh.root), "--municipality", CHIYODA),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, told = (str(each, "utf-8") for each in await program.communicate())
    assert program.returncode == code, told
    return (json.loads(out) if out else {}), told


def line(submission: Submission, **wrong: str) -> dict[str, str]:
    """A line of a change file; `wrong` are other values of its columns."""
    return {**values_of(submission), **wrong}


def write_csv(path: Path, lines: list[dict[str, str]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)
    return path


async def test_the_good_lines_of_a_file_go_in_and_the_bad_ones_come_back_to_be_corrected(
    network: Network, tmp_path: Path
) -> None:
    held = await network.enter(CHIYODA)
    people = [network.person(CHIYODA) for _ in range(6)]
    entries = [network.submission("ENTRY_EX_OFFICIO", person) for person in people]
    move = network.submission("CORRECTION_MOVE_WITHIN", corrected(held))
    right = [line(each) for each in (entries[0], *entries[1:5], move, entries[5])]
    code, number = people[1].resident_code, people[2].individual_number
    wrong = [
        right[0],
        line(entries[1], resident_code=wrong_digit(code)),
        line(entries[2], individual_number=wrong_digit(number)),
        line(entries[3], event_date="2026-02-30"),
        line(entries[4], local_government_code=OKUTAMA),
        line(move, name="別人　太郎"),
        right[6],
    ]
    path = write_csv(tmp_path / "changes.csv", wrong)
    # A line that lost its last field.
    text = path.read_text("utf-8").splitlines(keepends=True)
    broken = network.submission("ENTRY_EX_OFFICIO", network.person(CHIYODA))
    text.insert(3, ",".join(list(values_of(broken).values())[:-1]) + "\r\n")
    path.write_text("".join(text), "utf-8", newline="")

    report, told = await jukinet_submit(network, path, code=1)
    assert (report["lines"], report["accepted"], report["repeated"]) == (8, 2, 0)
    assert report["refused"] == {
        "ADDRESS_ELSEWHERE": 1,
        "CHANGE_NOT_COVERED": 1,
        "INDIVIDUAL_NUMBER_CHECK_DIGIT": 1,
        "INVALID_MESSAGE": 2,
        "RESIDENT_CODE_CHECK_DIGIT": 1,
    }
    codes = {row["resident_code"] for row in network.rows(CS, "residents")}
    assert {people[0].resident_code, people[5].resident_code} <= codes
    assert not codes & {person.resident_code for person in people[1:5]}

    rejects = tmp_path / "changes.rejects.csv"
    assert report["rejects"] == str(rejects)
    rows = list(csv.reader(io.StringIO(rejects.read_text("utf-8"))))
    fields = len(right[0])
    assert rows[0] == [*right[0], "reject_reason", "reject_message"]
    assert [(row[0], row[-2], row[-1].partition(":")[0]) for row in rows[1:]] == [
        (entries[1].message_id, "RESIDENT_CODE_CHECK_DIGIT", "resident_code"),
        (broken.message_id, "INVALID_MESSAGE", f"the line has {fields - 1} fields, the header {fields}"),
        (entries[2].message_id, "INDIVIDUAL_NUMBER_CHECK_DIGIT", "individual_number"),
        (entries[3].message_id, "INVALID_MESSAGE", "event_date"),
        (entries[4].message_id, "ADDRESS_ELSEWHERE", "local_government_code"),
        (move.message_id, "CHANGE_NOT_COVERED", "name"),
    ]
    assert told.splitlines()[:6] == [
        "line 3, resident_code: RESIDENT_CODE_CHECK_DIGIT",
        "line 4: INVALID_MESSAGE",
        "line 5, individual_number: INDIVIDUAL_NUMBER_CHECK_DIGIT",
        "line 6, event_date: INVALID_MESSAGE",
        "line 7, local_government_code: ADDRESS_ELSEWHERE",
        "line 8, name: CHANGE_NOT_COVERED",
    ]

    # The same again changes nothing; corrected, every one of them goes in.
    again, before = tmp_path / "again.csv", network.digest(CS)
    again.write_bytes(rejects.read_bytes())
    report, _ = await jukinet_submit(network, again, code=1)
    assert (report["lines"], report["accepted"], report["repeated"]) == (6, 0, 0)
    assert network.digest(CS) == before
    mended = write_csv(tmp_path / "mended.csv", [*right[1:3], line(broken), *right[3:6]])
    report, _ = await jukinet_submit(network, mended, code=0)
    assert (report["lines"], report["accepted"], report["refused"], report["rejects"]) == (6, 6, {}, None)
    await network.arrived(CHIYODA)
    for node in (CS, "prefecture-130001", "center"):
        codes = {row["resident_code"] for row in network.rows(node, "residents")}
        assert {person.resident_code for person in people} <= codes


async def test_a_file_in_another_encoding_is_refused_as_a_whole_and_nothing_is_sent(
    network: Network, tmp_path: Path
) -> None:
    entries = [network.submission("ENTRY_EX_OFFICIO", network.person(CHIYODA)) for _ in range(2)]
    path = write_csv(tmp_path / "changes.csv", [line(each) for each in entries])
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], lines[2].replace("試験".encode(), b"\xff\xfe")]))
    before = network.digest(CS)
    report, told = await jukinet_submit(network, path, code=2)
    assert report == {}
    assert "line 3: byte" in told
    assert "fits neither UTF-8 nor CP932" in told
    assert network.digest(CS) == before
    assert not (tmp_path / "changes.rejects.csv").exists()
