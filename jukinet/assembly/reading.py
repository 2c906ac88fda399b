"""Reading a register for a caller: what goes wrong with the database is told with a reason of the catalogue."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection, Engine

from jukinet.store.errors import StoreError, as_refusal
from jukinet.store.reading import read

R = TypeVar("R")


async def read_for_caller(register: Engine, query: Callable[[Connection], R]) -> R:
    """Reads in one transaction, in a thread. `register` is an engine of `open_reader`.

    Raises Refused: DEPENDENCY_UNAVAILABLE, STORAGE_FULL; and whatever `query` raises.
    """
    try:
        return await asyncio.to_thread(read, register, query)
    except StoreError as failure:
        raise as_refusal(failure) from None
