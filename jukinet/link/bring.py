"""Bringing snapshots to the node above, where a stream cannot: the sending side, over grpc.aio.

Rule 1: a snapshot of a municipality is brought only where the node above does not hold what comes before this node's
outbox, or has a part of one. What is there of it is gone on with, chunk by chunk.
Rule 2: a municipality signs its own manifest. A prefecture has only manifests that its municipalities signed; it makes
their chunks again from what it holds, and asks a connected municipality for a manifest that is new enough.
Rule 3: who came to a prefecture by a snapshot and has reported nothing since is in no stream of it. Whether the node
above holds those is asked at every welcome.
Rule 4: the stream goes on after the change before the oldest one in the outbox. What of it the node above holds by a
snapshot it takes as a repetition.
"""

import asyncio
import logging
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, TypeVar

import grpc
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from sqlalchemy import Connection, Engine

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.link.v1 import snapshot_pb2 as pb
from jukinet._pb.jukinet.link.v1.snapshot_pb2_grpc import SnapshotServiceStub
from jukinet.link.manifest import chunk_digest, opened
from jukinet.link.snapshot_source import Outbox, kept_manifest, make_manifest, next_chunk, read_outbox
from jukinet.mesh.errors import Refused, name_of, reason_of
from jukinet.mesh.failpoints import passing
from jukinet.mesh.identity import Identity
from jukinet.store import journal
from jukinet.store.checksum import RecordDamaged
from jukinet.store.errors import StoreError
from jukinet.store.reading import read

if TYPE_CHECKING:
    from jukinet._pb.jukinet.link.v1.snapshot_pb2_grpc import SnapshotServiceAsyncStub

log = logging.getLogger(__name__)

T = TypeVar("T")

_CALL_SECONDS = 60.0
_UNDER_WAY = 6
"""Chunks that are under way at once: some are read there while others are written."""
_BROUGHT_AT_ONCE = 2
"""Municipalities whose chunks are under way at once: one ends or begins while the other fills the line."""
_LOOK_AGAIN = 0.2  # seconds between two looks for a manifest that was asked for
_ASK_AGAIN = 30.0  # seconds; a large register takes some to sign


class Snapshots:
    """The snapshots of the municipalities that a node brings.

    `own` is the node; `key` its sealing key, None at a prefecture; `key_of` gives a municipality's public one.
    `ask(municipalities)` lets the streams of those that were not asked yet say that a manifest is wanted; none when
    that is over.
    """

    def __init__(
        self,
        *,
        reader: Engine,
        own: Identity,
        key: Ed25519PrivateKey | None,
        key_of: Callable[[str], Ed25519PublicKey | None],
        ask: Callable[[Collection[str]], None],
    ) -> None:
        self._reader = reader
        self._own = own
        self._key = key
        self._key_of = key_of
        self._ask = ask
        self._beside: dict[str, asyncio.Task[None]] = {}
        self._awaited: set[str] = set()
        """The municipalities whose manifests are waited for."""
        self._line = asyncio.Semaphore(_BROUGHT_AT_ONCE)
        self.manifest_wanted = asyncio.Event()
        """Set when the node above asks for one."""

    async def bring_all(self, channel: grpc.aio.Channel) -> None:
        """Brings whatever the node above cannot get by the stream, and sets the mark from which the stream goes on.

        One that the node above holds (LINK_HELD) does not keep the others from getting there. Raises
        grpc.aio.AioRpcError, StoreError, and Refused: SNAPSHOT_CHUNK where this node's changes are not those of the
        manifest, RECORD_DAMAGED where one is not what was written.
        """
        outbox = await self._outbox()
        bringing = [asyncio.create_task(self._bring(channel, outbox, each)) for each in sorted(outbox.held)]
        held: grpc.aio.AioRpcError | None = None
        try:
            for task in bringing:
                try:
                    await task
                except grpc.aio.AioRpcError as refusal:
                    if reason_of(refusal) != errors.ERROR_REASON_LINK_HELD:
                        raise
                    held = refusal
        finally:
            for task in bringing:
                task.cancel()
            await asyncio.gather(*bringing, return_exceptions=True)
        if held is not None:
            raise held
        request = pb.ResumeStreamRequest(epoch=outbox.epoch, mark=outbox.sequence, chain=outbox.chain)
        await SnapshotServiceStub(channel).ResumeStream(request, timeout=_CALL_SECONDS)

    async def held_above(self, channel: grpc.aio.Channel, municipality: str, through: int) -> bool:
        """Whether the node above holds a municipality up to there. If not, begins to bring it beside the stream."""
        return await self._see_to(channel, await self._outbox(), municipality, through)

    async def _see_to(self, channel: grpc.aio.Channel, outbox: Outbox, municipality: str, through: int) -> bool:
        if _is_whole(await self._standing(channel, outbox, municipality), through):
            return True
        before = self._beside.get(municipality)
        if before is None or before.done():
            outbox.begins[municipality] = through
            self._beside[municipality] = asyncio.create_task(self._bring_beside(channel, outbox, municipality))
        return False

    async def attend(self, channel: grpc.aio.Channel, welcomed: asyncio.Event) -> None:
        """What a stream needs beside it, from its welcome on and without end.

        Whom the stream says nothing of is brought where the node above lacks them, and a new manifest of this
        municipality is left there whenever it is asked for. What is brought beside the stream ends with it: the next
        connection begins it again.
        """
        try:
            await welcomed.wait()
            await self._bring_silent(channel)
            while True:
                await self.manifest_wanted.wait()
                self.manifest_wanted.clear()
                await self._deposit(channel)
        finally:
            for task in self._beside.values():
                task.cancel()
            self._beside.clear()

    async def _deposit(self, channel: grpc.aio.Channel) -> None:
        try:
            signed = await self._own_manifest()
        except Refused as refused:
            log.error("no manifest can be signed of what is stored here", extra={"reason": name_of(refused.reason)})
            return
        if signed:
            epoch = (await self._read(journal.read_stream)).epoch
            request = pb.DepositManifestRequest(epoch=epoch, manifest=signed)
            await SnapshotServiceStub(channel).DepositManifest(request, timeout=_CALL_SECONDS)

    async def _bring_silent(self, channel: grpc.aio.Channel) -> None:
        if self._key is not None:
            return
        try:
            outbox = await self._outbox()
            for municipality in sorted(name for name, held in outbox.held.items() if outbox.begins[name] == held):
                await self._see_to(channel, outbox, municipality, outbox.held[municipality])
        except (grpc.aio.AioRpcError, StoreError) as failure:
            log.warning(
                "who is in no stream could not be looked for above; the next connection asks again",
                extra={"reason": _reason_of(failure)},
            )

    async def _bring_beside(self, channel: grpc.aio.Channel, outbox: Outbox, municipality: str) -> None:
        try:
            await self._bring(channel, outbox, municipality)
        except (grpc.aio.AioRpcError, Refused, StoreError) as failure:
            facts = {"municipality": municipality, "reason": _reason_of(failure)}
            log.warning("a snapshot could not be brought; its municipality will ask again", extra=facts)

    async def _standing(self, channel: grpc.aio.Channel, outbox: Outbox, municipality: str) -> pb.GetStandingResponse:
        request = pb.GetStandingRequest(epoch=outbox.epoch, municipality=municipality)
        standing: pb.GetStandingResponse = await SnapshotServiceStub(channel).GetStanding(
            request, timeout=_CALL_SECONDS
        )
        return standing

    async def _bring(self, channel: grpc.aio.Channel, outbox: Outbox, municipality: str) -> None:
        stub, begins = SnapshotServiceStub(channel), outbox.begins[municipality]
        standing = await self._standing(channel, outbox, municipality)
        if _is_whole(standing, begins):
            return
        signed = self._usable(standing, municipality, outbox) or await self._manifest(municipality, begins)
        manifest = pb.Manifest.FromString(signed.manifest)
        async with self._line:
            log.warning(
                "brings a municipality's snapshot to the node above",
                extra={"municipality": municipality, "sequence": manifest.sequence},
            )
            request = pb.OfferSnapshotRequest(epoch=outbox.epoch, manifest=signed)
            staged = (await stub.OfferSnapshot(request, timeout=_CALL_SECONDS)).staged
            await self._put_chunks(stub, outbox.epoch, manifest, staged)
            await stub.InstallSnapshot(
                pb.InstallSnapshotRequest(epoch=outbox.epoch, municipality=municipality), timeout=_CALL_SECONDS
            )
        passing("bring.installed")

    def _usable(self, standing: pb.GetStandingResponse, municipality: str, outbox: Outbox) -> pb.SignedManifest | None:
        """What is being brought above, if this node can go on with it."""
        if not standing.HasField("staged"):
            return None
        try:
            manifest = opened(standing.staged, self._public_key(municipality))
        except Refused:
            return None
        of_use = outbox.begins[municipality] <= manifest.sequence <= outbox.held[municipality]
        return standing.staged if of_use and manifest.municipality == municipality else None

    async def _manifest(self, municipality: str, begins: int) -> pb.SignedManifest:
        """A signed manifest of a municipality that reaches to where the outbox begins."""
        if self._key is not None:
            signed = await self._own_manifest()
            if signed is None:
                raise Refused(errors.ERROR_REASON_SNAPSHOT_NOT_OFFERED)
            return signed
        waited = 0.0
        try:
            while True:
                held, kept = await self._read(lambda connection: kept_manifest(connection, municipality))
                if kept and begins <= kept[0] <= held:
                    return pb.SignedManifest(manifest=kept[1], seal=kept[2])
                if waited % _ASK_AGAIN < _LOOK_AGAIN:
                    log.info("waits for a municipality's manifest", extra={"municipality": municipality})
                    self._ask(self._awaited - {municipality})
                    self._awaited.add(municipality)
                    self._ask(self._awaited)
                await asyncio.sleep(_LOOK_AGAIN)
                waited += _LOOK_AGAIN
        finally:
            self._awaited.discard(municipality)
            self._ask(self._awaited)

    async def _put_chunks(
        self, stub: "SnapshotServiceAsyncStub", epoch: int, manifest: pb.Manifest, staged: int
    ) -> None:
        number, after, of_epoch = 0, 0, 0
        under_way: list[asyncio.Future[pb.PutChunkResponse]] = []
        try:
            while after < manifest.sequence:
                chunk = await self._read(
                    lambda connection, after=after, of_epoch=of_epoch: next_chunk(  # type: ignore[misc]  # bound values
                        connection, manifest.municipality, epoch=of_epoch, after=after, until=manifest.sequence
                    )
                )
                if chunk is None or number >= len(manifest.chunks) or chunk_digest(chunk) != manifest.chunks[number]:
                    raise Refused(errors.ERROR_REASON_SNAPSHOT_CHUNK)
                if number >= staged:
                    if len(under_way) == _UNDER_WAY:
                        await under_way.pop(0)
                    under_way.append(asyncio.ensure_future(_put(stub, epoch, manifest.municipality, number, chunk)))
                number, after, of_epoch = number + 1, after + len(chunk.changes), chunk.changes[-1].epoch
            for call in under_way:
                await call
        finally:
            for call in under_way:
                call.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)

    def _public_key(self, municipality: str) -> Ed25519PublicKey | None:
        return self._key.public_key() if self._key is not None else self._key_of(municipality)

    async def _outbox(self) -> Outbox:
        return await self._read(lambda connection: read_outbox(connection, self._own))

    async def _own_manifest(self) -> pb.SignedManifest | None:
        """That of this municipality as it stands; None at a prefecture, and without a change."""
        key = self._key
        return await self._read(lambda connection: make_manifest(connection, self._own.name, key)) if key else None

    async def _read(self, query: Callable[[Connection], T]) -> T:
        """Raises Refused: RECORD_DAMAGED, where a change of this node is not what was written."""
        try:
            return await asyncio.to_thread(read, self._reader, query)
        except RecordDamaged:
            raise Refused(errors.ERROR_REASON_RECORD_DAMAGED) from None


def _reason_of(failure: Exception) -> str:
    reason = reason_of(failure) if isinstance(failure, grpc.aio.AioRpcError) else None
    return name_of(reason) if reason else type(failure).__name__


def _is_whole(standing: pb.GetStandingResponse, through: int) -> bool:
    """Whether the node above holds a municipality up to there, and not a part of a snapshot beside it."""
    return standing.sequence >= through and not standing.half_in


async def _put(
    stub: "SnapshotServiceAsyncStub", epoch: int, municipality: str, number: int, chunk: pb.Chunk
) -> pb.PutChunkResponse:
    request = pb.PutChunkRequest(epoch=epoch, municipality=municipality, number=number, chunk=chunk)
    answer: pb.PutChunkResponse = await stub.PutChunk(request, timeout=_CALL_SECONDS)
    passing("bring.taken")
    return answer
