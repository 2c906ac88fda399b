"""Gives the disclosure node one resident's own record (自己の本人確認情報), to answer the resident.

Rule: the disclosure node's word counts for nothing. It hands on what a counter (窓口) signed, and the center verifies
that itself: whom the counter checked, for this affair, within the last ten minutes. Without a counter's word there is
no record, whoever calls.

A resident code that was changed since leads to the record of the same person as it is now: no code is ever given again.

Source: Basic Resident Registration Act art. 30-2, 30-4, 30-32.
"""

from collections.abc import Mapping

import grpc
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import Connection, Engine

from jukinet._pb.jukinet.disclosure.v1 import record_pb2
from jukinet._pb.jukinet.disclosure.v1.disclosure_pb2 import AFFAIR_ANSWER_REQUEST, StoredRecord
from jukinet._pb.jukinet.disclosure.v1.record_pb2_grpc import RecordServiceServicer
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.register.v1.identity_pb2 import RESIDENT_STATUS_RETIRED, Resident
from jukinet.assembly.reading import read_for_caller
from jukinet.mesh.clock import now
from jukinet.mesh.errors import Refused
from jukinet.purpose.identity_check import open_check
from jukinet.store import journal
from jukinet.store.current_rows import sound_and_damaged


class RecordService(RecordServiceServicer):
    """Answers the disclosure node.

    Args:
        reader: engine of the register.
        counters: keys of the counters' checks, by SPIFFE ID; without any, nobody's record is given.
    """

    def __init__(self, *, reader: Engine, counters: Mapping[str, Ed25519PublicKey]) -> None:
        self._reader = reader
        self._counters = counters

    async def GetRecord(  # gRPC names its methods so
        self,
        request: record_pb2.GetRecordRequest,
        context: "grpc.aio.ServicerContext[record_pb2.GetRecordRequest, record_pb2.GetRecordResponse]",
    ) -> record_pb2.GetRecordResponse:
        """The record as it is stored, or that none is. Raises Refused: IDENTITY_CHECK_INVALID, RECORD_DAMAGED."""
        check = open_check(request.check, keys=self._counters, affair=AFFAIR_ANSWER_REQUEST, now=now())
        stored = await read_for_caller(self._reader, lambda connection: _stored(connection, check.resident_code))
        return record_pb2.GetRecordResponse(stored=stored)


def _stored(connection: Connection, code: str) -> StoredRecord:
    resident = _present(connection, code)
    if resident is None:
        return StoredRecord(is_stored=False)
    stored = StoredRecord(
        is_stored=True,
        record=resident.record,
        status=resident.status,
        holder=resident.holder,
        effective_date=resident.effective_date,
    )
    origin = journal.read_origins(connection, [resident.holder]).get(resident.holder)
    if origin is not None:
        stored.as_of.FromMicroseconds(origin.as_of)
    return stored


def _present(connection: Connection, code: str) -> Resident | None:
    """The row of whoever has the code, or had it. Raises Refused: RECORD_DAMAGED, also where a new code has no row."""
    found, damaged = sound_and_damaged(connection, [code])
    if damaged:
        raise Refused(errors.ERROR_REASON_RECORD_DAMAGED)
    resident = found.get(code)
    if resident is None or resident.status != RESIDENT_STATUS_RETIRED:
        return resident
    present = _present(connection, resident.successor_code)
    if present is None:
        raise Refused(errors.ERROR_REASON_RECORD_DAMAGED)
    return present
