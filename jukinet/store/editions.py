"""Editions (版) of the statute table that were proposed, and who proposed and who approved each.

Rule: what stands here is never changed. The file of an edition is a row; that it was proposed, and that it was
approved, are acts of operators (`operator_acts`). An edition without an approval decides nothing. A gateway's database
has the same two tables.

Each function works within the caller's transaction.
"""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, insert, select

from jukinet.store.operator_acts import note_about
from jukinet.store.schema import editions, operator_acts

PROPOSE: Final = "propose edition"
APPROVE: Final = "approve edition"


@dataclass(frozen=True, slots=True)
class Act:
    """Who acted, by SPIFFE ID, and when in microseconds since 1970."""

    operator: str
    acted_at: int


@dataclass(frozen=True, slots=True)
class Proposed:
    """One edition that was proposed."""

    digest: bytes
    name: str
    in_force_from: str
    """YYYY-MM-DD in Japan."""
    proposed: Act
    approved: Act | None


def keep_edition(connection: Connection, *, digest: bytes, name: str, in_force_from: str, content: bytes) -> None:
    """Keeps the file of an edition that was not there."""
    connection.execute(
        insert(editions).values(digest=digest.hex(), name=name, in_force_from=in_force_from, content=content)
    )


def note_edition_act(connection: Connection, act: str, digest: bytes, *, operator: str, now_us: int) -> None:
    """Puts on record that an operator proposed or approved an edition."""
    note_about(connection, act, digest.hex(), operator=operator, now_us=now_us)


def read_content(connection: Connection, digest: bytes) -> bytes | None:
    """The file of a proposed edition, byte for byte; None when there is none with this digest."""
    found = connection.execute(select(editions.c.content).where(editions.c.digest == digest.hex())).scalar_one_or_none()
    return None if found is None else bytes(found)


def read_proposed(connection: Connection) -> list[Proposed]:
    """All editions that were proposed, in the order of the proposals."""
    columns = (editions.c.digest, editions.c.name, editions.c.in_force_from)
    kept = {row.digest: row for row in connection.execute(select(*columns))}
    proposed, approved = _acts(connection, PROPOSE), _acts(connection, APPROVE)
    return [
        Proposed(bytes.fromhex(digest), kept[digest].name, kept[digest].in_force_from, act, approved.get(digest))
        for digest, act in proposed.items()
    ]


def read_approved(connection: Connection) -> list[bytes]:
    """The files of all approved editions, in the order of the approvals."""
    contents = (read_content(connection, bytes.fromhex(digest)) for digest in _acts(connection, APPROVE))
    return [content for content in contents if content is not None]


def _acts(connection: Connection, act: str) -> dict[str, Act]:
    """Acts of one kind by the edition's digest, in their order."""
    columns = (operator_acts.c.edition, operator_acts.c.operator, operator_acts.c.acted_at)
    rows = connection.execute(select(*columns).where(operator_acts.c.act == act).order_by(operator_acts.c.id))
    return {row.edition: Act(row.operator, row.acted_at) for row in rows}
