"""An entry as a gateway makes it, for tests of what becomes of entries."""

from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2
from jukinet.ledger.entry import EntryKeys, make_entry
from jukinet.mesh.clock import now

AGENCY = "spiffe://agencies.jukinet/agency/pension-service"


def one_entry(request_id: str) -> ledger_pb2.Entry:
    """Of a question that found nobody."""
    return make_entry(
        EntryKeys(bytes(32)),
        time=now(),
        request_id=request_id,
        agency=AGENCY,
        operator="op-17",
        purpose="B1-77.12",
        article="30-9",
        case_reference="case-1",
        action=ledger_pb2.ACTION_INQUIRE,
        result=ledger_pb2.RESULT_NO_SINGLE_MATCH,
        policy_digest=bytes(32),
        answer=b"answer",
        method=inquiry.INQUIRY_METHOD_FOUR_ITEMS,
        wanted=(),
        edition="2019-01",
    )
