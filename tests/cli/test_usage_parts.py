"""A call that is lost does not cost a resident the day on which he may ask."""

import grpc
import pytest

from jukinet._pb.jukinet.disclosure.v1.disclosure_pb2 import FindUsageRequest, FindUsageResponse, Usage, UsageRow
from jukinet._pb.jukinet.errors.v1 import errors_pb2
from jukinet.cli.disclosure import all_parts
from jukinet.cli.retry import CallRefused
from jukinet.mesh.errors import Refused, to_status


class Node:
    """Answers with five rows in parts of two, and fails at these calls."""

    def __init__(self, **failing: grpc.StatusCode) -> None:
        self.asked: list[int] = []
        self._failing = {int(call.removeprefix("call")): code for call, code in failing.items()}

    async def find(self, request: FindUsageRequest, *, timeout: float) -> FindUsageResponse:
        assert timeout <= 10
        self.asked.append(request.first_row)
        if code := self._failing.get(len(self.asked)):
            raise grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata())
        rows = [UsageRow(entry=b"entry")] * min(2, 5 - request.first_row)
        usage = Usage(first_row=request.first_row, total_rows=5, rows=rows)
        return FindUsageResponse(usage=usage.SerializeToString())


async def test_all_parts_are_asked_for_in_their_order() -> None:
    node = Node()
    assert len(await all_parts(node.find, FindUsageRequest())) == 3
    assert node.asked == [0, 2, 4]


@pytest.mark.parametrize("call", ["call1", "call2", "call3"])
async def test_a_part_whose_call_was_lost_is_asked_for_again(call: str) -> None:
    node = Node(**{call: grpc.StatusCode.UNAVAILABLE})
    assert len(await all_parts(node.find, FindUsageRequest())) == 3
    assert len(node.asked) == 4
    assert sorted(set(node.asked)) == [0, 2, 4]


async def test_a_day_that_is_used_up_is_waited_for_by_nobody() -> None:
    node, refused = Node(), Refused(errors_pb2.ERROR_REASON_USAGE_ASKED_TODAY)
    status = to_status(refused, "0" * 16)

    async def find(request: FindUsageRequest, *, timeout: float) -> FindUsageResponse:
        if not request.first_row:
            return await node.find(request, timeout=timeout)
        node.asked.append(request.first_row)
        trailing = grpc.aio.Metadata(("grpc-status-details-bin", status.SerializeToString()))
        raise grpc.aio.AioRpcError(grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.aio.Metadata(), trailing, status.message)

    with pytest.raises(CallRefused, match="USAGE_ASKED_TODAY"):
        await all_parts(find, FindUsageRequest())
    assert node.asked == [0, 2]


async def test_what_no_waiting_mends_is_not_asked_again() -> None:
    node = Node(call2=grpc.StatusCode.PERMISSION_DENIED)
    with pytest.raises(CallRefused):
        await all_parts(node.find, FindUsageRequest())
    assert node.asked == [0, 2]
