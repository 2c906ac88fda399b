"""The current rows of a register, as they are read: a damaged one is never given out."""

import logging
from collections.abc import Iterable

from sqlalchemy import Connection, func, select

from jukinet._pb.jukinet.register.v1.identity_pb2 import Resident, ResidentStatus
from jukinet.store.checksum import is_sound
from jukinet.store.schema import residents
from jukinet.store.statement import one_of

log = logging.getLogger(__name__)


def look_up(connection: Connection, codes: Iterable[str]) -> dict[str, Resident]:
    """Current rows by resident code; a code without a row, or with a damaged one, is left out."""
    return sound_and_damaged(connection, codes)[0]


def sound_and_damaged(connection: Connection, codes: Iterable[str]) -> tuple[dict[str, Resident], frozenset[str]]:
    """The current rows by resident code, and the codes of those that are damaged, of which operators are told."""
    found = _ROWS.rows(connection, {"codes": sorted(codes)})
    damaged = frozenset(code for code, row, checksum in found if not is_sound(row, checksum))
    if damaged:
        log.critical("stored records are damaged; `admin drift` names them", extra={"count": len(damaged)})
    return {code: Resident.FromString(row) for code, row, _ in found if code not in damaged}, damaged


def counts_by_status(connection: Connection) -> dict[str, int]:
    """Number of current rows by the name of their status."""
    query = select(residents.c.status, func.count()).group_by(residents.c.status)
    return {
        ResidentStatus.Name(status).removeprefix("RESIDENT_STATUS_"): count
        for status, count in connection.execute(query)
    }


_ROWS = one_of(
    select(residents.c.resident_code, residents.c.resident, residents.c.checksum), codes=residents.c.resident_code
)
