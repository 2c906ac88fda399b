"""Which request ids (要求番号) were used: each is good for once.

Rule 1: an id is marked in the transaction of the entries that it is good for, or not at all.
Rule 2: what stands here is the digest of agency and id, 16 bytes. Ids come in no order, so each one marked writes a
page of its own; short keys make the pages fewer. Two questions of one digest take some 2^64 tries by one agency, which
would have its own second one refused and nothing else.
"""

import hashlib
from collections.abc import Sequence
from typing import Final

from sqlalchemy import BigInteger, Column, Connection, Integer, LargeBinary, MetaData, Table, bindparam, select

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
        comment="entries there were before the commit that marked it; 0 where an earlier version did",
    ),
    sqlite_with_rowid=False,
)

_MARK = Rows(used_ids, ["digest", "ledger_size"])
_MARKED = Prepared(select(used_ids.c.ledger_size).where(used_ids.c.digest == bindparam("digest")))


def digest_of(agency: str, request_id: str) -> bytes:
    """What stands for an id.

    Args:
        agency: SPIFFE ID of who asked.
        request_id: UUID in lower case.
    """
    # A request id has no line feed, so two questions have never the same text.
    return hashlib.sha256(f"{request_id}\n{agency}".encode()).digest()[:_DIGEST_BYTES]


def mark(connection: Connection, digests: Sequence[bytes], *, ledger_size: int) -> set[bytes]:
    """Marks ids as used.

    Args:
        connection: in the transaction of their entries.
        digests: of `digest_of`, none of them twice.
        ledger_size: entries before that transaction; each one that marks ids adds entries.
    Returns: those that were used before.
    """
    added = _MARK.write_new(connection, [(digest, ledger_size) for digest in digests])
    if added == len(digests):
        return set()
    return {digest for digest in digests if _MARKED.row(connection, {"digest": digest}) != (ledger_size,)}
