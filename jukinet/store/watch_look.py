"""Looks the history through for changes of persons on lists (異動情報), and lets them wait to be told.

Rule 1: each change of a person on a list waits exactly once, under its place in the history. The history is looked
through once for all lists, and the mark up to which it was moves in the same transaction as what was found.
Rule 2: nothing waits of who is protected (支援措置) when the history is looked through, nor of a protection itself.
Rule 3: a change that a later one overtook tells nothing new, and does not wait.
Rule 4: where a damaged row hides whether a person on a list is protected, or what changed, the mark stops in front of
that change.

Each function works within the caller's transaction.
"""

import logging
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Final

from sqlalchemy import Connection, insert, select, update

from jukinet._pb.jukinet.register.v1.change_pb2 import Change
from jukinet.domain.change import Act, facts_of
from jukinet.store.checksum import RecordDamaged
from jukinet.store.kept_changes import KEPT, KeptChange, read_kept
from jukinet.store.present import is_kept_back
from jukinet.store.schema import history
from jukinet.store.statement import one_of
from jukinet.store.watch_schema import watch_events, watch_mark, watched

log = logging.getLogger(__name__)

LOOKED_THROUGH: Final = 500
"""Changes of the history at a time, so that no change from below waits for long."""


def look_through(connection: Connection) -> int:
    """Looks the next changes of the history through, and lets those of persons on lists wait.

    Returns: how many were looked through; less than `LOOKED_THROUGH` at the end of the history, or in front of damage.

    Raises: RecordDamaged: the next one is of a person on a list whose row cannot be read, or cannot be read itself.
    """
    new = (
        select(*KEPT)
        .where(history.c.position > select(watch_mark.c.position).scalar_subquery())
        .order_by(history.c.position)
    )
    rows = connection.execute(new.limit(LOOKED_THROUGH)).all()
    if not rows:
        return 0
    if connection.execute(select(watched.c.number).limit(1)).first():
        found, decided = _found(_sound(rows), connection)
        if found:
            connection.execute(insert(watch_events), found)
        if decided < len(rows):
            log.critical("a damaged record stops the lists", extra={"position": rows[decided].position})
            rows = rows[:decided]
    if not rows:
        raise RecordDamaged
    connection.execute(update(watch_mark).values(position=rows[-1].position))
    return len(rows)


def is_looked_through(connection: Connection) -> bool:
    """Whether nothing of the history is left to be looked through."""
    return (
        connection.execute(
            select(history.c.position)
            .where(history.c.position > select(watch_mark.c.position).scalar_subquery())
            .limit(1)
        ).first()
        is None
    )


def _sound(rows: Iterable[Any]) -> list[KeptChange]:
    """The changes in front of the first one that is damaged."""
    changes: list[KeptChange] = []
    with suppress(RecordDamaged):
        changes.extend(map(read_kept, rows))
    return changes


def _found(changes: list[KeptChange], connection: Connection) -> tuple[list[dict[str, object]], int]:
    """What waits because of these changes, list by list, and how many of them could be decided."""
    messages = [Change.FromString(each.change) for each in changes]
    present: dict[str, str] = {}
    for each, message in zip(changes, messages, strict=True):
        if message.previous_resident_code:
            present[message.previous_resident_code] = each.resident_code
            _follow(connection, message.previous_resident_code, each.resident_code)
    codes = [_last(present, each.resident_code) for each in changes]
    on_lists: dict[str, list[tuple[str, int, int]]] = {}
    for code, *place in _ON_LISTS.rows(connection, {"codes": list(set(codes))}):
        on_lists.setdefault(code, []).append((place[0], place[1], place[2]))
    found: list[dict[str, object]] = []
    for decided, (each, message, code) in enumerate(zip(changes, messages, codes, strict=True)):
        concerned = [on for on in on_lists.get(code, ()) if on[2] < each.position]
        try:
            if not concerned or not _is_told(connection, each, message, code):
                continue
        except RecordDamaged:
            return found, decided
        found += [
            {"list_id": list_id, "position": each.position, "number": number} for list_id, number, _since in concerned
        ]
    return found, len(changes)


_ON_LISTS = one_of(
    select(watched.c.resident_code, watched.c.list_id, watched.c.number, watched.c.since), codes=watched.c.resident_code
)


def _last(present: dict[str, str], code: str) -> str:
    while code in present:
        code = present[code]
    return code


def _is_told(connection: Connection, each: KeptChange, message: Change, code: str) -> bool:
    """Whether a change of a person on a list is told at all."""
    if facts_of(message.reason).act is Act.PROTECTION or is_kept_back(connection, code):
        return False
    return not is_overtaken(connection, each.resident_code, each.version, each.position)


def is_overtaken(connection: Connection, resident_code: str, version: int, position: int) -> bool:
    """Whether a later change of the person was there before this one."""
    overtaken = select(history.c.position).where(
        history.c.resident_code == resident_code, history.c.version > version, history.c.position < position
    )
    return connection.execute(overtaken.limit(1)).first() is not None


def _follow(connection: Connection, before: str, code: str) -> None:
    """A resident code was changed: whoever is on a list under the old one is under the new one."""
    on_both = select(watched.c.list_id).where(watched.c.resident_code == code).scalar_subquery()
    moved = update(watched).where(watched.c.resident_code == before, watched.c.list_id.not_in(on_both))
    connection.execute(moved.values(resident_code=code))
