"""Where a node's outbox begins, once its first segments were dropped.

Rule: what is dropped is remembered by its sequence number and its link chain, so that the stream can go on after it,
also at a receiver that never saw it (`jukinet.link.bring`).
"""

from sqlalchemy import Connection, bindparam, delete, select

from jukinet.store import journal
from jukinet.store.schema import outbox, outbox_start
from jukinet.store.statement import keep


def drop_outbox(connection: Connection, through: int) -> None:
    """Removes the segments up to the one that ends at `through`, and remembers where the outbox begins now.

    Raises ValueError: no segment ends there.
    """
    chain = journal.chain_at(connection, through)
    if chain is None:
        raise ValueError(f"no segment of the outbox ends at {through}")
    connection.execute(delete(outbox).where(outbox.c.last_sequence <= through))
    begin_outbox(connection, through, chain)


def kept_after(connection: Connection) -> dict[str, int]:
    """By sender, the change of its stream after which this outbox holds all of them; own changes under ""."""
    sources = connection.execute(select(outbox.c.source).distinct()).scalars().all()
    first_of = (
        select(outbox.c.source_sequence - outbox.c.last_sequence + outbox.c.first_sequence - 1)
        .where(outbox.c.source == bindparam("of"))
        .order_by(outbox.c.source_sequence)
        .limit(1)
    )
    return {source: connection.execute(first_of, {"of": source}).scalar_one() for source in sources}


def begin_outbox(connection: Connection, sequence: int, chain: bytes) -> None:
    """Remembers what comes before the oldest change of the outbox."""
    _KEEP_START.write(connection, [{"id": 1, "sequence": sequence, "chain": chain}])


_KEEP_START = keep(outbox_start, "id")
