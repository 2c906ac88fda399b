"""Who has a connection to the REST face, and for how long, by real sockets and mutual TLS."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from jukinet.disclosure.rest import Face
from jukinet.disclosure.rest_server import bind, serve
from jukinet.mesh.identity import NODES, Identity
from jukinet.mesh.pki import create_authority, issue, write_authority, write_leaf
from jukinet.mesh.tls import TlsFiles, TlsMaterial

SERVER, MEMBER = Identity("disclosure"), Identity("municipality", "131016")
OTHER_MEMBERS = [Identity("gateway", "gateway-1"), Identity("witness", "witness-1")]
PORTAL, OTHER_PORTAL = Identity("counter", "portal"), Identity("counter", "other")
NONE: Any = None
HEARTBEAT = b"GET /v2/heartbeat HTTP/1.1\r\nHost: x\r\n\r\n"
SHORT = 0.2
"""Seconds for a request where a test is about who is too slow; all others have a minute."""
WAIT = 20
"""Seconds after which a test that waits has failed."""

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Answer = tuple[int, dict[str, str], Any]


class Site:
    """A node's certificates, and those of who connects."""

    def __init__(self, folder: Path) -> None:
        authority = create_authority(NODES)
        self.nodes_ca, _ = write_authority(authority, folder)
        self.files = {
            each: write_leaf(issue(authority, each, days=1, server=each == SERVER), folder, f"{each.kind}-{each.name}")
            for each in (SERVER, MEMBER, *OTHER_MEMBERS, PORTAL, OTHER_PORTAL)
        }
        self.open = AsyncExitStack()
        self.port = 0

    @property
    def tls(self) -> TlsFiles:
        certificate, key = self.files[SERVER]
        return TlsFiles(certificate=certificate, key=key, nodes_ca=self.nodes_ca)

    def face(self) -> ASGIApp:
        """The face of a node without ledgers."""
        material = TlsMaterial(self.tls)
        return Face(node=SERVER, usage=NONE, mirrors=[], reader=NONE, trust=lambda: material.trust).app()

    @asynccontextmanager
    async def serving(self, app: ASGIApp, *, seconds: float = 60) -> AsyncIterator[None]:
        """Serves in the block; all connections end with it."""
        bound = bind("127.0.0.1:0")
        self.port = bound.getsockname()[1]
        server = asyncio.create_task(serve(app, bound, self.tls, request_seconds=seconds))
        try:
            async with self.open:
                yield
        finally:
            server.cancel()
            await asyncio.wait([server])

    async def connect(self, caller: Identity) -> Connection:
        """Connects, and says nothing."""
        context = ssl.create_default_context(cafile=str(self.nodes_ca))
        context.load_cert_chain(*self.files[caller])
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.port, ssl=context, server_hostname=SERVER.server_name
        )
        self.open.callback(writer.close)
        return reader, writer

    async def ask(self, caller: Identity) -> Answer:
        """Asks on a connection of its own, and ends it."""
        connection = await self.connect(caller)
        answer = await asked(connection)
        connection[1].close()
        return answer


async def asked(connection: Connection, request: bytes = HEARTBEAT) -> Answer:
    reader, writer = connection
    writer.write(request)
    head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), WAIT)).decode()
    status, *lines = head.strip().split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    body = await asyncio.wait_for(reader.readexactly(int(headers["content-length"])), WAIT)
    return int(status.split(" ")[1]), headers, json.loads(body)


async def ended(connection: Connection) -> None:
    """Waits for the end of a connection."""
    reader, _ = connection
    with suppress(ConnectionError):
        await asyncio.wait_for(reader.read(), WAIT)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


async def test_idle_connections_of_other_members_keep_no_counter_out(site: Site) -> None:
    async with site.serving(site.face()):
        for _ in range(50):
            await site.connect(MEMBER)
        assert (await site.ask(PORTAL))[0] == 200
        assert (await site.ask(OTHER_PORTAL))[0] == 200


async def test_all_who_are_no_counters_share_what_one_of_them_may_have(site: Site, monkeypatch: Any) -> None:
    monkeypatch.setattr("jukinet.disclosure.rest_server._CONNECTIONS", 3)
    async with site.serving(site.face()):
        for each in (MEMBER, *OTHER_MEMBERS):
            await site.connect(each)
        assert (await site.ask(PORTAL))[0] == 200


async def test_a_counter_that_holds_what_it_can_is_told_so_and_keeps_no_other_one_out(site: Site) -> None:
    async with site.serving(site.face()):
        held = [await site.connect(PORTAL) for _ in range(25)]
        refused = await site.connect(PORTAL)
        status, headers, problem = await asked(refused)
        assert (status, problem["reason"]) == (429, "CALLER_AT_LIMIT")
        assert (headers["connection"], headers["retry-after"]) == ("close", "10")
        assert headers["cache-control"] == "no-store"
        await ended(refused)
        assert (await site.ask(OTHER_PORTAL))[0] == 200
        assert (await asked(held[0]))[0] == 200


async def test_where_all_places_are_taken_the_node_says_that_it_is_full(site: Site, monkeypatch: Any) -> None:
    monkeypatch.setattr("jukinet.disclosure.rest_server._CONNECTIONS", 1)
    async with site.serving(site.face()):
        await site.connect(PORTAL)
        status, headers, problem = await site.ask(OTHER_PORTAL)
    assert (status, problem["reason"]) == (503, "OVERLOADED")
    assert (headers["connection"], headers["retry-after"]) == ("close", "10")


async def test_who_is_no_counter_hears_that_and_not_whether_there_is_a_place(site: Site) -> None:
    async with site.serving(site.face()):
        first = await site.connect(MEMBER)
        status, headers, problem = await asked(first)
        assert (status, headers["connection"], problem["reason"]) == (403, "close", "CALLER_NOT_ALLOWED")
        await ended(first)
        for _ in range(30):
            await site.connect(MEMBER)
        status, headers, problem = await site.ask(MEMBER)
        assert (status, headers["connection"], problem["reason"]) == (403, "close", "CALLER_NOT_ALLOWED")


async def test_connections_beyond_all_bounds_end_without_a_word_and_a_counter_is_answered(site: Site) -> None:
    async with site.serving(site.face()):
        for _ in range(100):
            await site.connect(MEMBER)
        with suppress(ConnectionError):
            await ended(await site.connect(MEMBER))
        assert (await site.ask(PORTAL))[0] == 200


async def test_what_is_held_idle_is_free_again_after_its_time(site: Site) -> None:
    async with site.serving(site.face(), seconds=SHORT), asyncio.timeout(WAIT):
        held = [await site.connect(PORTAL) for _ in range(25)]
        for each in held:
            await ended(each)
        while (await site.ask(PORTAL))[0] != 200:
            pass


async def drip(connection: Connection, piece: bytes) -> None:
    """Sends a little again and again until the connection ends."""
    reader, writer = connection
    while not reader.at_eof():
        writer.write(piece)
        try:
            await asyncio.wait_for(reader.read(1), SHORT / 10)
        except TimeoutError:
            continue
        except ConnectionError:
            return


async def half_a_head(connection: Connection) -> None:
    connection[1].write(HEARTBEAT[:-2])
    await ended(connection)


async def a_head_that_drips(connection: Connection) -> None:
    connection[1].write(HEARTBEAT[:-2] + b"X: ")
    await drip(connection, b"a")


async def a_next_head_that_drips(connection: Connection) -> None:
    assert (await asked(connection))[0] == 200
    await a_head_that_drips(connection)


async def a_body_that_drips(connection: Connection) -> None:
    announced = HEARTBEAT[:-2] + b"Content-Length: 100000\r\n\r\n"
    assert (await asked(connection, announced))[0] == 200
    await drip(connection, b"a")


@pytest.mark.parametrize("slow", [ended, half_a_head, a_head_that_drips, a_next_head_that_drips, a_body_that_drips])
async def test_who_does_not_send_the_whole_of_a_request_in_time_loses_the_connection(
    site: Site, slow: Callable[[Connection], Awaitable[None]]
) -> None:
    async with site.serving(site.face(), seconds=SHORT), asyncio.timeout(WAIT):
        await slow(await site.connect(PORTAL))


async def test_who_waits_for_the_node_is_not_cut_off(site: Site) -> None:
    async def late(scope: Scope, receive: Receive, send: Send) -> None:
        ready = asyncio.Event()
        asyncio.get_running_loop().call_later(3 * SHORT, ready.set)
        await ready.wait()
        await Response(b"[]")(scope, receive, send)

    async with site.serving(late, seconds=SHORT):
        assert (await site.ask(PORTAL))[0] == 200
