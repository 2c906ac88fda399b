"""Who runs into a limit (上限超過, 停止) again and again waits, is on record with all others, and takes from nobody."""

import asyncio
import time
from typing import Any

import pytest
from sqlalchemy import event

from agency_gateway.deferred_refusals import DeferredRefusals
from agency_gateway.detectors import Finding
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet.ledger.entry import EntryKeys
from tests.agency_gateway.agencies import PENSION
from tests.agency_gateway.test_budgets import FROZEN, OVER, limited

Network = Any  # the class is in network.py; tests put methods of their own into it, and no context into calls


class Stopped:
    """Questions that are stopped, and wait until they are due."""

    def __init__(self, network: Network, reason: "errors.ErrorReason.ValueType") -> None:
        self.network = network
        self.due = asyncio.Event()
        network.desk._deferred = DeferredRefusals(self.due.wait)
        if reason == FROZEN:
            operator = EntryKeys(bytes(32)).operator_pseudonym(PENSION.uri, "op-1")
            network.freezes.freeze(Finding("misses", PENSION.uri, operator))
        else:
            limited(network, operator_searches_day=0)

    async def ask(self) -> "asyncio.Task[errors.ErrorReason.ValueType]":
        waiting = self.network.desk._deferred._going_on._tasks
        before, stopped = set(waiting), asyncio.create_task(self.network.refusal_of(self.network.inquire()))
        while waiting <= before:
            await asyncio.sleep(0)
        return stopped

    def on_record(self) -> list[int]:
        return [entry.refusal for entry in self.network.leaves() if entry.refusal]


@pytest.mark.parametrize("reason", [OVER, FROZEN])
async def test_who_is_stopped_waits_and_nobody_else_does_and_all_share_a_commit(
    network: Network, reason: "errors.ErrorReason.ValueType"
) -> None:
    stopped = Stopped(network, reason)
    asked = [await stopped.ask() for _ in range(20)]
    limited(network)
    await network.inquire(operator="op-2")
    other = await network.refusal_of(network.inquire(operator="op-2", purpose="B1-41"))
    assert stopped.on_record() == [other]
    assert not any(each.done() for each in asked)
    commits: list[None] = []
    event.listen(network.ledger_engine, "commit", lambda _: commits.append(None))
    stopped.due.set()
    assert await asyncio.gather(*asked) == [reason] * 20
    assert stopped.on_record() == [other, *[reason] * 20]
    assert len(commits) == 1


@pytest.mark.parametrize("reason", [OVER, FROZEN])
async def test_who_is_stopped_hears_it_a_second_later_and_when_it_is_on_record(
    network: Network, reason: "errors.ErrorReason.ValueType"
) -> None:
    stopped = Stopped(network, reason)
    network.desk._deferred = DeferredRefusals()
    began = time.monotonic()
    assert await network.refusal_of(network.inquire()) == reason
    assert time.monotonic() - began >= 0.99
    assert stopped.on_record() == [reason]


@pytest.mark.parametrize("reason", [OVER, FROZEN])
async def test_who_is_stopped_and_gives_up_is_on_record_before_the_node_stops(
    network: Network, reason: "errors.ErrorReason.ValueType"
) -> None:
    stopped = Stopped(network, reason)
    asked = await stopped.ask()
    asked.cancel()
    await asyncio.wait([asked])
    settled = asyncio.create_task(network.desk.settle())
    stopped.due.set()
    await settled
    assert asked.cancelled()
    assert stopped.on_record() == [reason]


async def test_who_is_stopped_hears_that_it_cannot_be_put_on_record(network: Network) -> None:
    stopped = Stopped(network, OVER)
    asked = await stopped.ask()
    network.record._is_open = lambda: False
    stopped.due.set()
    assert await asked == errors.ERROR_REASON_LEDGER_UNAVAILABLE
