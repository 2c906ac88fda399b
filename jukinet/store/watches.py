"""Lists of persons whose later changes (異動情報) an agency is told, and the changes that wait to be told.

Rule: what waits holds no record. What is told is read from the history when it is told, and decided then. Where a
change is damaged, what is told stops in front of it.

Each function works within the caller's transaction.
"""

import logging
from collections.abc import Iterable
from datetime import date
from typing import NamedTuple

from sqlalchemy import Connection, delete, insert, select, update

from jukinet.store.checksum import RecordDamaged
from jukinet.store.kept_changes import KEPT, read_kept
from jukinet.store.schema import history
from jukinet.store.watch_schema import watch_events, watch_lists, watch_mark, watched

log = logging.getLogger(__name__)


class WatchList(NamedTuple):
    """A list as it stands."""

    list_id: str
    agency: str
    purpose: str
    fields: tuple[int, ...]
    expires_on: str
    """YYYY-MM-DD in Japan."""
    acknowledged: int = 0
    """Position up to which the agency has all changes on disk."""
    told: int = 0
    """Position up to which it may have been told."""


class Waiting(NamedTuple):
    """A change that waits to be told."""

    position: int
    number: int
    method: int
    resident_code: str
    """The present one."""
    municipality: str
    change: bytes


def read_list(connection: Connection, list_id: str, *, today: date) -> WatchList | None:
    """A list that has not run out; None when there is none."""
    table = watch_lists.c
    row = connection.execute(
        select(table.agency, table.purpose, table.fields, table.expires_on, table.acknowledged, table.told).where(
            table.list_id == list_id, table.expires_on >= today.isoformat()
        )
    ).first()
    if row is None:
        return None
    agency, purpose, fields, *rest = row
    return WatchList(list_id, agency, purpose, tuple(map(int, fields.split())), *rest)


def keep_list(connection: Connection, kept: WatchList) -> None:
    """Begins a list, or moves the last day of one that is there."""
    moved = update(watch_lists).where(watch_lists.c.list_id == kept.list_id).values(expires_on=kept.expires_on)
    if not connection.execute(moved).rowcount:
        values = {**kept._asdict(), "fields": " ".join(map(str, kept.fields))}
        connection.execute(insert(watch_lists).values(values))


def note_told(connection: Connection, list_id: str) -> int:
    """Notes, before it is told, that a list may be told all that was looked through; gives up to which position."""
    mark = int(connection.execute(select(watch_mark.c.position)).scalar_one())
    connection.execute(update(watch_lists).where(watch_lists.c.list_id == list_id).values(told=mark))
    return mark


def end_lists(connection: Connection, list_ids: Iterable[str]) -> None:
    """Forgets lists and all that waits for them."""
    for list_id in list_ids:
        for table in (watch_events, watched, watch_lists):
            connection.execute(delete(table).where(table.c.list_id == list_id))


def run_out(connection: Connection, *, today: date) -> list[str]:
    """Ids of the lists whose last day is past."""
    ended = select(watch_lists.c.list_id).where(watch_lists.c.expires_on < today.isoformat())
    return list(connection.execute(ended).scalars())


def acknowledge(connection: Connection, list_id: str, position: int) -> None:
    """Notes that the agency has all changes of a list up to a position on disk: they wait no longer."""
    of_list = watch_lists.c.list_id == list_id
    connection.execute(
        update(watch_lists).where(of_list, watch_lists.c.acknowledged < position).values(acknowledged=position)
    )
    connection.execute(
        delete(watch_events).where(watch_events.c.list_id == list_id, watch_events.c.position <= position)
    )


def is_place(connection: Connection, kept: WatchList, position: int) -> bool:
    """Whether a list can go on behind a position: the acknowledged one, or that of a change which waits.

    Another one was told by a database that is no more, or was acknowledged long ago.
    """
    if position == kept.acknowledged:
        return True
    there = select(watch_events.c.number).where(
        watch_events.c.list_id == kept.list_id, watch_events.c.position == position
    )
    return connection.execute(there).first() is not None


def waiting(connection: Connection, list_id: str, *, after: int, limit: int) -> list[Waiting]:
    """The next changes that wait for a list, by position. Raises RecordDamaged: the first of them is damaged."""
    columns = (watched.c.number, watched.c.method, watched.c.resident_code.label("present"))
    rows = connection.execute(
        select(*KEPT, *columns)
        .join(watched, watched.c.number == watch_events.c.number)
        .join(history, history.c.position == watch_events.c.position)
        .where(watch_events.c.list_id == list_id, watch_events.c.position > after)
        .order_by(watch_events.c.position)
        .limit(limit)
    )
    found: list[Waiting] = []
    for *row, number, method, present in rows:
        try:
            kept = read_kept(row)
        except RecordDamaged:
            if not found:
                log.critical("a list waits at a damaged change")
                raise
            break
        found.append(Waiting(kept.position, number, method, present, kept.municipality, kept.change))
    return found
