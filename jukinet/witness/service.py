"""WitnessService: decides by `jukinet.ledger.witness`, and signs after the commit alone."""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine

from jukinet._pb.jukinet.witness.v1 import witness_pb2
from jukinet._pb.jukinet.witness.v1.witness_pb2_grpc import WitnessServiceServicer
from jukinet.ledger import witness
from jukinet.ledger.cosignature import Cosigner
from jukinet.ledger.note import text_of
from jukinet.ledger.verify.notes import Key
from jukinet.mesh.clock import now_us
from jukinet.mesh.failpoints import passing
from jukinet.store.errors import StoreError, as_refusal
from jukinet.store.reading import read
from jukinet.store.writer import Writer
from jukinet.witness import store

if TYPE_CHECKING:
    import grpc


class WitnessService(WitnessServiceServicer):
    """Cosigns what `keys` know by its origin; one writer, so that requests are judged one after the other."""

    def __init__(self, *, writer: Writer, reader: Engine, cosigner: Cosigner, keys: Mapping[str, Key]) -> None:
        self._writer = writer
        self._reader = reader
        self._cosigner = cosigner
        self._keys = keys

    async def AddCheckpoint(  # gRPC names its methods so
        self,
        request: witness_pb2.AddCheckpointRequest,
        context: "grpc.aio.ServicerContext[witness_pb2.AddCheckpointRequest, witness_pb2.AddCheckpointResponse]",
    ) -> witness_pb2.AddCheckpointResponse:
        """Cosigns a checkpoint that begins with the latest one, once it is on disk.

        Raises Refused: ORIGIN_UNKNOWN, CHECKPOINT_SIGNATURE, CHECKPOINT_CONFLICT, CONSISTENCY_PROOF.
        """
        origin = witness.origin_of(request.checkpoint)
        key = witness.key_of(self._keys, origin)

        def add(connection: Connection) -> int:
            known = witness.judge(
                store.latest(connection, origin, key),
                key,
                old_size=request.old_size,
                proof=request.proof,
                note=request.checkpoint,
            )
            store.remember(connection, origin, known)
            passing("witness.judged")
            # The time within the transaction: after it, a later request may have made another tree the largest.
            return now_us() // 1_000_000

        try:
            seconds = await self._writer.run(add)
        except StoreError as failure:
            raise as_refusal(failure) from None
        passing("witness.stored")
        cosignature = self._cosigner.cosign(text_of(request.checkpoint), seconds)
        return witness_pb2.AddCheckpointResponse(cosignature=cosignature)

    async def GetLatest(  # gRPC names its methods so
        self,
        request: witness_pb2.GetLatestRequest,
        context: "grpc.aio.ServicerContext[witness_pb2.GetLatestRequest, witness_pb2.GetLatestResponse]",
    ) -> witness_pb2.GetLatestResponse:
        """The latest checkpoint of a log that was cosigned. Raises Refused: ORIGIN_UNKNOWN."""
        key = witness.key_of(self._keys, request.origin)
        try:
            known = await asyncio.to_thread(
                read, self._reader, lambda connection: store.latest(connection, request.origin, key)
            )
        except StoreError as failure:
            raise as_refusal(failure) from None
        return witness_pb2.GetLatestResponse(checkpoint=known.note)
