"""LedgerService: what auditors read from the ledger.

Rule: only what a signed checkpoint covers is given out, so that whoever reads can always check what was read; and the
only checkpoint that is given out is the published one, which a quorum of witnesses cosigned.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import grpc
from sqlalchemy import Engine

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2, ledger_pb2_grpc
from jukinet.ledger import published, store
from jukinet.mesh.errors import Refused

ENTRIES_PER_MESSAGE = 100
"""An entry has under 600 bytes, and a gateway lets no message of 128 KiB pass by default: 500 of them were too many."""


class LedgerService(ledger_pb2_grpc.LedgerServiceServicer):
    """Gives out checkpoints and entries; reads in threads, each message in a transaction of its own.

    Args:
        engine: of the ledger database; only read from.
        covering: waits a little until the published checkpoint covers so many entries.
    """

    def __init__(self, engine: Engine, *, covering: Callable[[int], Awaitable[None]]) -> None:
        self._engine = engine
        self._covering = covering

    async def GetCheckpoint(
        self,
        request: ledger_pb2.GetCheckpointRequest,
        context: grpc.aio.ServicerContext[ledger_pb2.GetCheckpointRequest, ledger_pb2.GetCheckpointResponse],
    ) -> ledger_pb2.GetCheckpointResponse:
        """The published checkpoint. Raises Refused: CHECKPOINT_NOT_PUBLISHED."""
        _, note = await self._published()
        return ledger_pb2.GetCheckpointResponse(checkpoint=note)

    async def GetConsistencyProof(
        self,
        request: ledger_pb2.GetConsistencyProofRequest,
        context: grpc.aio.ServicerContext[
            ledger_pb2.GetConsistencyProofRequest, ledger_pb2.GetConsistencyProofResponse
        ],
    ) -> ledger_pb2.GetConsistencyProofResponse:
        """The published checkpoint and what ties an older tree to it. Raises Refused: CHECKPOINT_NOT_PUBLISHED."""
        size, note = await self._published()
        if request.old_size > size:
            raise Refused(errors.ERROR_REASON_CHECKPOINT_NOT_PUBLISHED, field="old_size")
        proof = await asyncio.to_thread(self._proof, request.old_size, size)
        return ledger_pb2.GetConsistencyProofResponse(checkpoint=note, proof=proof)

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

    async def _published(self) -> tuple[int, str]:
        """Size and note of the published checkpoint, which covers what the ledger holds now if that is soon enough."""
        await self._covering(await asyncio.to_thread(self._covered))
        last = await asyncio.to_thread(self._latest)
        if last is None:
            raise Refused(errors.ERROR_REASON_CHECKPOINT_NOT_PUBLISHED)
        return last

    def _latest(self) -> tuple[int, str] | None:
        with self._engine.connect() as connection:
            return published.latest(connection)

    def _proof(self, old: int, new: int) -> list[bytes]:
        with self._engine.connect() as connection:
            return store.consistency_proof(connection, old, new)

    def _covered(self) -> int:
        with self._engine.connect() as connection:
            return store.covered_size(connection)

    def _entries(self, first: int, end: int) -> list[bytes]:
        with self._engine.connect() as connection:
            return store.read_entries(connection, first, end)
