"""The receiving side of snapshots as a gRPC service: a thin adapter around `install`.

Chunks are read in processes of their own and taken in their order, a few in one transaction, so that the streams of
other senders go on in between. Whatever is answered is on disk.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sqlalchemy import Connection

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.link.v1 import snapshot_pb2 as pb
from jukinet._pb.jukinet.link.v1.snapshot_pb2_grpc import SnapshotServiceServicer
from jukinet.domain.brake import Tally
from jukinet.link import install
from jukinet.link.apply_batch import Assembly
from jukinet.link.manifest import named_in, opened
from jukinet.link.read_chunk import ChunkReaders
from jukinet.mesh.clock import now_us
from jukinet.mesh.errors import Refused
from jukinet.mesh.failpoints import passing
from jukinet.mesh.identity import Identity
from jukinet.mesh.interceptors import current_caller
from jukinet.store import journal
from jukinet.store.brakes import log_hold
from jukinet.store.errors import StoreError, as_refusal
from jukinet.store.grouping import Grouping
from jukinet.store.signed_manifests import keep_manifest
from jukinet.store.snapshots import read_offer
from jukinet.store.writer import Writer

log = logging.getLogger(__name__)

R = TypeVar("R")
_Take = Callable[[Connection], Tally | None]
_TURN_SECONDS = 30.0
"""How long a chunk waits for the one before it, which its sender sent at the same time."""
_CHUNKS_AT_ONCE = 4
"""Chunks of one transaction. Each moves pages all over the indexes; together they write most of them once. With 2,000
changes each that is some 0.2 s, in which the streams of others wait."""


@dataclass(slots=True)
class _Turns:
    """Which chunk of a snapshot is next to be taken; -1 after a failure, until it is offered again."""

    next_number: int = -1
    moved: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def wait_for(self, number: int) -> None:
        """Raises Refused: SNAPSHOT_NOT_OFFERED."""
        try:
            async with self.moved, asyncio.timeout(_TURN_SECONDS):
                await self.moved.wait_for(lambda: self.next_number == number or self.next_number < 0)
        except TimeoutError:
            self.next_number = -1
        if self.next_number != number:
            raise Refused(errors.ERROR_REASON_SNAPSHOT_NOT_OFFERED)

    async def move(self, number: int) -> None:
        async with self.moved:
            self.next_number = number
            self.moved.notify_all()


class SnapshotService(SnapshotServiceServicer):
    """Takes the snapshots of municipalities from the neighbours below.

    `assembly`, `may_bring` and `why_not` are those of the link. `held_above(municipality, sequence)` tells
    whether the node above holds the municipality up to there, so that its stream may go on through this node.
    """

    def __init__(
        self,
        *,
        writer: Writer,
        assembly: Assembly,
        may_bring: Callable[[Identity, str], bool],
        why_not: Callable[[], "errors.ErrorReason.ValueType | None"],
        held_above: Callable[[str, int], Awaitable[bool]],
    ) -> None:
        self._writer = writer
        self._assembly = assembly
        self._may_bring = may_bring
        self._why_not = why_not
        self._held_above = held_above
        self._turns: dict[str, _Turns] = defaultdict(_Turns)
        self._readers = ChunkReaders()
        self._chunks: Grouping[_Take, Tally | None] = Grouping(self._take, limit=_CHUNKS_AT_ONCE)

    async def GetStanding(self, request: pb.GetStandingRequest, context: Any) -> pb.GetStandingResponse:
        """Tells how far a municipality is on disk here, and which snapshot of it is being brought."""

        def look(connection: Connection) -> pb.GetStandingResponse:
            origin = journal.read_origins(connection, [request.municipality]).get(request.municipality)
            staged = read_offer(connection, request.municipality)
            return pb.GetStandingResponse(
                sequence=origin.sequence if origin else 0,
                staged=pb.SignedManifest(manifest=staged.manifest, seal=staged.seal) if staged else None,
                half_in=bool(staged and staged.begun),
            )

        return await self._work(request.municipality, request.epoch, look)

    async def OfferSnapshot(self, request: pb.OfferSnapshotRequest, context: Any) -> pb.OfferSnapshotResponse:
        """Takes an offer up, and tells how many of its chunks are in the register."""
        source, manifest = current_caller().uri, self._opened(request.manifest)
        staged = await self._work(
            manifest.municipality,
            request.epoch,
            lambda connection: install.offer(connection, request.manifest, manifest, source=source),
        )
        passing("snapshot.offered")
        await self._turns[manifest.municipality].move(staged)
        return pb.OfferSnapshotResponse(staged=staged)

    async def PutChunk(self, request: pb.PutChunkRequest, context: Any) -> pb.PutChunkResponse:
        """Reads a chunk, and takes it after the one before, unless the change brake holds its municipality."""
        name, number = request.municipality, request.number
        self._check(name)
        try:
            changes = await self._readers.read(name, request.chunk, scope=self._assembly.scope)
        except BrokenProcessPool:
            self._readers.close()
            raise Refused(errors.ERROR_REASON_DEPENDENCY_UNAVAILABLE, detail="a reading process ended") from None

        began = now_us()

        def job(connection: Connection) -> Tally | None:
            return install.take(connection, name, number, request.chunk, changes, assembly=self._assembly, now_us=began)

        turns = self._turns[name]
        try:
            await turns.wait_for(number)
            taken = self._chunks.hand_in(self._checked(name, request.epoch, job))
            await turns.move(number + 1)
            held = await taken
            if held is not None:
                if held.held_at == began:
                    log_hold(name, held)
                raise Refused(errors.ERROR_REASON_LINK_HELD)
        except BaseException as failure:
            await turns.move(-1)
            if isinstance(failure, StoreError):
                raise as_refusal(failure) from None
            raise
        passing("snapshot.taken")
        return pb.PutChunkResponse()

    async def InstallSnapshot(self, request: pb.InstallSnapshotRequest, context: Any) -> pb.InstallSnapshotResponse:
        """Ends a snapshot that is in the register."""
        name = request.municipality
        await self._work(name, request.epoch, lambda connection: install.install(connection, name, now_us=now_us()))
        passing("snapshot.installed")
        log.info("a municipality's snapshot is in the register", extra={"municipality": name})
        return pb.InstallSnapshotResponse()

    async def ResumeStream(self, request: pb.ResumeStreamRequest, context: Any) -> pb.ResumeStreamResponse:
        """Sets the mark from which the sender's stream goes on."""
        caller = current_caller()
        if caller.kind == "municipality" and not await self._held_above(caller.name, request.mark):
            raise Refused(errors.ERROR_REASON_DEPENDENCY_UNAVAILABLE, detail="the node above does not hold it yet")

        def move(connection: Connection) -> None:
            self._check_ready()
            known = _known(connection, caller.uri, request.epoch)
            moved = install.resume(known, mark=request.mark, chain=request.chain, now_us=now_us())
            journal.write_mark(connection, caller.uri, moved)

        await self._run(move)
        passing("snapshot.resumed")
        return pb.ResumeStreamResponse()

    async def DepositManifest(self, request: pb.DepositManifestRequest, context: Any) -> pb.DepositManifestResponse:
        """Keeps a manifest that this node asked for."""
        manifest = self._opened(request.manifest)

        def keep(connection: Connection) -> None:
            keep_manifest(
                connection,
                manifest.municipality,
                epoch=manifest.epoch,
                sequence=manifest.sequence,
                manifest=request.manifest.manifest,
                seal=request.manifest.seal,
                now_us=now_us(),
            )

        await self._work(manifest.municipality, request.epoch, keep)
        passing("snapshot.deposited")
        return pb.DepositManifestResponse()

    async def run(self) -> None:
        """Takes chunks that were read, as many at once as wait. A part of the node."""
        try:
            await self._chunks.run()
        finally:
            self._readers.close()

    async def _take(self, chunks: Sequence[_Take]) -> Sequence[Tally | Exception | None]:
        """Takes chunks in one transaction. One that is refused has written nothing, and the others stand."""
        try:
            return await self._writer.run(lambda connection: [_result_of(chunk, connection) for chunk in chunks])
        except StoreError as failure:
            if len(chunks) == 1:
                return [failure]
        return [result for chunk in chunks for result in await self._take([chunk])]

    def _opened(self, signed: pb.SignedManifest) -> pb.Manifest:
        name = named_in(signed)
        self._check(name)
        return opened(signed, self._assembly.key_of(name))

    def _check(self, municipality: str) -> None:
        if not self._may_bring(current_caller(), municipality):
            raise Refused(errors.ERROR_REASON_LINK_FOREIGN_SEGMENT)

    async def _work(self, municipality: str, epoch: int, job: Callable[[Connection], R]) -> R:
        """Runs a job on a municipality's snapshot, if its sender is the one that is known."""
        return await self._run(self._checked(municipality, epoch, job))

    def _checked(self, municipality: str, epoch: int, job: Callable[[Connection], R]) -> Callable[[Connection], R]:
        """The job, once it is sure in its own transaction that its sender is the one that is known."""
        self._check(municipality)
        source = current_caller().uri

        def checked(connection: Connection) -> R:
            self._check_ready()
            _known(connection, source, epoch)
            return job(connection)

        return checked

    def _check_ready(self) -> None:
        reason = self._why_not()
        if reason is not None:
            raise Refused(reason)

    async def _run(self, job: Callable[[Connection], R]) -> R:
        try:
            return await self._writer.run(job)
        except StoreError as failure:
            refusal = as_refusal(failure)
        raise refusal


def _result_of(chunk: _Take, connection: Connection) -> Tally | Exception | None:
    try:
        return chunk(connection)
    except Refused as refused:
        return refused


def _known(connection: Connection, source: str, epoch: int) -> journal.Mark:
    """The sender's mark, if its epoch is the one in force. It said Hello before: that fences all others."""
    known = journal.read_mark(connection, source)
    if known is None or epoch > known.epoch:
        raise Refused(errors.ERROR_REASON_LINK_PROTOCOL)
    if epoch < known.epoch:
        raise Refused(errors.ERROR_REASON_LINK_FENCED)
    return known
