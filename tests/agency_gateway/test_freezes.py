"""What is done about a frozen operator is the same in memory and on record, whatever became of whoever asked for it."""

import asyncio
from collections.abc import Awaitable
from typing import Any

import pytest

from agency_gateway.freezes import RELEASE
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2 as ledger
from jukinet.mesh.errors import Refused
from tests.agency_gateway.agencies import PENSION
from tests.agency_gateway.test_detectors import FIRST, FROZEN, SECOND, TOO_MANY, WHO, guess
from tests.agency_gateway.test_sick_disk import UNAVAILABLE

Network = Any  # the class is in network.py; tests put methods of their own into it, and no context into calls


async def hang_up_on(network: Network, call: Awaitable[object]) -> None:
    """Makes a call whose caller hangs up while its act is on the way to the disk; returns when the act has ended."""
    carry_out, asking = network.record.carry_out, asyncio.ensure_future(call)

    async def hung_up(entry: Any, act: Any) -> None:
        asking.cancel()
        await carry_out(entry, act)

    network.record.carry_out = hung_up
    with pytest.raises(asyncio.CancelledError):
        await asking
    await asyncio.gather(*network.freezes._acts)
    network.record.carry_out = carry_out


async def test_a_freeze_takes_effect_once_though_the_agency_hangs_up_on_it(network: Network) -> None:
    await guess(network, TOO_MANY - 1)
    await hang_up_on(network, network.inquire(number=999))
    assert set(network.freezes.standing) == {WHO}
    assert await network.refusal_of(network.inquire()) == FROZEN
    frozen, refused = network.leaves()[-2:]
    assert (frozen.action, refused.result) == (ledger.ACTION_FREEZE_OPERATOR, ledger.RESULT_REFUSED)


async def test_a_proposal_and_a_release_take_effect_though_the_operators_hang_up(network: Network) -> None:
    await guess(network)
    await hang_up_on(network, network.freezes.release(PENSION.uri, "op-1", FIRST))
    assert network.freezes.standing[WHO].proposed_by == FIRST
    await hang_up_on(network, network.freezes.release(PENSION.uri, "op-1", SECOND))
    assert network.freezes.standing == {}
    await network.inquire()


async def test_an_act_of_which_nobody_was_told_whether_it_is_on_record_counts_as_it_is(network: Network) -> None:
    carry_out = network.record.carry_out

    async def untold(entry: Any, act: Any) -> None:
        await carry_out(entry, act)
        raise Refused(UNAVAILABLE)

    network.record.carry_out = untold
    assert await network.refusal_of(guess(network)) == UNAVAILABLE
    assert await network.refusal_of(network.inquire()) == FROZEN
    assert await network.refusal_of(network.freezes.release(PENSION.uri, "op-1", FIRST)) == UNAVAILABLE
    network.record.carry_out = carry_out
    assert await network.freezes.release(PENSION.uri, "op-1", SECOND) == (RELEASE, FIRST)
    await network.inquire()


async def test_a_freeze_that_is_on_record_without_being_known_is_not_put_there_again(network: Network) -> None:
    await guess(network)
    before = network.leaves()
    network.freezes._unrecorded[WHO] = "misses"  # as when the database could not be read after the commit
    await network.freezes.settle()
    assert network.leaves() == before
    assert not network.freezes._unrecorded
