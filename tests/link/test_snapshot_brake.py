"""A snapshot that changes too much waits for two operators; other snapshots do not, nor does one of a lost register."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet.assembly.release_held import release_held
from jukinet.domain.brake import Brake
from jukinet.mesh.clock import now_us
from tests.link.registers import accept, digest_of, prune_all

Mesh = Callable[..., Any]
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
