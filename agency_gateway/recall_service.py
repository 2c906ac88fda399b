"""Tells agencies what they were provided with and was wrong (旧値の回収), and takes their acknowledgements.

A recall was on record when it was noted, so it is told without another entry, as often as it takes. Each
acknowledgement is an entry, in one transaction with its effect; that of a sealed answer (封印) waits for the day. One
of what was never told here has no effect, and so no entry.

Rule: what is acknowledged was told by this gateway, to this agency, for this purpose. Each gateway counts its recalls
from 1, so a position alone would acknowledge what nobody was ever told, at whichever gateway it is said. A recall is
acknowledged by its place: the position and a tag over all these names, by a key that only this gateway has.
"""

import asyncio
import hmac
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from datetime import datetime
from functools import partial
from typing import Final, TypeVar

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy import Connection, Engine

from agency_gateway import recall_store as store
from agency_gateway.asked import Asked
from agency_gateway.batch import in_order
from agency_gateway.desk import Desk
from agency_gateway.recalls import Recalls, as_told
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2 as ledger
from jukinet._pb.jukinet.recall.v1 import recall_pb2 as recall
from jukinet._pb.jukinet.recall.v1.recall_pb2_grpc import RecallServiceServicer
from jukinet.assembly.reading import read_for_caller
from jukinet.ledger.entry import EntryKeys
from jukinet.mesh.clock import now_us
from jukinet.mesh.errors import Refused, name_of
from jukinet.mesh.interceptors import current_caller
from jukinet.purpose.decision import Decision

log = logging.getLogger(__name__)

MOST_TOLD: Final = 64
WAIT_SECONDS: Final = 5.0
"""How long a request for recalls waits for one."""
_POSITION_BYTES: Final = 8
"""Of a place; its tag follows."""
_R = TypeVar("_R")


class RecallService(RecallServiceServicer):
    """The recalls of one gateway.

    Args:
        desk: of all questions.
        recalls: notes them.
        reader: of the ledger database.
        keys: of the ledger's pseudonyms, digests and tags.
        gateway: SPIFFE ID of the gateway.
    """

    def __init__(self, *, desk: Desk, recalls: Recalls, reader: Engine, keys: EntryKeys, gateway: str) -> None:
        self._desk = desk
        self._recalls = recalls
        self._reader = reader
        self._keys = keys
        self._gateway = gateway
        self._stopping = asyncio.Event()

    async def TellRecalls(  # gRPC names its methods so
        self,
        request_iterator: AsyncIterator[recall.TellRecallsRequest],
        context: "grpc.aio.ServicerContext[recall.TellRecallsRequest, recall.TellRecallsResponse]",
    ) -> AsyncIterator[recall.TellRecallsResponse]:
        """Tells the next recalls of a purpose, request by request."""
        agency = current_caller().uri
        requests = self._desk.readable(agency, ledger.ACTION_ACKNOWLEDGE_RECALL, request_iterator)
        answers = in_order(requests, self._tell, stopping=self._stopping, under_way=1)
        async with aclosing(answers):
            async for response in answers:
                yield response

    async def ListUnacknowledged(  # gRPC names its methods so
        self,
        request: recall.ListUnacknowledgedRequest,
        context: "grpc.aio.ServicerContext[recall.ListUnacknowledgedRequest, recall.ListUnacknowledgedResponse]",
    ) -> recall.ListUnacknowledgedResponse:
        """Lists what stands unacknowledged, by agency and purpose."""
        listed = recall.ListUnacknowledgedResponse(as_of=_stamp(self._recalls.as_of))
        for each in await self._read(store.open_recalls):
            row = listed.unacknowledged.add(agency=each.agency, purpose=each.purpose, recalls=each.recalls)
            row.since.FromMicroseconds(each.since_us)
        return listed

    async def end_streams(self) -> None:
        """Lets streams end with what they have read: the node stops."""
        self._stopping.set()

    async def _tell(self, request: recall.TellRecallsRequest) -> recall.TellRecallsResponse:
        asked, decision = await self._desk.admit_unnamed(request, ledger.ACTION_ACKNOWLEDGE_RECALL)
        if request.acknowledged:
            await self._acknowledge(asked, decision, request.acknowledged)
        end = asyncio.get_running_loop().time() + WAIT_SECONDS
        while True:
            # Before what is on record is read: what was noted until then is in it.
            came, as_of = self._recalls.came, self._recalls.as_of
            found = await self._read(
                lambda connection: store.unacknowledged(connection, *_whose(asked), limit=MOST_TOLD)
            )
            left = end - asyncio.get_running_loop().time()
            if found or left <= 0:
                told = [self._told(asked, each) for each in found]
                return recall.TellRecallsResponse(request_id=asked.request_id, recalls=told, as_of=_stamp(as_of))
            try:
                async with asyncio.timeout(left):
                    await came.wait()
            except TimeoutError:
                pass

    async def _acknowledge(self, asked: Asked, decision: Decision, place: bytes) -> None:
        """Raises Refused: RECALL_POSITION, LEDGER_UNAVAILABLE."""
        position = int.from_bytes(place[:_POSITION_BYTES], "big")
        told_here = hmac.compare_digest(place, self._place(asked, position))
        # A database that was put back has lost what it told.
        if not told_here or not await self._read(
            lambda connection: store.is_position(connection, *_whose(asked), position)
        ):
            # In the log alone: an entry of now would show that the agency had a recall, of a sealed answer perhaps.
            reason = errors.ERROR_REASON_RECALL_POSITION
            log.info("acknowledgement refused", extra={"reason": name_of(reason), "peer": asked.agency})
            raise Refused(reason)
        while found := await self._read(
            lambda connection: store.unacknowledged(connection, *_whose(asked), limit=MOST_TOLD, until=position)
        ):
            # Of sealed answers last: everybody reads the moments of the others.
            in_turn = sorted(found, key=lambda each: bool(_answered(each).sealed_until))
            await asyncio.gather(*(self._acknowledge_one(asked, decision, each) for each in in_turn))

    async def _acknowledge_one(self, asked: Asked, decision: Decision, each: store.Recalled) -> None:
        at = now_us()
        await self._desk.carry_out(
            asked,
            decision,
            self._told(asked, each).SerializeToString(),
            partial(store.acknowledge, position=each.position, now_us=at),
            until=_answered(each).sealed_until,
        )

    def _told(self, asked: Asked, each: store.Recalled) -> recall.Recall:
        told = as_told(each.position, each.leaf_index, each.corrected_on, each.item_bits, _answered(each))
        told.place = self._place(asked, each.position)
        return told

    def _place(self, asked: Asked, position: int) -> bytes:
        """What the recall at a position is acknowledged by."""
        tag = self._keys.recall_tag(self._gateway, *_whose(asked), position)
        return position.to_bytes(_POSITION_BYTES, "big") + tag

    async def _read(self, query: Callable[[Connection], _R]) -> _R:
        return await read_for_caller(self._reader, query)


def _answered(each: store.Recalled) -> ledger.Entry:
    return ledger.Entry.FromString(each.entry)


def _stamp(moment: datetime | None) -> Timestamp | None:
    if moment is None:
        return None
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp


def _whose(asked: Asked) -> tuple[str, str]:
    return asked.agency, asked.context.purpose
