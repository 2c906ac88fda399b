"""What a handler raises: refusals arrive with their reason, everything else leaks nothing."""

import asyncio
import logging
from typing import Any

import grpc
import pytest

from jukinet._pb.jukinet.errors.v1 import errors_pb2
from jukinet.domain.refusal import ChangeRefused
from jukinet.mesh.errors import Refused, error_id_of, reason_of, violations_of
from jukinet.mesh.server import drain
from tests.mesh.handlers import SECRET, answer_caller, every_kind, raising


@every_kind
@pytest.mark.parametrize(
    "error",
    [
        ValueError(f"bad resident {SECRET}"),
        KeyError(SECRET),
        ExceptionGroup(SECRET, [OSError(SECRET)]),
        BaseExceptionGroup(SECRET, [GeneratorExit(SECRET)]),
        RuntimeError(ValueError(SECRET)),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_an_exception_leaks_nothing(
    error: BaseException,
    kind: str,
    network: Any,
    kinds: Any,
    kinds_callers: Any,
    call: Any,
    submission: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def answer(request: Any, context: Any) -> Any:
        try:
            raise LookupError(SECRET)
        except LookupError as cause:
            raise error from cause

    node = await network.serve((kinds(answer).add_to, None), callers=kinds_callers)
    channel = await network.dial(node)
    with caplog.at_level(logging.DEBUG):
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await call(channel, kind, submission())
        await drain(node, grace_seconds=10)  # gRPC logs after it has answered
    assert failed.value.code() == grpc.StatusCode.INTERNAL
    assert failed.value.details() == "Something failed inside the node. Give the error id to its operator."
    assert reason_of(failed.value) == errors_pb2.ERROR_REASON_UNSPECIFIED
    told = f"{failed.value.debug_error_string()}{failed.value.trailing_metadata()}{caplog.text}"
    assert "山田" not in told
    assert "00000000019" not in told
    (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert vars(record)["error_id"] == error_id_of(failed.value)
    line = record.getMessage()
    assert f"{type(error).__name__} at " in line
    assert "from LookupError at " in line
    assert "test_server_exceptions.py:" in line


@pytest.mark.parametrize("kind", ["UnaryStream", "StreamStream"])
async def test_an_exception_in_the_middle_of_a_stream_leaks_nothing(
    kind: str,
    network: Any,
    kinds: Any,
    kinds_callers: Any,
    call: Any,
    submission: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Halfway(kinds):  # type: ignore[misc]
        async def unary_stream(self, request: Any, context: Any) -> Any:
            yield await self.answer(request, context)
            raise ValueError(SECRET)

        async def stream_stream(self, requests: Any, context: Any) -> Any:
            async for request in requests:
                yield await self.answer(request, context)
                raise ValueError(SECRET)

    node = await network.serve((Halfway(answer_caller).add_to, None), callers=kinds_callers)
    channel = await network.dial(node)
    with caplog.at_level(logging.DEBUG):
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await call(channel, kind, submission())
        await drain(node, grace_seconds=10)  # gRPC logs after it has answered
    assert failed.value.code() == grpc.StatusCode.INTERNAL
    assert "山田" not in f"{failed.value}{caplog.text}"


@every_kind
async def test_an_answer_that_cannot_be_written_leaks_nothing(
    kind: str,
    network: Any,
    kinds: Any,
    kinds_callers: Any,
    call: Any,
    submission: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def answer(request: Any, context: Any) -> Any:
        return SECRET

    node = await network.serve((kinds(answer).add_to, None), callers=kinds_callers)
    channel = await network.dial(node)
    with caplog.at_level(logging.DEBUG):
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await call(channel, kind, submission())
        await drain(node, grace_seconds=10)  # gRPC logs after it has answered
    assert reason_of(failed.value) == errors_pb2.ERROR_REASON_UNSPECIFIED
    assert "山田" not in f"{failed.value}{caplog.text}"


@every_kind
@pytest.mark.parametrize(
    "error",
    [
        Refused(errors_pb2.ERROR_REASON_NOT_HOLDER, field="resident_code", detail=SECRET),
        ChangeRefused(errors_pb2.ERROR_REASON_NOT_HOLDER, "resident_code"),
        ExceptionGroup("tasks", [OSError(), ExceptionGroup("inner", [Refused(errors_pb2.ERROR_REASON_NOT_HOLDER)])]),
    ],
    ids=["refused", "the domain refused", "a task refused"],
)
async def test_a_refusal_arrives_with_its_reason_and_without_its_detail(
    error: BaseException, kind: str, network: Any, kinds: Any, kinds_callers: Any, call: Any, submission: Any
) -> None:
    node = await network.serve((kinds(raising(error)).add_to, None), callers=kinds_callers)
    channel = await network.dial(node)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call(channel, kind, submission())
    assert refused.value.code() == grpc.StatusCode.PERMISSION_DENIED
    assert reason_of(refused.value) == errors_pb2.ERROR_REASON_NOT_HOLDER
    if getattr(error, "field", ""):
        assert [each.field for each in violations_of(refused.value)] == ["resident_code"]
    assert "山田" not in str(refused.value)


@every_kind
async def test_a_handler_may_end_a_call_in_grpcs_own_way(
    kind: str, network: Any, kinds: Any, kinds_callers: Any, call: Any, submission: Any
) -> None:
    async def answer(request: Any, context: Any) -> Any:
        await context.abort(grpc.StatusCode.NOT_FOUND, "no such thing")

    node = await network.serve((kinds(answer).add_to, None), callers=kinds_callers)
    channel = await network.dial(node)
    with pytest.raises(grpc.aio.AioRpcError, match="no such thing") as ended:
        await call(channel, kind, submission())
    assert ended.value.code() == grpc.StatusCode.NOT_FOUND


async def test_what_fails_after_an_abort_leaks_nothing(
    network: Any, kinds: Any, kinds_callers: Any, call: Any, submission: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def answer(request: Any, context: Any) -> Any:
        try:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such thing")
        finally:
            raise ValueError(SECRET)

    node = await network.serve((kinds(answer).add_to, None), callers=kinds_callers)
    channel = await network.dial(node)
    with caplog.at_level(logging.DEBUG):
        with pytest.raises(grpc.aio.AioRpcError, match="no such thing"):
            await call(channel, "UnaryUnary", submission())
        await drain(node, grace_seconds=10)  # gRPC logs after it has answered
    assert "山田" not in caplog.text
    assert [each.name for each in caplog.records if each.levelno >= logging.ERROR] == ["jukinet.mesh.interceptors"]


@pytest.mark.parametrize("error", [grpc.aio.UsageError(SECRET), grpc.aio.InternalError("Core")], ids=["usage", "core"])
async def test_a_failure_of_grpc_itself_leaks_nothing(
    error: Exception,
    network: Any,
    kinds: Any,
    kinds_callers: Any,
    call: Any,
    submission: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def answer(request: Any, context: Any) -> Any:
        try:
            raise ValueError(SECRET)
        except ValueError:
            raise error  # noqa: B904 - as a handler would that lets a write fail while it handles something else

    node = await network.serve((kinds(answer).add_to, None), callers=kinds_callers)
    channel = await network.dial(node)
    with caplog.at_level(logging.DEBUG):
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await call(channel, "UnaryUnary", submission())
        await drain(node, grace_seconds=10)
    assert "山田" not in f"{failed.value}{caplog.text}"


async def test_a_stream_that_fails_closes_its_handler_in_its_own_task(
    network: Any, kinds: Any, kinds_callers: Any, call: Any, submission: Any
) -> None:
    tasks: list[Any] = []

    class Careful(kinds):  # type: ignore[misc]
        async def unary_stream(self, request: Any, context: Any) -> Any:
            tasks.append(asyncio.current_task())
            try:
                yield SECRET  # cannot be serialised
            finally:
                tasks.append(asyncio.current_task())

    node = await network.serve((Careful(answer_caller).add_to, None), callers=kinds_callers)
    with pytest.raises(grpc.aio.AioRpcError):
        await call(await network.dial(node), "UnaryStream", submission())
    first, last = tasks
    assert first is last
