"""One open stream at its receiver: what is on disk of it, what waits for its commit, and what is still to be said.

Acknowledgements are coalesced: news are noted as they come, and the next message down says the latest state. An idle
stream hears at once; a busy one at most every 50 ms, or when a quarter of its credit waits for word. Nothing waits for
an acknowledgement but credit and pruning, and each one costs its two sides some 0.4 ms of processor time.

Source: reliability protocol, flow control.
"""

import asyncio
import time
from contextlib import suppress

from jukinet._pb.jukinet.link.v1.link_pb2 import Ack, Credit, ParkedNotice, StreamResponse, Welcome
from jukinet.link.apply_batch import Taken
from jukinet.link.pulse import SLOW
from jukinet.link.receiver import LINK_VERSION
from jukinet.store import journal

ACK_EVERY = 0.05  # seconds


class Session:
    """The stream of one sender.

    `center_mark` is the sequence number of the sender's last change that is on disk at the center.
    """

    def __init__(self, mark: journal.Mark, *, center_mark: int, credit: Credit) -> None:
        self.center_mark = center_mark
        self.failure: BaseException | None = None
        """Why the stream ends, once it does."""
        self.news = asyncio.Event()
        self.over = asyncio.Event()
        """Set when the call has ended."""
        self._mark = mark
        self._credit = credit
        self._parked: list[ParkedNotice] = []
        self._manifest_wanted = False
        self._batches = self._bytes = 0
        self._untold_batches = self._untold_bytes = 0
        self._said_at = 0.0
        self._heard_at = time.monotonic()
        self._urgent = asyncio.Event()
        self._committed = asyncio.Event()

    @property
    def mark(self) -> int:
        """Sequence number of the sender's last change that is on disk here."""
        return self._mark.mark

    def heard(self) -> None:
        """The sender said something."""
        self._heard_at = time.monotonic()

    def is_slow(self) -> bool:
        """Whether the sender has been silent for too long; it is not to blame while its batches wait for a commit."""
        return not self._batches and time.monotonic() - self._heard_at > SLOW

    async def room_for(self, size: int) -> None:
        """Waits until a batch of so many bytes is within the credit: who sends more is read no further."""
        while self._batches and (self._batches >= self._credit.batches or self._bytes + size > self._credit.bytes):
            await self._next_commit()

    async def settled(self) -> None:
        """Waits until nothing waits for its commit."""
        while self._batches:
            await self._next_commit()

    async def _next_commit(self) -> None:
        self._committed.clear()
        await self._committed.wait()

    def handed_in(self, size: int) -> None:
        """A batch of so many bytes waits for its commit."""
        self._batches += 1
        self._bytes += size

    def done(self, size: int) -> None:
        """A batch of so many bytes was committed or refused."""
        self._batches -= 1
        self._bytes -= size
        self._untold_batches += 1
        self._untold_bytes += size
        if self._untold_batches * 4 >= self._credit.batches or self._untold_bytes * 4 >= self._credit.bytes:
            self._urgent.set()
        self._committed.set()

    def took(self, taken: Taken, *, center_mark: int) -> None:
        """A batch is on disk."""
        self._mark = taken.mark
        self._parked.extend(taken.parked)
        self.center_mark = max(self.center_mark, center_mark)
        self.news.set()

    def center_moved(self, center_mark: int) -> None:
        """More of this sender's changes is on disk at the center."""
        self.center_mark = max(self.center_mark, center_mark)
        self.news.set()

    def want_manifest(self) -> None:
        """A signed manifest of the sender's register is wanted; said once."""
        self._manifest_wanted = True
        self.news.set()

    def end(self, failure: BaseException) -> None:
        """Ends the stream; the first failure counts."""
        self.failure = self.failure or failure
        self.hurry()

    def hurry(self) -> None:
        """Lets the next message down go at once: the stream is ending."""
        self._urgent.set()
        self.news.set()

    async def something_to_say(self) -> None:
        """Waits for news, and on a busy stream a moment more, so that one acknowledgement tells of many batches."""
        await self.news.wait()
        with suppress(TimeoutError):
            async with asyncio.timeout_at(self._said_at + ACK_EVERY):
                await self._urgent.wait()
        self.news.clear()
        self._urgent.clear()
        self._untold_batches = self._untold_bytes = 0
        self._said_at = asyncio.get_running_loop().time()

    def welcome(self) -> StreamResponse:
        """The first message down."""
        return StreamResponse(
            welcome=Welcome(
                epoch=self._mark.epoch,
                mark=self._mark.mark,
                chain=self._mark.chain,
                credit=self._credit,
                version=LINK_VERSION,
                center_mark=self.center_mark,
            )
        )

    def ack(self) -> StreamResponse:
        """The latest state, and the notices that were not yet said."""
        parked, self._parked = self._parked, []
        wanted, self._manifest_wanted = self._manifest_wanted, False
        return StreamResponse(
            ack=Ack(
                epoch=self._mark.epoch,
                mark=self._mark.mark,
                chain=self._mark.chain,
                center_mark=self.center_mark,
                credit=self._credit,
                parked=parked,
                manifest_wanted=wanted,
            )
        )
