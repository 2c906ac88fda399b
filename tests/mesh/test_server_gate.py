"""The gate holds for all four kinds of RPC: callers, deadlines, messages, and refusals on record."""

import asyncio
from dataclasses import replace
from typing import Any

import grpc
import pytest

from jukinet._pb.jukinet.errors.v1 import errors_pb2
from jukinet.mesh.callers import Rule
from jukinet.mesh.client import open_channel
from jukinet.mesh.errors import Refused, error_id_of, reason_of, violations_of
from jukinet.mesh.identity import NODES, Identity, Peer
from jukinet.mesh.interceptors import RefusedCall, current_caller
from jukinet.mesh.key_digest import key_digest_in
from jukinet.mesh.limits import Limits
from tests.mesh.handlers import KINDS, SECRET, answer_caller, every_kind, raising

CS = Identity("municipality", "131016")

SYSTEM = Identity("municipal-system", "131016")

OPERATOR = Identity("operator", "tanaka")


@every_kind
async def test_a_handler_knows_its_caller(
    kind: str, network: Any, kinds: Any, kinds_callers: Any, call: Any, submission: Any
) -> None:
    async def answer(request: Any, context: Any) -> Any:
        # Tasks that a handler starts know it too.
        return await asyncio.create_task(answer_caller(request, context))

    node = await network.serve((kinds(answer).add_to, None), callers=kinds_callers)
    channel = await network.dial(node)
    assert [each.sequence for each in await call(channel, kind, submission())] == [131016]
    with pytest.raises(LookupError):
        current_caller()


async def test_calls_at_the_same_time_do_not_mix_their_callers(
    network: Any, kinds: Any, kinds_callers: Any, call: Any, submission: Any
) -> None:
    everybody = replace(kinds_callers, rules=dict.fromkeys(kinds_callers.rules, (Rule("municipal-system"),)))
    together = asyncio.Barrier(4)

    async def answer(request: Any, context: Any) -> Any:
        await together.wait()
        return await answer_caller(request, context)

    node = await network.serve((kinds(answer).add_to, None), callers=everybody)
    callers = [Identity("municipal-system", code) for code in ("131016", "131024", "131032", "131041")]
    channels = [await network.dial(node, caller) for caller in callers]
    answers = await asyncio.gather(*(call(channel, "StreamStream", submission()) for channel in channels))
    assert [each[0].sequence for each in answers] == [int(caller.name) for caller in callers]


@every_kind
async def test_who_is_not_on_the_list_reaches_no_handler(
    kind: str, network: Any, kinds: Any, kinds_callers: Any, call: Any, submission: Any
) -> None:
    service = kinds(answer_caller)
    node = await network.serve((service.add_to, None), callers=kinds_callers)
    for caller in (OPERATOR, Identity("agency", "a"), Identity("center"), Identity("municipal-system", "131024")):
        channel = await network.dial(node, caller)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(channel, kind, submission())
        assert reason_of(refused.value) == errors_pb2.ERROR_REASON_CALLER_NOT_ALLOWED
    assert service.entered == 0


@every_kind
async def test_a_certificate_that_the_node_does_not_take_is_refused_like_a_forbidden_caller(
    kind: str, network: Any, kinds: Any, kinds_callers: Any, call: Any, submission: Any
) -> None:
    service, seen = kinds(answer_caller), []

    def admit(peer: Peer) -> None:
        seen.append(peer)
        raise Refused(errors_pb2.ERROR_REASON_CALLER_NOT_ALLOWED)

    node = await network.serve((service.add_to, None), callers=kinds_callers, admit=admit)
    channel = await network.dial(node)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call(channel, kind, submission(), deadline=None)
    assert reason_of(refused.value) == errors_pb2.ERROR_REASON_CALLER_NOT_ALLOWED
    assert service.entered == 0
    (peer,) = seen
    assert peer.identity == SYSTEM
    assert peer.key == key_digest_in(next(network.directory.glob("*municipal-system*.pem")))


@every_kind
async def test_an_unknown_rpc_is_refused_like_a_forbidden_one(
    kind: str, network: Any, kinds: Any, kinds_callers: Any, call: Any, submission: Any
) -> None:
    node = await network.serve((kinds(answer_caller).add_to, None), callers=kinds_callers)
    channel = await network.dial(node)
    for service in ("test.Other", "jukinet.link.v1.LinkService", "a/b"):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(channel, kind, submission(), service=service)
        assert reason_of(refused.value) == errors_pb2.ERROR_REASON_CALLER_NOT_ALLOWED


async def test_a_listed_rpc_that_this_node_does_not_serve_is_not_implemented(network: Any) -> None:
    node = await network.serve()
    channel = await network.dial(node)
    pull = channel.unary_unary("/jukinet.intake.v1.IntakeService/SubmitChange")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await pull(b"", timeout=10)
    assert refused.value.code() == grpc.StatusCode.UNIMPLEMENTED
    assert reason_of(refused.value) == errors_pb2.ERROR_REASON_NOT_IMPLEMENTED


@pytest.mark.parametrize("kind", KINDS[:3])
async def test_a_call_without_a_deadline_is_refused(
    kind: str, network: Any, kinds: Any, kinds_callers: Any, call: Any, submission: Any
) -> None:
    service = kinds(answer_caller)
    node = await network.serve((service.add_to, None), callers=kinds_callers)
    channel = await network.dial(node)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call(channel, kind, submission(), deadline=None)
    assert reason_of(refused.value) == errors_pb2.ERROR_REASON_DEADLINE_REQUIRED
    assert service.entered == 0


@every_kind
async def test_a_message_that_breaks_a_rule_is_refused_by_field_and_rule_alone(
    kind: str, network: Any, kinds: Any, kinds_callers: Any, call: Any, submission: Any
) -> None:
    node = await network.serve((kinds(answer_caller).add_to, None), callers=kinds_callers)
    channel = await network.dial(node)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call(channel, kind, submission(resident_code=SECRET))
    assert reason_of(refused.value) == errors_pb2.ERROR_REASON_INVALID_MESSAGE
    assert [(each.field, each.rule) for each in violations_of(refused.value)] == [
        ("submission.resident_code", "string.pattern")
    ]
    told = f"{refused.value.debug_error_string()}{refused.value.trailing_metadata()}"
    assert "00000000019" not in told


@every_kind
@pytest.mark.parametrize("raw", [b"\xff", SECRET.encode(), b"\x0a\x05ab"], ids=["tag", "text", "cut off"])
async def test_bytes_that_are_no_message_are_refused(
    raw: bytes, kind: str, network: Any, kinds: Any, kinds_callers: Any, call: Any
) -> None:
    node = await network.serve((kinds(answer_caller).add_to, None), callers=kinds_callers)
    channel = await network.dial(node)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call(channel, kind, raw)
    assert reason_of(refused.value) == errors_pb2.ERROR_REASON_INVALID_MESSAGE


@every_kind
@pytest.mark.parametrize("over", [0, 1, 10_000_000])
async def test_a_message_over_the_limit_is_refused(
    over: int, kind: str, network: Any, kinds: Any, kinds_callers: Any, call: Any, submission: Any
) -> None:
    service = kinds(answer_caller)
    node = await network.serve((service.add_to, None), callers=kinds_callers)
    channel = await network.dial(node)
    # An unknown field makes a message as long as one likes without breaking a rule.
    body = submission().SerializeToString()
    filler = Limits().message_bytes + over - len(body) - 1 - 3 - (over > 2**20)
    field = b"\x7a" + varint(filler) + bytes(filler)
    message = body + field
    assert len(message) == Limits().message_bytes + over
    if over == 0:
        assert await call(channel, kind, message)
        return
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call(channel, kind, message)
    assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    if over == 1:
        assert reason_of(refused.value) == errors_pb2.ERROR_REASON_MESSAGE_TOO_LARGE
        assert service.entered == kind.startswith("Stream")


def varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


async def test_a_gateway_takes_no_more_than_its_own_limit(
    network: Any, kinds: Any, kinds_callers: Any, call: Any, submission: Any
) -> None:
    node = await network.serve(
        (kinds(answer_caller).add_to, None), callers=kinds_callers, limits=Limits(message_bytes=30)
    )
    channel = await network.dial(node)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call(channel, "UnaryUnary", submission())
    assert reason_of(refused.value) == errors_pb2.ERROR_REASON_MESSAGE_TOO_LARGE


async def test_a_refusal_is_on_record_before_it_is_sent(
    network: Any, kinds: Any, kinds_callers: Any, call: Any, submission: Any
) -> None:
    records: list[RefusedCall] = []
    recorded, may_send = asyncio.Event(), asyncio.Event()

    async def on_refusal(refused: RefusedCall) -> None:
        records.append(refused)
        recorded.set()
        await may_send.wait()

    node = await network.serve(
        (kinds(raising(Refused(errors_pb2.ERROR_REASON_PURPOSE_UNKNOWN))).add_to, None),
        callers=kinds_callers,
        on_refusal=on_refusal,
    )
    channel = await network.dial(node)
    running = asyncio.create_task(call(channel, "UnaryUnary", submission(message_id="x")))
    await recorded.wait()
    assert not running.done()
    may_send.set()
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await running
    (record,) = records
    assert record.rpc == "/test.Kinds/UnaryUnary"
    assert record.caller == SYSTEM
    assert record.entered
    assert record.request == submission(message_id="x")
    assert record.error_id == error_id_of(refused.value)
    with pytest.raises(grpc.aio.AioRpcError):
        await call(await network.dial(node, OPERATOR), "StreamStream", submission())
    assert records[1].caller == OPERATOR
    assert records[1].request is None
    assert not records[1].entered


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Refused(errors_pb2.ERROR_REASON_LEDGER_UNAVAILABLE), errors_pb2.ERROR_REASON_LEDGER_UNAVAILABLE),
        (OSError(SECRET), errors_pb2.ERROR_REASON_UNSPECIFIED),
    ],
    ids=["refused", "failed"],
)
async def test_a_refusal_that_cannot_be_put_on_record_is_not_sent(
    error: Exception, reason: Any, network: Any, kinds: Any, kinds_callers: Any, call: Any, submission: Any
) -> None:
    async def on_refusal(refused: RefusedCall) -> None:
        raise error

    node = await network.serve((kinds(answer_caller).add_to, None), callers=kinds_callers, on_refusal=on_refusal)
    channel = await network.dial(node, OPERATOR)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call(channel, "UnaryUnary", submission())
    assert reason_of(refused.value) == reason
    assert "山田" not in str(refused.value)


async def test_interceptors_for_tracing_see_a_refusal_as_its_status(
    network: Any, kinds: Any, kinds_callers: Any, call: Any, submission: Any
) -> None:
    seen: list[Any] = []

    class Tracing(grpc.aio.ServerInterceptor):
        async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
            handler = await continuation(handler_call_details)

            async def unary(request: Any, context: Any) -> Any:
                try:
                    return await handler.unary_unary(request, context)
                finally:
                    seen.append((handler_call_details.method, context.code()))

            return grpc.unary_unary_rpc_method_handler(unary)

    node = await network.serve(
        (kinds(raising(ValueError(SECRET))).add_to, None), callers=kinds_callers, interceptors=[Tracing()]
    )
    with pytest.raises(grpc.aio.AioRpcError):
        await call(await network.dial(node), "UnaryUnary", submission())
    async with asyncio.timeout(10):
        while not seen:  # the caller may hear of the end before the server has left its last line
            await asyncio.sleep(0)
    assert seen == [("/test.Kinds/UnaryUnary", grpc.StatusCode.INTERNAL)]


async def test_one_process_may_hold_many_identities(
    network: Any, kinds: Any, kinds_callers: Any, call: Any, submission: Any
) -> None:
    node = await network.serve((kinds(answer_caller).add_to, None), callers=kinds_callers)
    tls = network.tls(OPERATOR)
    assert await call(await network.dial(node), "UnaryUnary", submission())
    async with open_channel(node.address, tls, server=CS) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(channel, "UnaryUnary", submission())
    assert reason_of(refused.value) == errors_pb2.ERROR_REASON_CALLER_NOT_ALLOWED
    assert network.ca(NODES).exists()
