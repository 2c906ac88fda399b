"""A node that hangs with its connections open slows nobody else, and is named to the operator within half a minute."""

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from jukinet.mesh.identity import Identity

Network = Any  # the fixture's own class lives in conftest.py
CHIYODA, OKUTAMA, YOKOSUKA = "131016", "133086", "142018"
NAMED_WITHIN = 30.0


@contextmanager
def hanging(pid: int) -> Iterator[None]:
    """A process that does nothing and closes nothing (SIGSTOP)."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


async def named(network: Network, node: str, sick: Identity, *, healthy: str, flows: str) -> None:
    """Waits until `node` calls its neighbour slow, while another municipality's changes reach the center."""
    since = time.monotonic()
    while True:
        before = time.monotonic()
        await network.enter(flows)
        assert time.monotonic() - before < 5, "who has nothing to do with it is as quick as ever"
        links = {link.peer: link for link in (await network.status(node)).links}
        assert not links[healthy].slow
        if links[sick.uri].slow:
            break
        assert time.monotonic() - since < NAMED_WITHIN
        await asyncio.sleep(0.2)
    assert links[sick.uri].connected, "it is named while its stream stands, not when it is gone"


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_municipality_that_hangs_is_named_by_its_prefecture_and_slows_no_other(
    new_network: Callable[..., Network], tmp_path: Path
) -> None:
    network = new_network(tmp_path, [CHIYODA, OKUTAMA])
    async with network.nodes as nodes:
        nodes.start_all()
        await nodes.wait_healthy()
        await network.enter(OKUTAMA)
        sick, well = (Identity("municipality", code) for code in (OKUTAMA, CHIYODA))
        await network.enter(CHIYODA)
        with hanging(nodes.pid(f"municipality-{OKUTAMA}")):
            await named(network, "prefecture-130001", sick, healthy=well.uri, flows=CHIYODA)
        await network.enter(OKUTAMA)


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_prefecture_that_hangs_is_named_above_and_below_and_slows_no_other(
    new_network: Callable[..., Network], tmp_path: Path
) -> None:
    network = new_network(tmp_path, [CHIYODA, YOKOSUKA])
    async with network.nodes as nodes:
        nodes.start_all()
        await nodes.wait_healthy()
        sick, well = Identity("prefecture", "130001"), Identity("prefecture", "140007")
        await network.enter(CHIYODA)
        await network.enter(YOKOSUKA)
        with hanging(nodes.pid("prefecture-130001")):
            late = network.person(CHIYODA)
            await network.submit(CHIYODA, network.submission("ENTRY_EX_OFFICIO", late))
            below = asyncio.create_task(_called_slow(network, f"municipality-{CHIYODA}", sick))
            await named(network, "center", sick, healthy=well.uri, flows=YOKOSUKA)
            await below
        await network.arrived(CHIYODA)


async def _called_slow(network: Network, node: str, sick: Identity) -> None:
    async with asyncio.timeout(NAMED_WITHIN):
        while not any(link.slow for link in (await network.status(node)).links if link.peer == sick.uri):
            await asyncio.sleep(0.2)
