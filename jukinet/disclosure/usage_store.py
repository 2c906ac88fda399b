"""Which usage was told to whom on which day, and how far each ledger was searched for it."""

from collections.abc import Sequence
from datetime import date
from typing import NamedTuple

from sqlalchemy import Connection, insert, select

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet.disclosure import mirror_store, schema
from jukinet.disclosure.usage import Period, Searched
from jukinet.mesh.errors import Refused


class Told(NamedTuple):
    """An answer that was made, by what makes it again: for which check, of which period, when, out of what."""

    check_id: str
    period: Period
    made_at: int
    """Microseconds since 1970."""
    searched: tuple[Searched, ...]


def told_on(connection: Connection, subject: bytes, day: date) -> Told | None:
    """What a resident, by his keyed digest, was told on a day in Japan; None for nothing. Raises LedgerCorrupt."""
    table = schema.usages
    row = connection.execute(
        select(table).where(table.c.subject == subject, table.c.day == day.isoformat())
    ).one_or_none()
    if row is None:
        return None
    ledgers = schema.searched
    searched = tuple(
        Searched(each.origin, mirror_store.of_size(connection, each.origin, each.size), each.contradicted)
        for each in connection.execute(
            select(ledgers).where(ledgers.c.check_id == row.check_id).order_by(ledgers.c.origin)
        )
    )
    period = Period(date.fromisoformat(row.first_day), date.fromisoformat(row.last_day))
    return Told(row.check_id, period, row.made_at, searched)


def keep_told(connection: Connection, subject: bytes, day: date, told: Told) -> None:
    """Keeps an answer that is about to leave. Raises Refused, before it has written: USAGE_ASKED_TODAY."""
    if told_on(connection, subject, day) is not None:
        raise Refused(errors.ERROR_REASON_USAGE_ASKED_TODAY)
    if connection.execute(select(schema.usages.c.day).where(schema.usages.c.check_id == told.check_id)).first():
        raise Refused(errors.ERROR_REASON_IDENTITY_CHECK_INVALID, detail="it was used before")
    connection.execute(
        insert(schema.usages),
        {
            "subject": subject,
            "day": day.isoformat(),
            "check_id": told.check_id,
            "first_day": told.period.first.isoformat(),
            "last_day": told.period.last.isoformat(),
            "made_at": told.made_at,
        },
    )
    connection.execute(
        insert(schema.searched),
        [
            {
                "check_id": told.check_id,
                "origin": each.origin,
                "size": each.verified.size,
                "contradicted": each.contradicted,
            }
            for each in told.searched
        ],
    )


def search_now(connection: Connection, origins: Sequence[tuple[str, bool]]) -> tuple[Searched, ...]:
    """How far each ledger can be searched now; `origins` says of each whether it is contradicted.

    Raises Refused: LEDGER_NOT_MIRRORED.
    """
    searched = []
    for origin, contradicted in sorted(origins):
        verified = mirror_store.latest(connection, origin)
        if verified is None:
            raise Refused(errors.ERROR_REASON_LEDGER_NOT_MIRRORED)
        searched.append(Searched(origin, verified, contradicted))
    return tuple(searched)
