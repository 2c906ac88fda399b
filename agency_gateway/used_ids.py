"""Which request ids (要求番号) were used: each is good for once.

Rule 1: an id is used when an entry of the ledger has it. So what stands here follows from the entries: the last ones'
ids the process that writes has in memory (`agency_gateway.tail`), all before them are gathered in this table.
Rule 2: ids come in no order, so each one that is written alone writes a page of its own. Many are gathered together, in
their order, some with each group of entries: neighbours, which share pages.
Rule 3: what stands here is the digest of agency and id, 16 bytes; short keys make the pages fewer. Two questions of one
digest take some 2^64 tries by one agency, which would have its own second one refused and nothing else.
"""

import hashlib
from collections.abc import Collection
from typing import Final

from sqlalchemy import BigInteger, Column, Connection, Integer, LargeBinary, MetaData, Table, bindparam, func, select

from jukinet.store.statement import Prepared, Rows

_DIGEST_BYTES: Final = 16

metadata = MetaData()

used_ids = Table(
    "used_ids",
    metadata,
    Column("digest", LargeBinary, primary_key=True, comment="of a question that was decided: its agency and id"),
    Column(
        "ledger_size",
        BigInteger().with_variant(Integer, "sqlite"),
        nullable=False,
        comment="the ids of so many first entries are all here; 0 where an earlier version wrote this one",
    ),
    sqlite_with_rowid=False,
)

_ADD = Rows(used_ids, ["digest", "ledger_size"])
_AT_ONCE: Final = 32
_PLACES: Final = [f"digest_{number}" for number in range(_AT_ONCE)]
_FOUND = Prepared(select(used_ids.c.digest).where(used_ids.c.digest.in_([bindparam(place) for place in _PLACES])))


def digest_of(agency: str, request_id: str) -> bytes:
    """What stands for an id.

    Args:
        agency: SPIFFE ID of who asked.
        request_id: UUID in lower case.
    """
    # A request id has no line feed, so two questions have never the same text.
    return hashlib.sha256(f"{request_id}\n{agency}".encode()).digest()[:_DIGEST_BYTES]


def gathered(connection: Connection) -> int:
    """How many of the first entries have their ids here. Reads all rows."""
    return connection.execute(select(func.max(used_ids.c.ledger_size))).scalar() or 0


def gather(connection: Connection, digests: Collection[bytes], *, ledger_size: int) -> None:
    """Adds ids, which may be here already; with them those of the first `ledger_size` entries are all here."""
    _ADD.write_new(connection, [(digest, ledger_size) for digest in sorted(digests)])


def among(connection: Connection, digests: Collection[bytes]) -> set[bytes]:
    """Those that are here."""
    wanted = list(digests)
    parts = (wanted[first : first + _AT_ONCE] for first in range(0, len(wanted), _AT_ONCE))
    # One query for many; where a part is shorter, its first one is asked for again.
    asked = [dict(zip(_PLACES, [*part, *part[:1] * (_AT_ONCE - len(part))], strict=True)) for part in parts]
    return {row[0] for rows in _FOUND.rows_of_each(connection, asked) for row in rows}
