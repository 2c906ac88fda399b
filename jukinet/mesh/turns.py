"""Long work in turns: who asks about one person does not wait for all the persons of a batch."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Final, TypeVar

TURN: Final = 32
"""Persons that one step of the work holds the event loop for: some milliseconds."""

_T = TypeVar("_T")


async def in_turns(items: Sequence[_T], *, turn: int = TURN) -> AsyncIterator[Sequence[_T]]:
    """The items in parts of `turn` at most, in their order; other tasks of the event loop go on between two parts."""
    for first in range(0, len(items), turn):
        if first:
            await asyncio.sleep(0)
        yield items[first : first + turn]
