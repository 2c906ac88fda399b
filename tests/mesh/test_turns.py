"""Long work lets others go on in between, and takes its items in their order."""

import asyncio

import pytest

from jukinet.mesh.turns import TURN, in_turns


@pytest.mark.parametrize("count", [0, 1, TURN, TURN + 1, 4 * TURN])
async def test_all_items_come_once_in_their_order_and_few_at_a_time(count: int) -> None:
    parts = [part async for part in in_turns(range(count))]
    assert [item for part in parts for item in part] == [*range(count)]
    assert all(1 <= len(part) <= TURN for part in parts)


async def test_two_long_works_take_turns() -> None:
    came: list[str] = []

    async def work(name: str) -> None:
        async for _ in in_turns(range(3 * TURN)):
            came.append(name)

    await asyncio.gather(work("a"), work("b"))
    assert came == ["a", "b"] * 3
