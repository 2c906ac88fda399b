"""The secrets behind the keys of bodies (本文): one a month, one a person, random, in a database file of their own.

Rules:

1. A secret is on disk before a key that comes from it leaves. A body whose secret was lost in a crash could be read by
   nobody, and nobody would know.
2. What is destroyed is gone from the file at once (`secure_delete`, and a log that is emptied after it). The file has
   backups of its own, which are kept for less time than was promised for the destruction.
3. A person's secret has the name that the center gives to the person, not the resident code: the file alone tells
   nobody who was asked about.
4. The newest secrets of a backup that was put back are missing and the destroyed ones are back, so what was destroyed
   is destroyed again at each start (`acts_of_two`).
5. A month whose retention is over is destroyed by itself, the oldest one first and no more than one in 24 hours that
   the center ran, over restarts: a clock that is wrong by years must not take seven years of bodies with it before
   somebody looks.
"""

import os
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import NamedTuple

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    bindparam,
    delete,
    func,
    select,
    update,
)

from jukinet._pb.jukinet.body.v1.body_pb2 import KeyPlace
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet.ledger import body
from jukinet.ledger.errors import BodyUnreadable
from jukinet.mesh.clock import now_us
from jukinet.mesh.errors import Refused
from jukinet.store.engine import open_reader, open_writer
from jukinet.store.migrate import ensure_schema
from jukinet.store.reading import read_soon
from jukinet.store.statement import Prepared, Rows
from jukinet.store.writer import Writer

MIGRATIONS = Path(__file__).parent / "migrations"
_SECRET_BYTES = 32

metadata = MetaData()
months = Table(
    "months",
    metadata,
    Column("month", String(7), primary_key=True, comment="UTC, such as 2026-11"),
    Column("secret", LargeBinary, nullable=False),
)
persons = Table(
    "persons",
    metadata,
    Column("person", String(64), primary_key=True, comment="of jukinet.ledger.body.person_name"),
    Column("secret", LargeBinary, nullable=False),
    Column("made_at", BigInteger, nullable=False, comment="microseconds since 1970, UTC"),
    sqlite_with_rowid=False,
)
hours_run = Table(
    "hours_run",
    metadata,
    Column("hours", Integer, nullable=False, comment="that the center ran since a month was destroyed by itself"),
)

_MONTH = Prepared(select(months.c.secret).where(months.c.month == bindparam("month")))
_ADD_MONTH = Rows(months, ["month", "secret"])
_PERSON = Prepared(select(persons.c.secret).where(persons.c.person == bindparam("person")))
_ADD_PERSON = Rows(persons, ["person", "secret", "made_at"])


class Answered(NamedTuple):
    """A question whose body will be sealed; `resident_code` is empty unless exactly one person was found."""

    agency: str
    request_id: str
    resident_code: str


class _Month(NamedTuple):
    """A month's secret, and what is derived from it once."""

    name: str
    secret: bytes
    places: AESGCM


class BodyKeys:
    """The center's secrets.

    Args:
        path: of the database file.
        root_key: 32 bytes, from which the persons' names are made.

    Raises StoreBusy, SchemaMismatch, StoreError when the file cannot be used.
    """

    def __init__(self, path: Path, root_key: bytes) -> None:
        self._names_key = body.names_key(root_key)
        self._engine = open_writer(f"sqlite:///{path}")
        ensure_schema(self._engine, MIGRATIONS)
        self._reader = open_reader(f"sqlite:///{path}")
        self.writer = Writer(self._engine)
        self._month: _Month | None = None

    async def keys_for(self, answered: Sequence[Answered], now: datetime) -> list[tuple[bytes, KeyPlace]]:
        """The key of each question's body, and where it is found again. Raises StoreError."""
        month = await self._month_at(now)
        names = [self.name_of(each.resident_code) if each.resident_code else "" for each in answered]
        secrets = await self._secrets_of({name for name in names if name})
        keys = [
            body.body_key(month.secret, secrets[name] if name else b"", each.agency, each.request_id)
            for each, name in zip(answered, names, strict=True)
        ]
        places = [
            body.seal_place(month.name, month.places, name, each.agency, each.request_id, nonce=nonce)
            for each, name, nonce in zip(answered, names, body.nonces(len(names)), strict=True)
        ]
        return list(zip(keys, places, strict=True))

    async def key_of(self, place: KeyPlace, agency: str, request_id: str) -> bytes:
        """The key of a body that was sealed. Raises Refused: BODY_KEY_DESTROYED; StoreError."""
        secret = await read_soon(self._reader, partial(_month_secret, place.month))
        if secret is None:
            raise Refused(errors.ERROR_REASON_BODY_KEY_DESTROYED)
        try:
            name = body.open_place(place, secret, agency, request_id)
        except BodyUnreadable:
            raise Refused(errors.ERROR_REASON_BODY_KEY_DESTROYED, detail="not a place of this question") from None
        if not name:
            return body.body_key(secret, b"", agency, request_id)
        found = await read_soon(self._reader, partial(_known, {name}))
        if name not in found:
            raise Refused(errors.ERROR_REASON_BODY_KEY_DESTROYED)
        return body.body_key(secret, found[name], agency, request_id)

    def name_of(self, resident_code: str) -> str:
        """What the person's secret is called."""
        return body.person_name(self._names_key, resident_code)

    async def holds(self, key: str) -> bool:
        """Whether there is a secret of this name, or of this month."""
        return await read_soon(self._reader, partial(_holds, key))

    async def destroy(self, keys: Iterable[tuple[str, int]]) -> int:
        """Destroys secrets: each a month, or a person's name and until when in microseconds its secret was made.

        Returns: how many there were. Raises StoreError.
        """
        gone = await self.writer.run(partial(_destroy, list(keys)))
        await self.writer.empty_log()  # also where none was there: a crash may have come between the two
        return gone

    async def after_an_hour(self, first_kept: str, *, every: int) -> str | None:
        """Counts an hour; after so many of them destroys the oldest month, if it lies before `first_kept`.

        Returns: the month that was destroyed. Raises StoreError.
        """
        month = await self.writer.run(partial(_after_an_hour, first_kept, every))
        await self.writer.empty_log()  # each hour, since a crash may have come between the two
        return month

    def close(self) -> None:
        """Closes the file."""
        self.writer.close()
        self._reader.dispose()
        self._engine.dispose()

    async def _month_at(self, now: datetime) -> _Month:
        name = month_of(now)
        if self._month is None or self._month.name != name:
            secret = await self.writer.run(partial(_month_made, name))
            self._month = _Month(name, secret, body.place_cipher(secret))
        return self._month

    async def _secrets_of(self, names: set[str]) -> dict[str, bytes]:
        if not names:
            return {}
        found = await read_soon(self._reader, partial(_known, names))
        missing = names - found.keys()
        return found | await self.writer.run(partial(_persons_made, missing, now_us())) if missing else found


def month_of(time: datetime) -> str:
    """The month (UTC) of a time with a zone, such as `2026-11`."""
    return f"{time.astimezone(UTC):%Y-%m}"


def first_kept(time: datetime, years: int) -> str:
    """The oldest month whose retention of so many years is not over."""
    return f"{time.astimezone(UTC).year - years:04}-{time.astimezone(UTC).month:02}"


def _month_secret(month: str, connection: Connection) -> bytes | None:
    row = _MONTH.row(connection, {"month": month})
    return row[0] if row else None


def _month_made(month: str, connection: Connection) -> bytes:
    secret = _month_secret(month, connection)
    if secret is None:
        secret = os.urandom(_SECRET_BYTES)
        _ADD_MONTH.write(connection, [(month, secret)])
    return secret


def _known(names: Collection[str], connection: Connection) -> dict[str, bytes]:
    found = _PERSON.rows_of_each(connection, [{"person": name} for name in names])
    return {name: rows[0][0] for name, rows in zip(names, found, strict=True) if rows}


def _persons_made(names: Collection[str], made_at: int, connection: Connection) -> dict[str, bytes]:
    known = _known(names, connection)
    made = {name: os.urandom(_SECRET_BYTES) for name in names if name not in known}
    _ADD_PERSON.write(connection, [(name, secret, made_at) for name, secret in made.items()])
    return known | made


def _holds(key: str, connection: Connection) -> bool:
    return _month_secret(key, connection) is not None or bool(_known([key], connection))


def _destroy(keys: Iterable[tuple[str, int]], connection: Connection) -> int:
    gone = 0
    for key, until in keys:
        gone += connection.execute(delete(months).where(months.c.month == key)).rowcount
        gone += connection.execute(delete(persons).where(persons.c.person == key, persons.c.made_at <= until)).rowcount
    return gone


def _after_an_hour(first_kept: str, every: int, connection: Connection) -> str | None:
    hours: int = connection.execute(select(hours_run.c.hours)).scalar_one() + 1
    oldest: str | None = connection.execute(select(func.min(months.c.month))).scalar_one()
    month = oldest if hours >= every and oldest is not None and oldest < first_kept else None
    if month is not None:
        connection.execute(delete(months).where(months.c.month == month))
        hours = 0
    connection.execute(update(hours_run).values(hours=hours))
    return month
