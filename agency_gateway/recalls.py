"""Finds by the ledger who was provided with what was corrected since, and notes a recall for each (旧値の回収).

Rule 1: a recall and its entry in the ledger are one transaction, and one answer has one recall for one correction. So
all steps may be taken again after a crash at any of them, and are: how far the gateway is moves last.
Rule 2: an answer may be under way while a correction comes. The correction's marks are on disk before the answers on
record are looked at, and each entry that is committed later is held against them.
Rule 3: the entry of a recall bears no token: it provides nothing of a person. That of a sealed answer (封印) waits for
the day on which the answer opens, since it follows what happened to the person (`held_back`).

Source: docs/decisions/0066-a-correction-finds-who-was-told.md, 0099-a-recall-of-a-sealed-answer-waits-for-its-day.md.
"""

import asyncio
import logging
import uuid
from collections.abc import Callable, Iterable
from datetime import datetime
from functools import partial
from typing import Any, Final, TypeVar

import grpc
from sqlalchemy import Connection, Engine

from agency_gateway import held_back, provided
from agency_gateway import recall_store as store
from agency_gateway.record import Record
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2 as ledger
from jukinet._pb.jukinet.provision.v1 import correction_pb2 as correction
from jukinet._pb.jukinet.recall.v1 import recall_pb2 as recall
from jukinet._pb.jukinet.register.v1.identity_pb2 import CalendarDate
from jukinet.ledger.entry import EntryKeys, make_entry
from jukinet.ledger.store import covered_size
from jukinet.mesh import metrics
from jukinet.mesh.clock import JAPAN, now, now_us
from jukinet.mesh.errors import Refused
from jukinet.mesh.failpoints import passing
from jukinet.store.errors import StoreError
from jukinet.store.reading import read
from jukinet.store.writer import Transactions

log = logging.getLogger(__name__)

_CENTER_SECONDS: Final = 10.0
"""The center takes five to find that nothing was corrected."""
_AGAIN_SECONDS: Final = 1.0
_SHOW_SECONDS: Final = 5.0
"""How often the metrics are set."""
_R = TypeVar("_R")


class Recalls:
    """Notes recalls.

    Args:
        center: stub of the center's service of corrections.
        reader: of the ledger database.
        writer: of the same.
        record: the way into the ledger.
        keys: of the ledger's pseudonyms and digests.
        gateway: SPIFFE ID of the gateway, in whose name recalls are made.
        policy_digest: of what decides today.
    """

    def __init__(
        self,
        *,
        center: Any,
        reader: Engine,
        writer: Transactions,
        record: Record,
        keys: EntryKeys,
        gateway: str,
        policy_digest: Callable[[], bytes],
    ) -> None:
        self._center = center
        self._reader = reader
        self._writer = writer
        self._record = record
        self._keys = keys
        self._gateway = gateway
        self._policy_digest = policy_digest
        self._began = now()
        self.as_of: datetime | None = None
        """Up to when all corrections were held against all answers; None: not so far yet since the node started."""
        self.came = asyncio.Event()
        """Set, and replaced by a new one, when there are new recalls."""

    async def run(self) -> None:
        """Follows the center's corrections; to be run beside the server."""
        while True:
            try:
                await self.step()
            except (grpc.aio.AioRpcError, Refused, StoreError) as failure:  # nothing is lost: the same step is next
                log.warning("corrections could not be followed", extra={"error_type": type(failure).__name__})
                await asyncio.sleep(_AGAIN_SECONDS)

    async def show(self) -> None:
        """Shows in the metrics what is not acknowledged; to be run beside the server."""
        while True:
            try:
                standing = await self._read(store.standing)
                since = now_us() if standing.since_us is None else standing.since_us
                metrics.recalls(standing.recalls, max(now_us() - since, 0) / 1e6, self._behind())
            except StoreError as failure:
                log.warning("recalls could not be counted", extra={"error_type": type(failure).__name__})
            await asyncio.sleep(_SHOW_SECONDS)

    async def step(self) -> bool:
        """Takes the next corrections, and looks at what was committed since the last ones.

        Returns: whether the gateway came further.

        Raises: grpc.aio.AioRpcError; Refused: LEDGER_UNAVAILABLE; StoreError.
        """
        await self._open()
        asked_at, place = now(), await self._read(store.read_place)
        asked = correction.ListCorrectionsRequest(after=place.position, place=place.place)
        found: correction.ListCorrectionsResponse = await self._center.ListCorrections(asked, timeout=_CENTER_SECONDS)
        corrections = list(found.corrections)
        if corrections:
            await self._writer.run(partial(store.add_corrected, corrections=corrections))
            passing("recall.known")
        # In this order: an entry that the size does not cover yet is looked at in the next step.
        leaves = await self._read(covered_size)
        await self._gather(leaves)
        due = await self._read(lambda connection: store.due_of(connection, corrections))
        due += await self._read(lambda connection: store.due_since(connection, place.leaves))
        if due:
            await self._note(dict.fromkeys(due))
            passing("recall.noted")
        further = store.Place(found.through, found.place, leaves)
        if further != place:
            await self._writer.run(partial(store.write_place, place=further))
        if found.at_end:
            self.as_of = asked_at
        return further != place

    def _behind(self) -> float:
        """Seconds since all corrections were held against all answers, or since the start."""
        return max((now() - (self.as_of or self._began)).total_seconds(), 0.0)

    async def _gather(self, leaves: int) -> None:
        """Gathers the marks of entries that are complete, so that those of a correction are soon found."""
        while (first := await self._read(provided.gathered)) + provided.RUN <= leaves:
            run = await self._read(partial(provided.gather, first=first))
            await self._writer.run(partial(provided.add_run, rows=run))

    async def _open(self) -> None:
        """Puts on record what was held back until a day that has come."""
        while held := await self._read(partial(held_back.due, day=(moment := now()).astimezone(JAPAN).date())):
            for each in held:
                await self._record.carry_out(each.opened(moment), partial(held_back.release, position=each.position))

    async def _note(self, due: Iterable[store.Due]) -> None:
        every = list(due)
        sealed = {each for each in every if (await self._answered(each)).sealed_until}
        # Of sealed answers last: everybody reads the moments of the other entries.
        for each in sorted(every, key=sealed.__contains__):
            await self._note_one(each)
            came, self.came = self.came, asyncio.Event()
            came.set()

    async def _note_one(self, due: store.Due) -> None:
        answered, at = await self._answered(due), now_us()
        await self._record.carry_out(
            self._entry(due, answered),
            partial(store.note, due=due, entry=answered, now_us=at),
            until=answered.sealed_until,
        )

    async def _answered(self, due: store.Due) -> ledger.Entry:
        leaf = await self._read(lambda connection: store.read_entry(connection, due.leaf_index))
        return ledger.Entry.FromString(leaf)

    def _entry(self, due: store.Due, answered: ledger.Entry) -> ledger.Entry:
        return make_entry(
            self._keys,
            time=now(),
            request_id=str(uuid.uuid4()),
            agency=answered.agency,
            operator=self._gateway,
            purpose=answered.purpose,
            article=answered.article,
            case_reference=str(due.leaf_index),
            action=ledger.ACTION_RECALL,
            result=ledger.RESULT_DONE,
            policy_digest=self._policy_digest(),
            method=0,
            wanted=(),
            edition=answered.edition,
            answer=as_told(0, due.leaf_index, due.corrected_on, due.item_bits, answered).SerializeToString(),
        )

    async def _read(self, query: Callable[[Connection], _R]) -> _R:
        return await asyncio.to_thread(read, self._reader, query)


def as_told(position: int, leaf_index: int, corrected_on: str, items: int, answered: ledger.Entry) -> recall.Recall:
    """What an agency is told; the entry of a recall binds the gateway to it, but for the position."""
    year, month, day = map(int, corrected_on.split("-"))
    return recall.Recall(
        position=position,
        request_id=answered.request_id,
        answered_at=answered.time,
        answer_index=leaf_index,
        items=store.items_of(items),
        corrected_on=CalendarDate(year=year, month=month, day=day),
    )
