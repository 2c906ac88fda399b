"""kill -9 of the process that writes the ledger, and of it alone, while agencies ask and a job of many runs (P-28).

The gateway itself is not touched: that it ends, and that nothing was told which is not on record, is its own doing.
"""

import asyncio
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import grpc
import pytest
from google.protobuf.json_format import ParseDict

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.ledger.v1.ledger_pb2 import Entry, Receipt
from jukinet.cli.ledger import fetch_ledger
from jukinet.cli.output import Exit
from jukinet.ledger.verify import verify_files
from jukinet.ledger.verify.batch_result import TOGETHER
from jukinet.mesh.errors import reason_of
from tests.journeys.test_batch_journey import FileJob, line

Network = Any  # the fixture's own class lives in conftest.py
CHIYODA, GATEWAY = "131016", "gateway-1"
ASKERS = 2
PERSONS = 12 * TOGETHER
"""Of a job that takes long enough to be interrupted."""
REFUSED_SECONDS = 2.0
"""Within which an agency hears that nothing is answered now."""
SECONDS = 60.0


class Failure(NamedTuple):
    """A question that nobody answered, when it was put and when its agency heard of that."""

    request_id: str
    put: float
    heard: float
    error: grpc.aio.AioRpcError


class Agency:
    """Asks about one person again and again, each time under a new request id, and keeps what it was told and when."""

    def __init__(self, network: Network, person: Any) -> None:
        self.network = network
        self.person = person
        self.answers: dict[str, inquiry.InquireResponse] = {}
        self.failures: list[Failure] = []

    async def ask(self, enough: asyncio.Event) -> None:
        """Goes on until it is enough."""
        while not enough.is_set():
            question, put = self.network.question(self.person), time.monotonic()
            try:
                self.answers[question.context.request_id] = await self.network.inquire(question)
            except grpc.aio.AioRpcError as error:
                self.failures.append(Failure(question.context.request_id, put, time.monotonic(), error))
                await asyncio.sleep(0.1)


def writer_of(network: Network) -> int:
    """Process id of the gateway's only child."""
    threads = Path(f"/proc/{network.nodes.pid(GATEWAY)}/task").glob("*/children")
    (child,) = [int(each) for thread in threads for each in thread.read_text("ascii").split()]
    return child


async def kill_writer(network: Network, agencies: list[Agency]) -> None:
    """Kills it at work, sees that everybody soon hears of it and that the gateway ends, and starts that again."""
    os.kill(writer_of(network), signal.SIGKILL)
    killed = time.monotonic()
    assert await network.nodes.wait_ended(GATEWAY) == Exit.REFUSED
    network.nodes.start(GATEWAY)
    await network.nodes.wait_healthy([GATEWAY], seconds=SECONDS)
    for agency in agencies:
        after = [each for each in agency.failures if each.heard > killed]
        assert {each.error.code() for each in after} == {grpc.StatusCode.UNAVAILABLE}
        assert max(each.heard - max(killed, each.put) for each in after) <= REFUSED_SECONDS


async def killed_in_a_job(network: Network, job: FileJob, agencies: list[Agency], random: Random) -> None:
    """Runs a job to its end though the gateway's writer is killed in the middle of it."""
    process = await job.start()
    await job.begun(process)
    await asyncio.sleep(random.uniform(0, 0.3))
    assert process.returncode is None
    await kill_writer(network, agencies)
    _, told = await process.communicate()
    assert process.returncode == 0, told.decode()


def receipts_of(job: FileJob) -> list[Receipt]:
    """What the agency got for each person of a job."""
    rows = map(json.loads, job.result.read_text("utf-8").splitlines()[1:])
    return [ParseDict(row["receipt"], Receipt()) for row in rows if "message" not in row]


async def judge(network: Network, jobs: list[FileJob], agencies: list[Agency], folder: Path) -> None:
    """Holds the ledger against all receipts that were given out and all questions that nobody answered."""
    answers = {name: answer for agency in agencies for name, answer in agency.answers.items()}
    failed = {each.request_id for agency in agencies for each in agency.failures}
    given = [answer.receipt for answer in answers.values()] + [each for job in jobs for each in receipts_of(job)]
    receipts = [folder / f"receipt-{number}" for number in range(len(given))]
    for path, receipt in zip(receipts, given, strict=True):
        path.write_bytes(receipt.SerializeToString())

    await fetch_ledger(network.mesh, GATEWAY, folder / "ledger.jsonl")
    witnesses = [network.mesh.witness_key(name).read_text("utf-8") for name in network.mesh.witnesses]
    key = network.mesh.ledger_key(GATEWAY)
    verified = verify_files(folder / "ledger.jsonl", key, receipts, witnesses=witnesses)
    assert (verified.findings.first_ones, verified.receipts) == ([], len(given))
    entries = await network.ledger()
    on_record = {entry.request_id for entry in entries}
    assert len(on_record) == len(entries), "no question is on record twice"
    assert on_record >= answers.keys() | {Entry.FromString(each.entry).request_id for each in given}
    assert len(entries) <= len(given) + len(failed) + len(jobs) * 4 * TOGETHER, "what was asked is on record, no more"

    # Of an affair that is not the agency's: the center, which knows used tickets itself, is not asked.
    used = [*answers][:: len(answers) // 20 + 1]
    for request_id in (*used, *(failed & on_record)):
        with pytest.raises(grpc.aio.AioRpcError) as told:
            await network.inquire(
                network.question(agencies[0].person, context=network.context("B1-41", request_id=request_id))
            )
        assert reason_of(told.value) == errors.ERROR_REASON_REQUEST_ID_REUSED


async def run(network: Network, folder: Path, *, kills: int, seed: int) -> None:
    """Kills the writer so often, each time in a job of its own, and judges what is left."""
    random, jobs, enough = Random(seed), [], asyncio.Event()
    async with network.nodes:
        network.nodes.start_all()
        await network.nodes.wait_healthy(seconds=SECONDS)
        people = [await network.enter(CHIYODA) for _ in range(ASKERS)]
        agencies = [Agency(network, person) for person in people]
        async with asyncio.TaskGroup() as group:
            for agency in agencies:
                group.create_task(agency.ask(enough))
            for number in range(kills):
                (folder / f"job-{number}").mkdir()
                jobs.append(FileJob(network, folder / f"job-{number}", [line(people[0])] * PERSONS))
                await jobs[-1].sign()
                await killed_in_a_job(network, jobs[-1], agencies, random)
                report = jobs[-1].verified()
                assert (report.findings.first_ones, report.answered) == ([], PERSONS)
            enough.set()
        await judge(network, jobs, agencies, folder)
        assert set((await network.nodes.terminate_all()).values()) == {0}


async def test_a_killed_writer_ends_its_gateway_and_no_answer_and_no_receipt_is_lost(
    network_on: Callable[..., Network], tmp_path: Path
) -> None:
    await run(network_on(tmp_path, [CHIYODA]), tmp_path, kills=1, seed=77)


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_many_killed_writers_lose_nothing(network_on: Callable[..., Network], tmp_path: Path) -> None:
    await run(network_on(tmp_path, [CHIYODA]), tmp_path, kills=12, seed=78)
