"""One witness (立会人) of the ledger, seen from the gateway: what it is known to have seen, and when it is asked again.

Rules:

1. What a witness says counts only as far as it is proved: a cosignature by its key, and of its own record nothing but a
   checkpoint that this ledger's key signed. So a witness that lies can delay, and cannot stop a sound gateway.
2. A witness that shows such a checkpoint to which this database does not lead stops the gateway at once, alone: the
   proof is in the checkpoint.
3. A witness that knows less than its key cosigned before has lost its database. It counts for nothing any more.
4. Nobody waits for a sick witness: every call has a deadline, and after a failure it is left alone for a random time of
   up to twice the last one, and no longer than five seconds.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import grpc
from sqlalchemy import Connection, Engine

from jukinet._pb.jukinet.admin.v1 import admin_pb2 as admin
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.witness.v1 import witness_pb2
from jukinet.ledger import merkle, published, store
from jukinet.ledger.cosignature import WitnessKey
from jukinet.ledger.errors import NoteInvalid
from jukinet.ledger.note import Checkpoint, VerifierKey, open_checkpoint, text_of
from jukinet.mesh import metrics
from jukinet.mesh.clock import now
from jukinet.mesh.errors import reason_of
from jukinet.mesh.identity import Identity
from jukinet.store.reading import read

if TYPE_CHECKING:
    from jukinet._pb.jukinet.witness.v1.witness_pb2_grpc import WitnessServiceAsyncStub

log = logging.getLogger(__name__)

CALL_SECONDS = 2.0
"""Deadline of one call; a witness answers in a few milliseconds."""
_FIRST_PAUSE_SECONDS = 0.5
_LAST_PAUSE_SECONDS = 5.0
"""A ledger that is closed for want of a quorum opens with the first round that begins so long after one is back."""
_STALE = (errors.ERROR_REASON_CHECKPOINT_CONFLICT, errors.ERROR_REASON_CONSISTENCY_PROOF)

T = TypeVar("T")


class Target(NamedTuple):
    """A checkpoint of this ledger that is on disk and is to be cosigned."""

    size: int
    note: str


class Forgot(Exception):
    """The witness knows less than its key cosigned before: its database was lost or put back. Retire it."""


@dataclass(eq=False)
class Witness:
    """One witness.

    Args:
        identity: of its certificate.
        key: by which it cosigns.
        stub: of its service.
        origin: the ledger's key.
        reader: engine of the ledger database.
        seen: size of the latest checkpoint that its key is known to have cosigned.
        clock: seconds that only grow.
    """

    identity: Identity
    key: WitnessKey
    stub: "WitnessServiceAsyncStub"
    origin: VerifierKey
    reader: Engine
    seen: int = 0
    clock: Callable[[], float] = time.monotonic
    state: "admin.WitnessState.ValueType" = admin.WITNESS_STATE_UNSPECIFIED
    last_error: "errors.ErrorReason.ValueType" = errors.ERROR_REASON_UNSPECIFIED
    cosigned_at: datetime | None = None
    line: str = ""
    """Its cosignature of the checkpoint of `seen` entries; empty when that was made for an earlier process."""
    _where: int | None = None
    """Size of its latest checkpoint as it told; None while that has to be asked."""
    _failures: int = 0
    _not_before: float = field(default=0.0)

    def is_due(self, target: Target) -> bool:
        """Whether it is to be asked now: it has not cosigned the target, and no pause after a failure runs."""
        return (not self.line or self.seen < target.size) and self.clock() >= self._not_before

    def line_for(self, target: Target) -> str | None:
        """Its cosignature of the target; None as long as there is none."""
        return self.line if self.line and self.seen == target.size else None

    async def ask(self, target: Target) -> None:
        """Asks for a cosignature; afterwards `line_for` has it, or the pause after a failure runs.

        Raises:
            LedgerContradicted: the witness proved that this database is not the ledger that it saw.
            StoreError: this gateway's own database failed.
        """
        try:
            line = await self._cosigned(target)
        except (grpc.aio.AioRpcError, NoteInvalid, Forgot) as failure:
            self._failed(failure)
            return
        if self.state != admin.WITNESS_STATE_ANSWERS:
            log.info("a witness of the ledger answers", extra={"peer": self.identity.uri})
        self.line, self.seen, self._where = line, target.size, target.size
        self.state, self.last_error = admin.WITNESS_STATE_ANSWERS, errors.ERROR_REASON_UNSPECIFIED
        self.cosigned_at, self._failures, self._not_before = now(), 0, 0.0

    def show(self, size: int) -> None:
        """Shows in the metrics how far it is behind a ledger of so many entries."""
        metrics.witness(self.identity, max(size - self.seen, 0), self.state == admin.WITNESS_STATE_ANSWERS)

    def describe(self, status: admin.WitnessStatus, size: int) -> None:
        """Fills in how it stands to a ledger of so many entries."""
        status.identity, status.state, status.size = self.identity.uri, self.state, self.seen
        status.behind, status.last_error = max(size - self.seen, 0), self.last_error
        if self.cosigned_at is not None:
            status.cosigned_at.FromDatetime(self.cosigned_at)

    async def _cosigned(self, target: Target) -> str:
        if self._where is None:
            self._where = await self._latest()
        try:
            return await self._add(target, self._where)
        except grpc.aio.AioRpcError as error:
            if reason_of(error) not in _STALE:
                raise
        # Another process of this gateway asked meanwhile, or the witness is not what it was.
        self._where = None
        self._where = await self._latest()
        return await self._add(target, self._where)

    async def _add(self, target: Target, old_size: int) -> str:
        if old_size > target.size:
            raise NoteInvalid("The witness is beyond this checkpoint; a later one is asked for next.")
        proof = await self._read(lambda connection: store.consistency_proof(connection, old_size, target.size))
        request = witness_pb2.AddCheckpointRequest(old_size=old_size, proof=proof, checkpoint=target.note)
        answer = await self.stub.AddCheckpoint(request, timeout=CALL_SECONDS)
        self.key.verify(answer.cosignature, text_of(target.note))
        return answer.cosignature

    async def _latest(self) -> int:
        request = witness_pb2.GetLatestRequest(origin=self.origin.name)
        answer = await self.stub.GetLatest(request, timeout=CALL_SECONDS)
        held = Checkpoint(self.origin.name, 0, merkle.EMPTY_ROOT)
        if answer.checkpoint:
            held = open_checkpoint(answer.checkpoint, self.origin)
        await self._read(lambda connection: published.require_ours(connection, held, self.identity.uri))
        if held.size < self.seen:
            raise Forgot
        return held.size

    async def _read(self, query: Callable[[Connection], T]) -> T:
        return await asyncio.to_thread(read, self.reader, query)

    def _failed(self, failure: Exception) -> None:
        forgot = isinstance(failure, Forgot)
        state = admin.WITNESS_STATE_FORGOT if forgot else admin.WITNESS_STATE_AWAY
        if state != self.state:
            facts = {"peer": self.identity.uri, "error_type": type(failure).__name__}
            if forgot:
                log.error("a witness of the ledger lost its database: retire it", extra=facts)
            else:
                log.warning("a witness of the ledger does not cosign", extra=facts)
        self.state = state
        self.last_error = reason_of(failure) or errors.ERROR_REASON_UNSPECIFIED
        self._where = None
        self._failures += 1
        pause = min(_FIRST_PAUSE_SECONDS * 2 ** min(self._failures - 1, 10), _LAST_PAUSE_SECONDS)
        # Full jitter: those who lost a witness at the same moment do not come back at the same moment.
        self._not_before = self.clock() + random.uniform(0, pause)  # noqa: S311  # spreads load, keeps no secret
