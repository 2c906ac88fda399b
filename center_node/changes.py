"""Tells gateways of later changes (異動情報) of persons on agencies' lists (Act art. 30-9 to 30-12).

Rule 1: a list is begun with handles of this center's own answers, so nobody is searched for. What is told is decided
when it is told (`center_node/telling.py`).
Rule 2: how a person was named is put to the law when he comes on a list. What is told names nobody, so the law decides
it for the list as a whole: one that an edition closes is refused, and never tells less under "complete".
Rule 3: its agency may end a list whatever the law opens: that tells nothing, and nobody stays on it for want of a row.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from typing import Final, TypeVar

import grpc
from google.protobuf.message import Message
from sqlalchemy import Connection, Engine

from center_node.freshness import Sources
from center_node.frozen import FrozenOperators
from center_node.telling import Telling, items_of
from center_node.terminals import Terminals
from jukinet._pb.jukinet.admin.v1 import admin_pb2 as admin
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.provision.v1 import provision_pb2 as provision
from jukinet._pb.jukinet.provision.v1.provision_pb2_grpc import ChangeProvisionServiceServicer
from jukinet._pb.jukinet.watch.v1 import watch_pb2 as watch
from jukinet.ledger.entry import month_key, person_token
from jukinet.mesh import metrics
from jukinet.mesh.clock import now, now_us, today_in_japan
from jukinet.mesh.errors import Refused
from jukinet.mesh.interceptors import current_caller
from jukinet.purpose.decision import PurposePolicy, Question
from jukinet.purpose.handle import HandleInvalid, HandleKeys
from jukinet.purpose.kinds import NOT_READ
from jukinet.purpose.ticket import TicketInvalid, TicketOffice
from jukinet.store import watches
from jukinet.store.errors import StoreError, as_refusal
from jukinet.store.reading import read, read_soon
from jukinet.store.watch_look import LOOKED_THROUGH, is_looked_through, look_through
from jukinet.store.watch_standing import Awaited, standing
from jukinet.store.watch_start import put_on
from jukinet.store.watches import WatchList
from jukinet.store.writer import Writer

log = logging.getLogger(__name__)

_R = TypeVar("_R")

WAIT_SECONDS: Final = 5.0
"""How long a question for changes waits for one."""
LONGEST: Final = timedelta(days=366)
_LOOK_SECONDS: Final = 0.5
"""How often the history is looked through."""
_SHOW_SECONDS: Final = 5.0
"""How often it is counted how the lists stand."""


class ChangeProvisionService(ChangeProvisionServiceServicer):
    """Keeps agencies' lists and tells what changes.

    Args:
        reader: of the register.
        writer: of the register.
        policy: the law, the statute table and the agencies.
        tickets: the same office as of all other questions.
        token_key: root of the person tokens and of the handles, 32 bytes.
        sources: how fresh each municipality's reports are.
        frozen: whose orders are not taken.
        terminals: where their operators sit.
    """

    def __init__(
        self,
        *,
        reader: Engine,
        writer: Writer,
        policy: PurposePolicy,
        tickets: TicketOffice,
        token_key: bytes,
        sources: Sources,
        frozen: FrozenOperators,
        terminals: Terminals,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._policy = policy
        self._tickets = tickets
        self._token_key = token_key
        self._handles = HandleKeys(token_key)
        self._sources = sources
        self._frozen = frozen
        self._terminals = terminals
        self._telling = Telling(policy=policy, token_key=token_key, sources=sources)
        self._came = asyncio.Event()
        self._looked_through = 0.0
        """When the last look at the history began that came to its end; of the event loop's clock."""
        self._awaited: tuple[Awaited, ...] = ()

    async def KeepWatch(  # gRPC names its methods so
        self,
        request: provision.KeepWatchRequest,
        context: "grpc.aio.ServicerContext[provision.KeepWatchRequest, provision.KeepWatchResponse]",
    ) -> provision.KeepWatchResponse:
        """Puts the persons of handles on a list.

        Raises Refused: TICKET_INVALID, what the law does not open, HANDLE_INVALID, WATCH_EXPIRY, WATCH_UNKNOWN.
        """
        moment, day = now(), today_in_japan()
        ticket, order = self._ticket(request.ticket, request.order, moment), request.order
        handles = [self._handle(ticket, handle, place, moment) for place, handle in enumerate(order.handles)]
        self._require_lawful(ticket, {each.method for each in handles}, ticket.fields, day)
        kept = WatchList(
            order.list_id, ticket.agency, ticket.purpose, tuple(sorted(ticket.fields)), _last_day(order, day)
        )
        key = month_key(self._token_key, moment)

        def keep(connection: Connection) -> list[provision.KeptWatch]:
            there = watches.read_list(connection, order.list_id, today=day)
            if there is not None and there[:4] != kept[:4]:
                raise Refused(errors.ERROR_REASON_WATCH_UNKNOWN)
            watches.keep_list(connection, kept)
            return [
                provision.KeptWatch(
                    number=self._begin(connection, kept, each, place, day),
                    person_token=person_token(key, each.resident_code),
                    method=each.method,
                )
                for place, each in enumerate(handles)
            ]

        return provision.KeepWatchResponse(kept=await self._write(keep))

    async def EndWatch(  # gRPC names its methods so
        self,
        request: provision.EndWatchRequest,
        context: "grpc.aio.ServicerContext[provision.EndWatchRequest, provision.EndWatchResponse]",
    ) -> provision.EndWatchResponse:
        """Ends a list, whatever the row opens. Raises Refused: TICKET_INVALID, who may end nothing, WATCH_UNKNOWN."""
        ticket = self._ticket(request.ticket, request.place, now())
        question = Question(ticket.agency, ticket.purpose, today_in_japan(), NOT_READ, provision="changes")
        if refusal := self._policy.decide_ending(question).refusal:
            raise Refused(refusal)
        await self._list(ticket, request.place.list_id)
        await self._write(lambda connection: watches.end_lists(connection, [request.place.list_id]))
        return provision.EndWatchResponse()

    async def TellChanges(  # gRPC names its methods so
        self,
        request: provision.TellChangesRequest,
        context: "grpc.aio.ServicerContext[provision.TellChangesRequest, provision.TellChangesResponse]",
    ) -> provision.TellChangesResponse:
        """Tells the next changes of a list, and forgets those that the agency has on disk.

        Raises Refused: TICKET_INVALID, what the law does not open, before the wait and after it; WATCH_UNKNOWN,
        WATCH_POSITION; DEPENDENCY_UNAVAILABLE, also where the next change is of a person whose row is damaged.
        """
        place = request.place
        ticket = self._ticket(request.ticket, place, now())
        kept = await self._lawful_list(ticket, place.list_id)
        after = place.after if place.HasField("after") else kept.acknowledged
        if not await self._read(lambda connection: watches.is_place(connection, kept, after)):
            raise Refused(errors.ERROR_REASON_WATCH_POSITION)
        if after > kept.acknowledged:
            await self._write(lambda connection: watches.acknowledge(connection, kept.list_id, after))
        complete = await self._read(lambda connection: self._sources.of_all(connection, self._sources.now()))
        begin, noted = asyncio.get_running_loop().time(), kept.told
        while True:
            # Before what waits is read: what the look found is in it.
            came, looked_through = self._came, self._looked_through
            told = await self._read(lambda connection: self._telling.next_changes(connection, kept, after))
            left = begin + WAIT_SECONDS - asyncio.get_running_loop().time()
            # Noted before it leaves, and read again: who comes on the list meanwhile is in it, or comes too late.
            while told and told[-1].change.position > noted:
                noted = await self._write(lambda connection: watches.note_told(connection, kept.list_id))
                told = await self._read(lambda connection: self._telling.next_changes(connection, kept, after))
            if told or left <= 0:
                # Once more, for all that was read: meanwhile the list or the edition of the ticket may have ended.
                await self._lawful_list(ticket, place.list_id)
                is_complete = not told and looked_through > begin
                return provision.TellChangesResponse(
                    changes=told, fields=items_of(kept), freshness=complete if is_complete else None
                )
            await _wait(came, left)

    async def run(self) -> None:
        """Looks the history through for all lists, and ends those that ran out; to be run beside the server."""
        while True:
            began = asyncio.get_running_loop().time()
            try:
                found, is_all = await self._writer.run(_look)
                if is_all:
                    self._looked_through = began
                if not found:
                    await self._writer.run(_end_what_ran_out)
            except StoreError as failure:  # such as a full disk: nothing is lost, the mark stays where it is
                log.error("the history could not be looked through", extra={"error_type": type(failure).__name__})
                found = 0
            if found:
                came, self._came = self._came, asyncio.Event()
                came.set()
            if found < LOOKED_THROUGH:
                await asyncio.sleep(_LOOK_SECONDS)

    async def show(self) -> None:
        """Shows again and again how the lists stand; to be run beside the server."""
        while True:
            await self.show_now()
            await asyncio.sleep(_SHOW_SECONDS)

    async def show_now(self) -> None:
        """Shows in metrics, status and log how the lists stand."""
        try:
            lists, since, awaited = await asyncio.to_thread(read, self._reader, standing)
        except StoreError as failure:
            log.warning("lists could not be counted", extra={"error_type": type(failure).__name__})
            return
        metrics.watches(lists, 0.0 if since is None else max(now_us() - since, 0) / 1e6)
        self._become(awaited)

    def describe(self, status: admin.GetStatusResponse) -> None:
        """Fills in for which municipalities lists wait."""
        for municipality, lists, since_us in self._awaited:
            status.awaited.add(municipality=municipality, lists=lists).waiting_since.FromMicroseconds(since_us)

    def _become(self, awaited: tuple[Awaited, ...]) -> None:
        before, now_awaited = ({each.municipality for each in some} for some in (self._awaited, awaited))
        for each in awaited:
            if each.municipality not in before:
                facts = {"municipality": each.municipality, "count": each.lists}
                log.warning("lists wait for a municipality that is half in", extra=facts)
        for municipality in sorted(before - now_awaited):
            log.info("no list waits for the municipality any more", extra={"municipality": municipality})
        self._awaited = awaited

    def _ticket(self, signed: provision.SignedTickets, order: Message, moment: datetime) -> provision.Ticket:
        """The one ticket of an order, used now.

        Raises Refused: TICKET_INVALID, REQUEST_ID_REUSED, OPERATOR_FROZEN, OPERATOR_ELSEWHERE.
        """
        try:
            sheet = self._tickets.accept(signed, caller=current_caller().uri, now=moment)
            if len(sheet.tickets) != 1 or sheet.tickets[0].kind != provision.PROVISION_KIND_CHANGES:
                raise TicketInvalid("it is not for changes")
            ticket = sheet.tickets[0]
            self._tickets.use(ticket, subjects=[order], now=moment)
        except TicketInvalid as invalid:
            raise Refused(invalid.reason, detail=invalid.why) from None
        self._frozen.require_free(ticket)
        self._terminals.require_seat(ticket)
        return ticket

    def _handle(self, ticket: provision.Ticket, handle: bytes, place: int, moment: datetime) -> provision.HandleContent:
        try:
            return self._handles.read(handle, agency=ticket.agency, purpose=ticket.purpose, now=moment)
        except HandleInvalid:
            raise Refused(errors.ERROR_REASON_HANDLE_INVALID, field=f"order.handles[{place}]") from None

    def _begin(
        self, connection: Connection, kept: WatchList, handle: provision.HandleContent, place: int, day: date
    ) -> int:
        """The number of a handle's person on a list. Raises Refused: HANDLE_INVALID: a change of before is too late."""
        begun = put_on(connection, kept.list_id, handle.resident_code, handle.method, version=handle.version)
        if self._telling.misses(connection, kept, begun, day):
            raise Refused(errors.ERROR_REASON_HANDLE_INVALID, field=f"order.handles[{place}]")
        return begun.number

    def _require_lawful(
        self,
        ticket: provision.Ticket,
        methods: "set[inquiry.InquiryMethod.ValueType]",
        fields: "Sequence[inquiry.IdentityField.ValueType]",
        day: date,
    ) -> None:
        """Raises Refused: what the law does not open; TICKET_INVALID when the gateway decided by another edition."""
        for method in methods:
            decision = self._policy.decide(Question(ticket.agency, ticket.purpose, day, method, fields, "changes"))
            if not decision.allowed:
                raise Refused(decision.refusal)
            if decision.edition != ticket.edition:
                raise Refused(errors.ERROR_REASON_TICKET_INVALID, detail="it was decided by another edition")

    async def _lawful_list(self, ticket: provision.Ticket, list_id: str) -> WatchList:
        """The list, if something of it may be told now. Raises Refused as `_list` and `_require_lawful`."""
        kept = await self._list(ticket, list_id)
        self._require_lawful(ticket, {NOT_READ}, items_of(kept), today_in_japan())
        return kept

    async def _list(self, ticket: provision.Ticket, list_id: str) -> WatchList:
        """The list, if it is this agency's for this row. Raises Refused: WATCH_UNKNOWN."""
        day = today_in_japan()
        kept = await self._read(lambda connection: watches.read_list(connection, list_id, today=day))
        if kept is None or (kept.agency, kept.purpose) != (ticket.agency, ticket.purpose):
            raise Refused(errors.ERROR_REASON_WATCH_UNKNOWN)
        return kept

    async def _read(self, query: Callable[[Connection], _R]) -> _R:
        try:
            return await read_soon(self._reader, query)
        except StoreError as failure:
            raise as_refusal(failure) from None

    async def _write(self, job: Callable[[Connection], _R]) -> _R:
        try:
            return await self._writer.run(job)
        except StoreError as failure:
            raise as_refusal(failure) from None


def _last_day(order: watch.WatchOrder, today: date) -> str:
    """Raises Refused: WATCH_EXPIRY."""
    last = order.expires_on
    try:
        day = date(last.year, last.month, last.day)
    except ValueError:
        raise Refused(errors.ERROR_REASON_WATCH_EXPIRY, field="order.expires_on") from None
    if not today <= day <= today + LONGEST:
        raise Refused(errors.ERROR_REASON_WATCH_EXPIRY, field="order.expires_on")
    return day.isoformat()


def _look(connection: Connection) -> tuple[int, bool]:
    """How many changes were looked through, and whether none is left; damage may stand in front of some."""
    return look_through(connection), is_looked_through(connection)


def _end_what_ran_out(connection: Connection) -> None:
    watches.end_lists(connection, watches.run_out(connection, today=today_in_japan()))


async def _wait(came: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await came.wait()
    except TimeoutError:
        pass
