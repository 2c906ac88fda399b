"""Reading all of something again, part by part and without end (再検査), beside whoever wants an answer.

Rule 1: a bounded rate. Each part is read in a thread in a transaction of its own, with a pause after it, so that
neither the event loop nor the writer nor a checkpoint waits for more than a part.
Rule 2: a database that does not answer ends nothing: the same part is asked for again until it does.
"""

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final, TypeVar

from jukinet.store.errors import StoreError

P = TypeVar("P")

log = logging.getLogger(__name__)

AGAIN_SECONDS: Final = 30.0
"""Before a database that does not answer is asked again: a line in the log each time."""


async def read_in_rounds(
    part: Callable[[P], P | None],
    start: P,
    *,
    ended: Callable[[], None],
    every: timedelta,
    pause: float,
    clock: Callable[[], datetime],
    again: float = AGAIN_SECONDS,
) -> None:
    """Reads until cancelled; raises what `part` raises, but for StoreError.

    Args:
        part: reads from one place on, in a thread; gives the next place, None at the end.
        start: the place at which each pass begins.
        ended: told of each whole pass.
        every: from the beginning of a pass to that of the next, if it does not take longer.
        pause: seconds between two parts.
        clock: gives the time, with a zone.
        again: seconds before a part is asked for again that could not be read.
    """
    while True:
        began = clock()
        place: P | None = start
        while place is not None:
            wait = pause
            try:
                place = await asyncio.to_thread(part, place)
            except StoreError as failure:
                log.warning("what is read again cannot be read now", extra={"error_type": type(failure).__name__})
                wait = again
            await asyncio.sleep(wait)
        ended()
        await asyncio.sleep((began + every - clock()).total_seconds())
