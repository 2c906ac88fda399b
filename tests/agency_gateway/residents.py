"""Synthetic residents of Chiyoda by number: the same in every test."""

from typing import Any

from jukinet._pb.jukinet.register.v1.identity_pb2 import SEX_FEMALE, Address, BirthDate, IdentityRecord, PersonName
from jukinet.domain import individual_number, resident_code


def synthetic_code(number: int) -> str:
    body = f"00{number:08d}"
    return body + resident_code.check_digit(body)


def synthetic_number(number: int) -> str:
    body = f"00{number:09d}"
    return body + individual_number.check_digit(body)


def make_record(number: int, **changed: Any) -> IdentityRecord:
    parts: dict[str, Any] = {
        "resident_code": synthetic_code(number),
        "name": PersonName(legal=f"試験花子{number}", furigana="シケンハナコ"),
        "birth_date": BirthDate(year=1980, month=1, day=2),
        "sex": SEX_FEMALE,
        "address": Address(local_government_code="131016", town="千代田一丁目", block="2番3号"),
        "individual_number": synthetic_number(number),
    }
    return IdentityRecord(**{**parts, **changed})
