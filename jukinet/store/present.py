"""Who a person of the register is now: under which resident code, and whether anything may be told at all.

Each function works within the caller's transaction.
"""

from sqlalchemy import Connection, select

from jukinet._pb.jukinet.register.v1.identity_pb2 import Resident
from jukinet.domain.protection import is_protected
from jukinet.store.checksum import RecordDamaged, is_sound
from jukinet.store.schema import residents


def is_kept_back(connection: Connection, code: str) -> bool:
    """Whether nothing may be told of a person: protected (支援措置), or not here under this code.

    Raises: RecordDamaged.
    """
    row = _row(connection, code)
    return row is None or is_protected(row)


def present_code(connection: Connection, code: str) -> str:
    """The resident code that a person has now, who was answered about under this one. Raises: RecordDamaged."""
    return codes_since(connection, code)[-1]


def codes_since(connection: Connection, code: str) -> list[str]:
    """The resident codes of a person from this one to the present one. Raises: RecordDamaged."""
    codes = [code]
    while (row := _row(connection, codes[-1])) is not None and row.successor_code:
        codes.append(row.successor_code)
    return codes


def _row(connection: Connection, code: str) -> Resident | None:
    columns = select(residents.c.resident, residents.c.checksum)
    row = connection.execute(columns.where(residents.c.resident_code == code)).first()
    if row is None:
        return None
    if not is_sound(bytes(row.resident), row.checksum):
        raise RecordDamaged
    return Resident.FromString(bytes(row.resident))
