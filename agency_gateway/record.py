"""Keeps the ledger entry of every answer and refusal, before either leaves (no record, no answer), and of every act of
an operator in the same transaction as its effect (no record, no effect). What was done about a sealed answer (封印) is
kept in that transaction too, and comes into the ledger on the day on which the answer opens (`held_back`).

The entries of one message are handed in together, and stand together or not at all. Its request id is good for once:
the ids of its entries come from it (`jukinet.purpose.ticket.question_id`), so the first one's is remembered for all.

Entries that wait together are appended in one transaction under one signed checkpoint. If an entry cannot be written,
whoever waits for it gets LEDGER_UNAVAILABLE, and the caller nothing else. So it is while the ledger is closed because
its witnesses do not cosign it (`publisher`), and while a commit hangs: whoever waited for that one is told so too, and
its entry may still come to be on disk. Then the ledger tells of an answer that never left, which is the safe side.

A clock that was set back closes it as well, until it has caught up with the newest entry: one entry whose time lies
further before an earlier one's than the verifier allows would leave the ledger unsound for ever.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from agency_gateway.appending import Act, Handed, Kept, Sign, append
from agency_gateway.held_back import hold_back
from agency_gateway.patience import Patience, TooLate
from agency_gateway.tail import UNDER_WAY
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.ledger.v1.ledger_pb2 import Entry, Receipt
from jukinet._pb.jukinet.provision.v1.provision_pb2 import LOOK_UP_UNSPECIFIED, LookUp
from jukinet.domain.seal import has_come
from jukinet.ledger.newest import Newest
from jukinet.mesh import metrics
from jukinet.mesh.clock import now_us, today_in_japan
from jukinet.mesh.errors import Refused
from jukinet.mesh.failpoints import passing
from jukinet.store.grouping import Grouping
from jukinet.store.writer import Transactions

log = logging.getLogger(__name__)

CHECKPOINT_SECONDS = 0.005
"""Least time between two checkpoints: one costs as much as many entries, here and for whoever reads the ledger."""

GROUP_ENTRIES = 32
"""So many entries are a group that need not wait for the one before. Larger ones would leave the process that writes
idle while the next one is made, smaller ones share too little; the entries of a message stay together anyhow."""

KEEP_SECONDS = 1.5
"""How long a question waits for its entry. Agencies are to hear within two seconds that nothing is answered now."""


class Recorded(NamedTuple):
    """An entry, and its sealed body (`jukinet.ledger.body`), which is kept beside the tree."""

    entry: Entry
    body: bytes = b""
    watched_by: bytes = b""
    """The month's token of the person of a sealed entry, for the detectors alone; kept nowhere."""
    mark: bytes = b""
    """Recall mark of what was provided; empty where nothing was."""
    crowd_key: bytes = b""
    """The person's key of the day, for the detectors alone; kept nowhere."""
    look_up: "LookUp.ValueType" = LOOK_UP_UNSPECIFIED
    """What the center found, for the detectors alone; kept nowhere."""
    known_under_seal: bool = False
    """Whether the agency asked about the person under seal before today, for the detectors alone; kept nowhere."""


class Record:
    """The gateway's way into its ledger.

    Args:
        writer: of the ledger database.
        sign: gives the ledger's key, to who writes.
        size: what `appending.load` gave.
        newest_us: what `newest.newest_us` gave.
        is_open: whether an entry may be added now.
    """

    def __init__(
        self, *, writer: Transactions, sign: Sign, size: int, newest_us: int, is_open: Callable[[], bool]
    ) -> None:
        self._is_open = is_open
        self._newest = Newest(newest_us)
        self._under_way: deque[float] = deque()
        """When each of the commits that are under way began; of the event loop's clock."""
        self._told_of: float | None = None
        self._patience = Patience()
        self._writer = writer
        self._sign = sign
        self._size = size
        self.grouping: Grouping[Handed, Kept] = Grouping(
            self._commit,
            limit=GROUP_ENTRIES,
            ahead=(UNDER_WAY - 1) * GROUP_ENTRIES,
            pause=CHECKPOINT_SECONDS,
            size=lambda handed: len(handed.leaves),
        )

    def is_open(self) -> bool:
        """Whether an entry may be added now: the witnesses cosign, no commit hangs, and the clock was not set back."""
        return self._is_open() and not self._hangs and not self._newest.is_too_early(now_us())

    @property
    def _hangs(self) -> bool:
        # Derived, never set: who gives up between two commits must not leave a ledger closed that no commit opens.
        return bool(self._under_way) and asyncio.get_running_loop().time() - self._under_way[0] >= KEEP_SECONDS

    async def keep(self, entry: Entry) -> Receipt:
        """Appends one entry; returns when it is on disk. Raises Refused as `keep_all` does."""
        (receipt,) = await self.keep_all([Recorded(entry)])
        return receipt

    async def keep_all(self, entries: Sequence[Recorded]) -> list[Receipt]:
        """Appends the entries of one message with their bodies; returns when they are on disk, a receipt for each.

        Raises Refused: REQUEST_ID_REUSED (refusals for that are then on record instead), LEDGER_UNAVAILABLE.
        """
        return await self.receipts(self.hand_in(entries))

    def hand_in(self, entries: Sequence[Recorded]) -> "asyncio.Future[Kept]":
        """Has the entries of one message appended, whether anybody waits for it or not; `receipts` waits."""
        waiting = self._hand_in(entries)
        self._patience.give(waiting, KEEP_SECONDS)
        return waiting

    async def receipts(self, handed_in: "asyncio.Future[Kept]") -> list[Receipt]:
        """Returns when what was handed in is on disk, as `keep_all`. Who is cancelled here takes nothing back."""
        try:
            kept = await self._durable(asyncio.shield(handed_in))
        except TooLate:
            if self._under_way and self._told_of != self._under_way[0]:
                self._told_of = self._under_way[0]
                log.warning("a commit of the ledger hangs", extra={"count": self.size})
            raise Refused(errors.ERROR_REASON_LEDGER_UNAVAILABLE, detail="its disk does not answer") from None
        if kept.repeated:
            raise Refused(errors.ERROR_REASON_REQUEST_ID_REUSED, field="context.request_id")
        return list(map(Receipt.FromString, kept.receipts))

    async def carry_out(self, entry: Entry, act: Act, *, until: str = "") -> None:
        """Carries an act out and appends its entry, in one transaction; returns when both are on disk.

        An act that did nothing has no entry, and that of one about what is sealed (封印) until a day waits for it
        (`held_back`). Raises Refused: what the act raised, LEDGER_UNAVAILABLE.
        """
        if until and not has_come(until, today_in_japan()):
            act = partial(hold_back, act=act, until=until, entry=entry.SerializeToString(deterministic=True))
        await self._durable(self._hand_in([Recorded(entry)], act))

    def _hand_in(self, entries: Sequence[Recorded], act: Act | None = None) -> "asyncio.Future[Kept]":
        """What comes of it, or the Refused because of which nothing can be put on record now."""
        try:
            if self._hangs or not self._is_open():
                why = "its disk does not answer" if self._hangs else "its witnesses do not cosign it"
                raise Refused(errors.ERROR_REASON_LEDGER_UNAVAILABLE, detail=why)
            self._take_times(entries)
        except Refused as refused:
            nothing: asyncio.Future[Kept] = asyncio.get_running_loop().create_future()
            nothing.set_exception(refused)
            return nothing
        return self.grouping.hand_in(_handed(entries, act))

    @staticmethod
    async def _durable(waiting: "asyncio.Future[Kept]") -> Kept:
        """Raises Refused; TooLate when it was not on disk in time."""
        try:
            return await waiting
        except (Refused, TooLate):
            raise
        except Exception as failure:
            log.error("a ledger entry could not be written", extra={"error_type": type(failure).__name__})
            raise Refused(errors.ERROR_REASON_LEDGER_UNAVAILABLE) from None

    def _take_times(self, entries: Sequence[Recorded]) -> None:
        """Takes in the times of a message's entries, made one after the other. Raises Refused: LEDGER_UNAVAILABLE."""
        times = entries[0].entry.time.ToMicroseconds(), entries[-1].entry.time.ToMicroseconds()
        self._newest.take(*times)

    @property
    def size(self) -> int:
        """Number of entries under the last checkpoint."""
        return self._size

    async def _commit(self, group: list[Handed]) -> "Sequence[Kept | Refused]":
        began = asyncio.get_running_loop().time()
        self._under_way.append(began)
        try:
            self._size, kept = await self._writer.run(partial(append, group=group, sign=self._sign))
        finally:
            self._under_way.remove(began)
        passing("ledger.committed")
        metrics.ledger_entries(self.size)
        return kept


def _handed(entries: Sequence[Recorded], act: Act | None) -> Handed:
    return Handed(
        [each.entry.SerializeToString(deterministic=True) for each in entries],
        [each.body for each in entries],
        [each.mark for each in entries],
        act,
    )
