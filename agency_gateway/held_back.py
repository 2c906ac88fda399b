"""Entries of the ledger that wait for the day of a seal (封印), in the ledger's database beside the tree.

Rule 1: what follows the person and not a question has no entry before the day until which the answer that it is about
is sealed. Who has his own record corrected, or hears that it was, reads the public ledger: whatever stood there at that
moment with an agency and a row would tell him that it asked about him.
Rule 2: a row is added in the transaction of what was done, and removed in that of its entry. So both are there once,
whatever is taken again.

Each function works within the caller's transaction.
Source: docs/decisions/0099-a-recall-of-a-sealed-answer-waits-for-its-day.md.
"""

from datetime import date, datetime
from typing import Final, NamedTuple

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    delete,
    insert,
    select,
)

from agency_gateway.appending import Act
from agency_gateway.provided import metadata
from jukinet._pb.jukinet.ledger.v1.ledger_pb2 import Entry

_AT_ONCE: Final = 64
"""Entries that are read together."""

held_back = Table(
    "held_back",
    metadata,
    Column("position", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("until", String(10), nullable=False, comment="YYYY-MM-DD in Japan"),
    Column("entry", LargeBinary, nullable=False, comment="jukinet.ledger.v1.Entry, as made then"),
    Index("held_back_until", "until", "position"),
    # Without it SQLite gives the position of a removed last row again, and who is late would remove another.
    sqlite_autoincrement=True,
)


class HeldBack(NamedTuple):
    """An entry that waits."""

    position: int
    until: str
    entry: bytes

    def opened(self, moment: datetime) -> Entry:
        """The entry as it comes on record: of that moment, and it says until when it was held back."""
        entry = Entry.FromString(self.entry)
        entry.time.FromDatetime(moment)
        entry.sealed_until = self.until
        return entry


def hold_back(connection: Connection, *, act: Act, until: str, entry: bytes) -> bool:
    """Carries out an act whose entry waits until a day. Returns False: there is no entry now."""
    if act(connection):
        connection.execute(insert(held_back).values(until=until, entry=entry))
    return False


def due(connection: Connection, day: date) -> list[HeldBack]:
    """The next entries whose day has come on a day in Japan, in their order."""
    rows = select(held_back).where(held_back.c.until <= day.isoformat()).order_by(held_back.c.position).limit(_AT_ONCE)
    return [HeldBack(*row) for row in connection.execute(rows)]


def release(connection: Connection, position: int) -> bool:
    """Removes an entry that comes on record; tells whether it was there."""
    return connection.execute(delete(held_back).where(held_back.c.position == position)).rowcount > 0
