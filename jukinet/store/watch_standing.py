"""How agencies' lists of persons (異動情報) stand, for the operator of the center: counts and moments, never a person.

Each function works within the caller's transaction.
"""

from typing import NamedTuple

from sqlalchemy import Connection, func, select

from jukinet.store.schema import history, residents
from jukinet.store.snapshots import unprovided
from jukinet.store.watch_schema import watch_events, watch_lists, watched


class Awaited(NamedTuple):
    """A municipality that is half in for the first time, in front of whose residents lists wait."""

    municipality: str
    lists: int
    since_us: int
    """When the oldest of these changes came into the history, microseconds since 1970."""


class Standing(NamedTuple):
    """How all lists together stand."""

    lists: int
    waiting_since_us: int | None
    """When the oldest change that waits came into the history, in microseconds since 1970; None where none waits."""
    awaited: tuple[Awaited, ...] = ()
    """By municipality."""


def standing(connection: Connection) -> Standing:
    """How all lists together stand.

    Looks at one change a list, however many wait, and at all of them only while a municipality is half in.
    """
    first = select(func.min(watch_events.c.position)).where(watch_events.c.list_id == watch_lists.c.list_id)
    lists, oldest = connection.execute(
        select(func.count(), func.min(first.scalar_subquery())).select_from(watch_lists)
    ).one()
    since = None if oldest is None else _applied_at(connection, oldest)
    return Standing(lists, since, _awaited(connection))


def _awaited(connection: Connection) -> tuple[Awaited, ...]:
    half_in = unprovided(connection)
    if not half_in:
        return ()
    holder, position = residents.c.holder, watch_events.c.position
    rows = connection.execute(
        select(holder, func.count(watch_events.c.list_id.distinct()), func.min(position))
        .join(watched, watched.c.number == watch_events.c.number)
        .join(residents, residents.c.resident_code == watched.c.resident_code)
        .where(holder.in_(half_in))
        .group_by(holder)
        .order_by(holder)
    )
    return tuple(Awaited(code, lists, _applied_at(connection, first)) for code, lists, first in rows)


def _applied_at(connection: Connection, position: int) -> int:
    return int(connection.execute(select(history.c.applied_at).where(history.c.position == position)).scalar_one())
