"""Tells agencies of later changes (異動情報) of persons on their lists, each on record before it leaves.

The gateway keeps nothing of a list. What was told and not said to be on disk is told again, on any stream and at any
gateway, at the same position and with an entry of its own.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import aclosing
from typing import Any, TypeVar

import grpc
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agency_gateway.asked import Asked
from agency_gateway.batch import in_order
from agency_gateway.center import note_refusals, told
from agency_gateway.desk import Desk
from agency_gateway.record import Recorded
from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2 as ledger
from jukinet._pb.jukinet.provision.v1 import provision_pb2 as provision
from jukinet._pb.jukinet.watch.v1 import watch_pb2 as watch
from jukinet._pb.jukinet.watch.v1.watch_pb2_grpc import WatchServiceServicer
from jukinet.mesh import tracing
from jukinet.mesh.clock import now
from jukinet.mesh.errors import reason_of
from jukinet.mesh.interceptors import current_caller
from jukinet.purpose.decision import Decision
from jukinet.purpose.ticket import question_id, sign_tickets

_CENTER_SECONDS = 10.0
"""The center takes five to find that nothing changed."""
_Answer = TypeVar("_Answer")


class WatchService(WatchServiceServicer):
    """The gateway's face to agencies that watch.

    Args:
        desk: of all questions.
        center: stub of the center's service of changes.
        identity: SPIFFE ID of the gateway.
        ticket_key: the gateway's.
    """

    def __init__(self, *, desk: Desk, center: Any, identity: str, ticket_key: Ed25519PrivateKey) -> None:
        self._desk = desk
        self._center = center
        self._identity = identity
        self._ticket_key = ticket_key
        self._stopping = asyncio.Event()

    async def Watch(  # gRPC names its methods so
        self, request: watch.WatchRequest, context: "grpc.aio.ServicerContext[watch.WatchRequest, watch.WatchResponse]"
    ) -> watch.WatchResponse:
        """Puts the persons of handles on a list of the agency."""
        asked, decision = await self._desk.admit_unnamed(request, ledger.ACTION_WATCH, tuple(request.fields))
        order = provision.KeepWatchRequest(ticket=self._ticket(asked, request.order, decision), order=request.order)
        kept = (await self._order(self._center.KeepWatch, order, asked, decision)).kept
        answer = watch.WatchResponse(
            request_id=asked.request_id, numbers=[each.number for each in kept], legal_basis=decision.basis
        )
        body = answer.SerializeToString()
        entries = [
            self._desk.entries(asked._replace(method=each.method), decision).act(
                question_id(asked.request_id, number), body, token=each.person_token
            )
            for number, each in enumerate(kept)
        ]
        with tracing.span("ledger.append"):
            answer.receipts.extend(await self._desk.keep(entries))
        return answer

    async def EndWatch(  # gRPC names its methods so
        self,
        request: watch.EndWatchRequest,
        context: "grpc.aio.ServicerContext[watch.EndWatchRequest, watch.EndWatchResponse]",
    ) -> watch.EndWatchResponse:
        """Ends a list: the case ended."""
        asked, decision = await self._desk.admit_unnamed(request, ledger.ACTION_END_WATCH)
        place = watch.WatchPlace(list_id=request.list_id)
        order = provision.EndWatchRequest(ticket=self._ticket(asked, place, decision), place=place)
        await self._order(self._center.EndWatch, order, asked, decision)
        answer = watch.EndWatchResponse(request_id=asked.request_id)
        entries = self._desk.entries(asked._replace(method=inquiry.INQUIRY_METHOD_UNSPECIFIED), decision)
        entry = entries.act(asked.request_id, answer.SerializeToString())
        with tracing.span("ledger.append"):
            (receipt,) = await self._desk.keep([entry])
        answer.receipt.CopyFrom(receipt)
        return answer

    async def WatchChanges(  # gRPC names its methods so
        self,
        request_iterator: AsyncIterator[watch.WatchChangesRequest],
        context: "grpc.aio.ServicerContext[watch.WatchChangesRequest, watch.WatchChangesResponse]",
    ) -> AsyncIterator[watch.WatchChangesResponse]:
        """Tells the next changes of a list, request by request."""
        agency = current_caller().uri
        requests = self._desk.readable(agency, ledger.ACTION_TELL_CHANGE, request_iterator)
        answers = in_order(requests, self._tell, stopping=self._stopping, under_way=1)
        async with aclosing(answers):
            async for response in answers:
                yield response

    async def end_streams(self) -> None:
        """Lets streams end with what they have read: the node stops."""
        self._stopping.set()

    async def _tell(self, request: watch.WatchChangesRequest) -> watch.WatchChangesResponse:
        asked, decision = await self._desk.admit_unnamed(request, ledger.ACTION_TELL_CHANGE)
        order = provision.TellChangesRequest(ticket=self._ticket(asked, request.place, decision), place=request.place)
        found = await self._order(self._center.TellChanges, order, asked, decision)
        # By the items of the list, and by the law of now: the center waits for changes.
        wanted = asked._replace(fields=tuple(found.fields))
        decision = await self._desk.decide(wanted)
        answer = watch.WatchChangesResponse(
            request_id=asked.request_id,
            legal_basis=decision.basis,
            freshness=found.freshness if found.HasField("freshness") else None,
        )
        entries: list[Recorded] = []
        for number, each in enumerate(found.changes):
            one = wanted._replace(request_id=question_id(asked.request_id, number), method=each.method)
            entries.append(
                self._desk.entries(one, decision).change(
                    one.request_id, each.change.SerializeToString(), token=each.person_token, mark=each.recall_mark
                )
            )
            answer.changes.append(each.change)
        if entries:
            with tracing.span("ledger.append"):
                receipts = await self._desk.keep(entries)
            for change, receipt in zip(answer.changes, receipts, strict=True):
                change.receipt.CopyFrom(receipt)
        return answer

    def _ticket(
        self, asked: Asked, order: "watch.WatchOrder | watch.WatchPlace", decision: Decision
    ) -> provision.SignedTickets:
        return sign_tickets([asked.ticket(order, decision)], self._ticket_key, gateway=self._identity, now=now())

    async def _order(
        self, call: Callable[..., Coroutine[Any, Any, _Answer]], order: Any, asked: Asked, decision: Decision
    ) -> _Answer:
        """What the center answers. Raises Refused, after that is on record."""
        try:
            with tracing.span("inquiry.provide"):
                answer = await call(order, timeout=_CENTER_SECONDS)
        except grpc.aio.AioRpcError as error:
            reason = reason_of(error)
            note_refusals([reason])
            await self._desk.refuse(asked, told(reason), decision)
        return answer
