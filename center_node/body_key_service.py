"""BodyKeyService: two operators open one body of the ledger, or destroy a key for good (本文の鍵の廃棄).

Rule: the act is on disk in the register before the key leaves or is destroyed. A center that ends in between destroys
it at its next start.
"""

import asyncio
import logging
from functools import partial

import grpc
from sqlalchemy import Engine

from center_node import acts_of_two
from center_node.body_keys import BodyKeys, first_kept, month_of
from jukinet._pb.jukinet.body.v1 import body_pb2
from jukinet._pb.jukinet.body.v1.body_pb2_grpc import BodyKeyServiceServicer
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet.mesh.clock import now, now_us
from jukinet.mesh.errors import Refused
from jukinet.mesh.interceptors import current_caller
from jukinet.store.errors import StoreError, as_refusal
from jukinet.store.reading import read
from jukinet.store.writer import Writer

log = logging.getLogger(__name__)

_HOUR_SECONDS = 3600.0
_HOURS = 24


class BodyKeyService(BodyKeyServiceServicer):
    """Keys of bodies, for operators.

    Args:
        keys: the center's.
        writer: of the register, where the acts are on record.
    """

    def __init__(self, *, keys: BodyKeys, writer: Writer) -> None:
        self._keys = keys
        self._writer = writer

    async def OpenBody(  # gRPC names its methods so
        self,
        request: body_pb2.OpenBodyRequest,
        context: "grpc.aio.ServicerContext[body_pb2.OpenBodyRequest, body_pb2.OpenBodyResponse]",
    ) -> body_pb2.OpenBodyResponse:
        """The key of one body, for the second of two operators.

        Raises Refused: BODY_KEY_DESTROYED, SECOND_OPERATOR_NEEDED.
        """
        try:
            key = await self._keys.key_of(request.place, request.agency, request.request_id)
            proposed_by, carried_out = await self._act(acts_of_two.OPEN, acts_of_two.question_name(request))
        except StoreError as failure:
            raise as_refusal(failure) from None
        return body_pb2.OpenBodyResponse(proposed_by=proposed_by, key=key if carried_out else b"")

    async def DestroyKey(  # gRPC names its methods so
        self,
        request: body_pb2.DestroyKeyRequest,
        context: "grpc.aio.ServicerContext[body_pb2.DestroyKeyRequest, body_pb2.DestroyKeyResponse]",
    ) -> body_pb2.DestroyKeyResponse:
        """Destroys the secret of a person or of a month, at the call of the second of two operators.

        Raises Refused: BODY_KEY_DESTROYED, SECOND_OPERATOR_NEEDED, INVALID_MESSAGE for the month of today.
        """
        key = request.month or self._keys.name_of(request.resident_code)
        if key >= month_of(now()) and request.month:
            raise Refused(errors.ERROR_REASON_INVALID_MESSAGE, field="month", detail="it is not over")
        try:
            if not await self._keys.holds(key):
                raise Refused(errors.ERROR_REASON_BODY_KEY_DESTROYED)
            proposed_by, carried_out = await self._act(acts_of_two.DESTROY, key)
            if carried_out:
                await self._keys.destroy([(key, now_us())])
                log.warning("two operators destroyed a key of ledger bodies")
        except StoreError as failure:
            raise as_refusal(failure) from None
        return body_pb2.DestroyKeyResponse(proposed_by=proposed_by, destroyed=carried_out)

    async def _act(self, kind: str, key: str) -> tuple[str, bool]:
        operator = current_caller().uri
        return await self._writer.run(partial(acts_of_two.act, kind=kind, name=key, operator=operator, now_us=now_us()))


async def destroy_again(keys: BodyKeys, register: Engine) -> None:
    """Destroys what operators destroyed before, should a backup have brought it back. Raises StoreError."""
    again = await keys.destroy(await asyncio.to_thread(read, register, acts_of_two.destroyed))
    if again:
        log.warning("keys of ledger bodies that were destroyed had come back, and are destroyed again")


async def destroy_expired(keys: BodyKeys, years: int) -> None:
    """Destroys the oldest month whose retention is over, once in so many hours that the center ran. A part of the node.

    The hours are on disk, so that a start gives none away, and a center that is stopped each night gets there too. What
    the clock says of them does not count: it may be what is wrong.
    """
    while True:
        await asyncio.sleep(_HOUR_SECONDS)
        try:
            month = await keys.after_an_hour(first_kept(now(), years), every=_HOURS)
            if month is not None:
                log.warning("the retention of ledger bodies of %s is over: their key is destroyed", month)
        except StoreError as failure:
            log.warning("keys of ledger bodies could not be looked after", extra={"error_type": type(failure).__name__})
