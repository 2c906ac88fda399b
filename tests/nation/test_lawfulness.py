"""What the nation does, judged by the rules of the network: nothing is refused, and its registers come out the same."""

from datetime import date
from typing import Any

import pytest

from jukinet._pb.jukinet.intake.v1 import intake_pb2
from jukinet._pb.jukinet.register.v1 import change_pb2, identity_pb2
from jukinet.domain.apply import apply
from jukinet.domain.change import reason_named, resident_codes
from jukinet.domain.submission import complete
from nation import CENTER, Nation, Submission, TrueResident, municipalities

Register = dict[str, identity_pb2.Resident]
NAMES = ("furigana", "former_surname", "former_surname_furigana", "alias", "alias_furigana")


def calendar_date(text: str) -> dict[str, int]:
    return dict(zip(("year", "month", "day"), map(int, text.split("-")), strict=True))


def record(row: dict[str, str]) -> identity_pb2.IdentityRecord:
    address = {c: row.get(c, "") for c in ("local_government_code", "town", "block", "building")}
    return identity_pb2.IdentityRecord(
        resident_code=row["resident_code"],
        name=identity_pb2.PersonName(legal=row["name"], **{c: row.get(c, "") for c in NAMES}),
        birth_date=identity_pb2.BirthDate(**calendar_date(row["birth_date"])),
        sex=identity_pb2.Sex.Value(f"SEX_{row['sex'].upper()}"),
        address=identity_pb2.Address(**address),
        individual_number=row.get("individual_number", ""),
    )


def as_message(submission: Submission) -> intake_pb2.Submission:
    row = dict(submission.row)
    same: dict[str, Any] = {
        column: row.get(column, "")
        for column in (
            "message_id", "resident_code", "previous_individual_number", "previous_resident_code", "next_municipality",
            "previous_municipality",
        )
    }  # fmt: skip
    return intake_pb2.Submission(
        **same,
        reason=reason_named(row["reason"]).reason,
        event_date=identity_pb2.CalendarDate(**calendar_date(row["event_date"])),
        record=record(row) if "name" in row else None,
        transfer_version=int(row.get("transfer_version", 0)),
    )


def as_resident(resident: TrueResident) -> identity_pb2.Resident:
    return identity_pb2.Resident(
        record=record(dict(resident.record)),
        version=resident.version,
        status=identity_pb2.ResidentStatus.Value(f"RESIDENT_STATUS_{resident.status}"),
        holder=resident.holder,
        effective_date=identity_pb2.CalendarDate(**calendar_date(resident.effective_date)),
        next_municipality=resident.next_municipality,
        successor_code=resident.successor_code,
    )


def take_in(register: Register, change: change_pb2.Change, municipality: str, scope: str) -> None:
    current = {code: register[code] for code in resident_codes(change) if code in register}
    for row in apply(change, municipality=municipality, scope=scope, current=current):
        register[row.record.resident_code] = row


def judge(nation: Nation, filed: list[Submission]) -> None:
    registers: dict[str, Register] = {scope: {} for scope in nation.registers.scopes()}
    for submission in filed:
        message, code = as_message(submission), submission.municipality
        current = {c: registers[code][c] for c in resident_codes(message) if c in registers[code]}
        change = complete(message, municipality=code, today=submission.filed, current=current)
        take_in(registers[code], change, code, code)
        take_in(registers[municipalities()[code].prefecture], change, code, code[:2])
        take_in(registers[CENTER], change, code, "")
    for scope, register in registers.items():
        expected = {code: as_resident(resident) for code, resident in nation.registers.of(scope).items()}
        assert register == expected, scope


def test_every_submission_is_lawful_and_leads_to_the_true_registers(
    nation: Nation, loaded: list[Submission], changes: list[Submission]
) -> None:
    judge(nation, [*loaded, *changes])


@pytest.mark.parametrize("seed", range(4))
def test_even_a_hasty_nation_is_lawful_period_after_period(seed: int) -> None:
    nation = Nation(["131016", "131024", "141003"], count=400, seed=seed, on=date(2026, 3, 31))
    filed = list(nation.residents())
    for month in (4, 5, 6):
        start, end = date(2026, month, 1), date(2026, month, 28)
        filed += nation.changes(start, end, intensity=60, outside_share=0.1, at_least_once=True)
    judge(nation, filed)
