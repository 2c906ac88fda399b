"""CS, prefecture and center in one process: real servers, real certificates, real databases."""

import asyncio
from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from jukinet.link import uplink as uplink_module
from jukinet.mesh.clock import now_us

Mesh = Callable[..., Any]


@pytest.fixture
async def tiers(mesh: Mesh) -> SimpleNamespace:
    """A municipality's CS, its prefecture and the center; the receivers serve."""
    cs, prefecture, center = mesh("municipality", "131016"), mesh("prefecture", "130001"), mesh("center")
    await center.serve(forwards=False)
    await prefecture.serve(forwards=True)
    return SimpleNamespace(cs=cs, prefecture=prefecture, center=center)


async def test_changes_reach_the_center_in_order_and_their_marks_come_back(tiers: Any, link: Any) -> None:
    tiers.prefecture.dial(tiers.center)
    tiers.cs.dial(tiers.prefecture)
    tiers.cs.submit(*(link.change(n) for n in range(10)))
    last = tiers.cs.submit(*(link.change(n, 2) for n in range(10)))
    await link.until(lambda: tiers.cs.uplink.state.center_mark == last)
    assert tiers.cs.uplink.state.neighbour_mark == last
    for node in (tiers.prefecture, tiers.center):
        history = [(row.sequence, row.resident_code, row.version) for row in node.rows("history")]
        assert [sequence for sequence, _, _ in history] == list(range(1, last + 1))
        assert len(node.rows("residents")) == 10
        assert not node.rows("parked")
    assert {tuple(row) for row in tiers.prefecture.rows("residents")} == {
        tuple(row) for row in tiers.center.rows("residents")
    }
    await link.until(lambda: tiers.cs.rows("stream")[0].center_mark == last)


async def test_sealed_bytes_are_the_same_on_every_hop(tiers: Any, link: Any) -> None:
    tiers.prefecture.dial(tiers.center)
    tiers.cs.dial(tiers.prefecture)
    tiers.cs.submit(link.change(1), link.change(2))
    await link.until(lambda: tiers.cs.uplink.state.center_mark == 2)
    sealed = [(row.segment, row.seal) for row in tiers.cs.rows("outbox")]
    assert [(row.segment, row.seal) for row in tiers.prefecture.rows("outbox")] == sealed


async def test_a_change_made_while_the_link_is_down_follows_when_it_is_up(tiers: Any, link: Any) -> None:
    tiers.cs.dial(tiers.prefecture)
    tiers.cs.submit(link.change(1))
    await link.until(lambda: tiers.prefecture.mark_of(tiers.cs) == 1)
    await tiers.prefecture.stop_serving()
    await link.until(lambda: not tiers.cs.uplink.state.connected)
    tiers.cs.submit(link.change(2))
    await tiers.prefecture.serve(forwards=True)
    await link.until(lambda: tiers.prefecture.mark_of(tiers.cs) == 2)
    assert len(tiers.prefecture.rows("history")) == 2
    tiers.prefecture.dial(tiers.center)
    await link.until(lambda: tiers.cs.uplink.state.center_mark == 2)


async def test_two_municipalities_share_the_prefectures_stream(tiers: Any, mesh: Mesh, link: Any) -> None:
    other = mesh("municipality", "131024")
    tiers.prefecture.dial(tiers.center)
    tiers.cs.dial(tiers.prefecture)
    other.dial(tiers.prefecture)
    for n in range(20):
        tiers.cs.submit(link.change(n))
        other.submit(link.change(100 + n, 1, "131024"))
    await link.until(lambda: tiers.cs.uplink.state.center_mark == 20 and other.uplink.state.center_mark == 20)
    assert tiers.center.mark_of(tiers.prefecture) == 40
    assert len(tiers.center.rows("residents")) == 40


async def test_a_new_prefecture_is_filled_again_by_its_municipalities(tiers: Any, mesh: Mesh, link: Any) -> None:
    tiers.cs.dial(tiers.prefecture)
    tiers.cs.submit(*(link.change(n) for n in range(5)))
    await link.until(lambda: tiers.prefecture.mark_of(tiers.cs) == 5)
    await tiers.cs.stop_dialling()
    rebuilt = mesh("prefecture", "130001", instance="b")
    await rebuilt.serve(forwards=True)
    tiers.cs.dial(rebuilt)
    await link.until(lambda: rebuilt.mark_of(tiers.cs) == 5)
    assert {tuple(row) for row in rebuilt.rows("residents")} == {
        tuple(row) for row in tiers.prefecture.rows("residents")
    }


def _tasks() -> Counter[str]:
    """What is running, by name; gRPC's server replaces its own tasks by equal ones."""
    return Counter(str(task.get_coro().__qualname__) for task in asyncio.all_tasks())  # type: ignore[union-attr]


async def test_an_ended_uplink_leaves_no_task_behind(tiers: Any, link: Any) -> None:
    before = _tasks()
    tiers.cs.dial(tiers.prefecture)
    tiers.cs.submit(link.change(1))
    await link.until(lambda: tiers.cs.uplink.state.neighbour_mark == 1)
    assert _tasks() > before
    await tiers.cs.stop_dialling()
    await link.until(lambda: not tiers.prefecture.link_service.connected)
    await link.until(lambda: _tasks() == before)


async def test_a_stopping_node_ends_its_streams_at_once(tiers: Any, link: Any) -> None:
    tiers.cs.dial(tiers.prefecture)
    await link.until(lambda: tiers.cs.uplink.state.connected)
    await tiers.prefecture.link_service.end_streams()
    assert not tiers.prefecture.link_service.connected
    await link.until(lambda: tiers.cs.uplink.state.connected)


async def test_what_the_center_calls_complete_holds_all_that_was_reported_until_then(
    tiers: Any, link: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uplink_module, "HEARTBEAT", 0.002)
    tiers.prefecture.dial(tiers.center)
    tiers.cs.dial(tiers.prefecture)
    standings = tiers.center.link_service.standings
    reported: list[int] = []
    seen: set[int] = set()
    async with asyncio.timeout(20):
        while len(reported) < 60 or len(seen) <= 5:
            tiers.cs.submit(link.change(len(reported)))
            reported.append(now_us())
            await asyncio.sleep(0.001)  # the three nodes answer meanwhile
            complete = standings.complete_as_of("131016") or 0
            seen.add(complete)
            assert sum(at < complete for at in reported) <= len(tiers.center.rows("history"))
    await link.until(lambda: (standings.complete_as_of("131016") or 0) > reported[-1])
    assert len(tiers.center.rows("history")) == len(reported)


async def test_a_municipality_that_is_cut_off_grows_old_at_the_center(
    tiers: Any, mesh: Mesh, link: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uplink_module, "HEARTBEAT", 0.005)
    other = mesh("municipality", "131024")
    tiers.prefecture.dial(tiers.center)
    for cs in (tiers.cs, other):
        cs.dial(tiers.prefecture)
    of = tiers.center.link_service.standings.complete_as_of
    await link.until(lambda: of("131016") and of("131024"))
    await tiers.cs.stop_dialling()
    cut_at = now_us()
    await link.until(lambda: of("131024") > cut_at + 50_000)
    assert of("131016") <= cut_at
