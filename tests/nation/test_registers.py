"""The registers that the nation keeps by hand against a second reading of its own CSV files."""

import csv
import io
from collections.abc import Iterable
from typing import Any

from nation import CENTER, Nation, Submission, municipalities, to_csv

STATUS = {
    "DELETION_DOMESTIC_MOVE_OUT": "MOVED_OUT",
    "DELETION_ABROAD_MOVE_OUT": "MOVED_ABROAD",
    "DELETION_DEATH": "DECEASED",
}
NOT_OF_THE_RECORD = {
    "message_id", "reason", "event_date", "previous_individual_number", "previous_resident_code", "next_municipality",
    "previous_municipality", "transfer_version",
}  # fmt: skip
Known = dict[str, dict[str, Any]]


def read_one_municipality(code: str, rows: Iterable[dict[str, str]]) -> Known:
    """Fold one file from top to bottom; a version follows from the last one known here or from the certificate."""
    known: Known = {}
    for row in rows:
        person = row["resident_code"]
        before: dict[str, Any] = known.get(row["previous_resident_code"] or person, {"version": 0, "record": {}})
        version = int(row["transfer_version"] or before["version"]) + 1
        state: dict[str, Any] = {
            "version": version,
            "holder": code,
            "effective_date": row["event_date"],
            "next_municipality": row["next_municipality"],
            "successor_code": "",
        }
        if row["reason"].startswith("DELETION_"):
            state |= {"status": STATUS.get(row["reason"], "DELETED"), "record": before["record"]}
        else:
            record = {column: value for column, value in row.items() if value and column not in NOT_OF_THE_RECORD}
            state |= {"status": "ACTIVE", "record": record}
        known[person] = state
        if old := row["previous_resident_code"]:
            known[old] = state | {"status": "RETIRED", "record": before["record"], "successor_code": person}
    return known


def newest(registers: Iterable[Known]) -> Known:
    found: Known = {}
    for register in registers:
        for code, state in register.items():
            if code not in found or found[code]["version"] < state["version"]:
                found[code] = state
    return found


def test_registers_are_what_the_files_say(nation: Nation, loaded: list[Submission], changes: list[Submission]) -> None:
    by_municipality: dict[str, Known] = {}
    for place in nation.municipalities:
        files = [to_csv([s for s in part if s.municipality == place.code]) for part in (loaded, changes)]
        rows = [row for file in files for row in csv.DictReader(io.StringIO(file.decode(), newline=""))]
        by_municipality[place.code] = read_one_municipality(place.code, rows)

    expected = dict(by_municipality)
    for prefecture in {municipalities()[code].prefecture for code in by_municipality}:
        inside = [known for code, known in by_municipality.items() if municipalities()[code].prefecture == prefecture]
        expected[prefecture] = newest(inside)
    expected[CENTER] = newest(by_municipality.values())

    registers = nation.registers
    assert registers.scopes() == sorted(expected)
    found: dict[str, Known] = {scope: {} for scope in expected}
    for scope, resident in registers:
        line = resident.as_json(scope)
        assert line.pop("scope") == scope
        found[scope][str(line.pop("resident_code"))] = line
    assert found == expected


def test_all_statuses_occur_and_leavers_stay_in_the_register_they_left(
    nation: Nation, changes: list[Submission]
) -> None:
    registers = nation.registers
    statuses = {resident.status for resident in registers.of(CENTER).values()}
    assert statuses == {"ACTIVE", "MOVED_OUT", "MOVED_ABROAD", "DECEASED", "DELETED", "RETIRED"}
    arrived = next(s for s in changes if s.reason == "ENTRY_DOMESTIC_MOVE_IN")
    left = registers.of(arrived.row["previous_municipality"])[arrived.row["resident_code"]]
    assert left.status in {"MOVED_OUT", "ACTIVE"}


def test_a_register_of_no_known_node_is_empty(nation: Nation) -> None:
    assert not nation.registers.of("999999")
