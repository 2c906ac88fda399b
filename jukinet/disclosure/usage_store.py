"""Which usage was told to whom on which day, and how far each ledger was searched for it."""

from collections.abc import Sequence
from datetime import date
from typing import NamedTuple

from sqlalchemy import Connection, insert, select

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet.disclosure import mirror_store, schema
from jukinet.disclosure.usage import Period, Searched
from jukinet.mesh.errors import Refused


class Look(NamedTuple):
    """How a ledger was found last."""

    origin: str
    contradicted: bool
    verified_at: int
    """Up to when it showed no more than what is here, microseconds since 1970; 0 = not since the node was started."""


class Told(NamedTuple):
    """An answer that was made, by what makes it again: for which check, of which period, when, out of what."""

    check_id: str
    period: Period
    made_at: int
    """Microseconds since 1970."""
    searched: tuple[Searched, ...]


def told_for(connection: Connection, subject: bytes, day: date, check_id: str, period: Period) -> Told | None:
    """What was told for a check of identity, on whichever day; None where the resident may be told now.

    Args:
        connection: to the node's database; only read from.
        subject: the resident's keyed digest.
        day: today, in Japan.
        check_id: of the check.
        period: asked for.
    Raises:
        Refused: USAGE_ASKED_TODAY; IDENTITY_CHECK_INVALID, when the check served for something else before.
        LedgerCorrupt: the mirror is damaged.
    """
    table = schema.usages
    row = connection.execute(select(table).where(table.c.check_id == check_id)).one_or_none()
    if row is not None:
        told = Period(date.fromisoformat(row.first_day), date.fromisoformat(row.last_day))
        if (row.subject, told) == (subject, period):
            return Told(check_id, period, row.made_at, _searched_for(connection, check_id))
    if connection.execute(
        select(table.c.day).where(table.c.subject == subject, table.c.day == day.isoformat())
    ).first():
        raise Refused(errors.ERROR_REASON_USAGE_ASKED_TODAY)
    if row is not None:
        raise Refused(errors.ERROR_REASON_IDENTITY_CHECK_INVALID, detail="it was used before")
    return None


def keep_told(connection: Connection, subject: bytes, day: date, told: Told) -> None:
    """Keeps an answer that is about to leave.

    Raises Refused, before it has written: as `told_for`; USAGE_ASKED_TODAY too where the check's own was kept already.
    """
    if told_for(connection, subject, day, told.check_id, told.period) is not None:
        raise Refused(errors.ERROR_REASON_USAGE_ASKED_TODAY)
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
    connection.execute(
        insert(schema.looks),
        [{"check_id": told.check_id, "origin": each.origin, "verified_at": each.verified_at} for each in told.searched],
    )


def search_now(connection: Connection, looks: Sequence[Look]) -> tuple[Searched, ...]:
    """How far each ledger can be searched now, and up to when that holds.

    Raises Refused: LEDGER_NOT_MIRRORED.
    """
    searched = []
    for look in sorted(looks):
        verified = mirror_store.latest(connection, look.origin)
        if verified is None:
            raise Refused(errors.ERROR_REASON_LEDGER_NOT_MIRRORED)
        # A node that was started anew and does not reach the ledger knows when its last checkpoint came.
        until = max(look.verified_at, verified.verified_at)
        contradicted = look.contradicted or mirror_store.is_contradicted_after(connection, look.origin, until)
        searched.append(Searched(look.origin, verified, contradicted, until))
    return tuple(searched)


def _searched_for(connection: Connection, check_id: str) -> tuple[Searched, ...]:
    ledgers, looks = schema.searched, schema.looks
    rows = connection.execute(
        select(ledgers, looks.c.verified_at)
        .join(looks, (looks.c.check_id == ledgers.c.check_id) & (looks.c.origin == ledgers.c.origin), isouter=True)
        .where(ledgers.c.check_id == check_id)
        .order_by(ledgers.c.origin)
    )
    searched = []
    for each in rows:
        verified = mirror_store.of_size(connection, each.origin, each.size)
        # An answer of before d0004 was told when the checkpoint had come.
        until = verified.verified_at if each.verified_at is None else each.verified_at
        searched.append(Searched(each.origin, verified, each.contradicted, until))
    return tuple(searched)
