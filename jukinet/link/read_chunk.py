"""Chunks of snapshots, read and checked as far as that needs neither a database nor the chunks before them.

It is two thirds of a receiver's work for a snapshot, and no change of it needs another. So it is done in processes
beside the node's own, which goes on serving streams; they begin with the first chunk and end when nothing came for a
while. None outlives its node: each watches it and ends with it, however it ended.
"""

import asyncio
import marshal
import os
import threading
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait

from jukinet._pb.jukinet.link.v1.snapshot_pb2 import Chunk
from jukinet.domain.apply import ChangeRefused, apply
from jukinet.link.reading import read_change
from jukinet.store.rows import ReadChange, columns_of

IDLE_SECONDS = 30.0
FEW_CHANGES = 500
"""A chunk of so many changes is read before a process has begun."""


def read_chunk(municipality: str, chunk: Chunk, *, scope: str) -> list[ReadChange]:
    """Reads each change and makes the row that it leaves where nobody has its code. `scope` is that of `apply`."""
    return [
        _read(municipality, entry.epoch, sequence, entry.change, scope)
        for sequence, entry in enumerate(chunk.changes, chunk.first_sequence)
    ]


def _read(municipality: str, epoch: int, sequence: int, payload: bytes, scope: str) -> ReadChange:
    arrival, fault = read_change(municipality, epoch, sequence, payload)
    change = arrival.change
    if fault is not None:
        return ReadChange(sequence, epoch, "", "", 0, payload, fault, None)
    row = None
    if not change.previous_resident_code:
        try:
            (made,) = apply(change, municipality=municipality, scope=scope, current={})
            row = tuple(columns_of(made).values())
        except ChangeRefused:
            pass  # it follows another change, or breaks a rule: the register tells
    code, previous = change.record.resident_code, change.previous_resident_code
    return ReadChange(sequence, epoch, code, previous, change.version, payload, None, row)


class ChunkReaders:
    """The processes that read chunks for one node: as many as it has processors, but for the one that takes them."""

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None
        self._busy = 0
        self._idle: asyncio.TimerHandle | None = None

    async def read(self, municipality: str, chunk: Chunk, *, scope: str) -> list[ReadChange]:
        """`read_chunk` in another process, in a thread if it is short. Raises BrokenProcessPool: one was ended."""
        if len(chunk.changes) <= FEW_CHANGES:
            return await asyncio.to_thread(read_chunk, municipality, chunk, scope=scope)
        if self._idle:
            self._idle.cancel()
        if self._pool is None:
            workers = max((os.cpu_count() or 1) - 1, 1)
            self._pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_end_with_parent)
        self._busy += 1
        work: Future[bytes] = self._pool.submit(_read_serialised, municipality, chunk.SerializeToString(), scope)
        try:
            read = await asyncio.wrap_future(work)
            return [ReadChange._make(change) for change in marshal.loads(read)]  # noqa: S302  # from a child of our own
        finally:
            self._busy -= 1
            if not self._busy:
                self._idle = asyncio.get_running_loop().call_later(IDLE_SECONDS, self.close)

    def close(self) -> None:
        """Ends the processes; the next chunk begins new ones."""
        pool, self._pool = self._pool, None
        if pool:
            pool.shutdown(wait=False, cancel_futures=True)


def _read_serialised(municipality: str, chunk: bytes, scope: str) -> bytes:
    """Marshalled, which both ends do in a third of the time that pickle takes; they are one program."""
    read = read_chunk(municipality, Chunk.FromString(chunk), scope=scope)
    return marshal.dumps([tuple(change) for change in read])


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None  # noqa: S101  # the pool runs it in a child alone

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(0)

    threading.Thread(target=watch, name="jukinet-parent", daemon=True).start()
