"""Provides identity records to gateways (本人確認情報の提供, Act art. 30-9 to 30-12).

Rule: the gateway's verdict counts for nothing. Its ticket is checked, the decision is made again by the center's own
policy, directory and statute table, and only then is a resident table read. What is provided is cut to what was asked.
"""

import logging
from collections.abc import Iterable
from datetime import date

import grpc
from sqlalchemy import Connection, Engine

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.provision.v1 import provision_pb2 as provision
from jukinet._pb.jukinet.provision.v1.provision_pb2_grpc import ProvisionServiceServicer
from jukinet._pb.jukinet.register.v1.identity_pb2 import IdentityRecord, Resident
from jukinet.ledger.entry import month_key, person_token
from jukinet.mesh import tracing
from jukinet.mesh.clock import now, today_in_japan
from jukinet.mesh.errors import Refused, name_of
from jukinet.mesh.interceptors import current_caller
from jukinet.purpose.decision import PurposePolicy, Question
from jukinet.purpose.ticket import TicketInvalid, TicketOffice, method_of
from jukinet.store import journal, search
from jukinet.store.errors import StoreError, as_refusal
from jukinet.store.reading import read_soon

log = logging.getLogger(__name__)

_RECORD_FIELDS = {
    inquiry.IDENTITY_FIELD_NAME: "name",
    inquiry.IDENTITY_FIELD_BIRTH_DATE: "birth_date",
    inquiry.IDENTITY_FIELD_SEX: "sex",
    inquiry.IDENTITY_FIELD_ADDRESS: "address",
    inquiry.IDENTITY_FIELD_INDIVIDUAL_NUMBER: "individual_number",
    inquiry.IDENTITY_FIELD_RESIDENT_CODE: "resident_code",
}


class ProvisionService(ProvisionServiceServicer):
    """Answers gateways' tickets from the center's register."""

    def __init__(self, *, reader: Engine, policy: PurposePolicy, tickets: TicketOffice, token_key: bytes) -> None:
        self._reader = reader
        self._policy = policy
        self._tickets = tickets
        self._token_key = token_key

    async def Provide(  # gRPC names its methods so
        self,
        request: provision.ProvideRequest,
        context: "grpc.aio.ServicerContext[provision.ProvideRequest, provision.ProvideResponse]",
    ) -> provision.ProvideResponse:
        """Looks one person up. Raises Refused: TICKET_INVALID, or why the policy forbids it."""
        try:
            ticket = self._tickets.accept(
                request.ticket, caller=current_caller().uri, subject=request.subject, now=now()
            )
        except TicketInvalid as invalid:
            raise Refused(errors.ERROR_REASON_TICKET_INVALID, detail=invalid.why) from None
        day = today_in_japan()
        self._decide(ticket, request.subject, day)
        response = provision.ProvideResponse(
            request_id=ticket.request_id,
            subject_digest=ticket.subject_digest,
            outcome=inquiry.INQUIRY_OUTCOME_NO_SINGLE_MATCH,
        )
        resident, freshness = await self._find(ticket, request.subject, day)
        if resident is not None:
            response.outcome = inquiry.INQUIRY_OUTCOME_MATCH
            response.person_token = person_token(month_key(self._token_key, now()), resident.record.resident_code)
            response.freshness.extend(freshness)
            if ticket.kind == provision.PROVISION_KIND_RECORD:
                response.provided.CopyFrom(cut(resident, ticket.fields))
        return response

    async def _find(
        self, ticket: provision.Ticket, subject: inquiry.Subject, day: date
    ) -> tuple[Resident | None, list[inquiry.Freshness]]:
        """The one person who matches and whom the ticket's row covers, and how fresh that is."""
        with tracing.span("provision.look_up"):
            try:
                resident, freshness = await read_soon(
                    self._reader, lambda connection: _look_up(connection, subject, day)
                )
            except StoreError as failure:
                raise as_refusal(failure) from None
        if resident is None or not self._policy.covers(ticket.agency, ticket.purpose, resident.holder, day):
            return None, []
        return resident, freshness

    def _decide(self, ticket: provision.Ticket, subject: inquiry.Subject, day: date) -> None:
        if ticket.method != method_of(subject):
            raise Refused(errors.ERROR_REASON_TICKET_INVALID, detail="it names the person in another way")
        if bool(ticket.fields) != (ticket.kind == provision.PROVISION_KIND_RECORD):
            raise Refused(errors.ERROR_REASON_TICKET_INVALID, detail="its items do not fit its kind")
        with tracing.span("provision.decide", **{"jukinet.purpose": ticket.purpose}):
            question = Question(ticket.agency, ticket.purpose, day, ticket.method, ticket.fields)
            decision = self._policy.decide(question)
        if not decision.allowed:
            log.warning("a gateway asked beyond the law", extra={"reason": name_of(decision.refusal)})
            raise Refused(decision.refusal)


def cut(resident: Resident, fields: "Iterable[inquiry.IdentityField.ValueType]") -> inquiry.ProvidedRecord:
    """The record with the wanted items and nothing else."""
    record, fields = IdentityRecord(), list(fields)
    for wanted in fields:
        name = _RECORD_FIELDS.get(wanted)
        if name:
            only = IdentityRecord()
            value = getattr(resident.record, name)
            if hasattr(value, "CopyFrom"):
                getattr(only, name).CopyFrom(value)
            else:
                setattr(only, name, value)
            record.MergeFrom(only)
    provided = inquiry.ProvidedRecord(record=record)
    if inquiry.IDENTITY_FIELD_CHANGE in fields:
        provided.status = resident.status
        provided.effective_date.CopyFrom(resident.effective_date)
    return provided


def _look_up(
    connection: Connection, subject: inquiry.Subject, day: date
) -> tuple[Resident | None, list[inquiry.Freshness]]:
    if method_of(subject) == inquiry.INQUIRY_METHOD_INDIVIDUAL_NUMBER:
        resident = search.by_individual_number(connection, subject.individual_number, day=day)
    else:
        resident = search.by_four_items(connection, subject.four_items, day=day)
    return resident, _freshness(connection, resident.holder) if resident else []


def _freshness(connection: Connection, municipality: str) -> list[inquiry.Freshness]:
    origin = journal.read_origins(connection, [municipality]).get(municipality)
    if origin is None:
        return []
    freshness = inquiry.Freshness(municipality=municipality, sequence=origin.sequence)
    freshness.as_of.FromMicroseconds(origin.as_of)
    return [freshness]
