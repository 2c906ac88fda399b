"""Operators who may not ask any more until two people have looked (操作者の停止).

Rule 1: a freeze takes effect at once, in memory, and is put on record before the answer leaves that brought it about;
where that fails, it stays in effect and is put on record with the next question.
Rule 2: freeze, proposal and release are each an entry of the ledger and a row here, in one transaction. Rows are added,
never changed: who is frozen is whoever's last freeze no release followed.
Rule 3: the first operator of the network proposes a release, a second, different one carries it out.
Rule 4: what is on record is read again after each act, whatever became of it; whoever asked for it may have hung up.
"""

import asyncio
import logging
import uuid
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    insert,
    select,
)

from agency_gateway import record as record_module
from agency_gateway.detectors import Detector, Finding
from agency_gateway.record import Record
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2 as ledger
from jukinet.assembly.reading import read_for_caller
from jukinet.ledger.entry import EntryKeys
from jukinet.ledger.layout import VERSION
from jukinet.mesh import metrics
from jukinet.mesh.clock import now_us
from jukinet.mesh.errors import Refused
from jukinet.store.reading import read

log = logging.getLogger(__name__)

FREEZE: Final = "freeze"
PROPOSE: Final = "propose"
RELEASE: Final = "release"
_ACTIONS: Final = {
    FREEZE: ledger.ACTION_FREEZE_OPERATOR,
    PROPOSE: ledger.ACTION_PROPOSE_RELEASE,
    RELEASE: ledger.ACTION_RELEASE_OPERATOR,
}

metadata = MetaData()

acts = Table(
    "freeze_acts",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("act", String(16), nullable=False, comment="freeze, propose or release"),
    Column("agency", Text, nullable=False, comment="SPIFFE ID"),
    Column("operator", LargeBinary, nullable=False, comment="pseudonym of the agency's operator"),
    Column("detector", String(16), nullable=False, comment="what was found; empty for what people do"),
    Column("acted_by", Text, nullable=False, comment="SPIFFE ID of the gateway, or of the network's operator"),
    Column("acted_at", BigInteger, nullable=False, comment="us since 1970"),
)

Who = tuple[str, bytes]
"""Agency and pseudonym of an operator of it."""
T = TypeVar("T")


@dataclass(slots=True)
class Frozen:
    """An operator who is frozen, and who proposed that he is released."""

    detector: Detector
    since_us: int
    proposed_by: str = ""


def read_frozen(connection: Connection) -> dict[Who, Frozen]:
    """Who is frozen now."""
    frozen: dict[Who, Frozen] = {}
    for row in connection.execute(select(acts).order_by(acts.c.id)):
        who = row.agency, bytes(row.operator)
        if row.act == FREEZE:
            frozen[who] = Frozen(row.detector, row.acted_at)
        elif row.act == PROPOSE:
            frozen[who].proposed_by = row.acted_by
        else:
            del frozen[who]
    return frozen


class Freezes:
    """Who is frozen at a gateway.

    Args:
        record: the way into the ledger, and to its database.
        reader: of that database.
        keys: of the ledger's pseudonyms.
        gateway: SPIFFE ID of the gateway.
        policy_digest: gives the SHA-256 of what decides today.
    """

    def __init__(
        self,
        *,
        record: Record,
        reader: Engine,
        keys: EntryKeys,
        gateway: str,
        policy_digest: Callable[[], bytes],
    ) -> None:
        self._record = record
        self._reader = reader
        self._keys = keys
        self._gateway = gateway
        self._policy_digest = policy_digest
        self._unrecorded: dict[Who, Detector] = {}
        self._acting = asyncio.Lock()
        self._acts: set[asyncio.Task[Any]] = set()
        self.changed = asyncio.Event()
        """Set when others may be frozen than before."""
        self._stand(read(reader, read_frozen))

    def holds(self, who: Who) -> bool:
        """Whether an operator is frozen."""
        return who in self._frozen or who in self._unrecorded

    @property
    def standing(self) -> dict[Who, Frozen]:
        """All who are frozen, on record."""
        return dict(self._frozen)

    @property
    def in_effect(self) -> dict[Who, Detector]:
        """All who are frozen, on record or not yet, each with what was found."""
        return {who: each.detector for who, each in self._frozen.items()} | self._unrecorded

    def freeze(self, finding: Finding) -> None:
        """Freezes an operator from now on; `settle` puts it on record."""
        who = finding.agency, finding.operator
        if not self.holds(who):
            self._unrecorded[who] = finding.detector
            self.changed.set()
            facts = {"peer": finding.agency, "reason": finding.detector, "request_id": finding.request_id}
            # By what `jukinet admin frozen` and the ledger name him.
            facts["operator_pseudonym"] = finding.operator.hex()
            log.warning("an operator is frozen until two people released him", extra=facts)

    async def settle(self) -> None:
        """Puts on record who was frozen since; a question waits for it no longer than for its own entry.

        Raises Refused: LEDGER_UNAVAILABLE; he stays frozen all the same.
        """
        try:
            async with asyncio.timeout(record_module.KEEP_SECONDS):
                await self._to_its_end(self._settle())
        except TimeoutError:
            raise Refused(errors.ERROR_REASON_LEDGER_UNAVAILABLE, detail="its disk does not answer") from None

    async def release(self, agency: str, operator: str, by: str) -> tuple[str, str]:
        """Proposes that an operator is released, or carries out what another one proposed.

        Args:
            agency: SPIFFE ID.
            operator: the agency's own id of him.
            by: SPIFFE ID of the network's operator who acts.

        Returns: what was done, `PROPOSE` or `RELEASE`, and who proposed it.

        Raises Refused: OPERATOR_NOT_FROZEN, SECOND_OPERATOR_NEEDED, LEDGER_UNAVAILABLE.
        """
        return await self._to_its_end(self._release((agency, self._keys.operator_pseudonym(agency, operator)), by))

    async def _to_its_end(self, act: Coroutine[Any, Any, T]) -> T:
        task = asyncio.create_task(act)
        self._acts.add(task)
        task.add_done_callback(self._acts.discard)
        return await asyncio.shield(task)

    async def _settle(self) -> None:
        async with self._acting:  # each freeze is one entry, however many questions were under way
            for who, detector in list(self._unrecorded.items()):
                await self._carry_out(FREEZE, who, self._gateway, detector)

    async def _release(self, who: Who, by: str) -> tuple[str, str]:
        async with self._acting:
            known = self._frozen.get(who)
            if known is None:
                raise Refused(errors.ERROR_REASON_OPERATOR_NOT_FROZEN)
            if known.proposed_by == by:
                raise Refused(errors.ERROR_REASON_SECOND_OPERATOR_NEEDED)
            act = RELEASE if known.proposed_by else PROPOSE
            await self._carry_out(act, who, by)
            return act, known.proposed_by or by

    async def _carry_out(self, act: str, who: Who, by: str, detector: str = "") -> None:
        at_us = now_us()
        job = partial(_note, act=act, who=who, by=by, at_us=at_us, detector=detector)
        try:
            await self._record.carry_out(self._entry(act, who, by, at_us), job)
        finally:
            self._stand(await read_for_caller(self._reader, read_frozen))

    def _stand(self, frozen: dict[Who, Frozen]) -> None:
        self._frozen = frozen
        for who in frozen:
            self._unrecorded.pop(who, None)
        self.changed.set()
        metrics.operators_frozen(len(self._frozen) + len(self._unrecorded))

    def _entry(self, act: str, who: Who, by: str, at_us: int) -> ledger.Entry:
        entry = ledger.Entry(
            version=VERSION,
            request_id=str(uuid.uuid4()),
            agency=self._gateway,
            operator_pseudonym=self._keys.operator_pseudonym(self._gateway, by),
            case_commitment=self._keys.case_commitment(self._gateway, who[0]),
            action=_ACTIONS[act],
            result=ledger.RESULT_DONE,
            policy_digest=self._policy_digest(),
            about_operator=who[1],
        )
        entry.time.FromMicroseconds(at_us)
        return entry


def _note(connection: Connection, *, act: str, who: Who, by: str, at_us: int, detector: str) -> bool:
    standing = read_frozen(connection).get(who)
    if act == FREEZE and standing is not None:
        return False
    if not _follows(act, standing, by):
        raise Refused(errors.ERROR_REASON_OPERATOR_NOT_FROZEN)  # another one was quicker
    values = {"act": act, "agency": who[0], "operator": who[1], "detector": detector}
    connection.execute(insert(acts).values(**values, acted_by=by, acted_at=at_us))
    return True


def _follows(act: str, standing: Frozen | None, by: str) -> bool:
    """Whether an act may follow what stands on record."""
    if standing is None:
        return act == FREEZE
    return act == (RELEASE if standing.proposed_by else PROPOSE) and standing.proposed_by != by
