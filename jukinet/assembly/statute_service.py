"""StatuteService: operators propose, approve and list editions of the law at a node that decides by it.

Rule 1: an act is done when it is on disk, and on the gateway's ledger in the same transaction. Only then does an
approved edition decide.
Rule 2: whatever becomes of the call, what the database holds as approved decides here: a caller that hung up, or a
commit whose end is not known, must not leave the node on another law than the one that it has after its next start.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial

import grpc
from sqlalchemy import Connection, Engine

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2 as ledger
from jukinet._pb.jukinet.statute.v1 import statute_pb2 as statute
from jukinet._pb.jukinet.statute.v1.statute_pb2_grpc import StatuteServiceServicer
from jukinet.assembly.editions import (
    approve_edition,
    approved_editions,
    propose_edition,
    proposed_edition,
    sound_edition,
    title_of,
)
from jukinet.assembly.reading import read_for_caller
from jukinet.mesh.clock import now_us, today_in_japan
from jukinet.mesh.errors import Refused
from jukinet.mesh.interceptors import current_caller
from jukinet.purpose.decision import PurposePolicy
from jukinet.purpose.edition import MOST_BYTES, load_statute
from jukinet.purpose.statute import StatuteTable
from jukinet.store.editions import Act, Proposed, read_proposed
from jukinet.store.errors import StoreError, as_refusal

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class EditionAct:
    """What an operator is about to do, for the record."""

    action: "ledger.Action.ValueType"
    operator: str
    """SPIFFE ID."""
    table: StatuteTable


Job = Callable[[Connection], bool]
CarryOut = Callable[[EditionAct, Job], Awaitable[object]]
"""Runs an act in a durable transaction, on record where the node keeps one; raises what the act raises."""


class StatuteService(StatuteServiceServicer):
    """The editions of one node.

    Args:
        policy: by which the node decides; it adopts what is approved.
        reader: of the node's database; only read from.
        carry_out: the node's way to act.
    """

    def __init__(self, *, policy: PurposePolicy, reader: Engine, carry_out: CarryOut) -> None:
        self._policy = policy
        self._reader = reader
        self._carry_out = carry_out
        self._approvals: set[asyncio.Task[None]] = set()

    async def ProposeEdition(  # gRPC names its methods so
        self,
        request_iterator: AsyncIterator[statute.ProposeEditionRequest],
        context: "grpc.aio.ServicerContext[statute.ProposeEditionRequest, statute.ProposeEditionResponse]",
    ) -> statute.ProposeEditionResponse:
        """Takes an edition in parts. Raises Refused: EDITION_INVALID, _TOO_OLD, _EXISTS, MESSAGE_TOO_LARGE."""
        operator, content = current_caller().uri, bytearray()
        async for request in request_iterator:
            content += request.part
            if len(content) > MOST_BYTES:
                raise Refused(errors.ERROR_REASON_MESSAGE_TOO_LARGE, detail=f"over {MOST_BYTES} bytes")
        table = await asyncio.to_thread(sound_edition, bytes(content))
        job = partial(
            propose_edition,
            table=title_of(table),
            content=bytes(content),
            operator=operator,
            in_force=title_of(self._in_force()),
            now_us=now_us(),
        )
        await self._act(EditionAct(ledger.ACTION_PROPOSE_EDITION, operator, table), job)
        return statute.ProposeEditionResponse(edition=await self._standing_of(table.digest))

    async def ApproveEdition(  # gRPC names its methods so
        self,
        request: statute.ApproveEditionRequest,
        context: "grpc.aio.ServicerContext[statute.ApproveEditionRequest, statute.ApproveEditionResponse]",
    ) -> statute.ApproveEditionResponse:
        """Approves an edition. Raises Refused: EDITION_UNKNOWN, _EXISTS, _TOO_OLD, SECOND_OPERATOR_NEEDED."""
        table = await read_for_caller(self._reader, partial(proposed_edition, digest=request.digest))
        approval = asyncio.create_task(self._approve(table, current_caller().uri))
        self._approvals.add(approval)
        approval.add_done_callback(self._approvals.discard)
        await asyncio.shield(approval)
        return statute.ApproveEditionResponse(edition=await self._standing_of(request.digest))

    async def ListEditions(  # gRPC names its methods so
        self,
        request: statute.ListEditionsRequest,
        context: "grpc.aio.ServicerContext[statute.ListEditionsRequest, statute.ListEditionsResponse]",
    ) -> statute.ListEditionsResponse:
        """Lists that of the program, and all that were proposed here."""
        return statute.ListEditionsResponse(editions=await self._standings())

    async def _approve(self, table: StatuteTable, operator: str) -> None:
        in_force = title_of(self._in_force())
        job = partial(approve_edition, table=title_of(table), operator=operator, in_force=in_force, now_us=now_us())
        try:
            await self._act(EditionAct(ledger.ACTION_APPROVE_EDITION, operator, table), job)
        finally:
            for approved in await read_for_caller(self._reader, approved_editions):
                self._adopt(approved)

    async def _act(self, act: EditionAct, job: Job) -> None:
        try:
            await self._carry_out(act, job)
        except StoreError as failure:
            raise as_refusal(failure) from None

    def _adopt(self, table: StatuteTable) -> None:
        if self._policy.editions.named(table.edition) is None:
            self._policy.adopt(table)
            log.info("edition %s of the statute table decides from %s on", table.edition, table.in_force_from)

    def _in_force(self) -> StatuteTable:
        return self._policy.editions.on(today_in_japan())

    async def _standing_of(self, digest: bytes) -> statute.EditionStanding:
        return next(each for each in await self._standings() if each.digest == digest)

    async def _standings(self) -> list[statute.EditionStanding]:
        in_force, own = self._in_force().digest, load_statute()
        standings = [
            statute.EditionStanding(name=own.edition, in_force_from=own.in_force_from.isoformat(), digest=own.digest)
        ]
        standings += map(_standing, await read_for_caller(self._reader, read_proposed))
        for standing in standings:
            standing.in_force = standing.digest == in_force
        return standings


def _standing(edition: Proposed) -> statute.EditionStanding:
    approved = edition.approved or Act("", 0)
    standing = statute.EditionStanding(
        name=edition.name,
        in_force_from=edition.in_force_from,
        digest=edition.digest,
        proposed_by=edition.proposed.operator,
        approved_by=approved.operator,
    )
    standing.proposed_at.FromMicroseconds(edition.proposed.acted_at)
    if edition.approved:
        standing.approved_at.FromMicroseconds(approved.acted_at)
    return standing
