"""Mirrors one gateway's ledger, entry by entry, and takes nothing that does not verify.

Rules:

1. A checkpoint counts when its ledger signed it and a quorum of the witnesses cosigned it. Entries count when the tree
   over all that are here, with them at its end, is what such a checkpoint has (its root), or begins with (consistency
   proof). So a ledger of any length is taken in pieces, and each piece is verified before it is kept.
2. A ledger that shows anything else is contradicted: an alarm, with what it showed kept as evidence. What verified
   before stays, and goes on to be told from; the answer says where it ends. It is contradicted until it verifies again.
3. A ledger that does not answer is away. That is no contradiction, and is told apart from it.
4. What verified is all that there was up to the look, or up to the first entry that waits for a quorum: while witnesses
   are away a gateway shows what they saw last, and that is not all.

Source: RFC 9162 section 2.1.4; c2sp.org/tlog-witness; decisions 0062 and 0082.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, TypeVar

import grpc
from sqlalchemy import Connection, Engine

from jukinet._pb.jukinet.admin.v1 import admin_pb2 as admin
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2
from jukinet.disclosure import mirror_store
from jukinet.disclosure.ledger_list import ListedLedger
from jukinet.disclosure.mirror_store import Verified
from jukinet.ledger import layout, merkle
from jukinet.ledger.errors import EntryInvalid
from jukinet.ledger.verify.findings import Unsound
from jukinet.ledger.verify.notes import Key, cosigned_by, read_checkpoint
from jukinet.ledger.verify.tree import SignedTree, is_consistent
from jukinet.mesh import metrics
from jukinet.mesh.clock import now_us
from jukinet.mesh.errors import reason_of
from jukinet.store.errors import StoreError
from jukinet.store.reading import read
from jukinet.store.writer import Writer

if TYPE_CHECKING:
    from jukinet._pb.jukinet.ledger.v1.ledger_pb2_grpc import LedgerServiceAsyncStub

log = logging.getLogger(__name__)

MIRROR_SECONDS: Final = 1.0
"""How long after the end of one look at a ledger the next one begins."""
CALL_SECONDS: Final = 10.0
"""Deadline of one call; a gateway waits up to three seconds for its witnesses before it gives a checkpoint."""
PIECE: Final = 5_000
"""Entries that are verified and kept at once; a few megabytes."""

T = TypeVar("T")


class Contradicted(Exception):
    """What a ledger showed does not verify; `note` is its checkpoint, `why` names no person."""

    def __init__(self, why: str, note: str = "") -> None:
        super().__init__(why)
        self.why = why
        self.note = note


class Mirror:
    """The mirror of one ledger.

    Args:
        ledger: whose it is.
        stub: of its gateway.
        witnesses: keys of all witnesses.
        quorum: how many of them have to cosign.
        reader: engine of the node's database.
        writer: of the same.
    """

    def __init__(
        self,
        ledger: ListedLedger,
        stub: "LedgerServiceAsyncStub",
        *,
        witnesses: Sequence[Key],
        quorum: int,
        reader: Engine,
        writer: Writer,
    ) -> None:
        self.origin = ledger.key.name
        self.state: admin.MirrorState.ValueType = admin.MIRROR_STATE_UNSPECIFIED
        self._ledger = ledger
        self._stub = stub
        self._witnesses = witnesses
        self._quorum = quorum
        self._reader = reader
        self._writer = writer
        self._entries = 0
        self._kept: tuple[str, str] | None = None
        self.is_contradicted = False
        """Whether what the ledger showed last did not verify, since this process began; it may be away by now."""
        self.verified_at = 0
        """Up to when it showed no more than what verified last, microseconds since 1970; 0 = not since this process
        began."""

    @property
    def was_looked_at(self) -> bool:
        """Whether the ledger was asked since this process began, whatever came of it."""
        return self.state != admin.MIRROR_STATE_UNSPECIFIED

    async def run(self) -> None:
        """Looks at the ledger again and again until cancelled. A part of the node."""
        while True:
            await self.look()
            await asyncio.sleep(MIRROR_SECONDS)

    async def look(self) -> None:
        """Looks at the ledger once; afterwards `state` says how that went."""
        asked_at = now_us()
        try:
            known_until = await self._take(asked_at)
        except Contradicted as contradicted:
            await self._keep_evidence(contradicted)
        except grpc.aio.AioRpcError as error:
            self._become(admin.MIRROR_STATE_AWAY, type(error).__name__)
        except StoreError as failure:
            log.warning("a mirrored ledger could not be kept", extra={"error_type": type(failure).__name__})
        else:
            self.verified_at = max(self.verified_at, known_until)
            self.is_contradicted, self._kept = False, None
            self._become(admin.MIRROR_STATE_VERIFIED, "")
        metrics.mirror(self._ledger.gateway, self._entries, verified=self.state == admin.MIRROR_STATE_VERIFIED)

    def describe(self, status: admin.MirrorStatus) -> None:
        """Fills in how the ledger is found."""
        status.identity, status.state, status.entries = self._ledger.gateway.uri, self.state, self._entries
        if self.verified_at:
            status.verified_at.FromMicroseconds(self.verified_at)

    async def _take(self, asked_at: int) -> int:
        """Mirrors what is published. Gives up to when there is no more than that."""
        here = await self._read(lambda connection: mirror_store.frontier(connection, self.origin))
        self._entries = here.size
        published, note = await self._published_after(here)
        known_until = min([asked_at, *await self._waiting_since(published, note)])
        while here.size < published.size:
            here = await self._take_piece(here, published, note)
            self._entries = here.size
        verified = Verified(published.size, note, known_until)
        await self._writer.run(lambda connection: mirror_store.keep_checkpoint(connection, self.origin, verified))
        return known_until

    async def _waiting_since(self, published: SignedTree, note: str) -> list[int]:
        """The moment of the first entry that no quorum cosigned yet, if there is one.

        It is not proved, and can but make the node claim less.
        """
        request = ledger_pb2.ListEntriesRequest(first_index=published.size, limit=1)
        waiting = [
            leaf async for message in self._stub.ListEntries(request, timeout=CALL_SECONDS) for leaf in message.entries
        ]
        return [entry.time.ToMicroseconds() for _, entry in _decoded(waiting, note)]

    async def _published_after(self, here: merkle.Frontier) -> tuple[SignedTree, str]:
        """The published checkpoint, once it is proved that its tree begins with what is here."""
        request = ledger_pb2.GetConsistencyProofRequest(old_size=here.size)
        try:
            answer = await self._stub.GetConsistencyProof(request, timeout=CALL_SECONDS)
        except grpc.aio.AioRpcError as error:
            if reason_of(error) != errors.ERROR_REASON_CHECKPOINT_NOT_PUBLISHED or not here.size:
                raise
            await self._require_not_shorter(here)
            raise
        published = self._judge(answer.checkpoint)
        tree = SignedTree(here.size, merkle.root_of(here))
        if not is_consistent(tree, published, answer.proof):
            raise Contradicted("its checkpoint does not begin with the entries that are here", answer.checkpoint)
        return published, answer.checkpoint

    async def _require_not_shorter(self, here: merkle.Frontier) -> None:
        answer = await self._stub.GetCheckpoint(ledger_pb2.GetCheckpointRequest(), timeout=CALL_SECONDS)
        if self._judge(answer.checkpoint).size < here.size:
            raise Contradicted("it has fewer entries than it had", answer.checkpoint)

    def _judge(self, note: str) -> SignedTree:
        try:
            tree = read_checkpoint(note, self._ledger.key)
            witnessed = len(cosigned_by(note, self._witnesses))
        except Unsound as error:
            raise Contradicted(str(error), note) from None
        if witnessed < self._quorum:
            raise Contradicted(f"{witnessed} witnesses cosigned its checkpoint, {self._quorum} are wanted", note)
        return tree

    async def _take_piece(self, here: merkle.Frontier, published: SignedTree, note: str) -> merkle.Frontier:
        leaves = await self._fetch(here.size, min(PIECE, published.size - here.size))
        entries = _decoded(leaves, note)
        growth = await asyncio.to_thread(merkle.append, here, [merkle.leaf_hash(leaf) for leaf in leaves])
        if growth.frontier.size < published.size:
            await self._published_after(growth.frontier)
        elif growth.root != published.root:
            raise Contradicted("its entries do not have the root of its checkpoint", note)
        await self._writer.run(
            lambda connection: mirror_store.keep_entries(connection, self.origin, here.size, entries, growth)
        )
        return growth.frontier

    async def _fetch(self, first: int, count: int) -> list[bytes]:
        call = self._stub.ListEntries(
            ledger_pb2.ListEntriesRequest(first_index=first, limit=count), timeout=CALL_SECONDS
        )
        leaves: list[bytes] = []
        async for message in call:
            if message.first_index != first + len(leaves):
                raise Contradicted("it left entries out, or gave some twice")
            leaves.extend(message.entries)
        if len(leaves) != count:
            raise Contradicted(f"it gave {len(leaves)} entries of {count} that its checkpoint covers")
        return leaves

    async def _keep_evidence(self, shown: Contradicted) -> None:
        self.is_contradicted = True
        self._become(admin.MIRROR_STATE_CONTRADICTED, shown.why)
        size = self._entries
        if self._kept == (shown.note, shown.why):
            return
        try:
            await self._writer.run(
                lambda connection: mirror_store.keep_contradiction(
                    connection, self.origin, shown_at=now_us(), size=size, note=shown.note, why=shown.why
                )
            )
        except StoreError as failure:
            log.warning("evidence could not be kept", extra={"error_type": type(failure).__name__})
        else:
            self._kept = shown.note, shown.why

    def _become(self, state: "admin.MirrorState.ValueType", why: str) -> None:
        if state == self.state:
            return
        self.state = state
        facts = {"peer": self._ledger.gateway.uri, "count": self._entries}
        if state == admin.MIRROR_STATE_CONTRADICTED:
            log.error("a ledger does not verify: %s", why, extra=facts)
        elif state == admin.MIRROR_STATE_AWAY:
            log.warning("a ledger does not answer", extra={**facts, "error_type": why})
        else:
            log.info("a ledger verifies", extra=facts)

    async def _read(self, query: Callable[[Connection], T]) -> T:
        return await asyncio.to_thread(read, self._reader, query)


def _decoded(leaves: Sequence[bytes], note: str) -> list[tuple[bytes, ledger_pb2.Entry]]:
    try:
        return [(leaf, layout.decode(leaf)) for leaf in leaves]
    except EntryInvalid as error:
        raise Contradicted(str(error), note) from None
