"""A stored row in which a bit is flipped, past the product."""

from sqlalchemy import Engine, select, update

from jukinet.store.schema import residents


def flip(engine: Engine, code: str) -> None:
    """Flips a bit in somebody's row, so that it is no message any more; once more, and the row is as it was."""
    of_code = residents.c.resident_code == code
    with engine.begin() as connection:
        row = bytes(connection.execute(select(residents.c.resident).where(of_code)).scalar_one())
        connection.execute(update(residents).where(of_code).values(resident=bytes([row[0] ^ 1, *row[1:]])))
