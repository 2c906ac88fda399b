"""A node whose disk does not keep what it is given ends with an exit code of its own, and nothing is lost."""

import asyncio
import platform
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import pytest

from jukinet.cli.output import Exit
from tests.faults import failing_disk

Network = Any  # the fixture's own class lives in conftest.py
CHIYODA = "131016"
CS, OTHERS = f"municipality-{CHIYODA}", ("center", "prefecture-130001")
SECONDS = 60.0


@pytest.mark.skipif((sys.platform, platform.machine()) != ("linux", "x86_64"), reason="needs seccomp on x86-64 Linux")
async def test_a_failed_fsync_ends_a_running_node_and_what_it_acknowledged_is_there(
    new_network: Callable[..., Network], tmp_path: Path
) -> None:
    network, breaks = new_network(tmp_path, [CHIYODA]), tmp_path / "breaks"
    entries = [network.submission("ENTRY_EX_OFFICIO", network.person(CHIYODA)) for _ in range(2)]

    async def serves() -> None:
        async with asyncio.timeout(SECONDS):
            while True:
                with suppress(grpc.aio.AioRpcError):
                    if await network.is_healthy(CS):
                        return
                await asyncio.sleep(0.05)

    async with network.nodes:
        for name in OTHERS:
            network.nodes.start(name)
        await network.nodes.wait_healthy(OTHERS)
        arguments = ("node", "run", "--config", str(network.mesh.config_path(CS)))
        with network.mesh.log_path(CS).open("wb") as log:
            node = await asyncio.create_subprocess_exec(
                *(sys.executable, failing_disk.__file__, str(breaks), *arguments), stdout=log, stderr=log
            )
        try:
            await serves()
            await network.submit(CHIYODA, entries[0])
            breaks.touch()
            await network.until(lambda: asyncio.sleep(0, breaks.with_suffix(".failing").exists()))
            with pytest.raises(grpc.aio.AioRpcError):
                await network.submit(CHIYODA, entries[1])
            assert await asyncio.wait_for(node.wait(), SECONDS) == Exit.STORAGE
        finally:
            if node.returncode is None:
                node.kill()
                await node.wait()
        assert "The node does not run: the disk failed (OperationalError SQLITE_IOERR_FSYNC)" in network.log(CS)
        network.nodes.start(CS)
        await network.nodes.wait_healthy([CS])
        for entry in entries:
            await network.submit(CHIYODA, entry)  # as a municipal system does with what it is not sure of
        await network.arrived(CHIYODA)
    held = {row["sequence"]: row["resident_code"] for row in network.rows("center", "history")}
    assert held == {number: entry.resident_code for number, entry in enumerate(entries, 1)}
