"""The floor of a change's way in time: what three databases and two calls cost when nothing else is done."""

import time
from pathlib import Path
from typing import Any, Final

import grpc
from sqlalchemy import Engine

from bench.echo import asking
from jukinet.store.engine import open_writer
from jukinet.store.migrate import REGISTER, ensure_schema

_INSERT: Final = (
    "INSERT INTO history (resident_code, version, municipality, epoch, sequence, change, applied_at) "
    "VALUES (?, 1, '131016', 1, ?, ?, 0)"
)


class SingleCommits:
    """Three registers in a folder; each step adds one row of history to one of them, durably.

    The connections are those of the nodes: write-ahead log, `synchronous=FULL`.
    """

    def __init__(self, folder: Path, *, change_bytes: int) -> None:
        self._engines: list[Engine] = []
        self._change = bytes(change_bytes)
        self._rows = 0
        for tier in range(3):
            engine = open_writer(f"sqlite:///{folder / f'{tier}.db'}")
            ensure_schema(engine, REGISTER)
            self._engines.append(engine)

    async def step(self, channel: grpc.aio.Channel, question_bytes: int) -> float:
        """One change's way at its barest: commit, call, commit, call, commit.

        Returns:
            Milliseconds.
        """
        ask, question = asking(channel), bytes(question_bytes)
        self._rows += 1
        began = time.monotonic_ns()
        self._commit(0)
        for tier in (1, 2):
            await ask(question)
            self._commit(tier)
        return (time.monotonic_ns() - began) / 1e6

    def close(self) -> None:
        """Closes the files."""
        for engine in self._engines:
            engine.dispose()

    def _commit(self, tier: int) -> None:
        connection: Any = self._engines[tier].raw_connection().driver_connection
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(_INSERT, (f"{self._rows:011}", self._rows, self._change))
        connection.execute("COMMIT")
