"""Watches from outside when a municipality's changes become readable in a node's database.

Runs as a process of its own, so that it takes neither the node's interpreter nor the client's:

    python -m bench.center_watch DATABASE MUNICIPALITY INTERVAL_SECONDS

It writes `SEQUENCE NANOSECONDS` for each state that it sees, by the clock that all processes of a machine share
(CLOCK_MONOTONIC), and ends when its standard input closes.

A commit changes the header of SQLite's write-ahead-log index, 48 bytes in a file that all connections map. Looking at
them is one system call; only when they differ is the database asked. So what is measured is what anybody can read, at
most one interval late, for some 2 % of a core.

Source: SQLite, WAL-mode file format, section 2.1 (the WAL-index header).
"""

import os
import sqlite3
import sys
import threading
import time
from asyncio import StreamReader, create_subprocess_exec, timeout
from asyncio.subprocess import PIPE, Process
from pathlib import Path
from types import TracebackType
from typing import Final, Self

_HEADER_BYTES: Final = 48


class CenterWatch:
    """The watching process, seen from the benchmark; starts with the `async with` block and ends with it.

    Args:
        database: SQLite file of a node that runs.
        municipality: whose changes.
        interval: seconds between two looks.
    """

    def __init__(self, database: Path, municipality: str, *, interval: float) -> None:
        self._arguments = [str(database), municipality, str(interval)]
        self._process: Process | None = None
        self._seen: list[tuple[int, int]] = []

    async def __aenter__(self) -> Self:
        command = [sys.executable, "-m", "bench.center_watch", *self._arguments]
        self._process = await create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE)
        await self._read()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()

    async def until(self, sequence: int, *, seconds: float) -> list[tuple[int, int]]:
        """Waits until the municipality's change `sequence` can be read.

        Returns:
            What was seen so far, oldest first: last sequence number, and nanoseconds of CLOCK_MONOTONIC.

        Raises:
            TimeoutError: it took longer.
        """
        async with timeout(seconds):
            while self._seen[-1][0] < sequence:
                await self._read()
        return self._seen

    async def _read(self) -> None:
        assert self._process is not None
        stream = self._process.stdout
        assert isinstance(stream, StreamReader)
        reached, at = (await stream.readline()).split()
        self._seen.append((int(reached), int(at)))


def watch(database: str, municipality: str, interval: float) -> None:
    """Prints a line for each state, until standard input closes."""
    ended = threading.Event()
    threading.Thread(target=_wait_for_end, args=(ended,), daemon=True).start()
    connection = sqlite3.connect(f"{Path(database).as_uri()}?mode=ro", uri=True)
    index = os.open(f"{database}-shm", os.O_RDONLY | os.O_CLOEXEC)
    reached, header = -1, b""
    while not ended.is_set():
        before, header = header, os.pread(index, _HEADER_BYTES, 0)
        if header != before:
            query = "SELECT sequence FROM origins WHERE municipality = ?"
            found = (connection.execute(query, (municipality,)).fetchone() or (0,))[0]
            if found != reached:
                reached = found
                print(reached, time.monotonic_ns(), flush=True)
        time.sleep(interval)


def _wait_for_end(ended: threading.Event) -> None:
    sys.stdin.read()
    ended.set()


if __name__ == "__main__":
    watch(sys.argv[1], sys.argv[2], float(sys.argv[3]))
