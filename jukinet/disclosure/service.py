"""DisclosureService: what a counter has a resident told.

One call goes through, top to bottom: which counter asks (the certificate) → whom it checked (its signature) → the
answer, made from what was verified → what was told and to whom, on disk → reply. A refusal is on record too.
"""

import asyncio
import hashlib
import hmac
import logging
from collections.abc import Mapping, Sequence
from datetime import date, datetime

import grpc
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import Connection, Engine

from jukinet._pb.jukinet.disclosure.v1 import disclosure_pb2 as disclosure
from jukinet._pb.jukinet.disclosure.v1.disclosure_pb2_grpc import DisclosureServiceServicer
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2 as ledger
from jukinet._pb.jukinet.register.v1.identity_pb2 import CalendarDate
from jukinet.disclosure import usage_store
from jukinet.disclosure.acts import Acts
from jukinet.disclosure.mirror import Mirror
from jukinet.disclosure.usage import Period, Searched, UsageOffice
from jukinet.disclosure.usage_store import Told
from jukinet.ledger.entry import EntryKeys, make_disclosure, month_key, person_token
from jukinet.mesh import clock
from jukinet.mesh.errors import Refused, name_of
from jukinet.mesh.interceptors import current_caller
from jukinet.purpose.identity_check import open_check
from jukinet.store.errors import StoreError, as_refusal
from jukinet.store.reading import read

log = logging.getLogger(__name__)


class Residents:
    """What stands for residents at this node: tokens of the ledgers, and a digest that stands in none of them.

    Args:
        token_key: root of the person tokens, 32 bytes.
    """

    def __init__(self, token_key: bytes) -> None:
        self._token_key = token_key
        self._subject_key = hmac.digest(token_key, b"jukinet disclosure v1 subject", hashlib.sha256)

    def subject(self, resident_code: str) -> bytes:
        """32 bytes that stand for a resident in this node's tables, the same ones each time."""
        return hmac.digest(self._subject_key, resident_code.encode(), hashlib.sha256)

    def token(self, resident_code: str, moment: datetime) -> bytes:
        """32 bytes that stand for a resident in the ledgers in the month of `moment`."""
        return person_token(month_key(self._token_key, moment), resident_code)


class DisclosureService(DisclosureServiceServicer):
    """Answers counters.

    Args:
        office: makes the answers.
        residents: what stands for residents.
        keys: of the pseudonyms in the node's own ledger.
        counters: keys of the counters' checks, by SPIFFE ID.
        mirrors: of all ledgers.
        acts: the node's own record.
        reader: engine of the node's database.
        policy_digest: of the statute table and the directory by which is told, 32 bytes.
    """

    def __init__(
        self,
        *,
        office: UsageOffice,
        residents: Residents,
        keys: EntryKeys,
        counters: Mapping[str, Ed25519PublicKey],
        mirrors: Sequence[Mirror],
        acts: Acts,
        reader: Engine,
        policy_digest: bytes,
    ) -> None:
        self._office = office
        self._residents = residents
        self._keys = keys
        self._counters = counters
        self._mirrors = mirrors
        self._acts = acts
        self._reader = reader
        self._policy_digest = policy_digest

    async def FindUsage(  # gRPC names its methods so
        self,
        request: disclosure.FindUsageRequest,
        context: "grpc.aio.ServicerContext[disclosure.FindUsageRequest, disclosure.FindUsageResponse]",
    ) -> disclosure.FindUsageResponse:
        """Tells who received a resident's record.

        Raises Refused: IDENTITY_CHECK_INVALID, USAGE_ASKED_TODAY, USAGE_TOO_LONG, LEDGER_NOT_MIRRORED,
        LEDGER_UNAVAILABLE.
        """
        period = Period(_date(request.first_day), _date(request.last_day))
        return await self.find_usage(current_caller().uri, request.check, period)

    async def find_usage(
        self, counter: str, signed: disclosure.SignedIdentityCheck, period: Period
    ) -> disclosure.FindUsageResponse:
        """Tells a counter, by its SPIFFE ID, who received a resident's record. Raises Refused, as FindUsage."""
        check = disclosure.IdentityCheck(id=_NO_CHECK)
        try:
            check = open_check(
                signed,
                keys=self._counters,
                counter=counter,
                affair=disclosure.AFFAIR_FIND_USAGE,
                now=clock.now(),
            )
            period.check()
            return await self._told(check, period)
        except StoreError as failure:
            raise as_refusal(failure) from None
        except Refused as refused:
            await self._acts.keep(self._entry(check, counter, refusal=refused.reason))
            log.info("disclosure refused", extra={"reason": name_of(refused.reason), "peer": counter})
            raise

    async def _told(self, check: disclosure.IdentityCheck, period: Period) -> disclosure.FindUsageResponse:
        subject, day = self._residents.subject(check.resident_code), clock.today_in_japan()
        made_at = clock.now_us()

        def make(connection: Connection) -> tuple[Told, disclosure.FindUsageResponse, bool]:
            before = usage_store.told_on(connection, subject, day)
            if before is not None and (before.check_id, before.period) != (check.id, period):
                raise Refused(errors.ERROR_REASON_USAGE_ASKED_TODAY)
            told = before or Told(check.id, period, made_at, self._searchable(connection))
            answer = self._office.answer(
                connection, check.resident_code, period, told.searched, check_id=check.id, made_at=told.made_at
            )
            return told, answer, before is not None

        told, answer, again = await asyncio.to_thread(read, self._reader, make)
        entry = self._entry(check, check.counter, answer=answer.SerializeToString(deterministic=True))
        if again:
            await self._acts.keep(entry)
        else:
            await self._acts.carry_out(entry, lambda connection: usage_store.keep_told(connection, subject, day, told))
        return answer

    def _searchable(self, connection: Connection) -> tuple[Searched, ...]:
        return usage_store.search_now(connection, [(each.origin, each.is_contradicted) for each in self._mirrors])

    def _entry(
        self,
        check: disclosure.IdentityCheck,
        counter: str,
        *,
        answer: bytes | None = None,
        refusal: "errors.ErrorReason.ValueType" = errors.ERROR_REASON_UNSPECIFIED,
    ) -> ledger.Entry:
        moment = clock.now()
        return make_disclosure(
            self._keys,
            time=moment,
            counter=counter,
            clerk=check.clerk,
            check_id=check.id,
            action=ledger.ACTION_DISCLOSE_USAGE,
            policy_digest=self._policy_digest,
            token=self._residents.token(check.resident_code, moment) if check.resident_code else b"",
            answer=answer,
            refusal=refusal,
        )


_NO_CHECK = "00000000-0000-0000-0000-000000000000"
"""Stands in the record for the id of a check that does not hold: nothing that it says is kept."""


def _date(day: CalendarDate) -> date:
    return date(day.year, day.month, day.day)
