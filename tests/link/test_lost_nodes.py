"""A prefecture or a center that lost all is made again from below, and a municipality joins with its whole register."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import delete

from jukinet.store.schema import manifests
from tests.damaged import flip_kept
from tests.link.registers import accept, digest_of, prune_all

Mesh = Callable[..., Any]


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
