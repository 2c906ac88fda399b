"""Lists of persons whose later changes (異動情報) an agency is told, and which changes wait to be told.

Rule 1: each change of a person on a list waits exactly once, under its place in the history. The history is looked
through once for all lists, and the mark up to which it was moves in the same transaction as what was found.
Rule 2: what waits holds no record. What is told is read from the history when it is told, and decided then.
Rule 3: nothing waits of who is protected (支援措置) when the history is looked through, nor of a protection itself.
Rule 4: a change that a later one overtook tells nothing new, and does not wait.
Rule 5: where a damaged row hides whether a person on a list is protected, or what changed, the mark stops in front of
that change, and so does what is told.

Each function works within the caller's transaction.
"""

import logging
from collections.abc import Iterable
from contextlib import suppress
from datetime import date
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, delete, insert, select, update

from jukinet._pb.jukinet.register.v1.change_pb2 import Change
from jukinet._pb.jukinet.register.v1.identity_pb2 import Resident
from jukinet.domain.change import Act, facts_of
from jukinet.domain.protection import is_protected
from jukinet.store.checksum import RecordDamaged, is_sound
from jukinet.store.kept_changes import KEPT, KeptChange, read_kept
from jukinet.store.schema import history, residents
from jukinet.store.statement import one_of
from jukinet.store.watch_schema import watch_events, watch_lists, watch_mark, watched

log = logging.getLogger(__name__)

LOOKED_THROUGH: Final = 500
"""Changes of the history at a time, so that no change from below waits for long."""


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


def is_kept_back(connection: Connection, code: str) -> bool:
    """Whether nothing may be told of a person: protected (支援措置), or not here under this code.

    Raises: RecordDamaged.
    """
    row = _row(connection, code)
    return row is None or is_protected(row)


def present_code(connection: Connection, code: str) -> str:
    """The resident code that a person has now, who was answered about under this one. Raises: RecordDamaged."""
    return codes_since(connection, code)[-1]


def codes_since(connection: Connection, code: str) -> list[str]:
    """The resident codes of a person from this one to the present one. Raises: RecordDamaged."""
    codes = [code]
    while (row := _row(connection, codes[-1])) is not None and row.successor_code:
        codes.append(row.successor_code)
    return codes


def _row(connection: Connection, code: str) -> Resident | None:
    columns = select(residents.c.resident, residents.c.checksum)
    row = connection.execute(columns.where(residents.c.resident_code == code)).first()
    if row is None:
        return None
    if not is_sound(bytes(row.resident), row.checksum):
        raise RecordDamaged
    return Resident.FromString(bytes(row.resident))
