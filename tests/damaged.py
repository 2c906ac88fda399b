"""Stored rows in which a bit is flipped, past the product. Flipped once more, a row is as it was."""

from typing import Any

from sqlalchemy import Connection, Engine, select, text, update

from jukinet.store.schema import history, residents


def flip(engine: Engine, code: str) -> None:
    """Flips a bit in somebody's row, so that it is no message any more."""
    of_code = residents.c.resident_code == code
    with engine.begin() as connection:
        row = bytes(connection.execute(select(residents.c.resident).where(of_code)).scalar_one())
        connection.execute(update(residents).where(of_code).values(resident=bytes([row[0] ^ 1, *row[1:]])))


def flip_kept(engine: Engine, position: int, column: str) -> None:
    """Flips a bit in a column of the history, which is append-only for everybody but a disk."""
    at, sqlite = history.c.position == position, engine.dialect.name == "sqlite"
    with engine.begin() as connection:
        off = "DROP TRIGGER IF EXISTS history_no_update" if sqlite else "ALTER TABLE history DISABLE TRIGGER ALL"
        connection.execute(text(off))
        value = flipped(connection.execute(select(history.c[column]).where(at)).scalar_one())
        connection.execute(update(history).where(at).values({column: value}))


def ruin_text(connection: Connection, table: str, column: str, where: str) -> None:
    """Makes of a column what is 131016 with one bit flipped, and no text any more, past the checks of the database."""
    postgresql = connection.dialect.name == "postgresql"
    if postgresql:
        connection.execute(text("CREATE CAST (bytea AS text) WITHOUT FUNCTION"))
    ruined = r"'\xB13331303136'::bytea::text" if postgresql else "CAST(x'B13331303136' AS TEXT)"
    connection.execute(text(f"UPDATE {table} SET {column} = {ruined} WHERE {where}"))
    if postgresql:
        connection.execute(text("DROP CAST (bytea AS text)"))


def flipped(value: Any, bit: int = 6) -> Any:
    """A value of a column with one bit changed."""
    if isinstance(value, int):
        return value ^ 1 << bit
    if isinstance(value, str):
        return value[:-1] + chr(ord(value[-1]) ^ 1)
    row = bytearray(value)
    row[bit // 8] ^= 1 << bit % 8
    return bytes(row)
