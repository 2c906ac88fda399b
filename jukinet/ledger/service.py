"""LedgerService: what auditors read from the ledger.

Rule: only what a signed checkpoint covers is given out, so that whoever reads can always check what was read.
"""

import asyncio
from collections.abc import AsyncIterator

import grpc
from sqlalchemy import Engine

from jukinet._pb.jukinet.ledger.v1 import ledger_pb2, ledger_pb2_grpc
from jukinet.ledger import store

ENTRIES_PER_MESSAGE = 100
"""An entry has under 600 bytes, and a gateway lets no message of 128 KiB pass by default: 500 of them were too many."""


class LedgerService(ledger_pb2_grpc.LedgerServiceServicer):
    """Gives out checkpoints and entries; reads in threads, each message in a transaction of its own.

    Args:
        engine: of the ledger database; only read from.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def GetCheckpoint(
        self,
        request: ledger_pb2.GetCheckpointRequest,
        context: grpc.aio.ServicerContext[ledger_pb2.GetCheckpointRequest, ledger_pb2.GetCheckpointResponse],
    ) -> ledger_pb2.GetCheckpointResponse:
        """The latest signed checkpoint. Raises LedgerCorrupt when nothing was ever signed."""
        return ledger_pb2.GetCheckpointResponse(checkpoint=await asyncio.to_thread(self._checkpoint))

    async def ListEntries(
        self,
        request: ledger_pb2.ListEntriesRequest,
        context: grpc.aio.ServicerContext[ledger_pb2.ListEntriesRequest, ledger_pb2.ListEntriesResponse],
    ) -> AsyncIterator[ledger_pb2.ListEntriesResponse]:
        """The entries from `first_index` on; none when it lies beyond the latest checkpoint."""
        end = await asyncio.to_thread(self._covered)
        if request.limit:
            end = min(end, request.first_index + request.limit)
        for first in range(request.first_index, end, ENTRIES_PER_MESSAGE):
            stop = min(first + ENTRIES_PER_MESSAGE, end)
            entries = await asyncio.to_thread(self._entries, first, stop)
            yield ledger_pb2.ListEntriesResponse(first_index=first, entries=entries)

    def _checkpoint(self) -> str:
        with self._engine.connect() as connection:
            return store.latest_checkpoint(connection)

    def _covered(self) -> int:
        with self._engine.connect() as connection:
            return store.covered_size(connection)

    def _entries(self, first: int, end: int) -> list[bytes]:
        with self._engine.connect() as connection:
            return store.read_entries(connection, first, end)
