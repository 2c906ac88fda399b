"""The sending side over a network that breaks, after a restore, and while a disk is full."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import delete

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.link.v1.link_pb2 import Credit
from jukinet.link import progress
from jukinet.link.uplink import LinkStopped
from jukinet.mesh.tls import TlsError
from jukinet.store import journal
from jukinet.store.errors import StorageFull, StoreError
from jukinet.store.schema import outbox

Mesh = Callable[..., Any]


class Cutter:
    """A network that goes down after so many bytes of each direction, once; later connections are whole."""

    def __init__(self, target: str, after_bytes: int) -> None:
        self._target = target
        self._left: int | None = after_bytes
        self.address = ""
        self.cuts = 0

    async def __aenter__(self) -> "Cutter":
        self._open: set[asyncio.Task[None]] = set()
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()
        self.address = f"{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._carry(reader, writer))
        self._open.add(task)
        task.add_done_callback(self._open.discard)
        # A task that is cancelled before it reached the other side never comes to close this one.
        task.add_done_callback(lambda _task: writer.transport.abort())

    async def _carry(self, near_reader: asyncio.StreamReader, near: asyncio.StreamWriter) -> None:
        host, _, port = self._target.rpartition(":")
        far_reader, far = await asyncio.open_connection(host, int(port))
        left, self._left = self._left, None
        up = asyncio.create_task(self._pump(near_reader, far, left))
        down = asyncio.create_task(self._pump(far_reader, near, left))
        try:
            await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            up.cancel()
            down.cancel()
            await asyncio.gather(up, down, return_exceptions=True)
            for writer in (near, far):
                writer.transport.abort()
                with suppress(OSError):
                    await writer.wait_closed()

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, left: int | None) -> None:
        while data := await source.read(65536):
            if left is not None:
                data, left = data[:left], left - len(data)
            sink.write(data)
            await sink.drain()
            if left is not None and left <= 0:
                self.cuts += 1
                return


@pytest.mark.parametrize(
    "after_bytes", [1, 100, 1000, 2000, 2500, 3000, 3100, 3200, 3300, 3500, 4000, 5000, 7000, 9000]
)
async def test_a_connection_cut_at_any_byte_loses_and_doubles_nothing(
    prefecture: Any, cs: Any, link: Any, after_bytes: int
) -> None:
    async with Cutter(prefecture.address, after_bytes) as cutter:
        for n in range(0, 30, 3):
            cs.submit(*(link.change(k) for k in range(n, n + 3)))
        cs.dial(lambda: cutter.address)
        cs.submit(*(link.change(n, 2) for n in range(30)))
        await link.until(lambda: cs.uplink.state.neighbour_mark == 60)
        await cs.stop_dialling()
        assert cutter.cuts == 1
    history = prefecture.rows("history")
    assert [row.sequence for row in history] == list(range(1, 61))
    assert not prefecture.rows("parked")


async def test_a_backlog_larger_than_the_credit_drains_in_order(mesh: Mesh, cs: Any, link: Any) -> None:
    prefecture = mesh("prefecture", "130001", instance="tight")
    await prefecture.serve(forwards=True, credit=Credit(batches=1, bytes=2_000))
    for n in range(60):
        cs.submit(link.change(n))
    cs.dial(prefecture)
    await link.until(lambda: cs.uplink.state.neighbour_mark == 60)
    assert [row.sequence for row in prefecture.rows("history")] == list(range(1, 61))
    assert len(prefecture.applied) > 3


async def test_changes_that_come_while_others_are_sent_are_written_one_at_a_time(
    prefecture: Any, cs: Any, link: Any
) -> None:
    """Growth and acknowledgements both make the sender write; gRPC fails a call that is written to twice at once."""
    cs.dial(prefecture)
    await link.until(lambda: cs.uplink.state.connected)
    for n in range(150):
        cs.submit(link.change(n))
        await asyncio.sleep(0)
    await link.until(lambda: cs.uplink.state.neighbour_mark == 150)
    assert cs.uplink.state.last_error == errors.ERROR_REASON_UNSPECIFIED
    assert [row.sequence for row in prefecture.rows("history")] == list(range(1, 151))


async def stopped(node: Any) -> "errors.ErrorReason.ValueType":
    async with asyncio.timeout(10):
        with pytest.raises(LinkStopped) as caught:
            await node.running
    node.running = None
    assert "runbook" in str(caught.value)
    assert not node.uplink.state.connected
    return caught.value.reason


def _content(node: Any, *tables: str) -> dict[str, list[Any]]:
    """Rows without their times, the checksums over these, and trace contexts."""
    left_out = {"applied_at", "as_of", "moved_at", "parked_at", "traceparents"}
    left_out |= {"checksum"} if "history" in tables else set()
    return {
        table: [
            {name: value for name, value in row._mapping.items() if name not in left_out} for row in node.rows(table)
        ]
        for table in tables
    }


async def test_a_sender_restored_from_a_backup_takes_back_what_it_lost_and_fences_its_twin(
    prefecture: Any, cs: Any, mesh: Mesh, link: Any
) -> None:
    cs.dial(prefecture)
    for n in range(5):
        cs.submit(link.change(n))
    await link.until(lambda: cs.uplink.state.neighbour_mark == 5)
    await cs.stop_dialling()
    restored = mesh("municipality", "131016", instance="restored")
    for n in range(3):
        restored.submit(link.change(n))
    restored.dial(prefecture)
    await link.until(lambda: restored.uplink.state.neighbour_mark == 5 and not restored.boot.restored)
    assert _content(restored, "outbox", "origins") == _content(cs, "outbox", "origins")
    restored.submit(link.change(9))
    await link.until(lambda: restored.uplink.state.neighbour_mark == 6)
    assert [row.epoch > 1 for row in prefecture.rows("history")] == [*[False] * 5, True]
    cs.submit(link.change(77))
    before = prefecture.digest()
    cs.dial(prefecture)
    assert await stopped(cs) == errors.ERROR_REASON_LINK_FENCED
    assert prefecture.digest() == before


async def test_a_sender_whose_own_segments_are_gone_above_stops(
    prefecture: Any, cs: Any, mesh: Mesh, link: Any
) -> None:
    cs.dial(prefecture)
    cs.submit(*(link.change(n) for n in range(5)))
    await link.until(lambda: cs.uplink.state.neighbour_mark == 5)
    await cs.stop_dialling()
    prefecture.do(lambda connection: connection.execute(delete(outbox)) and None)
    restored = mesh("municipality", "131016", instance="restored")
    restored.dial(prefecture)
    assert await stopped(restored) == errors.ERROR_REASON_LINK_NOT_KEPT
    assert restored.boot.restored
    assert not restored.rows("history")


@pytest.mark.parametrize("changes", [5, 9])
async def test_a_sender_with_another_history_is_a_fork(
    prefecture: Any, cs: Any, mesh: Mesh, link: Any, changes: int
) -> None:
    """With as many changes the receiver finds out, with more the sender does."""
    cs.dial(prefecture)
    cs.submit(*(link.change(n) for n in range(5)))
    await link.until(lambda: cs.uplink.state.neighbour_mark == 5)
    await cs.stop_dialling()
    other = mesh("municipality", "131016", instance="other")
    other.submit(*(link.change(100 + n) for n in range(changes)))
    before = prefecture.digest()
    other.dial(prefecture)
    assert await stopped(other) == errors.ERROR_REASON_LINK_FORK
    assert prefecture.digest() == before


async def test_a_prefecture_that_lost_its_disk_is_rebuilt_from_the_center_in_the_same_order(
    cs: Any, mesh: Mesh, link: Any
) -> None:
    center, prefecture, other = mesh("center"), mesh("prefecture", "130001"), mesh("municipality", "131024")
    await center.serve(forwards=False)
    await prefecture.serve(forwards=True)
    for node, above in ((prefecture, center), (cs, prefecture), (other, prefecture)):
        node.dial(above)
    for n in range(20):
        cs.submit(link.change(n))
        other.submit(link.change(100 + n, 1, "131024"))
    await link.until(lambda: cs.uplink.state.center_mark == 20 and other.uplink.state.center_mark == 20)
    for node in (cs, other, prefecture):
        await node.stop_dialling()
    await prefecture.stop_serving()
    rebuilt = mesh("prefecture", "130001", instance="rebuilt")
    rebuilt.boot.doubt()
    rebuilt.dial(center)
    await rebuilt.serve(forwards=True)
    for node, person in ((cs, 50), (other, 150)):
        node.dial(rebuilt)
        node.submit(link.change(person, 1, node.identity.name))
    await link.until(lambda: cs.uplink.state.center_mark == 21 and other.uplink.state.center_mark == 21)
    assert len(center.rows("history")) == 42
    assert center.rows("marks")[0].epoch > 1
    wanted = _content(prefecture, "history", "outbox")
    found = _content(rebuilt, "history", "outbox")
    assert {table: rows[: len(wanted[table])] for table, rows in found.items()} == wanted
    sources = {row.source: (row.mark, row.epoch) for row in rebuilt.rows("marks")}
    assert sources == {cs.identity.uri: (21, 1), other.identity.uri: (21, 1)}
    assert _content(rebuilt, "residents") == _content(center, "residents")


def _set_epoch(node: Any, epoch: int) -> None:
    node.do(lambda connection: journal.write_stream(connection, replace(journal.read_stream(connection), epoch=epoch)))


async def test_a_fenced_sender_stops(prefecture: Any, cs: Any, link: Any) -> None:
    cs.submit(link.change(1))
    _set_epoch(cs, 2)
    cs.dial(prefecture)
    await link.until(lambda: cs.uplink.state.neighbour_mark == 1)
    await cs.stop_dialling()
    _set_epoch(cs, 1)
    cs.dial(prefecture)
    assert await stopped(cs) == errors.ERROR_REASON_LINK_FENCED


async def test_a_sender_that_is_writing_learns_at_once_why_it_is_refused(
    mesh: Mesh, cs: Any, link: Any, caplog: pytest.LogCaptureFixture
) -> None:
    node = mesh("prefecture", "130001", instance="without-keys")
    await node.serve(forwards=True, credit=Credit(batches=32, bytes=8_000_000))
    node.link_service._assembly = replace(node.link_service._assembly, key_of=lambda _: None)
    for first in range(1, 4_000, 100):
        cs.submit(*(link.change(person) for person in range(first, first + 100)))
    for _ in range(5):
        cs.dial(node)
        assert await stopped(cs) == errors.ERROR_REASON_LINK_SEAL
    assert "link lost" not in caplog.text


async def test_a_full_disk_above_is_waited_out(
    prefecture: Any, cs: Any, link: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> Any:
        raise StorageFull("disk")

    with monkeypatch.context() as broken:
        broken.setattr("jukinet.link.service.apply_batch", full)
        cs.dial(prefecture)
        cs.submit(link.change(1))
        await link.until(lambda: cs.uplink.state.last_error == errors.ERROR_REASON_STORAGE_FULL)
        assert not prefecture.rows("history")
    await link.until(lambda: cs.uplink.state.neighbour_mark == 1)


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (StorageFull("disk"), errors.ERROR_REASON_STORAGE_FULL),
        (StoreError("broken"), errors.ERROR_REASON_DEPENDENCY_UNAVAILABLE),
    ],
)
async def test_an_outbox_that_cannot_be_read_is_tried_again(
    prefecture: Any,
    cs: Any,
    link: Any,
    monkeypatch: pytest.MonkeyPatch,
    failure: StoreError,
    reason: "errors.ErrorReason.ValueType",
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise failure

    cs.submit(link.change(1))
    with monkeypatch.context() as patched:
        patched.setattr(journal, "fetch_outbox", broken)
        cs.dial(prefecture)
        await link.until(lambda: cs.uplink.state.last_error == reason)
    await link.until(lambda: cs.uplink.state.neighbour_mark == 1)


async def test_a_driver_error_is_told_without_its_values(prefecture: Any, cs: Any, link: Any) -> None:
    cs.submit(link.change(1))
    cs.do(lambda connection: connection.exec_driver_sql("ALTER TABLE outbox RENAME TO gone") and None)
    cs.dial(prefecture)
    await link.until(lambda: cs.uplink.state.last_error == errors.ERROR_REASON_DEPENDENCY_UNAVAILABLE)
    cs.do(lambda connection: connection.exec_driver_sql("ALTER TABLE gone RENAME TO outbox") and None)
    await link.until(lambda: cs.uplink.state.neighbour_mark == 1)


async def test_progress_that_cannot_be_noted_is_noted_later_and_stops_nothing(
    prefecture: Any, cs: Any, link: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> Any:
        raise StorageFull("disk")

    monkeypatch.setattr(progress, "RETRY_AFTER", 0.02)
    with monkeypatch.context() as patched:
        patched.setattr(journal, "record_progress", full)
        cs.dial(prefecture)
        cs.submit(link.change(1))
        await link.until(lambda: cs.uplink.state.neighbour_mark == 1)
        assert cs.rows("stream")[0].neighbour_mark == 0
    await link.until(lambda: cs.rows("stream")[0].neighbour_mark == 1)


async def test_certificates_that_cannot_be_used_are_tried_again(cs: Any, prefecture: Any, link: Any) -> None:
    attempts = []

    def address() -> str:
        attempts.append(1)
        if len(attempts) < 3:
            raise TlsError("half written")
        return str(prefecture.address)

    cs.dial(address)
    await link.until(lambda: cs.uplink.state.connected)
    assert len(attempts) == 3


async def test_parked_changes_above_are_counted(prefecture: Any, cs: Any, link: Any) -> None:
    cs.dial(prefecture)
    cs.submit(link.change(1, 2), link.change(2))
    await link.until(lambda: cs.uplink.state.parked_above == 1)
