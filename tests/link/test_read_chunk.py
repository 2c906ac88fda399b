"""Processes that read chunks give what reading here gives, and none outlives its node."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pytest

from jukinet.link.manifest import SealedChange, cut
from jukinet.link.read_chunk import ChunkReaders, read_chunk


def chunk_of(link: Any, count: int) -> Any:
    (chunk,) = cut(SealedChange(n, 1, link.change(n).SerializeToString()) for n in range(1, count + 1))
    return chunk


async def test_a_chunk_is_read_the_same_in_another_process(link: Any) -> None:
    chunk, readers = chunk_of(link, 600), ChunkReaders()
    chunk.changes[3].change = b"\xff"
    try:
        read = await readers.read("131016", chunk, scope="13")
        assert read == read_chunk("131016", chunk, scope="13")
        assert [change.sequence for change in read if not change.resident_code] == [4]
        (pool,) = [readers._pool]
        assert pool is not None
        os.kill(next(iter(pool._processes)), signal.SIGKILL)
        with pytest.raises(BrokenProcessPool):
            while True:
                await readers.read("131016", chunk, scope="13")
        readers.close()
        assert await readers.read("131016", chunk, scope="13") == read
    finally:
        readers.close()


_NODE = """
import asyncio, os, signal
from jukinet.link.manifest import SealedChange, cut
from jukinet.link.read_chunk import ChunkReaders

async def main():
    readers = ChunkReaders()
    (chunk,) = cut(SealedChange(n, 1, b"x") for n in range(1, 600))
    await readers.read("131016", chunk, scope="13")
    print(*readers._pool._processes, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    asyncio.run(main())
"""


def test_no_reading_process_outlives_a_node_that_was_killed(tmp_path: Path) -> None:
    script = tmp_path / "node.py"
    script.write_text(_NODE, "utf-8")
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as node:
        assert node.stdout is not None
        pids = [int(pid) for pid in node.stdout.readline().split()]
    assert pids
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_process_that_reads_starts_without_what_only_a_database_needs() -> None:
    """It starts within the time of some thousand residents; with the library it would be three times as many."""
    script = "import sys, jukinet.link.read_chunk; sys.exit('sqlalchemy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False, timeout=60).returncode == 0
