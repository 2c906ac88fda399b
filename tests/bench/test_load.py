import asyncio

import grpc
import pytest

from bench.load import closed_loop, open_loop
from bench.results import WorkDiffers
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet.mesh.errors import Refused, to_status


async def test_a_closed_loop_keeps_so_many_calls_in_flight_and_no_more() -> None:
    running = most = 0

    async def call(_number: int) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1

    load = await closed_loop(call, in_flight=4, seconds=0.05)
    assert most == 4
    assert len(load.latencies) == len(load.due) >= 4
    assert load.rate > 0


async def test_an_open_loop_does_not_wait_for_answers() -> None:
    answer = asyncio.Event()
    asked: list[int] = []

    async def call(number: int) -> None:
        asked.append(number)
        if number == 4:
            answer.set()
        await answer.wait()

    async with asyncio.timeout(10):
        load = await open_loop(call, rate=1000, count=5)
    assert asked == [0, 1, 2, 3, 4]
    assert load.latencies[0] >= 3.0  # the first waited for the fifth, which was due 4 ms later


async def test_an_open_loop_counts_latency_from_when_a_call_was_due() -> None:
    async def call(number: int) -> None:
        if number == 0:
            blocked = asyncio.get_running_loop().time() + 0.05
            while asyncio.get_running_loop().time() < blocked:
                pass  # a client that cannot keep up

    load = await open_loop(call, rate=1000, count=2)
    assert load.latencies[1] >= 40.0


@pytest.mark.parametrize(
    ("refused", "cause"),
    [(True, r"\(LEDGER_UNAVAILABLE 1\)"), (False, r"\(UNAVAILABLE: .+ 1\)")],
    ids=["by a node", "else"],
)
async def test_a_load_whose_calls_are_not_answered_is_not_measured_and_says_why(*, refused: bool, cause: str) -> None:
    status = to_status(Refused(errors.ERROR_REASON_LEDGER_UNAVAILABLE), "f00")
    trailers = grpc.aio.Metadata(*([("grpc-status-details-bin", status.SerializeToString())] if refused else []))

    async def call(_number: int) -> None:
        raise grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), trailers, status.message)

    with pytest.raises(WorkDiffers, match=cause):
        await open_loop(call, rate=1000, count=2)


async def test_a_mistake_of_the_benchmark_itself_is_not_taken_for_load() -> None:
    async def call(_number: int) -> None:
        raise LookupError

    with pytest.raises(ExceptionGroup):
        await open_loop(call, rate=1000, count=2)
