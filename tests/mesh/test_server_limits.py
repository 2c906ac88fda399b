"""What HTTP/2 itself lets a peer do to a server is limited too: pings, header blocks, compressed messages."""

import asyncio
import ssl
import struct
from typing import Any

import grpc
import pytest

from jukinet._pb.jukinet.intake.v1 import intake_pb2
from jukinet.mesh.identity import Identity
from jukinet.mesh.limits import Limits

CS = Identity("municipality", "131016")
SYSTEM = Identity("municipal-system", "131016")

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_SETTINGS, _PING, _GOAWAY = 4, 6, 7
_ENHANCE_YOUR_CALM = 11


async def answer(request: Any, context: Any) -> intake_pb2.SubmitChangeResponse:
    return intake_pb2.SubmitChangeResponse()


def frame(kind: int, payload: bytes = b"", *, flags: int = 0) -> bytes:
    """A frame of the connection itself (RFC 9113 §4.1)."""
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + bytes(4) + payload


async def read_frame(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Kind and payload of the next frame."""
    head = await reader.readexactly(9)
    return head[3], await reader.readexactly(int.from_bytes(head[:3], "big"))


async def error_after_pings(network: Any, node: Any, count: int) -> int | None:
    """Error code of the GOAWAY that so many pings bring about; None where each is answered."""
    tls = network.tls(SYSTEM)
    context = ssl.create_default_context(cafile=str(tls.nodes_ca))
    context.load_cert_chain(tls.certificate, tls.key)
    context.set_alpn_protocols(["h2"])
    reader, writer = await asyncio.open_connection("127.0.0.1", node.port, ssl=context, server_hostname=CS.server_name)
    try:
        writer.write(_PREFACE + frame(_SETTINGS))
        for _ in range(count):
            writer.write(frame(_PING, bytes(8)))
            while (received := await read_frame(reader))[0] not in {_PING, _GOAWAY}:
                pass
            if received[0] == _GOAWAY:
                return int.from_bytes(received[1][4:8], "big")
        return None
    finally:
        writer.transport.abort()


@pytest.mark.parametrize(
    ("pings", "code"),
    [
        pytest.param(3, None, id="as many as are allowed"),
        pytest.param(50, _ENHANCE_YOUR_CALM, id="a flood"),
    ],
)
async def test_a_flood_of_pings_closes_the_connection(
    network: Any, kinds: Any, kinds_callers: Any, pings: int, code: int | None
) -> None:
    node = await network.serve((kinds(answer).add_to, None), callers=kinds_callers)
    async with asyncio.timeout(10):
        assert await error_after_pings(network, node, pings) == code


async def test_how_many_pings_are_a_flood_is_what_the_limits_say(network: Any, kinds: Any, kinds_callers: Any) -> None:
    limits = Limits(ping_strikes=40)
    node = await network.serve((kinds(answer).add_to, None), callers=kinds_callers, limits=limits)
    async with asyncio.timeout(10):
        assert await error_after_pings(network, node, 40) is None
        assert await error_after_pings(network, node, 50) == _ENHANCE_YOUR_CALM


async def test_a_compressed_message_reaches_no_handler(
    network: Any, kinds: Any, kinds_callers: Any, submission: Any
) -> None:
    service = kinds(answer)
    node = await network.serve((service.add_to, None), callers=kinds_callers)
    channel = await network.dial(node)
    ask = channel.unary_unary("/test.Kinds/UnaryUnary", lambda message: message.SerializeToString())
    request = submission(message_id="m" * 64)  # gRPC sends what compression does not make smaller as it is
    await ask(request, timeout=10)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await ask(request, timeout=10, compression=grpc.Compression.Gzip)
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert service.entered == 1


async def test_a_header_block_over_the_limit_reaches_no_handler(
    network: Any, kinds: Any, kinds_callers: Any, submission: Any
) -> None:
    service = kinds(answer)
    limits = Limits(metadata_bytes=2048)  # gRPC's own is as large as the default
    node = await network.serve((service.add_to, None), callers=kinds_callers, limits=limits)
    channel = await network.dial(node)
    ask = channel.unary_unary("/test.Kinds/UnaryUnary", lambda message: message.SerializeToString())
    await ask(submission(), timeout=10, metadata=(("filler", "f" * 1024),))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await ask(submission(), timeout=10, metadata=(("filler", "f" * 5000),))
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert service.entered == 1
