"""Holds a node's register against the generator's ground truth, row by row and field by field.

Only for synthetic nations: it reads the database file itself, which no RPC of the network allows. A difference is told
by the names of the fields that differ, never by their values.
"""

from collections import Counter
from collections.abc import Mapping

from sqlalchemy import select

from jukinet._pb.jukinet.register.v1.identity_pb2 import Resident, ResidentStatus, Sex
from jukinet.store.engine import open_reader
from jukinet.store.schema import residents
from nation import TrueResident


def differences(database: str, truth: Mapping[str, TrueResident]) -> Counter[str]:
    """How often each kind of difference occurs between a register and the truth; empty when they are equal.

    `database` is the node's SQLAlchemy URL, `truth` the expected rows by resident code.
    """
    found: Counter[str] = Counter()
    seen = set()
    engine = open_reader(database)
    with engine.connect() as connection:
        for code, row in connection.execute(select(residents.c.resident_code, residents.c.resident)):
            seen.add(code)
            expected = truth.get(code)
            if expected is None:
                found["row that should not be there"] += 1
                continue
            held, wanted = _held(Resident.FromString(row)), _wanted(expected)
            found.update(name for name in wanted.keys() | held.keys() if wanted.get(name, "") != held.get(name, ""))
    engine.dispose()
    missing = len(truth.keys() - seen)
    if missing:
        found["row that is missing"] = missing
    return found


def _wanted(expected: TrueResident) -> dict[str, str]:
    return {
        **expected.record,
        "version": str(expected.version),
        "status": expected.status,
        "holder": expected.holder,
        "effective_date": expected.effective_date,
        "next_municipality": expected.next_municipality,
        "successor_code": expected.successor_code,
    }


def _held(resident: Resident) -> dict[str, str]:
    record, when, born = resident.record, resident.effective_date, resident.record.birth_date
    name, address = record.name, record.address
    return {
        "resident_code": record.resident_code,
        "name": name.legal,
        "furigana": name.furigana,
        "former_surname": name.former_surname,
        "former_surname_furigana": name.former_surname_furigana,
        "alias": name.alias,
        "alias_furigana": name.alias_furigana,
        "birth_date": f"{born.year:04}-{born.month:02}-{born.day:02}",
        "sex": Sex.Name(record.sex).removeprefix("SEX_").lower(),
        "local_government_code": address.local_government_code,
        "town": address.town,
        "block": address.block,
        "building": address.building,
        "individual_number": record.individual_number,
        "version": str(resident.version),
        "status": ResidentStatus.Name(resident.status).removeprefix("RESIDENT_STATUS_"),
        "holder": resident.holder,
        "effective_date": f"{when.year:04}-{when.month:02}-{when.day:02}",
        "next_municipality": resident.next_municipality,
        "successor_code": resident.successor_code,
    }
