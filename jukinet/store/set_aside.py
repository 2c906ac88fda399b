"""What was set aside, as the register asks for it when a change waits.

Read only for a change that waits, and only at a node where anything was ever set aside.
"""

from sqlalchemy import Connection, bindparam, select

from jukinet.domain.set_aside import Gone
from jukinet.store.schema import parked, set_aside
from jukinet.store.statement import Prepared


def is_anything_set_aside(connection: Connection) -> bool:
    """Whether two operators ever set a change aside here."""
    return _ANY.row(connection) is not None


def gone_of(connection: Connection, code: str, municipality: str) -> list[Gone]:
    """What was set aside of a resident code, and of a municipality what could not be read."""
    of_code = _OF_CODE.rows(connection, {"code": code})
    unread = _UNREAD_OF.rows(connection, {"municipality": municipality})
    return [
        *(Gone(at, (epoch, sequence), version) for at, epoch, sequence, version in of_code),
        *(Gone(at, (epoch, sequence), 0) for at, epoch, sequence in unread),
    ]


def parked_between(connection: Connection, code: str, after: int, before: int) -> bool:
    """Whether a version of this resident code between the two is parked: it may be applied yet."""
    return any(after < version < before for (version,) in _PARKED_VERSIONS.rows(connection, {"code": code}))


_ANY = Prepared(select(set_aside.c.id).limit(1))
_PARKED_VERSIONS = Prepared(select(parked.c.version).where(parked.c.resident_code == bindparam("code")))
_OF_CODE = Prepared(
    select(set_aside.c.municipality, set_aside.c.epoch, set_aside.c.sequence, set_aside.c.version).where(
        set_aside.c.resident_code == bindparam("code")
    )
)
_UNREAD_OF = Prepared(
    select(set_aside.c.municipality, set_aside.c.epoch, set_aside.c.sequence).where(
        set_aside.c.resident_code == "", set_aside.c.municipality == bindparam("municipality")
    )
)
