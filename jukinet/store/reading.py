"""Reading from a node's database, in one transaction a query, beside the one thread that writes.

A reader never changes anything, so what it asked of a server that was restarted meanwhile may be asked again.
"""

import asyncio
from collections.abc import Callable
from typing import TypeVar
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import StatementError

from jukinet.store.errors import StoreError, is_lost, without_values

R = TypeVar("R")


def read(engine: Engine, query: Callable[[Connection], R]) -> R:
    """Reads in one transaction; asks again, once, when the database was restarted meanwhile.

    Args:
        engine: of `open_reader`.
        query: what to read; has no other effect.

    Raises:
        StoreError: the database failed; unlike the driver's error it quotes nothing that is stored.
    """
    try:
        return _read_once(engine, query)
    except _ConnectionLost:
        engine.dispose()  # its other connections ended with the same server
    return _read_once(engine, query)


async def read_soon(engine: Engine, query: Callable[[Connection], R]) -> R:
    """`read` for a task of an event loop.

    SQLite is asked at once: a look-up by key takes less time than the way to a thread and back. A PostgreSQL that is
    away would hold the loop for as long as a connection may take, so it is asked in a thread.
    """
    if engine.dialect.name == "sqlite":
        return _read_on_kept(engine, query)
    return await asyncio.to_thread(read, engine, query)


# To take a connection from its engine and give it back costs more than a look-up.
_kept: WeakKeyDictionary[Engine, Connection] = WeakKeyDictionary()


def _read_on_kept(engine: Engine, query: Callable[[Connection], R]) -> R:
    try:
        connection = _kept.get(engine)
        if connection is None:
            connection = _kept[engine] = engine.connect()
            event.listen(engine, "engine_disposed", _let_go)
        with connection.begin():
            return query(connection)
    except StatementError as error:
        failure = without_values(error)
    _let_go(engine)
    raise failure


def _let_go(engine: Engine) -> None:
    connection = _kept.pop(engine, None)
    if connection is not None:
        connection.detach()  # a pool that is disposed of would take it back and leave it open
        connection.close()


class _ConnectionLost(StoreError):
    pass


def _read_once(engine: Engine, query: Callable[[Connection], R]) -> R:
    try:
        with engine.begin() as connection:
            return query(connection)
    except StatementError as error:
        failure = _ConnectionLost("connection lost") if is_lost(error) else without_values(error)
    raise failure
