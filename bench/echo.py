"""The floor of a call: grpc.aio as it is, over mutual TLS, with nothing in the handler.

    python -m bench.echo CONFIG.json

serves a unary method and a stream that answer bytes with bytes of a fixed size, message by message; with a next hop
they first ask that one in the same way, with bytes of a fixed size too. Its certificate, and what it expects of its
peers, are those of a node of the mesh.
"""

import asyncio
import json
import sys
from asyncio import create_subprocess_exec
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import grpc

METHOD: Final = "/bench.Echo/Call"
STREAM: Final = "/bench.Echo/Stream"
_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Tls:
    """Certificate, key and accepted CAs of one side, all in PEM files."""

    certificate: str
    key: str
    authorities: list[str]

    def credentials(self) -> tuple[bytes, bytes, bytes]:
        """Key, certificate and CAs."""
        roots = b"\n".join(Path(path).read_bytes() for path in self.authorities)
        return Path(self.key).read_bytes(), Path(self.certificate).read_bytes(), roots


@dataclass(frozen=True, slots=True)
class Hop:
    """A server to ask: its address, its name in its certificate, and how many bytes the question has."""

    address: str
    name: str
    question_bytes: int


class EchoServer:
    """An echo server as a process, seen from the benchmark; starts with the `async with` block and ends with it.

    Args:
        folder: gets its configuration.
        tls: of the server; its client side towards the next hop too.
        answer_bytes: size of every answer.
        onwards: whom to ask before each answer.
    """

    def __init__(self, folder: Path, *, tls: Tls, answer_bytes: int, onwards: Hop | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._config = folder / "echo.json"
        content = {"tls": asdict(tls), "answer_bytes": answer_bytes, "next": asdict(onwards) if onwards else None}
        self._config.write_text(json.dumps(content), encoding="utf-8")
        self._process: Process | None = None
        self.address = ""

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None
        return self._process.pid

    async def __aenter__(self) -> Self:
        command = [sys.executable, "-m", "bench.echo", str(self._config)]
        self._process = await create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE)
        assert self._process.stdout is not None
        self.address = (await self._process.stdout.readline()).decode().strip()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()


def raw_channel(tls: Tls, address: str, name: str) -> grpc.aio.Channel:
    """A channel without interceptors; `name` is the DNS name in the server's certificate."""
    key, certificate, roots = tls.credentials()
    return grpc.aio.secure_channel(
        address,
        grpc.ssl_channel_credentials(roots, key, certificate),
        options=[("grpc.ssl_target_name_override", name), ("grpc.use_local_subchannel_pool", 1)],
    )


def asking(channel: grpc.aio.Channel) -> Any:
    """The method, to be called with a question in bytes."""
    return channel.unary_unary(METHOD)


def streaming(channel: grpc.aio.Channel) -> Any:
    """The stream, to be called with an iterator of questions in bytes."""
    return channel.stream_stream(STREAM)


async def serve(config: dict[str, Any]) -> None:
    """Serves until standard input closes; tells its address on standard output."""
    tls = Tls(**config["tls"])
    key, certificate, roots = tls.credentials()
    answer = bytes(config["answer_bytes"])
    async with AsyncExitStack() as stack:
        ask = ask_all = None
        if config["next"]:
            hop = Hop(**config["next"])
            channel = await stack.enter_async_context(raw_channel(tls, hop.address, hop.name))
            ask, ask_all, question = asking(channel), streaming(channel), bytes(hop.question_bytes)

        async def call(request: bytes, context: Any) -> bytes:
            if ask is not None:
                await ask(question, timeout=_SECONDS)
            return answer

        async def stream(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
            answered = requests if ask_all is None else ask_all(question async for _ in requests)
            async for _ in answered:
                yield answer

        server = grpc.aio.server()
        service, method = METHOD[1:].split("/")
        handlers: dict[str, Any] = {
            method: grpc.unary_unary_rpc_method_handler(call),
            STREAM.rpartition("/")[2]: grpc.stream_stream_rpc_method_handler(stream),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
        credentials = grpc.ssl_server_credentials([(key, certificate)], roots, require_client_auth=True)
        port = server.add_secure_port("127.0.0.1:0", credentials)
        await server.start()
        print(f"127.0.0.1:{port}", flush=True)
        await asyncio.to_thread(sys.stdin.read)
        await server.stop(None)


if __name__ == "__main__":
    asyncio.run(serve(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))
