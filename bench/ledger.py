"""`jukinet bench ledger`: what an entry of the ledger costs, and how long whoever waits for it waits.

So many questions wait at once, each for its own entry: it is made, handed to the gateway's `Record`, appended in a
group, read back, signed and committed, by the process that writes; with its receipt the next question begins. No gRPC,
no look-up, no witnesses.

Floor: a plain script that writes as many rows of 300 bytes, as many a transaction as questions wait, into a database
with the same pragmas.
"""

import asyncio
import os
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

from sqlalchemy import Column, Engine, Integer, LargeBinary, MetaData, Table

from agency_gateway.appending import load, open_ledger, signer_of
from agency_gateway.record import Record, Recorded
from bench.processor_time import children, processor_seconds
from bench.results import Report, Result, WorkDiffers, load_now, medians, percentile
from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2
from jukinet.ledger import body
from jukinet.ledger.entry import EntryKeys, make_entry
from jukinet.mesh.pki import create_signing_key
from jukinet.store.engine import open_writer
from jukinet.store.statement import Rows
from jukinet.store.writer_process import begin_writer

_ROW_BYTES: Final = 300
_BODY_BYTES: Final = 384
_WARM_UP: Final = 20
"""Of so many entries each waiter's first are left out: files that grow for the first time, statements compiled."""
_FIELDS: Final = (inquiry.IDENTITY_FIELD_NAME, inquiry.IDENTITY_FIELD_ADDRESS)


class _Round(NamedTuple):
    """What one side of a round took."""

    rate: float
    """Entries a second."""
    processor: float
    """Microseconds of processor time an entry, both processes."""
    milliseconds: list[float]
    """What each entry, or each transaction of the floor, waited."""


async def run_ledger(*, entries: int, waiting: int, rounds: int) -> Report:
    """Runs the benchmark.

    Args:
        entries: of each round.
        waiting: how many questions wait at once.
        rounds: how often product and floor take turns.

    Raises:
        WorkDiffers: the ledger holds another number of entries than were kept.
    """
    load = load_now()
    each = max(entries // waiting, 1)
    kept, floors = [], []
    for _ in range(rounds):
        with TemporaryDirectory(prefix="jukinet-bench-") as folder:
            kept.append(await _keep(Path(folder) / "gateway.db", waiting=waiting, each=each))
            floors.append(_write_rows(Path(folder) / "floor.db", waiting=waiting, each=each))
    results = [
        medians("entries a second", "1/s", [one.rate for one in kept], [one.rate for one in floors]),
        medians("processor time of an entry", "us", [one.processor for one in kept], [one.processor for one in floors]),
        *(
            Result(f"an entry, p{share * 100:.0f}", _of_all(kept, share), "ms", _of_all(floors, share))
            for share in (0.5, 0.99)
        ),
    ]
    return Report("ledger", results, (load, load_now()))


async def _keep(path: Path, *, waiting: int, each: int) -> _Round:
    key, _ = create_signing_key(path.parent, "ledger")
    sign = partial(signer_of, "jukinet/gateway-1", key)
    writer = await begin_writer(partial(open_ledger, f"sqlite:///{path}"))
    grouping: asyncio.Task[None] | None = None
    try:
        size = await writer.run(partial(load, sign=sign))
        record = Record(writer=writer, sign=sign, size=size, newest_us=0, is_open=lambda: True)
        grouping = asyncio.create_task(record.grouping.run())
        found = await _measured_waiters(record, waiting=waiting, each=each)
        if record.size != (each + _WARM_UP) * waiting:
            raise WorkDiffers(f"the ledger holds {record.size} entries")
        return found
    finally:
        if grouping is not None:
            grouping.cancel()
        await writer.close()


async def _measured_waiters(record: Record, *, waiting: int, each: int) -> _Round:
    keys, milliseconds = EntryKeys(bytes(range(32))), []

    async def wait_for(count: int, first: int) -> None:
        for number in range(first, first + count):
            began = time.perf_counter()
            await record.keep_all([_recorded(keys, number)])
            milliseconds.append((time.perf_counter() - began) * 1e3)

    async def all_of(count: int, first: int) -> None:
        async with asyncio.TaskGroup() as group:
            for waiter in range(waiting):
                group.create_task(wait_for(count, first + waiter * count))

    await all_of(_WARM_UP, 0)
    milliseconds.clear()
    processes = [os.getpid(), *children(os.getpid())]
    began, spent = time.perf_counter(), processor_seconds(processes)
    await all_of(each, _WARM_UP * waiting)
    seconds, spent = time.perf_counter() - began, processor_seconds(processes) - spent
    count = each * waiting
    return _Round(count / seconds, spent / count * 1e6, milliseconds)


def _recorded(keys: EntryKeys, number: int) -> Recorded:
    """An entry with a body of the usual size, which another process has sealed."""
    sealed = number.to_bytes(_BODY_BYTES, "big")
    return Recorded(_entry(keys, number, body.digest(sealed)), sealed)


def _entry(keys: EntryKeys, number: int, body_digest: bytes) -> ledger_pb2.Entry:
    return make_entry(
        keys,
        time=datetime.now(UTC),
        request_id=str(uuid.UUID(bytes=os.urandom(16))),
        agency="spiffe://agencies.jukinet/agency/pension-service",
        operator=f"operator-{number % 100}",
        purpose="B1-77.12",
        article="30-9",
        case_reference=f"case-{number}",
        action=ledger_pb2.ACTION_INQUIRE,
        result=ledger_pb2.RESULT_PROVIDED,
        fields=_FIELDS,
        token=number.to_bytes(32, "big"),
        answer=number.to_bytes(_ROW_BYTES, "big"),
        policy_digest=bytes(32),
        method=inquiry.INQUIRY_METHOD_FOUR_ITEMS,
        wanted=_FIELDS,
        edition="2019-01",
        body_digest=body_digest,
    )


def _write_rows(path: Path, *, waiting: int, each: int) -> _Round:
    metadata = MetaData()
    table = Table(
        "floor",
        metadata,
        Column("number", Integer, primary_key=True, autoincrement=False),
        Column("row", LargeBinary, nullable=False),
    )
    engine = open_writer(f"sqlite:///{path}")
    try:
        metadata.create_all(engine)
        rows = Rows(table, ["number", "row"])
        transactions = _transactions(engine, rows, waiting)
        for _ in range(_WARM_UP):
            next(transactions)()
        milliseconds = []
        began, spent = time.perf_counter(), time.process_time()
        for _ in range(each):
            start = time.perf_counter()
            next(transactions)()
            milliseconds.append((time.perf_counter() - start) * 1e3)
        seconds, spent = time.perf_counter() - began, time.process_time() - spent
    finally:
        engine.dispose()
    count = each * waiting
    return _Round(count / seconds, spent / count * 1e6, milliseconds)


def _transactions(engine: Engine, rows: Rows, size: int) -> Iterator[Callable[[], None]]:
    """Without end: writes the next so many rows in a transaction."""
    first = 0
    while True:
        values = [(number, number.to_bytes(_ROW_BYTES, "big")) for number in range(first, first + size)]

        def write(values: list[tuple[int, bytes]] = values) -> None:
            with engine.begin() as connection:
                rows.write(connection, values)

        yield write
        first += size


def _of_all(measured: list[_Round], share: float) -> float:
    return percentile([value for one in measured for value in one.milliseconds], share)
