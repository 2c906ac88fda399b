"""DisclosureService: the counters' calls, handed on to the desks. Who calls is whom the certificate names."""

from collections.abc import AsyncIterator
from datetime import date
from typing import Any

import grpc

from jukinet._pb.jukinet.disclosure.v1 import disclosure_pb2 as disclosure
from jukinet._pb.jukinet.disclosure.v1.disclosure_pb2_grpc import DisclosureServiceServicer
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.register.v1.identity_pb2 import CalendarDate
from jukinet.disclosure.record_desk import RecordDesk
from jukinet.disclosure.request import Request
from jukinet.disclosure.usage import Period
from jukinet.disclosure.usage_desk import UsageDesk
from jukinet.mesh import clock
from jukinet.mesh.errors import Refused
from jukinet.mesh.interceptors import current_caller

Context = grpc.aio.ServicerContext[Any, Any]


class DisclosureService(DisclosureServiceServicer):
    """What a counter has a resident told. Each method raises Refused as its RPC in the contract says."""

    def __init__(self, *, usage: UsageDesk, records: RecordDesk) -> None:
        self._usage = usage
        self._records = records

    async def FindUsage(self, request: disclosure.FindUsageRequest, context: Context) -> disclosure.FindUsageResponse:
        """Tells who received a resident's record (提供状況の開示)."""
        period = Period(_date(request.first_day), _date(request.last_day))
        return await self._usage.find(_caller(), request.check, period, request.first_row)

    async def RequestRecord(
        self, request: disclosure.RequestRecordRequest, context: Context
    ) -> disclosure.RequestRecordResponse:
        """Takes a request to see the own record (開示請求)."""
        return disclosure.RequestRecordResponse(request=_told(await self._records.request(_caller(), request.check)))

    async def ExtendRequest(
        self, request: disclosure.ExtendRequestRequest, context: Context
    ) -> disclosure.ExtendRequestResponse:
        """Notes that a term was extended (延長)."""
        after = await self._records.extend(
            _caller(),
            request.request_id,
            due_on=_day(request.due_on),
            reason=request.reason,
            document=request.document,
        )
        return disclosure.ExtendRequestResponse(request=_told(after))

    async def AnswerRequest(
        self, request: disclosure.AnswerRequestRequest, context: Context
    ) -> disclosure.AnswerRequestResponse:
        """Discloses the own record (開示)."""
        after, stored = await self._records.answer(_caller(), request.check, request.request_id)
        return disclosure.AnswerRequestResponse(request=_told(after), stored=stored)

    async def RequestCorrection(
        self, request: disclosure.RequestCorrectionRequest, context: Context
    ) -> disclosure.RequestCorrectionResponse:
        """Takes a request for a correction (訂正等の申出)."""
        taken = await self._records.request_correction(
            _caller(), request.check, disclosed_by=request.disclosed_by, document=request.document
        )
        return disclosure.RequestCorrectionResponse(request=_told(taken))

    async def InvestigateCorrection(
        self, request: disclosure.InvestigateCorrectionRequest, context: Context
    ) -> disclosure.InvestigateCorrectionResponse:
        """Notes that a correction is being investigated (調査)."""
        after = await self._records.investigate(_caller(), request.request_id)
        return disclosure.InvestigateCorrectionResponse(request=_told(after))

    async def AnswerCorrection(
        self, request: disclosure.AnswerCorrectionRequest, context: Context
    ) -> disclosure.AnswerCorrectionResponse:
        """Notes that a correction was answered in writing (回答)."""
        after = await self._records.answer_correction(
            _caller(), request.request_id, outcome=request.outcome, document=request.document
        )
        return disclosure.AnswerCorrectionResponse(request=_told(after))

    async def CloseRequest(
        self, request: disclosure.CloseRequestRequest, context: Context
    ) -> disclosure.CloseRequestResponse:
        """Ends a request without an answer through the node (取下げ and others)."""
        after = await self._records.close(
            _caller(),
            request.request_id,
            reason=request.reason,
            document=request.document,
            signed=request.check if request.HasField("check") else None,
        )
        return disclosure.CloseRequestResponse(request=_told(after))

    async def ListRequests(
        self, request: disclosure.ListRequestsRequest, context: Context
    ) -> AsyncIterator[disclosure.ListRequestsResponse]:
        """Lists the counter's own requests, oldest first."""
        today = clock.today_in_japan()
        for each in await self._records.requests(_caller()):
            if each.is_overdue(today) or not request.overdue_only:
                yield disclosure.ListRequestsResponse(request=each.status(today))


def _caller() -> str:
    return current_caller().uri


def _told(request: Request) -> disclosure.RequestStatus:
    return request.status(clock.today_in_japan())


def _date(day: CalendarDate) -> date:
    return date(day.year, day.month, day.day)


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise Refused(errors.ERROR_REASON_DISCLOSURE_STEP, field="due_on") from None
