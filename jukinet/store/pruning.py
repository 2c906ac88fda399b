"""Taking old segments out of the outbox.

Rule 1: a segment goes only when the center has it on disk *and* it has been here for thirty days. Until then whoever is
above or below may lose a disk and get it back from here; later a register travels whole.
Rule 2: age is counted by what was noted on the day itself, not by a clock's word about the past: a day's note says how
far the outbox went when the node first ran on that day. A clock that jumps ahead lets segments go early that are on the
center's disk, and no others.
Rule 3: few segments a transaction, so that no change waits for it.

Source: reliability protocol, two-level acknowledgement.
"""

from datetime import date, timedelta

from sqlalchemy import Connection, delete, func, insert, select

from jukinet.store import journal
from jukinet.store.outbox_start import drop_outbox
from jukinet.store.schema import outbox, outbox_days

KEPT = timedelta(days=30)
"""How long a segment stays at least."""
SEGMENTS_AT_ONCE = 200


def note_day(connection: Connection, today: date) -> None:
    """Notes, once a day, how far the outbox goes; in the caller's transaction."""
    latest = connection.execute(select(func.max(outbox_days.c.day))).scalar_one_or_none()
    if latest is None or latest < today.isoformat():
        reached = journal.read_stream(connection).last_sequence
        connection.execute(insert(outbox_days).values(day=today.isoformat(), last_sequence=reached))


def prune(connection: Connection, *, today: date, is_center: bool) -> int:
    """Takes out the oldest segments that may go, at most `SEGMENTS_AT_ONCE`, in the caller's transaction.

    Args:
        today: the date in Japan.
        is_center: what is in the center's outbox is on the center's disk.

    Returns: how many went; less than `SEGMENTS_AT_ONCE` when no more may go.
    """
    old = select(func.max(outbox_days.c.last_sequence)).where(outbox_days.c.day <= (today - KEPT).isoformat())
    limit = connection.execute(old).scalar_one_or_none() or 0
    if not is_center:
        limit = min(limit, journal.read_stream(connection).center_mark)
    oldest = select(outbox.c.last_sequence).order_by(outbox.c.last_sequence).limit(SEGMENTS_AT_ONCE)
    going = connection.execute(oldest.where(outbox.c.last_sequence <= limit)).scalars().all()
    if going:
        drop_outbox(connection, going[-1])
    else:
        _forget_days(connection, limit)
    return len(going)


def _forget_days(connection: Connection, limit: int) -> None:
    """Days before the last one that counts say nothing any more."""
    counts = select(func.max(outbox_days.c.day)).where(outbox_days.c.last_sequence <= limit).scalar_subquery()
    connection.execute(delete(outbox_days).where(outbox_days.c.day < counts))
