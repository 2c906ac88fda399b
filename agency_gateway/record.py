"""Keeps the ledger entry of every answer and refusal, before either leaves (no record, no answer), and of every act of
an operator in the same transaction as its effect (no record, no effect).

The entries of one message are handed in together, and stand together or not at all. Its request id is good for once:
the ids of its entries come from it (`jukinet.purpose.ticket.question_id`), so the first one's is remembered for all.

Entries that wait together are appended in one transaction under one signed checkpoint. If an entry cannot be written,
whoever waits for it gets LEDGER_UNAVAILABLE, and the caller nothing else. So it is while the ledger is closed because
its witnesses do not cosign it (`publisher`), and while a commit hangs: whoever waited for that one is told so too, and
its entry may still come to be on disk. Then the ledger tells of an answer that never left, which is the safe side.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from sqlalchemy import Connection

from agency_gateway import used_ids
from agency_gateway.patience import Patience, TooLate
from agency_gateway.provided import add_provided
from agency_gateway.recall_store import items_in
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.ledger.v1.ledger_pb2 import RESULT_REFUSED, Entry, Receipt
from jukinet.ledger import schema
from jukinet.ledger import store as ledger
from jukinet.ledger.note import Signer
from jukinet.mesh import metrics
from jukinet.mesh.errors import Refused
from jukinet.mesh.failpoints import passing
from jukinet.store.grouping import Grouping
from jukinet.store.statement import Rows
from jukinet.store.writer import Writer

log = logging.getLogger(__name__)

CHECKPOINT_SECONDS = 0.005
"""Least time between two checkpoints: one costs as much as many entries, here and for whoever reads the ledger."""

KEEP_SECONDS = 1.5
"""How long a question waits for its entry. Agencies are to hear within two seconds that nothing is answered now."""

Act = Callable[[Connection], bool]
"""Does something that must be on record; tells whether it did anything, or raises Refused before it has written."""


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


@dataclass(frozen=True, slots=True)
class _Handed:
    """What becomes durable together: an entry, those of a message, or an act and its entry."""

    entries: Sequence[Recorded]
    act: Act | None = None

    def known_by(self) -> bytes:
        """By what it is known again."""
        first = self.entries[0].entry
        return used_ids.digest_of(first.agency, first.request_id)


class _Kept(NamedTuple):
    receipts: list[Receipt]
    repeated: bool


class Record:
    """The gateway's way into its ledger.

    Args:
        writer: of the ledger database.
        signer: the ledger's key.
        state: what `ledger.load` gave.
        is_open: whether an entry may be added now.
    """

    def __init__(
        self, *, writer: Writer, signer: Signer, state: ledger.LedgerState, is_open: Callable[[], bool]
    ) -> None:
        self._is_open = is_open
        self._began: float | None = None
        """When the commit that is running began; of the event loop's clock."""
        self._told_of: float | None = None
        self._patience = Patience()
        self._writer = writer
        self._signer = signer
        self._state = state
        self.grouping: Grouping[_Handed, _Kept] = Grouping(
            self._commit, pause=CHECKPOINT_SECONDS, size=lambda handed: len(handed.entries)
        )

    def is_open(self) -> bool:
        """Whether an entry may be added now: the witnesses cosign, and no commit hangs."""
        return self._is_open() and not self._hangs

    @property
    def _hangs(self) -> bool:
        # Derived, never set: who gives up between two commits must not leave a ledger closed that no commit opens.
        return self._began is not None and asyncio.get_running_loop().time() - self._began >= KEEP_SECONDS

    async def keep(self, entry: Entry) -> Receipt:
        """Appends one entry; returns when it is on disk. Raises Refused as `keep_all` does."""
        (receipt,) = await self.keep_all([Recorded(entry)])
        return receipt

    async def keep_all(self, entries: Sequence[Recorded]) -> list[Receipt]:
        """Appends the entries of one message with their bodies; returns when they are on disk, a receipt for each.

        Raises Refused: REQUEST_ID_REUSED (refusals for that are then on record instead), LEDGER_UNAVAILABLE.
        """
        try:
            kept = await self._hand_in(_Handed(entries), within=KEEP_SECONDS)
        except TooLate:
            if self._began is not None and self._told_of != self._began:
                self._told_of = self._began
                log.warning("a commit of the ledger hangs", extra={"count": self.size})
            raise Refused(errors.ERROR_REASON_LEDGER_UNAVAILABLE, detail="its disk does not answer") from None
        if kept.repeated:
            raise Refused(errors.ERROR_REASON_REQUEST_ID_REUSED, field="context.request_id")
        return kept.receipts

    async def carry_out(self, entry: Entry, act: Act) -> None:
        """Carries an act out and appends its entry, in one transaction; returns when both are on disk.

        An act that did nothing has no entry. Raises Refused: what the act raised, LEDGER_UNAVAILABLE.
        """
        await self._hand_in(_Handed([Recorded(entry)], act))

    async def _hand_in(self, handed: _Handed, *, within: float | None = None) -> _Kept:
        """Raises Refused; TooLate when it was not on disk within so many seconds."""
        if not self.is_open():
            why = "its disk does not answer" if self._hangs else "its witnesses do not cosign it"
            raise Refused(errors.ERROR_REASON_LEDGER_UNAVAILABLE, detail=why)
        waiting = self.grouping.hand_in(handed)
        if within is not None:
            self._patience.give(waiting, within)
        try:
            return await waiting
        except (Refused, TooLate):
            raise
        except Exception as failure:
            log.error("a ledger entry could not be written", extra={"error_type": type(failure).__name__})
            raise Refused(errors.ERROR_REASON_LEDGER_UNAVAILABLE) from None

    @property
    def size(self) -> int:
        """Number of entries under the last checkpoint."""
        return self._state.frontier.size

    async def _commit(self, group: list[_Handed]) -> "Sequence[_Kept | Exception]":
        self._began = asyncio.get_running_loop().time()
        try:
            state, kept = await self._writer.run(lambda connection: self._append(connection, group))
        finally:
            self._began = None
        passing("ledger.committed")
        self._state = state
        metrics.ledger_entries(self.size)
        return kept

    def _append(
        self, connection: Connection, group: list[_Handed]
    ) -> "tuple[ledger.LedgerState, list[_Kept | Exception]]":
        outcomes = [_carry_out(connection, handed) for handed in group]
        recorded = [handed for handed, outcome in zip(group, outcomes, strict=True) if outcome is None]
        # Two of one id in a group: the first one is answered.
        known = [handed.known_by() for handed in recorded]
        first = self._state.frontier.size
        passing("ledger.judged")
        used = used_ids.mark(connection, list(dict.fromkeys(known)), ledger_size=first)
        passing("ledger.marked")
        kept: list[Recorded] = []
        repeated: list[bool] = []
        for handed, known_by in zip(recorded, known, strict=True):
            again = known_by in used
            used.add(known_by)
            repeated.append(again)
            kept += map(_as_reused, handed.entries) if again else handed.entries
        # Checked as leaves by `append`.
        leaves = [each.entry.SerializeToString(deterministic=True) for each in kept]
        state, receipts = ledger.append(connection, self._state, leaves, self._signer)
        _ADD_BODY.write(connection, [(index, each.body) for index, each in enumerate(kept, first) if each.body])
        add_provided(
            connection,
            [(index, each.mark, items_in(each.entry)) for index, each in enumerate(kept, first) if each.mark],
        )
        passing("ledger.appended")
        left = iter(receipts)
        told = (
            _Kept(list(islice(left, len(handed.entries))), again)
            for handed, again in zip(recorded, repeated, strict=True)
        )
        return state, [next(told) if outcome is None else outcome for outcome in outcomes]


def _carry_out(connection: Connection, handed: _Handed) -> _Kept | Refused | None:
    """What becomes of an act that leaves no entry; None where there is one to be written."""
    if handed.act is None:
        return None
    try:
        return None if handed.act(connection) else _Kept([], repeated=False)
    except Refused as refused:
        return refused


_ADD_BODY = Rows(schema.bodies, ["leaf_index", "sealed"])


def _as_reused(recorded: Recorded) -> Recorded:
    refused = Entry()
    refused.CopyFrom(recorded.entry)
    refused.result = RESULT_REFUSED
    refused.refusal = errors.ERROR_REASON_REQUEST_ID_REUSED
    refused.answer_digest = b""
    refused.person_token = b""
    refused.body_digest = b""
    refused.sealed_until = ""
    del refused.fields[:]
    return Recorded(refused)
