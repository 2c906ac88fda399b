"""A staged snapshot into the register: statements over whole tables, within the caller's one transaction.

Rule 1: the result is what the municipality's changes would have made one by one. Rows go over as they are staged only
where nothing here has a say in them: nobody else's row, nothing parked. All the others are set apart, and the caller
lets the ordinary rules judge their changes.
Rule 2: what other municipalities sealed is never touched; a row that one of them holds stays.
Rule 3: the history is only added to. What is already in it is the same change, or the snapshot is of another history
and nothing is taken.
"""

from collections.abc import Iterator

from sqlalchemy import BigInteger, Connection, and_, delete, exists, func, insert, literal, or_, select, update

from jukinet.store.schema import history, parked, residents, set_aside, staged_changes, staged_residents

_CHANGES, _ROWS = staged_changes.c, staged_residents.c


def has_residents(connection: Connection, municipality: str, number: int) -> bool:
    """Whether so many resident codes are staged of a municipality; no more, where a change could not be read."""
    query = select(func.count()).select_from(staged_residents).where(_ROWS.municipality == municipality)
    found = connection.execute(query).scalar_one()
    unread = select(_CHANGES.sequence).where(_CHANGES.municipality == municipality, _CHANGES.resident_code == "")
    return found == number or (found < number and connection.execute(unread.limit(1)).first() is not None)


def is_another_history(connection: Connection, municipality: str) -> bool:
    """Whether a change of the municipality that is here is not the one that is staged."""
    same_place = and_(
        _CHANGES.municipality == history.c.municipality,
        _CHANGES.sequence == history.c.sequence,
        _CHANGES.epoch == history.c.epoch,
    )
    both = history.outerjoin(staged_changes, same_place)
    differs = or_(_CHANGES.change.is_(None), _CHANGES.change != history.c.change)
    query = select(history.c.sequence).select_from(both).where(history.c.municipality == municipality, differs)
    return connection.execute(query.limit(1)).first() is not None


def changes_after(connection: Connection, municipality: str, sequence: int) -> Iterator[tuple[bool, bytes]]:
    """The staged changes of a municipality after one of its own: whether each could be read, and its sealed bytes."""
    query = select(_CHANGES.resident_code, _CHANGES.change)
    for code, change in connection.execute(
        query.where(_CHANGES.municipality == municipality, _CHANGES.sequence > sequence)
    ):
        yield code != "", bytes(change)


def set_apart(connection: Connection, municipality: str) -> None:
    """Sets apart all staged residents in whom something that is here has a say."""
    of_it = _ROWS.municipality == municipality
    held = exists().where(residents.c.resident_code == _ROWS.resident_code, residents.c.holder != municipality)
    waits = exists().where(parked.c.resident_code == _ROWS.resident_code)
    mark = update(staged_residents).where(of_it, _ROWS.apart == 0).values(apart=1)
    connection.execute(mark.where(or_(held, waits)))
    linked = select(_CHANGES.previous_code, _CHANGES.resident_code).where(
        _CHANGES.municipality == municipality, _CHANGES.previous_code != ""
    )
    # A person whose code was changed is one person: all of his codes go the same way.
    pairs = connection.execute(linked).all()
    apart = _apart_among(connection, municipality, {code for pair in pairs for code in pair}) if pairs else set()
    reached, before = set(apart), -1
    while len(reached) > before:
        before = len(reached)
        reached.update(code for pair in pairs if reached.intersection(pair) for code in pair)
    for code in reached - apart:
        connection.execute(mark.where(_ROWS.resident_code == code))


def take_over(connection: Connection, municipality: str, now_us: int) -> None:
    """Puts the staged rows that are not apart in the place of the municipality's rows, with their history."""
    of_it = _ROWS.municipality == municipality
    apart = select(_ROWS.resident_code).where(of_it, _ROWS.apart == 1)
    connection.execute(
        delete(residents).where(residents.c.holder == municipality, residents.c.resident_code.not_in(apart))
    )
    names = [column.name for column in residents.c]
    rows = select(*(_ROWS[name] for name in names)).where(of_it, _ROWS.apart == 0)
    connection.execute(insert(residents).from_select(names, rows.order_by(_ROWS.resident_code)))
    in_history = exists().where(
        history.c.municipality == _CHANGES.municipality,
        history.c.epoch == _CHANGES.epoch,
        history.c.sequence == _CHANGES.sequence,
    )
    columns = [
        _CHANGES.resident_code,
        _CHANGES.version,
        _CHANGES.municipality,
        _CHANGES.epoch,
        _CHANGES.sequence,
        _CHANGES.change,
    ]
    changes = (
        select(*columns, literal(now_us, BigInteger))
        .where(_CHANGES.municipality == municipality, _CHANGES.resident_code != "", ~in_history)
        .where(_CHANGES.resident_code.not_in(apart))
        .order_by(_CHANGES.sequence)
    )
    connection.execute(insert(history).from_select([*(column.name for column in columns), "applied_at"], changes))


def apart_changes(connection: Connection, municipality: str) -> Iterator[tuple[str, int, int, bytes]]:
    """Changes of residents that are apart, and those that could not be read, in order, without those that are here.

    Yields municipality, epoch, sequence and the sealed bytes of each.
    """
    apart = select(_ROWS.resident_code).where(_ROWS.municipality == municipality, _ROWS.apart == 1)
    query = (
        select(_CHANGES.municipality, _CHANGES.epoch, _CHANGES.sequence, _CHANGES.change)
        .where(_CHANGES.municipality == municipality)
        .where(or_(_CHANGES.resident_code.in_(apart), _CHANGES.resident_code == ""))
        .order_by(_CHANGES.sequence)
    )
    for table in (history, parked, set_aside):
        query = query.where(
            ~exists().where(
                table.c.municipality == _CHANGES.municipality,
                table.c.epoch == _CHANGES.epoch,
                table.c.sequence == _CHANGES.sequence,
            )
        )
    for row in connection.execute(query):
        yield row.municipality, row.epoch, row.sequence, bytes(row.change)


def _apart_among(connection: Connection, municipality: str, codes: set[str]) -> set[str]:
    query = select(_ROWS.resident_code).where(_ROWS.municipality == municipality, _ROWS.apart == 1)
    return codes & set(connection.execute(query).scalars())
