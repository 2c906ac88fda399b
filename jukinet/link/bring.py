"""Bringing snapshots to the node above, where a stream cannot: the sending side, over grpc.aio.

Rule 1: a snapshot of a municipality is brought only where the node above does not hold what comes before this node's
outbox, or has a part of one. What is there of it is gone on with, chunk by chunk.
Rule 2: a municipality signs its own manifest. A prefecture has only manifests that its municipalities signed; it makes
their chunks again from what it holds, and asks a connected municipality for a manifest that is new enough.
Rule 3: the stream goes on after the change before the oldest one in the outbox. What of it the node above holds by a
snapshot it takes as a repetition.
"""

import asyncio
import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import grpc
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from sqlalchemy import Connection, Engine, func, select

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.link.v1 import snapshot_pb2 as pb
from jukinet._pb.jukinet.link.v1.snapshot_pb2_grpc import SnapshotServiceStub
from jukinet.link.manifest import CHUNK_CHANGES, SealedChange, chunk_digest, cut, opened, sign
from jukinet.mesh.errors import Refused, name_of, reason_of
from jukinet.mesh.failpoints import passing
from jukinet.mesh.identity import Identity, parse_identity
from jukinet.store import journal
from jukinet.store.errors import StoreError
from jukinet.store.outbox_start import kept_after
from jukinet.store.reading import read
from jukinet.store.schema import residents
from jukinet.store.sealed_changes import next_changes
from jukinet.store.signed_manifests import read_manifest

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


@dataclass(frozen=True, slots=True)
class Outbox:
    """Where this node's outbox begins: in its own stream, and in the stream of each municipality that it brings."""

    epoch: int
    sequence: int
    chain: bytes
    begins: dict[str, int]
    held: dict[str, int]
    """By municipality, the last change that is here."""


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
        manifest.
        """
        outbox = await self._read(self._outbox)
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
        outbox = await self._read(self._outbox)
        if _is_whole(await self._standing(channel, outbox, municipality), through):
            return True
        before = self._beside.get(municipality)
        if before is None or before.done():
            outbox.begins[municipality] = through
            self._beside[municipality] = asyncio.create_task(self._bring_beside(channel, outbox, municipality))
        return False

    async def deposit(self, channel: grpc.aio.Channel) -> None:
        """Leaves a new manifest of this municipality with the node above whenever that one asks for it, without end."""
        while True:
            await self.manifest_wanted.wait()
            self.manifest_wanted.clear()
            signed = await self._read(self._signed) if self._key is not None else None
            if signed:
                epoch = (await self._read(journal.read_stream)).epoch
                request = pb.DepositManifestRequest(epoch=epoch, manifest=signed)
                await SnapshotServiceStub(channel).DepositManifest(request, timeout=_CALL_SECONDS)

    async def _bring_beside(self, channel: grpc.aio.Channel, outbox: Outbox, municipality: str) -> None:
        try:
            await self._bring(channel, outbox, municipality)
        except (grpc.aio.AioRpcError, Refused, StoreError) as failure:
            reason = reason_of(failure) if isinstance(failure, grpc.aio.AioRpcError) else None
            facts = {"municipality": municipality, "reason": name_of(reason) if reason else type(failure).__name__}
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
            signed = await self._read(self._signed)
            if signed is None:
                raise Refused(errors.ERROR_REASON_SNAPSHOT_NOT_OFFERED)
            return signed
        waited = 0.0
        try:
            while True:
                held, kept = await self._read(lambda connection: _kept(connection, municipality))
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

    def _outbox(self, connection: Connection) -> Outbox:
        sequence, chain = journal.outbox_start_of(connection)
        held = {name: origin.sequence for name, origin in journal.read_origins(connection).items()}
        kept = kept_after(connection)
        if self._key is not None:
            begins = {self._own.name: sequence}
        else:
            begins = dict(held) | {parse_identity(source).name: first for source, first in kept.items()}
        return Outbox(journal.read_stream(connection).epoch, sequence, chain, begins, held)

    def _signed(self, connection: Connection) -> pb.SignedManifest | None:
        """A manifest of this municipality as it stands, None without a change."""
        assert self._key is not None  # noqa: S101  # asked by those who looked
        origin = journal.read_origins(connection, [self._own.name]).get(self._own.name)
        if origin is None:
            return None
        digests, after, epoch = [], 0, 0
        while after < origin.sequence:
            chunk = next_chunk(connection, self._own.name, epoch=epoch, after=after, until=origin.sequence)
            if chunk is None:
                raise Refused(errors.ERROR_REASON_SNAPSHOT_CHUNK)
            digests.append(chunk_digest(chunk))
            after, epoch = after + len(chunk.changes), chunk.changes[-1].epoch
        manifest = pb.Manifest(
            municipality=self._own.name,
            epoch=origin.epoch,
            sequence=origin.sequence,
            segment_hash=origin.segment_hash,
            residents=connection.execute(select(func.count()).select_from(residents)).scalar_one(),
            chunks=digests,
        )
        return sign(manifest, self._key)

    async def _read(self, query: Callable[[Connection], T]) -> T:
        return await asyncio.to_thread(read, self._reader, query)


def _is_whole(standing: pb.GetStandingResponse, through: int) -> bool:
    """Whether the node above holds a municipality up to there, and not a part of a snapshot beside it."""
    return standing.sequence >= through and not standing.half_in


def next_chunk(connection: Connection, municipality: str, *, epoch: int, after: int, until: int) -> pb.Chunk | None:
    """The chunk after a municipality's change `after`, which was of incarnation `epoch`; None where changes lack."""
    rows = next_changes(connection, municipality, epoch=epoch, after=after, until=until, limit=CHUNK_CHANGES)
    if rows and rows[-1][0] != after + len(rows):  # they are in order, and none comes twice
        return None
    return next(cut(map(SealedChange._make, rows)), None)


async def _put(
    stub: "SnapshotServiceAsyncStub", epoch: int, municipality: str, number: int, chunk: pb.Chunk
) -> pb.PutChunkResponse:
    request = pb.PutChunkRequest(epoch=epoch, municipality=municipality, number=number, chunk=chunk)
    answer: pb.PutChunkResponse = await stub.PutChunk(request, timeout=_CALL_SECONDS)
    passing("bring.taken")
    return answer


def _kept(connection: Connection, municipality: str) -> tuple[int, tuple[int, bytes, bytes] | None]:
    origin = journal.read_origins(connection, [municipality]).get(municipality)
    return origin.sequence if origin else 0, read_manifest(connection, municipality)
