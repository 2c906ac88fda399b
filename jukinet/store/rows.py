"""The rows that the register's tables keep, made without a database: processes that have none make rows too.

The message is kept as bytes, with its checksum; beside it the columns by which it is found. They are made from it
alone, so they can be made anew at any time (`jukinet.store.search_keys`).
"""

from functools import lru_cache
from typing import NamedTuple
from zlib import crc32

from jukinet._pb.jukinet.errors.v1.errors_pb2 import ErrorReason
from jukinet._pb.jukinet.register.v1.identity_pb2 import IdentityRecord, Resident
from jukinet.domain import address
from jukinet.domain.arrival import Arrival
from jukinet.domain.person_name import former_name_key, search_key

COLUMNS = (
    "resident_code",
    "version",
    "status",
    "holder",
    "effective_date",
    "birth_date",
    "sex",
    "name_key",
    "alias_key",
    "former_name_key",
    "address_key",
    "individual_number",
    "resident",
    "checksum",
)
"""Names of what `columns_of` gives, in its order."""


Sealed = tuple[str, int, str, int, int, bytes]
"""What the history keeps of a change: resident code, version, municipality, epoch, sequence, change as sealed."""


class ReadChange(NamedTuple):
    """One change of a chunk, read and checked as far as that needs nothing else; only what `marshal` can write."""

    sequence: int
    epoch: int
    resident_code: str
    """Empty where the change cannot be read."""
    previous_code: str
    version: int
    payload: bytes
    """As sealed."""
    fault: "ErrorReason.ValueType | None"
    """Why the change cannot be read."""
    row: tuple[object, ...] | None
    """What stands in `COLUMNS` of the row that it makes where nobody has its code; None where it makes none."""


def columns_of(row: Resident) -> dict[str, object]:
    """The columns of a row of `residents`: the message, and beside it what makes the row found."""
    record, message = row.record, row.SerializeToString()
    born, when = record.birth_date, row.effective_date
    return {
        "resident_code": record.resident_code,
        "version": row.version,
        "status": row.status,
        "holder": row.holder,
        "effective_date": _written(when.year, when.month, when.day),
        "birth_date": _written(born.year, born.month, born.day),
        "sex": record.sex,
        **keys_of(record),
        "individual_number": record.individual_number,
        "resident": message,
        "checksum": checksum_of(message),
    }


@lru_cache(maxsize=4096)
def _written(year: int, month: int, day: int) -> str:
    return f"{year:04}-{month:02}-{day:02}"


def keys_of(record: IdentityRecord) -> dict[str, str | None]:
    """The columns of `residents` by which a person is found: 氏名, 通称, 旧氏 with the given name, 住所."""
    return {
        "name_key": search_key(record.name.legal),
        "alias_key": search_key(record.name.alias) if record.name.alias else "",
        "former_name_key": former_name_key(record.name) or None,
        "address_key": address.search_key(record.address),
    }


def compared_of(record: IdentityRecord) -> dict[str, frozenset[str | None]]:
    """The keys by which the four items (４情報) find a record, item by item; of a name there may be several."""
    keys, born = keys_of(record), record.birth_date
    return {
        "name": frozenset(keys[column] for column in ("name_key", "alias_key", "former_name_key") if keys[column]),
        "birth_date": frozenset({_written(born.year, born.month, born.day)}),
        "sex": frozenset({str(record.sex)}),
        "address": frozenset({keys["address_key"]}),
    }


def as_its_holder_left_it(message: bytes) -> bytes:
    """A row's message without the protection (支援措置) of which its holder may know nothing."""
    resident = Resident.FromString(message)
    if not resident.protected_before:
        return message
    resident.protected_before = False
    return resident.SerializeToString()


def checksum_of(message: bytes) -> int:
    """CRC-32 of a serialised message, as it is kept beside it."""
    return crc32(message)


def checksum_of_kept(sealed: Sealed, applied_at: int) -> int:
    """CRC-32 of a row of the history, as it is kept beside it; `applied_at` is microseconds since 1970."""
    *beside, payload = sealed
    return crc32(payload, crc32(" ".join(map(str, (*beside, applied_at))).encode()))


def sealed_of(arrival: Arrival) -> Sealed:
    """What the history keeps of a change that was applied."""
    change, (epoch, sequence) = arrival.change, arrival.place
    return change.record.resident_code, change.version, arrival.municipality, epoch, sequence, arrival.payload


def parked_row(arrival: Arrival, reason: "ErrorReason.ValueType", now_us: int) -> dict[str, object]:
    """A row of `parked`: a change that is kept and not applied."""
    return {
        "resident_code": arrival.awaited_code,
        "version": arrival.change.version,
        "municipality": arrival.municipality,
        "epoch": arrival.epoch,
        "sequence": arrival.sequence,
        "change": arrival.payload,
        "reason": reason,
        "parked_at": now_us,
    }
