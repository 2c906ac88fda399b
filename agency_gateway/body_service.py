"""BodyService: gives an operator the sealed body (本文) of an entry, and puts that on record first.

Rule: the gateway has no key. What leaves is an entry and a ciphertext, and each time an operator takes one the ledger
says so (no record, no effect).
"""

import asyncio
import uuid
from collections.abc import Callable

import grpc
from sqlalchemy import Connection, Engine, select

from agency_gateway.record import Record
from jukinet._pb.jukinet.body.v1 import body_pb2
from jukinet._pb.jukinet.body.v1.body_pb2_grpc import BodyServiceServicer
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2 as ledger
from jukinet.assembly.reading import read_for_caller
from jukinet.ledger import schema
from jukinet.ledger.entry import EntryKeys, make_act
from jukinet.mesh.clock import now
from jukinet.mesh.errors import Refused
from jukinet.mesh.identity import Identity
from jukinet.mesh.interceptors import current_caller


class BodyService(BodyServiceServicer):
    """The bodies that one gateway keeps.

    Args:
        reader: of the ledger database.
        record: where it is noted who took a body.
        keys: of the ledger's pseudonyms.
        gateway: itself.
        policy_digest: of what decides today.
    """

    def __init__(
        self, *, reader: Engine, record: Record, keys: EntryKeys, gateway: Identity, policy_digest: Callable[[], bytes]
    ) -> None:
        self._reader = reader
        self._record = record
        self._keys = keys
        self._gateway = gateway
        self._policy_digest = policy_digest

    async def TakeBody(  # gRPC names its methods so
        self,
        request: body_pb2.TakeBodyRequest,
        context: "grpc.aio.ServicerContext[body_pb2.TakeBodyRequest, body_pb2.TakeBodyResponse]",
    ) -> body_pb2.TakeBodyResponse:
        """The entry and its sealed body. Raises Refused: BODY_NOT_KEPT, LEDGER_UNAVAILABLE."""
        found = await read_for_caller(self._reader, lambda connection: _kept(connection, request.index))
        if found is None:
            raise Refused(errors.ERROR_REASON_BODY_NOT_KEPT)
        taken = make_act(
            self._keys,
            time=now(),
            request_id=str(uuid.uuid4()),
            gateway=self._gateway.uri,
            operator=current_caller().uri,
            action=ledger.ACTION_TAKE_BODY,
            about=str(request.index),
            policy_digest=self._policy_digest(),
        )
        await asyncio.shield(self._record.keep(taken))
        return body_pb2.TakeBodyResponse(entry=found[0], sealed=found[1])


def _kept(connection: Connection, index: int) -> tuple[bytes, bytes] | None:
    entries, bodies = schema.entries, schema.bodies
    row = connection.execute(
        select(entries.c.entry, bodies.c.sealed)
        .join(bodies, bodies.c.leaf_index == entries.c.leaf_index)
        .where(entries.c.leaf_index == index)
    ).one_or_none()
    return None if row is None else (bytes(row.entry), bytes(row.sealed))
