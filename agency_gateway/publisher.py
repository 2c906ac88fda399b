"""Has the ledger's checkpoints cosigned by its witnesses (立会人), and publishes those that a quorum cosigned.

Rules:

1. Persist, then witness, then publish. Once a second, if the ledger grew, its latest committed checkpoint goes to the
   witnesses, after the first quorum to one after the other. With the cosignatures of a quorum it is kept as published,
   and auditors get nothing else. Receipts do not wait for that: they carry the checkpoint of their own commit.
2. The ledger is open for entries only when a quorum has cosigned what is on this disk since this process began. A
   database that was put back would otherwise go on as a second ledger beside the one that agencies hold receipts of.
3. It is closed again when no round found all of it published for longer than `UNPUBLISHED_SECONDS`, and opens with the
   next one that does. Who cuts a gateway off from its witnesses must not get answers that nobody else ever sees, nor
   who keeps it from reading what it has to show them: a round that fails, or never ends, found nothing.
4. A witness that proves that this database is not the ledger that it saw ends the process.

Source: c2sp.org/tlog-witness; decisions 0049 and 0050.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Final

from sqlalchemy import Connection, Engine

from agency_gateway.witness import Target, Witness
from jukinet._pb.jukinet.admin.v1 import admin_pb2 as admin
from jukinet.ledger import published, store
from jukinet.mesh import metrics
from jukinet.mesh.failpoints import passing
from jukinet.store.errors import StoreError
from jukinet.store.reading import read
from jukinet.store.writer import Transactions

log = logging.getLogger(__name__)

PUBLISH_SECONDS: Final = 1.0
UNPUBLISHED_SECONDS: Final = 600.0
"""How long the ledger may grow without a quorum. Long enough to start two witnesses anew, and short enough that what an
insider could hide in it is bounded by the receipts of ten minutes."""
COVERING_SECONDS: Final = 3.0
"""How long whoever asks for the published checkpoint waits for one that covers the entries of that moment."""
_APART_SECONDS = 0.08
"""Between two witnesses: to ask one costs as much as three questions, and whoever asks meanwhile waits for it."""
_GRACE_SECONDS = 0.2
"""For the witnesses that are not needed for the quorum: their cosignatures are wanted, the sick are not waited for."""


class Publisher:
    """The gateway's way to its witnesses. Reads what is committed; nothing calls it but who asks whether it is open.

    Args:
        witnesses: of the ledger.
        quorum: how many of them have to cosign; more than half.
        reader: engine of the ledger database.
        writer: of the same.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        *,
        witnesses: Sequence[Witness],
        quorum: int,
        reader: Engine,
        writer: Transactions,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._witnesses = witnesses
        self._quorum = quorum
        self._reader = reader
        self._writer = writer
        self._clock = clock
        self._asked: dict[asyncio.Task[None], Witness] = {}
        self._confirmed = False
        self._published_at = clock()
        """When the last round began that found, or saw to it, that all was published."""
        self._published = asyncio.Condition()
        self._told_open = False
        self.size = 0
        """Entries under the published checkpoint."""

    @property
    def is_open(self) -> bool:
        """Whether an entry may be added to the ledger."""
        return self._confirmed and self._unpublished_seconds() <= UNPUBLISHED_SECONDS

    async def begin(self) -> None:
        """Asks all witnesses once, before anything is served. Raises LedgerContradicted."""
        last = await asyncio.to_thread(read, self._reader, published.latest)
        self.size = last[0] if last else 0
        await self.publish_now()
        if not self.is_open:
            log.warning("no quorum of witnesses answers yet, so nothing is answered")

    async def run(self) -> None:
        """Publishes until cancelled. A part of the node. Raises LedgerContradicted."""
        while True:
            await asyncio.sleep(PUBLISH_SECONDS)
            await self.publish_now()

    async def publish_now(self) -> None:
        """Asks the witnesses that are due, and publishes what a quorum cosigned. Raises LedgerContradicted."""
        try:
            await self._round()
        except StoreError as failure:
            log.warning("the ledger could not be read or published", extra={"error_type": type(failure).__name__})
        self._tell()

    async def close(self) -> None:
        """Ends the calls to witnesses that are under way."""
        for task in self._asked:
            task.cancel()
        await asyncio.gather(*self._asked, return_exceptions=True)

    async def covering(self, size: int) -> None:
        """Waits until the published checkpoint covers so many entries, but no longer than `COVERING_SECONDS`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(COVERING_SECONDS), self._published:
                await self._published.wait_for(lambda: self._confirmed and self.size >= size)

    def describe(self, status: admin.GetStatusResponse, size: int) -> None:
        """Fills in how a ledger of so many entries stands to its witnesses."""
        status.published_entries = self.size
        for witness in self._witnesses:
            witness.describe(status.witnesses.add(), size)

    async def _round(self) -> None:
        began = self._clock()
        target = await asyncio.to_thread(read, self._reader, _latest)
        if self._confirmed and self.size == target.size:
            self._published_at = began
        busy = set(self._asked.values())
        due = [witness for witness in self._witnesses if witness not in busy and witness.is_due(target)]
        for witness in due:
            self._asked[asyncio.create_task(witness.ask(target))] = witness
            if self._confirmed and witness is not due[-1]:
                await asyncio.sleep(_APART_SECONDS)
        await self._collect(target)
        if len(self._lines(target)) >= self._quorum and not (self._confirmed and self.size == target.size):
            await self._publish(target, began)
        for witness in self._witnesses:
            witness.show(target.size)

    async def _collect(self, target: Target) -> None:
        """Waits for a quorum, then a little for the others; who is late is heard in a later round."""
        while self._asked and len(self._lines(target)) < self._quorum:
            self._take(await asyncio.wait(self._asked, return_when=asyncio.FIRST_COMPLETED))
        if self._asked:
            self._take(await asyncio.wait(self._asked, timeout=_GRACE_SECONDS))

    def _take(self, waited: tuple[set[asyncio.Task[None]], set[asyncio.Task[None]]]) -> None:
        for task in waited[0]:
            del self._asked[task]
            task.result()

    def _lines(self, target: Target) -> dict[Witness, str]:
        return {witness: line for witness in self._witnesses if (line := witness.line_for(target))}

    async def _publish(self, target: Target, began: float) -> None:
        lines = self._lines(target)
        note = target.note + "".join(lines.values())
        seen = {str(witness.key): target.size for witness in lines}
        passing("publish.cosigned")
        await self._writer.run(partial(published.publish, size=target.size, note=note, seen=seen))
        passing("publish.stored")
        async with self._published:
            self.size, self._confirmed, self._published_at = target.size, True, began
            self._published.notify_all()

    def _tell(self) -> None:
        metrics.ledger_published(self.size, self._unpublished_seconds())
        if self.is_open == self._told_open:
            return
        self._told_open = self.is_open
        if self.is_open:
            log.info("a quorum of witnesses cosigned the ledger: it is open", extra={"count": self.size})
        else:
            log.error(
                "no quorum of witnesses saw all of the ledger for too long: it is closed", extra={"count": self.size}
            )

    def _unpublished_seconds(self) -> float:
        return self._clock() - self._published_at


def _latest(connection: Connection) -> Target:
    return Target(store.covered_size(connection), store.latest_checkpoint(connection))
