"""What a register node does by the clock, beside serving: parts of the node, which run without end.

Rule: each works off a little at a time, in transactions of its own, so that no stream waits for it. A database that
fails meanwhile is told of in the log and asked again later; only a failed disk ends the node (`Writer.watch`).
"""

import asyncio
import logging

from jukinet.assembly.release_held import take_up_released
from jukinet.mesh.clock import now_us, today_in_japan
from jukinet.store.errors import StoreError
from jukinet.store.pruning import note_day, prune
from jukinet.store.writer import Writer

log = logging.getLogger(__name__)

_RELEASE_AGAIN_SECONDS = 5.0
_PRUNE_SECONDS = 3600.0


async def take_up(writer: Writer, released: asyncio.Event, *, scope: str) -> None:
    """Takes up what is parked of municipalities that operators released, portion by portion, when `released` is set."""
    while True:
        await released.wait()
        released.clear()
        try:
            left = await writer.run(lambda connection: take_up_released(connection, scope=scope, now_us=now_us()))
        except StoreError as failure:
            log.warning("what was released cannot be taken up yet", extra={"reason": failure.kind})
            left = True
            await asyncio.sleep(_RELEASE_AGAIN_SECONDS)
        if left:
            released.set()


async def prune_hourly(writer: Writer, *, is_center: bool) -> None:
    """Takes old segments out of the outbox, every hour, some at a time."""
    while True:
        pruned = 0
        try:
            await writer.run(lambda connection: note_day(connection, today_in_japan()))
            while some := await writer.run(
                lambda connection: prune(connection, today=today_in_japan(), is_center=is_center)
            ):
                pruned += some
        except StoreError as failure:
            log.warning("old segments stay for another hour", extra={"error_type": type(failure).__name__})
        if pruned:
            log.info("old segments left the outbox", extra={"segments": pruned})
        await asyncio.sleep(_PRUNE_SECONDS)
