"""A receiver that cannot get a municipality by the stream gets it as a snapshot, and then the stream goes on."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from sqlalchemy import delete

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.link.v1 import snapshot_pb2 as pb
from jukinet._pb.jukinet.link.v1.snapshot_pb2_grpc import SnapshotServiceStub
from jukinet.assembly.release_held import release_held
from jukinet.domain.arrival import Arrival
from jukinet.domain.brake import Brake
from jukinet.link import bring, install, manifest, snapshot_source
from jukinet.link.apply_batch import Assembly
from jukinet.link.read_chunk import read_chunk
from jukinet.mesh.client import open_channel
from jukinet.mesh.clock import now_us
from jukinet.mesh.errors import reason_of
from jukinet.store import digest, journal, register
from jukinet.store.errors import StorageFull
from jukinet.store.outbox_start import drop_outbox
from jukinet.store.schema import manifests
from tests.damaged import flip_kept

Mesh = Callable[..., Any]
KEY = bytes(32)


def accept(node: Any, *changes: Any) -> int:
    """Lets a CS take changes in as its intake does: into its register, and sealed into its outbox."""
    name = node.identity.name

    def take(connection: Any) -> None:
        last = journal.read_stream(connection)
        arrivals = [
            Arrival(name, last.epoch, last.last_sequence + n, change, change.SerializeToString())
            for n, change in enumerate(changes, 1)
        ]
        applied = register.apply_arrivals(connection, arrivals, scope=name, now_us=1)
        assert applied.outcomes == [None] * len(changes)

    node.do(take)
    return int(node.submit(*changes))


def prune(node: Any, through: int) -> None:
    """Drops the outbox up to a change, as a node does with what the center has long had."""
    node.do(lambda connection: drop_outbox(connection, through))


def digest_of(node: Any, municipality: str) -> tuple[int, int, bytes]:
    """Place, number of rows and root of a municipality's digest at a node."""
    with node.reader.connect() as connection, connection.begin():
        places = {place.municipality: place for place in digest.places(connection)}
        at = places.get(municipality, digest.Place(municipality, 0, 0))
        found = digest.digest(connection, KEY, at, stopped=lambda: False)
    return at.sequence, found.rows, found.root


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


def prune_all(*nodes: Any) -> None:
    """Drops all that the nodes have in their outboxes."""
    for node in nodes:
        last = node.rows("stream")[0].last_sequence
        prune(node, last)


@pytest.fixture
async def tiers(mesh: Mesh, link: Any) -> Any:
    """A center, a prefecture and two municipalities with twenty residents each, known everywhere, outboxes pruned."""
    center, prefecture = mesh("center"), mesh("prefecture", "130001")
    chiyoda, chuo = mesh("municipality", "131016"), mesh("municipality", "131024")
    await center.serve(forwards=False)
    await prefecture.serve(forwards=True)
    prefecture.dial(center)
    for node, first in ((chiyoda, 0), (chuo, 100)):
        node.dial(prefecture)
        accept(node, *(link.change(first + n, 1, node.identity.name) for n in range(20)))
    await link.until(lambda: all(node.rows("stream")[0].center_mark == 20 for node in (chiyoda, chuo)))
    await link.until(lambda: prefecture.rows("stream")[0].center_mark == 40)
    prune_all(chiyoda, chuo, prefecture, center)
    return SimpleNamespace(center=center, prefecture=prefecture, chiyoda=chiyoda, chuo=chuo)


async def lose(*nodes: Any) -> None:
    """Takes nodes off the network, for their disks are lost."""
    for node in nodes:
        await node.stop_dialling()
        await node.stop_serving()


def assert_equal(tiers: Any, *, rows: int) -> None:
    """All tiers hold the same rows of both municipalities, so many of each."""
    for name, cs in (("131016", tiers.chiyoda), ("131024", tiers.chuo)):
        assert digest_of(cs, name)[1] == rows
        assert digest_of(cs, name) == digest_of(tiers.prefecture, name) == digest_of(tiers.center, name)
    assert not tiers.prefecture.rows("parked")
    assert not tiers.center.rows("parked")


def arrived(tiers: Any, mark: int) -> Callable[[], bool]:
    return lambda: all(cs.uplink.state.center_mark == mark for cs in (tiers.chiyoda, tiers.chuo))


async def redial(tiers: Any) -> None:
    for cs in (tiers.chiyoda, tiers.chuo):
        await cs.stop_dialling()
        cs.dial(tiers.prefecture)


async def test_a_prefecture_that_nobody_keeps_is_made_again_by_its_municipalities(
    tiers: Any, mesh: Mesh, link: Any
) -> None:
    await lose(tiers.prefecture)
    # While the prefecture was away the municipalities went on.
    for cs, first in ((tiers.chiyoda, 20), (tiers.chuo, 120)):
        accept(cs, link.change(first, 1, cs.identity.name))
    tiers.prefecture = mesh("prefecture", "130001", instance="rebuilt")
    tiers.prefecture.boot.doubt()
    tiers.prefecture.dial(tiers.center)
    await tiers.prefecture.serve(forwards=True)
    await redial(tiers)
    await link.until(arrived(tiers, 21))
    assert_equal(tiers, rows=21)
    assert not tiers.prefecture.boot.restored
    assert tiers.center.rows("marks")[0].epoch > 1
    accept(tiers.chiyoda, link.change(3, 2))
    await link.until(lambda: tiers.chiyoda.uplink.state.center_mark == 22)
    assert digest_of(tiers.chiyoda, "131016") == digest_of(tiers.center, "131016")


async def test_a_center_is_made_again_by_manifests_that_the_municipalities_sign(
    tiers: Any, mesh: Mesh, link: Any
) -> None:
    await lose(tiers.center)
    await tiers.prefecture.stop_dialling()
    accept(tiers.chiyoda, link.change(20))
    accept(tiers.chuo, link.change(120, 1, "131024"))
    tiers.center = mesh("center", instance="rebuilt")
    await tiers.center.serve(forwards=False)
    tiers.prefecture.dial(tiers.center)
    await link.until(arrived(tiers, 21))
    assert_equal(tiers, rows=21)
    assert {row.municipality for row in tiers.center.rows("manifests")} == {"131016", "131024"}


async def test_a_center_and_a_prefecture_that_are_both_lost_come_back(tiers: Any, mesh: Mesh, link: Any) -> None:
    await lose(tiers.center, tiers.prefecture)
    accept(tiers.chiyoda, link.change(20))
    accept(tiers.chuo, link.change(120, 1, "131024"))
    tiers.center, tiers.prefecture = mesh("center", instance="new"), mesh("prefecture", "130001", instance="new")
    await tiers.center.serve(forwards=False)
    tiers.prefecture.dial(tiers.center)
    await tiers.prefecture.serve(forwards=True)
    await redial(tiers)
    await link.until(arrived(tiers, 21))
    assert_equal(tiers, rows=21)


async def test_a_municipality_that_joins_with_its_register_reaches_the_center_without_a_change(
    tiers: Any, mesh: Mesh, link: Any
) -> None:
    newcomer = mesh("municipality", "141003")
    accept(newcomer, *(link.change(500 + n, 1, "141003") for n in range(30)))
    prune_all(newcomer)
    kanagawa = mesh("prefecture", "140007")
    await kanagawa.serve(forwards=True)
    kanagawa.dial(tiers.center)
    newcomer.dial(kanagawa)
    await link.until(lambda: digest_of(tiers.center, "141003") == digest_of(newcomer, "141003"))
    await link.until(lambda: newcomer.uplink.state.neighbour_mark == 30)
    accept(newcomer, link.change(600, 1, "141003"))
    await link.until(lambda: newcomer.uplink.state.center_mark == 31)
    assert digest_of(tiers.center, "141003") == digest_of(newcomer, "141003")


async def joined_by_snapshot(mesh: Mesh, link: Any) -> tuple[Any, Any, Any]:
    """A center, a prefecture, and a municipality that came to both with its register and has reported nothing since."""
    center, kanagawa, newcomer = mesh("center"), mesh("prefecture", "140007"), mesh("municipality", "141003")
    accept(newcomer, *(link.change(500 + n, 1, "141003") for n in range(30)))
    prune_all(newcomer)
    await center.serve(forwards=False)
    await kanagawa.serve(forwards=True)
    kanagawa.dial(center)
    newcomer.dial(kanagawa)
    await link.until(lambda: newcomer.uplink.state.neighbour_mark == 30)
    return center, kanagawa, newcomer


async def test_a_municipality_that_came_by_a_snapshot_and_is_silent_since_reaches_a_center_that_lost_all(
    mesh: Mesh, link: Any
) -> None:
    center, kanagawa, newcomer = await joined_by_snapshot(mesh, link)
    assert not kanagawa.rows("outbox")
    await lose(center)
    await kanagawa.stop_dialling()
    rebuilt = mesh("center", instance="rebuilt")
    await rebuilt.serve(forwards=False)
    kanagawa.dial(rebuilt)
    await link.until(lambda: digest_of(rebuilt, "141003") == digest_of(newcomer, "141003"))
    accept(newcomer, link.change(600, 1, "141003"))
    await link.until(lambda: newcomer.uplink.state.center_mark == 31)


async def test_a_silent_municipality_is_brought_over_the_connection_that_there_is_when_its_manifest_comes(
    mesh: Mesh, link: Any, caplog: pytest.LogCaptureFixture
) -> None:
    center, kanagawa, newcomer = await joined_by_snapshot(mesh, link)
    await lose(center, newcomer)
    await kanagawa.stop_dialling()
    kanagawa.do(lambda connection: connection.execute(delete(manifests)))
    rebuilt = mesh("center", instance="rebuilt")
    await rebuilt.serve(forwards=False)
    caplog.set_level("INFO")
    kanagawa.dial(rebuilt)
    await link.until(lambda: "waits for a municipality's manifest" in caplog.text)
    await rebuilt.stop_serving()
    await link.until(lambda: not kanagawa.uplink.state.connected)
    await rebuilt.serve(forwards=False)
    await link.until(lambda: kanagawa.uplink.state.connected)
    newcomer.dial(kanagawa)
    await link.until(lambda: digest_of(rebuilt, "141003") == digest_of(newcomer, "141003"))


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


async def test_a_municipality_with_a_damaged_change_sends_on_while_its_manifest_is_wanted(
    tiers: Any, mesh: Mesh, link: Any, caplog: pytest.LogCaptureFixture
) -> None:
    flip_kept(tiers.chiyoda.engine, 3, "change")
    await lose(tiers.center)
    await tiers.prefecture.stop_dialling()
    center = mesh("center", instance="rebuilt")
    await center.serve(forwards=False)
    tiers.prefecture.dial(center)
    await link.until(lambda: "no manifest can be signed of what is stored here" in caplog.messages)
    accept(tiers.chiyoda, link.change(50, 1, "131016"))
    await link.until(lambda: tiers.chiyoda.uplink.state.neighbour_mark == 21)
    assert tiers.chiyoda.uplink.state.connected
    lost = [record.__dict__["reason"] for record in caplog.records if record.message == "link lost"]
    assert "RECORD_DAMAGED" not in lost, "its stream stays"


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


SMALL = Brake(percent=0.0, deletions=2, floor=3)
HELD = errors.ERROR_REASON_LINK_HELD


async def release(node: Any, scope: str) -> None:
    """Two operators release Chiyoda."""
    for operator in ("a", "b"):
        await asyncio.to_thread(
            node.do,
            lambda connection, who=operator: release_held(
                connection,
                "131016",
                operator=f"spiffe://operators.jukinet/operator/{who}",
                scope=scope,
                now_us=now_us(),
            ),
        )


async def test_a_snapshot_that_changes_too_much_at_its_prefecture_waits_for_two_operators(
    mesh: Mesh, cs: Any, link: Any
) -> None:
    prefecture = mesh("prefecture", "130001")
    prefecture.brake = SMALL
    await prefecture.serve(forwards=False)
    cs.dial(prefecture)
    accept(cs, *(link.change(n) for n in range(9)))
    await link.until(lambda: cs.uplink.state.neighbour_mark == 9)
    await cs.stop_dialling()
    accept(cs, *(link.change(n, 2) for n in range(4)))
    prune_all(cs)
    cs.dial(prefecture)
    await link.until(lambda: cs.uplink.state.last_error == HELD)
    assert digest_of(prefecture, "131016")[:2] == (9, 9)
    await release(prefecture, "13")
    await link.until(lambda: cs.uplink.state.neighbour_mark == 13)
    assert digest_of(prefecture, "131016") == digest_of(cs, "131016")


@pytest.mark.parametrize("sent_before", [0, 4])
async def test_a_municipality_that_the_center_holds_keeps_no_other_snapshot_from_it(
    mesh: Mesh, link: Any, sent_before: int
) -> None:
    """Held by what it sent before, or by what its snapshot brings."""
    center, prefecture = mesh("center"), mesh("prefecture", "130001")
    chiyoda, chuo = mesh("municipality", "131016"), mesh("municipality", "131024")
    center.brake = SMALL
    await center.serve(forwards=False)
    await prefecture.serve(forwards=True)
    prefecture.dial(center)
    for node, first in ((chiyoda, 0), (chuo, 100)):
        node.dial(prefecture)
        accept(node, *(link.change(first + n, 1, node.identity.name) for n in range(9)))
    await link.until(lambda: prefecture.uplink.state.neighbour_mark == 18)
    if sent_before:
        accept(chiyoda, *(link.change(n, 2) for n in range(sent_before)))
        await link.until(lambda: prefecture.uplink.state.neighbour_mark == 18 + sent_before)
    await prefecture.stop_dialling()
    last = accept(chiyoda, *(link.change(4 + n, 2) for n in range(4)))
    accept(chuo, link.change(120, 1, "131024"))
    await link.until(lambda: prefecture.mark_of(chiyoda) == last and prefecture.mark_of(chuo) == 10)
    prune_all(prefecture)
    prefecture.dial(center)
    await link.until(lambda: prefecture.uplink.state.last_error == HELD)
    await link.until(lambda: digest_of(center, "131024") == digest_of(chuo, "131024"))
    assert digest_of(center, "131016")[1] == 9
    assert [row.version for row in center.rows("history") if row.municipality == "131016"] == [1] * 9
    await release(center, "")
    await link.until(lambda: digest_of(center, "131016") == digest_of(chiyoda, "131016"))
    last = accept(chiyoda, link.change(30))
    await link.until(lambda: chiyoda.uplink.state.center_mark == last)
    assert not center.rows("parked")


async def test_a_lost_register_is_made_again_whatever_its_brake_would_hold(mesh: Mesh, cs: Any, link: Any) -> None:
    """Nothing of the municipality is here that its snapshot could alter."""
    accept(cs, *(link.change(n) for n in range(9)))
    accept(cs, *(link.change(n, 2) for n in range(9)))
    prune_all(cs)
    prefecture = mesh("prefecture", "130001")
    prefecture.brake = SMALL
    await prefecture.serve(forwards=False)
    cs.dial(prefecture)
    await link.until(lambda: cs.uplink.state.neighbour_mark == 18)
    assert digest_of(prefecture, "131016") == digest_of(cs, "131016")
    assert not prefecture.rows("brakes")


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
