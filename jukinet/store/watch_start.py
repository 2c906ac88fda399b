"""How a person comes on a list of those whose later changes (異動情報) an agency is told.

Rule 1: what changed between the answer and the list is told too, by the rules by which later changes are: the agency is
told all that came behind the version of the record that it was answered with.
Rule 2: a list is told in order of position. What would come where the list was told already cannot be told in its
place: the agency has to ask about that person again.
Rule 3: whether a person was protected (支援措置) at a change, the changes from the answer on say one after the other,
for who is protected is not answered about. Where the history lacks one of them, none of them can be told.

Each function works within the caller's transaction.
"""

from typing import NamedTuple

from sqlalchemy import Connection, func, insert, select

from jukinet._pb.jukinet.register.v1.change_pb2 import CHANGE_REASON_PROTECTION_END, Change
from jukinet.domain.change import Act, facts_of
from jukinet.store.kept_changes import KEPT, KeptChange, read_kept
from jukinet.store.present import codes_since
from jukinet.store.schema import history, residents
from jukinet.store.watch_look import is_overtaken
from jukinet.store.watch_schema import watch_events, watch_lists, watch_mark, watched


class Begun(NamedTuple):
    """A person on a list."""

    number: int
    """The same one for who was on it already."""
    resident_code: str
    """The present one."""
    missed: frozenset[str] | None = frozenset()
    """Municipalities that sealed what changed since the answer and cannot be told in its place any more; None where the
    history lacks some of it, and nobody knows whose."""


def put_on(connection: Connection, list_id: str, resident_code: str, method: int, *, version: int = 0) -> Begun:
    """Puts a person on a list, and lets wait there what changed since the answer.

    Args:
        resident_code: under which the person was answered about.
        version: of the record then; 0 where the handle does not say it, and nothing of before waits.

    Raises: RecordDamaged.
    """
    codes = codes_since(connection, resident_code)
    there = select(watched.c.number).where(watched.c.list_id == list_id, watched.c.resident_code == codes[-1])
    number = connection.execute(there).scalar_one_or_none()
    if number is not None:
        return Begun(number, codes[-1])
    mark: int = connection.execute(select(watch_mark.c.position)).scalar_one()
    rows = _changes(connection, codes, version) if version else []
    # What is not looked through yet comes by itself, in its place among the changes of all others on the list.
    coming = [row.position for row in rows if row.position > mark]
    end = connection.execute(select(func.max(history.c.position))).scalar_one_or_none() or 0
    since = min(coming) - 1 if coming else end
    row = {"list_id": list_id, "resident_code": codes[-1], "method": method, "since": since}
    number = connection.execute(insert(watched).values(row).returning(watched.c.number)).scalar_one()
    if version and not _are_all(connection, codes[-1], version, rows):
        return Begun(number, codes[-1], missed=None)
    waiting = [row for row in _told(connection, rows) if row.position <= mark]
    of_list = select(watch_lists.c.told, watch_lists.c.acknowledged).where(watch_lists.c.list_id == list_id)
    told = max(connection.execute(of_list).one())
    events = [
        {"list_id": list_id, "position": row.position, "number": number} for row in waiting if row.position > told
    ]
    if events:
        connection.execute(insert(watch_events), events)
    return Begun(number, codes[-1], frozenset(row.municipality for row in waiting if row.position <= told))


def _changes(connection: Connection, codes: list[str], version: int) -> list[KeptChange]:
    """A person's changes behind a version, by version. Raises: RecordDamaged."""
    behind = select(*KEPT).where(history.c.resident_code.in_(codes), history.c.version > version)
    return [read_kept(row) for row in connection.execute(behind.order_by(history.c.version))]


def _are_all(connection: Connection, code: str, version: int, rows: list[KeptChange]) -> bool:
    """Whether these are all changes from a version to the present one."""
    present = select(residents.c.version).where(residents.c.resident_code == code)
    last = connection.execute(present).scalar_one_or_none() or 0
    return [row.version for row in rows] == list(range(version + 1, last + 1))


def _told(connection: Connection, rows: list[KeptChange]) -> list[KeptChange]:
    """Those changes that are told at all."""
    told: list[KeptChange] = []
    protected = False
    for row in rows:
        change = Change.FromString(row.change)
        protected = change.protected or (protected and change.reason != CHANGE_REASON_PROTECTION_END)
        if protected or facts_of(change.reason).act is Act.PROTECTION:
            continue
        if not is_overtaken(connection, row.resident_code, row.version, row.position):
            told.append(row)
    return told
