"""A node's disk: an SQLite database in memory. What was committed stays, what was not is gone with the process.

The schema is made once by the product's own migrations and copied byte for byte into each new disk. A backup is such a
copy of a disk in use.
"""

import sqlite3
from collections.abc import Callable
from functools import cache
from typing import TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.pool import NullPool, StaticPool

from jukinet.store.migrate import REGISTER, ensure_schema
from jukinet.store.statement import run_on_driver

R = TypeVar("R")


class Disk:
    """One database; `image` is what a backup holds, a new register without it."""

    def __init__(self, image: bytes | None = None) -> None:
        self.connection: Connection = _engine().connect()
        self._driver.deserialize(image or _empty())

    @property
    def _driver(self) -> sqlite3.Connection:
        driver = self.connection.connection.driver_connection
        assert isinstance(driver, sqlite3.Connection)  # noqa: S101  # the engine below makes nothing else
        return driver

    def read(self, query: Callable[[Connection], R]) -> R:
        """Reads what is committed."""
        with self.connection.begin() as transaction:
            found = query(self.connection)
            transaction.rollback()
        return found

    def backup(self) -> bytes:
        """What is on the disk now."""
        return self._driver.serialize()

    def fill(self, *, full: bool) -> None:
        """Lets the disk have no free page, or room again."""
        pages = self._driver.execute("PRAGMA page_count").fetchone()[0] if full else 1_000_000
        self._driver.execute(f"PRAGMA max_page_count={pages}")

    def execute(self, statement: str, *values: object) -> list[tuple[object, ...]]:
        """For what goes past the product: a flipped bit."""
        return self._driver.execute(statement, values).fetchall()

    def close(self) -> None:
        """Frees the memory."""
        self.connection.close()


class Marker:
    """What lies beside the database and does not go back in time with it."""

    def __init__(self, content: bytes | None = None) -> None:
        self.content = content

    def read(self) -> bytes | None:
        """What stands there."""
        return self.content

    def write(self, content: bytes) -> None:
        """Replaces it."""
        self.content = content

    def remove(self) -> None:
        """Takes it away."""
        self.content = None


@cache
def _engine() -> Engine:
    engine = create_engine(
        "sqlite://",
        creator=lambda: sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False),
        poolclass=NullPool,
        hide_parameters=True,
    )
    # Past SQLAlchemy's own execution, which takes longer than all that SQLite does here.
    event.listen(engine, "begin", lambda connection: run_on_driver(connection, "BEGIN IMMEDIATE"))
    return engine


@cache
def _empty() -> bytes:
    driver = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    engine = create_engine("sqlite://", creator=lambda: driver, poolclass=StaticPool)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    ensure_schema(engine, REGISTER)
    # Pages that the migrations left free would let a full disk take changes on and on.
    driver.execute("VACUUM")
    image = driver.serialize()
    engine.dispose()
    return image
