"""Tells residents who received their record: at most once a day each, from what was verified."""

import asyncio
from collections.abc import Sequence

from sqlalchemy import Connection, Engine

from jukinet._pb.jukinet.disclosure.v1 import disclosure_pb2 as disclosure
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2 as ledger
from jukinet.disclosure import usage_store
from jukinet.disclosure.desk import Attempt, Desk
from jukinet.disclosure.mirror import Mirror
from jukinet.disclosure.usage import Period, UsageOffice
from jukinet.disclosure.usage_store import Look, Told
from jukinet.mesh import clock
from jukinet.mesh.errors import Refused
from jukinet.store.reading import read


class UsageDesk:
    """Answers counters.

    Args:
        desk: what all that counters do has in common.
        office: makes the answers.
        mirrors: of all ledgers.
        reader: engine of the node's database.
    """

    def __init__(self, desk: Desk, *, office: UsageOffice, mirrors: Sequence[Mirror], reader: Engine) -> None:
        self._desk = desk
        self._office = office
        self._mirrors = mirrors
        self._reader = reader

    async def find(
        self, counter: str, signed: disclosure.SignedIdentityCheck, period: Period, first_row: int
    ) -> disclosure.FindUsageResponse:
        """Tells a counter, by its SPIFFE ID, who received a resident's record in a period: the part from a row on.

        Raises Refused: IDENTITY_CHECK_INVALID, USAGE_ASKED_TODAY, USAGE_TOO_LONG, LEDGER_NOT_MIRRORED,
        LEDGER_UNAVAILABLE.
        """
        async with self._desk.attempt(counter, ledger.ACTION_DISCLOSE_USAGE) as attempt:
            check = attempt.open(signed, disclosure.AFFAIR_FIND_USAGE)
            period.check(clock.today_in_japan())
            return await self._told(attempt, check, period, first_row)

    async def _told(
        self, attempt: Attempt, check: disclosure.IdentityCheck, period: Period, first_row: int
    ) -> disclosure.FindUsageResponse:
        subject, day = attempt.subject, clock.today_in_japan()
        # Before the database is read: what a look kept there until then is in what is read.
        looks = [Look(each.origin, each.is_contradicted, each.verified_at) for each in self._mirrors]
        known, made_at = all(each.was_looked_at for each in self._mirrors), clock.now_us()

        def make(connection: Connection) -> tuple[Told, disclosure.FindUsageResponse, bool]:
            before = usage_store.told_for(connection, subject, day, check.id, period)
            if before is None and not known:
                # Just started: nobody knows yet whether what the ledgers show now still fits what is here.
                raise Refused(errors.ERROR_REASON_LEDGER_NOT_MIRRORED)
            told = before or Told(check.id, period, made_at, usage_store.search_now(connection, looks))
            answer = self._office.answer(
                connection,
                check.resident_code,
                period,
                told.searched,
                check_id=check.id,
                made_at=told.made_at,
                first_row=first_row,
            )
            return told, answer, before is not None

        told, answer, again = await asyncio.to_thread(read, self._reader, make)
        body = answer.SerializeToString(deterministic=True)
        if again:
            await attempt.keep(body)
            return answer
        try:
            await attempt.carry_out(
                lambda connection: usage_store.keep_told(connection, subject, day, told), lambda _: body
            )
        except Refused as refused:
            if refused.reason != errors.ERROR_REASON_USAGE_ASKED_TODAY:
                raise
            # A call of the same moment was first. If it was for this check, its answer is told.
            return await self._told(attempt, check, period, first_row)
        return answer
