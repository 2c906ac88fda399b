"""The desk at which counters call: whose word counts, what stands for residents, and what goes on record.

Rule: whatever a counter attempts is on record before it hears of it, what was refused or failed too. Of a check of
identity that does not hold nothing is kept, for it may say anything.
"""

import hashlib
import hmac
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import Connection

from jukinet._pb.jukinet.disclosure.v1 import disclosure_pb2 as disclosure
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2 as ledger
from jukinet.disclosure.acts import Acts
from jukinet.ledger.entry import EntryKeys, make_disclosure, month_key, person_token
from jukinet.mesh import clock
from jukinet.mesh.errors import Refused, name_of
from jukinet.purpose.identity_check import open_check
from jukinet.store.errors import StoreError, as_refusal

log = logging.getLogger(__name__)

T = TypeVar("T")
_NO_ID: Final = "00000000-0000-0000-0000-000000000000"
"""Stands in the record for the id of a check that does not hold."""


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


@dataclass(frozen=True, slots=True)
class Desk:
    """What all that counters do has in common.

    Args:
        residents: what stands for residents.
        keys: of the pseudonyms in the node's own ledger.
        counters: keys of the counters' checks, by SPIFFE ID.
        acts: the node's own record.
        policy_digest: of the statute table and the directory by which is told, 32 bytes.
    """

    residents: Residents
    keys: EntryKeys
    counters: Mapping[str, Ed25519PublicKey]
    acts: Acts
    policy_digest: bytes

    @asynccontextmanager
    async def attempt(
        self, counter: str, action: "ledger.Action.ValueType", *, article: str = ""
    ) -> "AsyncIterator[Attempt]":
        """What a counter, by its SPIFFE ID, attempts in the block; what is refused or fails in it is put on record.

        Raises:
            Refused: as the block does; a failed database as DEPENDENCY_UNAVAILABLE or STORAGE_FULL. LEDGER_UNAVAILABLE.
            Exception: whatever else the block raises. The record, whose refusals have a reason each, says
                DEPENDENCY_UNAVAILABLE of it.
        """
        self.acts.require_open()
        attempt = Attempt(self, counter, action, article)
        try:
            try:
                yield attempt
            except StoreError as failure:
                raise as_refusal(failure) from None
        except Refused as refused:
            await self.acts.keep(partial(attempt.entry, refusal=refused.reason))
            log.info("disclosure refused", extra={"reason": name_of(refused.reason), "peer": counter})
            raise
        except Exception:  # who catches it tells the log, and the counter nothing
            await self.acts.keep(partial(attempt.entry, refusal=errors.ERROR_REASON_DEPENDENCY_UNAVAILABLE))
            raise


class Attempt:
    """One attempt of a counter.

    Args:
        desk: where.
        counter: its SPIFFE ID.
        action: as which it stands in the record.
        article: that opens it; empty where it is not this Act.
    """

    def __init__(self, desk: Desk, counter: str, action: "ledger.Action.ValueType", article: str) -> None:
        self._desk = desk
        self._counter = counter
        self._action = action
        self._article = article
        self._check = disclosure.IdentityCheck()
        self.number = _NO_ID
        """By what it is found in the record: the check's id, or the number of the request that it is about."""

    def open(
        self, signed: disclosure.SignedIdentityCheck, affair: "disclosure.Affair.ValueType"
    ) -> disclosure.IdentityCheck:
        """Whom the counter checked. Raises Refused: IDENTITY_CHECK_INVALID."""
        own = {each: key for each, key in self._desk.counters.items() if each == self._counter}
        self._check = open_check(signed, keys=own, affair=affair, now=clock.now())
        self.number = self._check.id
        return self._check

    @property
    def subject(self) -> bytes:
        """What stands here for the resident who was checked."""
        return self._desk.residents.subject(self._check.resident_code)

    async def carry_out(self, act: Callable[[Connection], T], answer: Callable[[T], bytes]) -> T:
        """Does something together with its record; `answer` gives the bytes that the record binds the node to.

        Raises Refused: what the act raised, LEDGER_UNAVAILABLE.
        """
        return await self._desk.acts.carry_out(act, lambda done: self.entry(answer=answer(done)))

    async def keep(self, answer: bytes) -> None:
        """Puts an answer on record that changes nothing here. Raises Refused: LEDGER_UNAVAILABLE."""
        await self._desk.acts.keep(partial(self.entry, answer=answer))

    def entry(
        self,
        *,
        answer: bytes | None = None,
        refusal: "errors.ErrorReason.ValueType" = errors.ERROR_REASON_UNSPECIFIED,
    ) -> ledger.Entry:
        """What the record says of it."""
        moment, code = clock.now(), self._check.resident_code
        return make_disclosure(
            self._desk.keys,
            time=moment,
            counter=self._counter,
            clerk=self._check.clerk,
            check_id=self.number,
            action=self._action,
            policy_digest=self._desk.policy_digest,
            article=self._article,
            token=self._desk.residents.token(code, moment) if code else b"",
            answer=answer,
            refusal=refusal,
        )
