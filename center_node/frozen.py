"""Who gets no answer through any gateway, because one of them froze him (操作者の停止): every answer needs the center.

Rule 1: a gateway declares all who are frozen at it. That takes the place of all whom it declared before, on disk before
it is acknowledged, and of nobody whom another gateway declared.
Rule 2: a declaration whose number is not above that of the last one which was taken changes nothing, so no order in
which they come brings back an older one. Numbers are in memory: none is under way for longer than its connection.
Rule 3: an operator is kept as a digest under the center's token key, of agency and id, beside what his gateway's ledger
calls him. Where a gateway does not know his id any more, since its directory lost his key, his digest stays.
Rule 4: what a gateway declared that is gone for good is forgotten by two operators of the network.

Source: docs/decisions/0090-who-is-frozen-is-frozen-everywhere.md.
"""

import asyncio
import hmac
from collections.abc import Sequence
from functools import partial
from typing import Final, NamedTuple

from sqlalchemy import BigInteger, Column, Connection, Engine, LargeBinary, SmallInteger, String, Table, delete, select

from center_node import acts_of_two
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.provision.v1 import frozen_pb2
from jukinet._pb.jukinet.provision.v1.provision_pb2 import Ticket
from jukinet.mesh.clock import now_us
from jukinet.mesh.errors import Refused
from jukinet.store.reading import read
from jukinet.store.schema import metadata
from jukinet.store.writer import Writer

_DIGEST_BYTES: Final = 16

frozen_operators = Table(
    "frozen_operators",
    metadata,
    Column("gateway", String(255), primary_key=True, comment="SPIFFE ID"),
    Column("agency", String(255), primary_key=True, comment="SPIFFE ID"),
    Column("pseudonym", LargeBinary, primary_key=True, comment="of the operator in the gateway's ledger"),
    Column("operator", LargeBinary, nullable=False, comment="keyed digest; empty where his id was never known"),
    Column("detector", SmallInteger, nullable=False, comment="jukinet.admin.v1.Detector"),
    Column("declared_at", BigInteger, nullable=False, comment="us since 1970"),
)


class Frozen(NamedTuple):
    """An operator whom a gateway froze; the columns of his row."""

    gateway: str
    agency: str
    pseudonym: bytes
    operator: bytes
    detector: int
    declared_at: int


class FrozenOperators:
    """All who are frozen at any gateway.

    Args:
        reader: of the register's database.
        writer: of the same.
        token_key: the center's; makes the operators' digests.

    Raises StoreError.
    """

    def __init__(self, reader: Engine, writer: Writer, *, token_key: bytes) -> None:
        self._writer = writer
        self._token_key = token_key
        self._acting = asyncio.Lock()
        self._numbers: dict[str, int] = {}
        """Of the last declaration of each gateway that was taken."""
        self._digests = read(reader, _digests)

    def require_free(self, ticket: Ticket) -> None:
        """Returns where the operator of a ticket is frozen nowhere. Raises Refused: OPERATOR_FROZEN."""
        if self._digests and self._digest(ticket.agency, ticket.operator) in self._digests:
            raise Refused(errors.ERROR_REASON_OPERATOR_FROZEN)

    async def declare(
        self, gateway: str, declared: frozen_pb2.DeclareFrozenRequest
    ) -> frozen_pb2.DeclareFrozenResponse:
        """Takes a gateway's declaration, if no later one was taken before.

        Args:
            gateway: SPIFFE ID of the caller.
            declared: all who are frozen at it.

        Returns: whether it was taken, and the number of the last one that was. What was taken is on disk.
        Raises StoreError.
        """
        async with self._acting:
            taken = declared.number > self._numbers.get(gateway, 0)
            if taken:
                frozen = [self._frozen(gateway, each) for each in declared.frozen]
                self._digests = await self._writer.run(partial(_replace, gateway=gateway, frozen=frozen))
                self._numbers[gateway] = declared.number
            return frozen_pb2.DeclareFrozenResponse(taken=taken, number=self._numbers[gateway])

    async def forget(self, gateway: str, by: str) -> tuple[str, bool]:
        """Proposes that all whom a gateway declared are forgotten, or carries out what another operator proposed.

        Args:
            gateway: SPIFFE ID.
            by: SPIFFE ID of the network's operator who acts.

        Returns: who proposed it, and whether they are forgotten now.
        Raises Refused: OPERATOR_NOT_FROZEN, SECOND_OPERATOR_NEEDED; StoreError.
        """
        async with self._acting:
            proposed_by, forgotten, self._digests = await self._writer.run(partial(_forget, gateway=gateway, by=by))
            return proposed_by, forgotten

    def _frozen(self, gateway: str, declared: frozen_pb2.DeclaredOperator) -> Frozen:
        agency, operator = declared.agency, declared.operator
        digest = self._digest(agency, operator) if operator else b""
        return Frozen(gateway, agency, declared.operator_pseudonym, digest, declared.detector, now_us())

    def _digest(self, agency: str, operator: str) -> bytes:
        # No identity of an agency has a zero byte.
        whose = "\0".join(["jukinet frozen v1 operator", agency, operator]).encode()
        return hmac.digest(self._token_key, whose, "sha256")[:_DIGEST_BYTES]


def read_frozen(connection: Connection) -> list[Frozen]:
    """All of them, by gateway, agency and pseudonym."""
    rows = connection.execute(select(frozen_operators).order_by(*frozen_operators.primary_key))
    return [
        Frozen(row.gateway, row.agency, bytes(row.pseudonym), bytes(row.operator), row.detector, row.declared_at)
        for row in rows
    ]


def read_proposers(connection: Connection) -> dict[str, str]:
    """Who proposed to forget all whom a gateway declared, by gateway; SPIFFE IDs, empty where nobody did."""
    gateways = {each.gateway for each in read_frozen(connection)}
    return {each: acts_of_two.proposer(connection, acts_of_two.FORGET, _name(each)) for each in gateways}


def _replace(connection: Connection, gateway: str, frozen: Sequence[Frozen]) -> frozenset[bytes]:
    """Writes all whom a gateway declares, if they are others than before; gives the digests of all who are frozen."""
    before = {(each.agency, each.pseudonym): each for each in _of(connection, gateway)}
    after = {}
    for each in frozen:
        who = each.agency, each.pseudonym
        if who in before:
            known = before[who]
            each = each._replace(operator=each.operator or known.operator, declared_at=known.declared_at)
        after[who] = each
    if after != before:
        connection.execute(delete(frozen_operators).where(frozen_operators.c.gateway == gateway))
        if after:
            connection.execute(frozen_operators.insert(), [each._asdict() for each in after.values()])
    return _digests(connection)


def _digests(connection: Connection) -> frozenset[bytes]:
    return frozenset(each.operator for each in read_frozen(connection))


def _of(connection: Connection, gateway: str) -> list[Frozen]:
    return [each for each in read_frozen(connection) if each.gateway == gateway]


def _name(gateway: str) -> str:
    """What a gateway is called in the acts."""
    return gateway.rpartition("/")[2]


def _forget(connection: Connection, gateway: str, by: str) -> tuple[str, bool, frozenset[bytes]]:
    if not _of(connection, gateway):
        raise Refused(errors.ERROR_REASON_OPERATOR_NOT_FROZEN)
    proposed_by, carried_out = acts_of_two.act(
        connection, acts_of_two.FORGET, _name(gateway), operator=by, now_us=now_us()
    )
    if carried_out:
        connection.execute(delete(frozen_operators).where(frozen_operators.c.gateway == gateway))
    return proposed_by, carried_out, _digests(connection)
