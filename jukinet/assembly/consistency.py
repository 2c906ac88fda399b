"""What operators compare the tiers by (整合性確認): digests of a municipality's rows, rows that differ, damaged rows.

Rule: reading holds up neither the writer nor anybody else who reads. One digest is made at a time, in a thread, in a
read transaction of its own, and given up when its caller is gone.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

import grpc
from sqlalchemy import Connection, Engine

from jukinet._pb.jukinet.consistency.v1 import consistency_pb2 as consistency
from jukinet._pb.jukinet.consistency.v1.consistency_pb2_grpc import ConsistencyServiceServicer
from jukinet.assembly.reading import read_for_caller
from jukinet.store import digest
from jukinet.store.errors import StoreError, as_refusal
from jukinet.store.scrub import Damaged, Table

T = TypeVar("T")

_ROWS_A_MESSAGE = 1000
_KINDS: "dict[Table, consistency.RowKind.ValueType]" = {
    "residents": consistency.ROW_KIND_CURRENT,
    "history": consistency.ROW_KIND_CHANGE,
}


class ConsistencyService(ConsistencyServiceServicer):
    """Answers operators from a register.

    Args:
        register: engine of `open_reader`.
        damaged: gives the damaged rows, in a thread; raises StoreError.
    """

    def __init__(self, register: Engine, *, damaged: Callable[[], list[Damaged]]) -> None:
        self._register = register
        self._damaged = damaged
        self._turn = asyncio.Lock()

    async def ListPlaces(  # gRPC names its methods so
        self,
        request: consistency.ListPlacesRequest,
        context: "grpc.aio.ServicerContext[consistency.ListPlacesRequest, consistency.ListPlacesResponse]",
    ) -> consistency.ListPlacesResponse:
        """Tells how far each municipality's changes are on disk here."""
        found = await read_for_caller(self._register, digest.places)
        return consistency.ListPlacesResponse(
            places=[
                consistency.Place(municipality=place.municipality, epoch=place.epoch, sequence=place.sequence)
                for place in found
            ]
        )

    async def GetDigest(  # gRPC names its methods so
        self,
        request: consistency.GetDigestRequest,
        context: "grpc.aio.ServicerContext[consistency.GetDigestRequest, consistency.GetDigestResponse]",
    ) -> consistency.GetDigestResponse:
        """Digests the rows of one municipality as of a place in its stream. Raises Refused: NOT_AT_PLACE."""
        found = await self._in_turn(
            lambda connection, stopped: digest.digest(connection, request.key, _place(request.at), stopped=stopped)
        )
        return consistency.GetDigestResponse(
            root=found.root, buckets=found.buckets, rows=found.rows, parked=found.parked, misfiled=found.misfiled
        )

    async def ListRows(  # gRPC names its methods so
        self,
        request: consistency.ListRowsRequest,
        context: "grpc.aio.ServicerContext[consistency.ListRowsRequest, consistency.ListRowsResponse]",
    ) -> AsyncIterator[consistency.ListRowsResponse]:
        """Names the rows of some buckets. Raises Refused: NOT_AT_PLACE."""
        found = await self._in_turn(
            lambda connection, stopped: digest.rows_in(
                connection, request.key, _place(request.at), request.buckets, stopped=stopped
            )
        )
        for first in range(0, len(found), _ROWS_A_MESSAGE):
            part = found[first : first + _ROWS_A_MESSAGE]
            yield consistency.ListRowsResponse(
                rows=[
                    consistency.Row(
                        resident_code=row.code,
                        version=row.version,
                        digest=row.digest,
                        parked=row.parked,
                        misfiled=row.misfiled,
                        damaged=row.damaged,
                    )
                    for row in part
                ]
            )

    async def ListDamaged(  # gRPC names its methods so
        self,
        request: consistency.ListDamagedRequest,
        context: "grpc.aio.ServicerContext[consistency.ListDamagedRequest, consistency.ListDamagedResponse]",
    ) -> consistency.ListDamagedResponse:
        """Names the damaged rows among all that were read again since the node started."""
        try:
            found = await asyncio.to_thread(self._damaged)
        except StoreError as failure:
            raise as_refusal(failure) from None
        return consistency.ListDamagedResponse(
            rows=[
                consistency.DamagedRow(
                    kind=_KINDS[row.table],
                    position=row.position,
                    municipality=row.municipality,
                    resident_code=row.resident_code,
                )
                for row in found
            ]
        )

    async def _in_turn(self, work: Callable[[Connection, Callable[[], bool]], T]) -> T:
        gone = threading.Event()
        async with self._turn:
            try:
                return await read_for_caller(self._register, lambda connection: work(connection, gone.is_set))
            finally:
                gone.set()


def _place(at: consistency.Place) -> digest.Place:
    return digest.Place(at.municipality, at.epoch, at.sequence)
