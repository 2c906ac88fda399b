"""Residents' own record: asked for, disclosed, corrected (Act art. 30-32 to 30-35). The node keeps steps, no record.

The record comes from the center at the moment of the answer, which verifies the counter's word itself, and goes on to
the counter at once. Letters go by post; of each the number is kept.
"""

import asyncio
import logging
from collections.abc import Callable
from datetime import date
from typing import TYPE_CHECKING, Final

import grpc
from sqlalchemy import Connection, Engine

from jukinet._pb.jukinet.disclosure.v1 import disclosure_pb2 as disclosure
from jukinet._pb.jukinet.disclosure.v1.record_pb2 import GetRecordRequest
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2 as ledger
from jukinet.assembly.reading import read_for_caller
from jukinet.disclosure import request_store
from jukinet.disclosure.desk import Desk
from jukinet.disclosure.request import (
    CORRECTION,
    RECORD,
    Request,
    answer_correction,
    close,
    disclose,
    extend,
    investigate,
    receive,
    require_disclosed,
    require_of,
)
from jukinet.disclosure.request_store import Step
from jukinet.mesh import clock, metrics
from jukinet.mesh.errors import Refused, reason_of
from jukinet.store.errors import StoreError
from jukinet.store.reading import read

if TYPE_CHECKING:
    from jukinet._pb.jukinet.disclosure.v1.record_pb2_grpc import RecordServiceAsyncStub

CENTER_SECONDS: Final = 5.0
"""Deadline of the call to the center."""
COUNT_SECONDS: Final = 30.0
"""How often requests are counted beside after every step: at midnight one more may be overdue."""

log = logging.getLogger(__name__)

_Advance = Callable[[Request, date], Request]


class RecordDesk:
    """Answers counters about residents' own records.

    Args:
        desk: what all that counters do has in common.
        center: where records come from.
        reader: engine of the node's database.
    """

    def __init__(self, desk: Desk, *, center: "RecordServiceAsyncStub", reader: Engine) -> None:
        self._desk = desk
        self._center = center
        self._reader = reader
        self.open_requests = 0
        self.overdue_requests = 0

    async def watch(self) -> None:
        """Counts what is open and overdue, again and again until cancelled. A part of the node."""
        while True:
            await self._count()
            await asyncio.sleep(COUNT_SECONDS)

    async def request(self, counter: str, signed: disclosure.SignedIdentityCheck) -> Request:
        """Takes a request to see the record; the same check finds it taken. Raises Refused: IDENTITY_CHECK_INVALID."""
        async with self._desk.attempt(counter, ledger.ACTION_REQUEST_RECORD, article="30-32") as attempt:
            check = attempt.open(signed, disclosure.AFFAIR_REQUEST_RECORD)
            asked = receive(check.id, RECORD, counter=counter, subject=attempt.subject, day=clock.today_in_japan())
            taken = await attempt.carry_out(lambda connection: request_store.take(connection, asked), _bytes)
        await self._count()
        return taken

    async def extend(self, counter: str, request_id: str, *, due_on: date, reason: int, document: str) -> Request:
        """Notes a longer term. Raises Refused: DISCLOSURE_STEP."""
        step = Step(clock.today_in_japan(), reason, document)
        return await self._advance(
            counter,
            request_id,
            step,
            lambda request, day: extend(request, day=day, due_on=due_on),
            action=ledger.ACTION_REQUEST_RECORD,
            article="30-33",
        )

    async def answer(
        self, counter: str, signed: disclosure.SignedIdentityCheck, request_id: str
    ) -> tuple[Request, disclosure.StoredRecord]:
        """Discloses the record, or that none is stored; the same check gets it again.

        Raises Refused: IDENTITY_CHECK_INVALID, DISCLOSURE_STEP, DEPENDENCY_UNAVAILABLE, RECORD_DAMAGED.
        """
        async with self._desk.attempt(counter, ledger.ACTION_DISCLOSE_RECORD, article="30-32") as attempt:
            check = attempt.open(signed, disclosure.AFFAIR_ANSWER_REQUEST)
            day = clock.today_in_japan()

            def answered(connection: Connection) -> Request:
                found = request_store.find(connection, request_id)
                of_resident = require_of(found, counter=counter, subject=attempt.subject)
                request_store.require_unused(connection, check.id, but_for=request_id)
                return disclose(of_resident, day=day, check_id=check.id)

            def keep(connection: Connection) -> Request:
                before = request_store.find(connection, request_id)
                after = answered(connection)
                if before != after:
                    request_store.keep_step(connection, after, Step(day, check_id=check.id))
                return after

            await asyncio.to_thread(read, self._reader, answered)  # before anybody's record is fetched
            stored = await self._fetch(signed)
            body = stored.SerializeToString(deterministic=True)
            request = await attempt.carry_out(keep, lambda _: body)
        await self._count()
        return request, stored

    async def request_correction(
        self, counter: str, signed: disclosure.SignedIdentityCheck, *, disclosed_by: str, document: str
    ) -> Request:
        """Takes a request for a correction; the same check with the same question finds it taken.

        Raises Refused: IDENTITY_CHECK_INVALID, DISCLOSURE_STEP.
        """
        async with self._desk.attempt(counter, ledger.ACTION_CORRECT_RECORD, article="30-35") as attempt:
            check = attempt.open(signed, disclosure.AFFAIR_REQUEST_CORRECTION)
            asked = receive(check.id, CORRECTION, counter=counter, subject=attempt.subject, day=clock.today_in_japan())

            def take(connection: Connection) -> Request:
                found = request_store.find(connection, disclosed_by)
                require_disclosed(require_of(found, counter=counter, subject=attempt.subject))
                return request_store.take(connection, asked, disclosed_by=disclosed_by, document=document)

            taken = await attempt.carry_out(take, _bytes)
        await self._count()
        return taken

    async def investigate(self, counter: str, request_id: str) -> Request:
        """Notes that a correction is being investigated. Raises Refused: DISCLOSURE_STEP."""
        step = Step(clock.today_in_japan())
        return await self._advance(
            counter,
            request_id,
            step,
            lambda request, _day: investigate(request),
            action=ledger.ACTION_CORRECT_RECORD,
            article="30-35",
        )

    async def answer_correction(self, counter: str, request_id: str, *, outcome: int, document: str) -> Request:
        """Notes that a correction was answered in writing. Raises Refused: DISCLOSURE_STEP."""
        step = Step(clock.today_in_japan(), outcome, document)
        return await self._advance(
            counter,
            request_id,
            step,
            lambda request, day: answer_correction(request, day=day),
            action=ledger.ACTION_CORRECT_RECORD,
            article="30-35",
        )

    async def close(
        self,
        counter: str,
        request_id: str,
        *,
        reason: "disclosure.CloseReason.ValueType",
        document: str,
        signed: disclosure.SignedIdentityCheck | None,
    ) -> Request:
        """Ends a request or correction without an answer; with a check, the resident's own who withdraws it.

        Raises Refused: IDENTITY_CHECK_INVALID, DISCLOSURE_STEP.
        """
        async with self._desk.attempt(counter, ledger.ACTION_CLOSE_REQUEST) as attempt:
            attempt.number, check_id, subject = request_id, "", None
            if signed is not None:
                check_id = attempt.open(signed, disclosure.AFFAIR_WITHDRAW_REQUEST).id
                subject = attempt.subject
            step = Step(clock.today_in_japan(), reason, document, check_id)

            def keep(connection: Connection) -> Request:
                before = require_of(request_store.find(connection, request_id), counter=counter, subject=subject)
                if check_id:
                    request_store.require_unused(connection, check_id, but_for=request_id)
                after = close(before, day=step.day, reason=reason, check_id=check_id)
                if before != after:
                    request_store.keep_step(connection, after, step)
                return after

            request = await attempt.carry_out(keep, _bytes)
        await self._count()
        return request

    async def requests(self, counter: str) -> list[Request]:
        """The counter's own requests, oldest first. Raises Refused: DEPENDENCY_UNAVAILABLE."""
        return await read_for_caller(self._reader, lambda connection: request_store.of_counter(connection, counter))

    async def _advance(
        self,
        counter: str,
        request_id: str,
        step: Step,
        advance: _Advance,
        *,
        action: "ledger.Action.ValueType",
        article: str,
    ) -> Request:
        """Takes a step for which nobody stands at the counter."""

        def take(connection: Connection) -> Request:
            found = require_of(request_store.find(connection, request_id), counter=counter)
            after = advance(found, step.day)
            request_store.keep_step(connection, after, step)
            return after

        async with self._desk.attempt(counter, action, article=article) as attempt:
            attempt.number = request_id
            request = await attempt.carry_out(take, _bytes)
        await self._count()
        return request

    async def _fetch(self, signed: disclosure.SignedIdentityCheck) -> disclosure.StoredRecord:
        try:
            answered = await self._center.GetRecord(GetRecordRequest(check=signed), timeout=CENTER_SECONDS)
        except grpc.aio.AioRpcError as error:
            raise Refused(reason_of(error) or errors.ERROR_REASON_DEPENDENCY_UNAVAILABLE) from None
        return answered.stored

    async def _count(self) -> None:
        today = clock.today_in_japan()
        try:
            self.open_requests, self.overdue_requests = await asyncio.to_thread(
                read, self._reader, lambda connection: request_store.count_open(connection, today)
            )
        except StoreError as failure:
            log.warning("requests could not be counted", extra={"error_type": type(failure).__name__})
        metrics.requests(self.open_requests, self.overdue_requests)


def _bytes(request: Request) -> bytes:
    return request.status(clock.today_in_japan()).SerializeToString(deterministic=True)
