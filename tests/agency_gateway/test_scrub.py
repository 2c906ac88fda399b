"""A gateway reads its whole ledger again while it answers, says when it did, and ends when the ledger rotted."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from agency_gateway.scrub import EVERY, Scrub
from jukinet._pb.jukinet.admin.v1.admin_pb2 import GetStatusResponse
from jukinet.ledger.errors import LedgerCorrupt
from jukinet.store.engine import open_reader

Network = Any  # the class is in network.py; tests put methods of their own into it, and no context into calls
FIRST_DAY = datetime(2026, 11, 27, tzinfo=UTC)


def passing_weeks() -> Callable[[], datetime]:
    """A clock on which a pass is always due again."""
    looks = 0

    def clock() -> datetime:
        nonlocal looks
        looks += 1
        return FIRST_DAY + looks * EVERY

    return clock


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_ledger_that_rots_while_it_answers_ends_the_gateway(network: Network) -> None:
    network.enter(network.record_of(1))
    await network.inquire()
    reader = open_reader(network.database)
    scrub = Scrub(reader=reader, verifier=network.signer.verifier, clock=passing_weeks(), pause=0.0)
    reading = asyncio.create_task(scrub.run())
    await until(lambda: scrub.size == 1)
    await asyncio.gather(*(network.inquire() for _ in range(20)))
    await until(lambda: scrub.size == 21)  # what came later is read in the next pass
    assert not reading.done()

    def rot(connection: Any) -> None:
        connection.execute(text("DROP TRIGGER ledger_bodies_no_update"))
        connection.execute(text("UPDATE ledger_bodies SET sealed = x'00' WHERE leaf_index = 7"))

    await network.writer.run(rot)
    with pytest.raises(LedgerCorrupt, match="body of entry 7"):
        await asyncio.wait_for(reading, 20)
    reader.dispose()


async def test_the_status_tells_of_the_last_whole_reading_and_the_next_one_is_a_week_later(network: Network) -> None:
    network.enter(network.record_of(1))
    await network.inquire()
    reader = open_reader(network.database)
    today = FIRST_DAY
    scrub = Scrub(reader=reader, verifier=network.signer.verifier, clock=lambda: today, pause=0.0)
    before, after = GetStatusResponse(), GetStatusResponse()
    scrub.describe(before)
    assert not before.HasField("ledger_scrubbed_at")
    reading = asyncio.create_task(scrub.run())
    await until(lambda: scrub.whole_at is not None)
    scrub.describe(after)
    assert after.ledger_scrubbed_at.ToDatetime(UTC) == FIRST_DAY
    assert timedelta(days=7) == EVERY
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    reader.dispose()
