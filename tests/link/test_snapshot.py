"""A receiver that cannot get a municipality by the stream gets the snapshot that it signed, and then the stream."""

from collections.abc import Callable
from typing import Any

import grpc
import pytest

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.link.v1 import snapshot_pb2 as pb
from jukinet._pb.jukinet.link.v1.snapshot_pb2_grpc import SnapshotServiceStub
from jukinet.link import bring, install, manifest, snapshot_source
from jukinet.link.apply_batch import Assembly
from jukinet.link.read_chunk import read_chunk
from jukinet.mesh.client import open_channel
from jukinet.mesh.errors import reason_of
from jukinet.store import journal
from jukinet.store.errors import StorageFull
from tests.damaged import flip_kept
from tests.link.registers import accept, digest_of, prune, prune_all

Mesh = Callable[..., Any]


async def test_a_receiver_below_what_is_kept_gets_a_snapshot_and_then_the_stream(
    mesh: Mesh, cs: Any, link: Any
) -> None:
    for n in range(20):
        accept(cs, link.change(n))
    prune(cs, 15)
    prefecture = mesh("prefecture", "130001")
    await prefecture.serve(forwards=False)
    cs.dial(prefecture)
    await link.until(lambda: cs.uplink.state.neighbour_mark == 20)
    accept(cs, link.change(20), link.change(3, 2))
    await link.until(lambda: cs.uplink.state.neighbour_mark == 22)
    assert digest_of(prefecture, "131016") == digest_of(cs, "131016")
    assert digest_of(cs, "131016")[:2] == (22, 21)
    assert not prefecture.rows("parked")
    assert [row.sequence for row in prefecture.rows("history")] == list(range(1, 23))
    assert not prefecture.rows("snapshots")
    assert not prefecture.rows("snapshot_chunks")


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Snapshots of several chunks."""
    monkeypatch.setattr(manifest, "CHUNK_CHANGES", 5)


@pytest.mark.parametrize("cut_after", [0, 1, *(pytest.param(chunk, marks=pytest.mark.slow) for chunk in range(2, 6))])
async def test_a_snapshot_goes_on_after_each_chunk_that_is_on_disk(
    mesh: Mesh, cs: Any, link: Any, small_chunks: None, monkeypatch: pytest.MonkeyPatch, cut_after: int
) -> None:
    """The receiver ends after so many chunks, and a new one on its disk asks for the next."""
    for n in range(23):
        accept(cs, link.change(n))
    prune_all(cs)
    prefecture = mesh("prefecture", "130001")
    await prefecture.serve(forwards=False)
    taken: list[int] = []
    take = install.take

    def cut(connection: Any, name: str, number: int, *rest: Any, **named: Any) -> Any:
        if number == cut_after and len(taken) == cut_after:
            raise StorageFull("disk")
        taken.append(number)
        return take(connection, name, number, *rest, **named)

    with monkeypatch.context() as patched:
        patched.setattr(install, "take", cut)
        patched.setattr(bring, "_UNDER_WAY", 1)
        cs.dial(prefecture)
        if cut_after < 5:
            await link.until(lambda: cs.uplink.state.last_error == errors.ERROR_REASON_STORAGE_FULL)
            await prefecture.stop_serving()
            accept(cs, link.change(50))
            taken.append(-1)
            await prefecture.serve(forwards=False)
        await link.until(lambda: digest_of(prefecture, "131016") == digest_of(cs, "131016"))
    assert [number for number in taken if number >= 0] == [0, 1, 2, 3, 4]


async def test_a_chunk_that_was_altered_on_its_way_is_refused_and_nothing_of_it_is_kept(
    mesh: Mesh, cs: Any, link: Any, small_chunks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(12):
        accept(cs, link.change(n))
    prune_all(cs)
    prefecture = mesh("prefecture", "130001")
    await prefecture.serve(forwards=False)
    put, altered = bring._put, 0

    async def alter(stub: Any, epoch: int, name: str, number: int, chunk: Any) -> Any:
        nonlocal altered
        if number == 1 and altered < 2:
            altered += 1
            chunk.changes[3].change = link.change(77).SerializeToString()
        return await put(stub, epoch, name, number, chunk)

    monkeypatch.setattr(bring, "_put", alter)
    cs.dial(prefecture)
    await link.until(lambda: cs.uplink.state.last_error == errors.ERROR_REASON_SNAPSHOT_CHUNK)
    assert all(row.sequence <= 5 for row in prefecture.rows("history"))
    await link.until(lambda: digest_of(prefecture, "131016") == digest_of(cs, "131016"))
    assert altered == 2


async def test_a_municipality_signs_no_snapshot_with_a_damaged_change_in_it(mesh: Mesh, cs: Any, link: Any) -> None:
    for n in range(12):
        accept(cs, link.change(n))
    prune_all(cs)
    flip_kept(cs.engine, 3, "change")
    prefecture = mesh("prefecture", "130001")
    await prefecture.serve(forwards=False)
    cs.dial(prefecture)
    await link.until(lambda: cs.uplink.state.last_error == errors.ERROR_REASON_RECORD_DAMAGED)
    assert not prefecture.rows("history")
    flip_kept(cs.engine, 3, "change")
    await link.until(lambda: cs.uplink.state.neighbour_mark == 12)
    assert digest_of(prefecture, "131016") == digest_of(cs, "131016")


async def test_changes_that_are_taken_while_a_snapshot_is_brought_follow_it(
    mesh: Mesh, cs: Any, link: Any, small_chunks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(40):
        accept(cs, link.change(n))
    prune_all(cs)
    prefecture = mesh("prefecture", "130001")
    await prefecture.serve(forwards=False)
    put = bring._put

    async def live(stub: Any, epoch: int, name: str, number: int, chunk: Any) -> Any:
        accept(cs, link.change(100 + number), link.change(number, 2))
        return await put(stub, epoch, name, number, chunk)

    monkeypatch.setattr(bring, "_put", live)
    cs.dial(prefecture)
    await link.until(lambda: cs.uplink.state.neighbour_mark == 56)
    assert digest_of(prefecture, "131016") == digest_of(cs, "131016")
    assert not prefecture.rows("parked")


async def signed(node: Any, *, key: Any = None, **fake: Any) -> Any:
    """A manifest of a CS; `fake` puts other values into it before it is signed."""
    with node.reader.connect() as connection, connection.begin():
        made = snapshot_source.make_manifest(connection, node.identity.name, node._snapshots()._key)
        assert made
        told = pb.Manifest.FromString(made.manifest)
    for name, value in fake.items():
        setattr(told, name, value)
    return manifest.sign(told, key or node._snapshots()._key)


async def test_of_a_municipality_that_is_half_in_the_snapshot_comes_first_and_then_the_stream(
    mesh: Mesh, cs: Any, link: Any, small_chunks: None
) -> None:
    """Even where the sender's outbox holds all: the stream would begin behind what is here."""
    for n in range(23):
        accept(cs, link.change(n))
    offered = await signed(cs)
    prefecture = mesh("prefecture", "130001")
    with cs.reader.connect() as connection, connection.begin():
        chunk = snapshot_source.next_chunk(connection, "131016", epoch=0, after=0, until=23)
    assert chunk is not None

    changes = read_chunk("131016", chunk, scope="13")

    def begin(connection: Any) -> None:
        install.offer(connection, offered, pb.Manifest.FromString(offered.manifest), source="")
        assembly = Assembly(scope="13", forwards=True, key_of=link.key_of)
        install.take(connection, "131016", 0, chunk, changes, assembly=assembly, now_us=1)

    prefecture.do(begin)
    await prefecture.serve(forwards=False)
    cs.dial(prefecture)
    await link.until(lambda: cs.uplink.state.neighbour_mark == 23)
    assert digest_of(prefecture, "131016") == digest_of(cs, "131016")
    assert [row.sequence for row in prefecture.rows("history")] == list(range(1, 24))
    assert not prefecture.rows("snapshots")


@pytest.mark.parametrize(
    ("situation", "reason"),
    [
        ("another key", "LINK_SEAL"),
        ("another municipality", "LINK_FOREIGN_SEGMENT"),
        ("altered after it was signed", "LINK_SEAL"),
        ("older epoch", "LINK_FENCED"),
        ("newer epoch than was said", "LINK_PROTOCOL"),
        ("never said hello", "LINK_PROTOCOL"),
        ("no manifest", "LINK_PROTOCOL"),
    ],
)
async def test_an_offer_counts_by_signature_sender_and_epoch_alone(
    mesh: Mesh, cs: Any, link: Any, situation: str, reason: str
) -> None:
    prefecture = mesh("prefecture", "130001")
    await prefecture.serve(forwards=False)
    accept(cs, link.change(1))
    if situation != "never said hello":
        cs.dial(prefecture)
        await link.until(lambda: cs.uplink.state.neighbour_mark == 1)
        await cs.stop_dialling()
        if situation == "older epoch":
            mark = prefecture.rows("marks")[0]
            newer = journal.Mark(2, mark.mark, mark.chain, 0, 0)
            prefecture.do(lambda connection: journal.write_mark(connection, cs.identity.uri, newer))
    accept(cs, link.change(2))
    offer = await signed(cs)
    if situation == "another key":
        offer = await signed(cs, key=link.sealing_key("131024"))
    elif situation == "another municipality":
        offer = await signed(cs, municipality="131024", key=link.sealing_key("131024"))
    elif situation == "altered after it was signed":
        offer.manifest = offer.manifest[:-1] + bytes([offer.manifest[-1] ^ 1])
    elif situation == "no manifest":
        offer.manifest = b"\xff"
    before = prefecture.digest()
    async with open_channel(prefecture.address, cs.tls, server=prefecture.identity) as channel:
        request = pb.OfferSnapshotRequest(epoch=3 if situation.startswith("newer") else 1, manifest=offer)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await SnapshotServiceStub(channel).OfferSnapshot(request, timeout=10)
    found = reason_of(refused.value)
    assert found is not None
    assert errors.ErrorReason.Name(found) == f"ERROR_REASON_{reason}"
    assert prefecture.digest() == before
