"""Whoever waits for the disk waits so long and no longer, however many wait."""

import asyncio

import pytest

from agency_gateway.patience import Patience, TooLate


def futures(count: int) -> list["asyncio.Future[int]"]:
    return [asyncio.get_running_loop().create_future() for _ in range(count)]


async def test_who_waited_too_long_hears_of_it_and_who_came_later_waits_on() -> None:
    patience, (first, second, later) = Patience(), futures(3)
    patience.give(first, 0.01)
    patience.give(second, 0.01)
    patience.give(later, 60.0)
    for each in (first, second):
        with pytest.raises(TooLate):
            await asyncio.wait_for(each, 10)
    assert not later.done()
    later.cancel()


async def test_one_who_is_waited_for_alone_is_ended_in_his_own_time() -> None:
    patience, (done, waiting) = Patience(), futures(2)
    patience.give(done, 60.0)
    done.set_result(1)
    patience.give(waiting, 0.01)
    with pytest.raises(TooLate):
        await asyncio.wait_for(waiting, 10)
    assert await done == 1


async def test_what_was_done_or_given_up_in_time_stays_as_it_is() -> None:
    patience, (kept, given_up, waiting) = Patience(), futures(3)
    for each in (kept, given_up, waiting):
        patience.give(each, 0.01)
    kept.set_result(7)
    given_up.cancel()
    with pytest.raises(TooLate):
        await asyncio.wait_for(waiting, 10)
    assert (await kept, given_up.cancelled()) == (7, True)
