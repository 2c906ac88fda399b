"""`jukinet inquire-batch` against a running mesh: every record is answered in its line, whatever interrupts it."""

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jukinet._pb.jukinet.ledger.v1 import ledger_pb2 as ledger
from jukinet.cli.development_agencies import BANK, PENSION_SERVICE
from jukinet.ledger.verify.batch_report import BatchReport
from jukinet.ledger.verify.batch_result import TOGETHER, verify_batch
from jukinet.mesh.identity import Identity

Network = Any  # the fixture's own class lives in conftest.py
CHIYODA = "131016"
SHORT = 2 * TOGETHER + 22
LONG = 20 * TOGETHER
"""Persons of a batch that takes long enough to be interrupted."""
SEXES = {1: "male", 2: "female", 3: "unknown"}


@pytest.fixture
async def people(network: Network) -> list[Any]:
    """Some residents that the center knows."""
    return [await network.enter(CHIYODA) for _ in range(6)]


def line(record: Any) -> str:
    born, address = record.birth_date, record.address
    return json.dumps(
        {
            "name": record.name.legal,
            "birth_date": f"{born.year:04}-{born.month:02}-{born.day:02}",
            "sex": SEXES[record.sex],
            "local_government_code": address.local_government_code,
            "town": address.town,
            "block": address.block,
        },
        ensure_ascii=False,
    )


class Batch:
    """One batch of a test: its files and its command."""

    def __init__(self, network: Network, folder: Path, lines: list[str]) -> None:
        self.questions, self.answers = folder / "people.jsonl", folder / "answers.jsonl"
        self.questions.write_text("".join(f"{each}\n" for each in lines), encoding="utf-8")
        self._mesh = str(network.mesh.root)

    async def start(
        self, *options: str, agency: str = PENSION_SERVICE, purpose: str = "B1-77.12"
    ) -> asyncio.subprocess.Process:
        affair = ("--purpose", purpose, "--case", "case-1", "--operator", "op-7", "--field", "name")
        files = (str(self.questions), "--out", str(self.answers), "--mesh", self._mesh, "--agency", agency)
        command = (sys.executable, "-m", "jukinet.cli", "inquire-batch", *files, *affair, *options, "--json")
        environ = {**os.environ, "NO_PROXY": "127.0.0.1"}
        return await asyncio.create_subprocess_exec(*command, env=environ, stdout=PIPE, stderr=PIPE)

    async def run(self, *options: str, code: int = 0, **asked: str) -> tuple[Any, str]:
        process = await self.start(*options, **asked)
        printed, told = await process.communicate()
        assert process.returncode == code, told.decode()
        return json.loads(printed or b"null"), told.decode()

    def answered(self) -> list[dict[str, Any]]:
        return [json.loads(each) for each in self.answers.read_text(encoding="utf-8").splitlines()[1:]]


async def test_every_person_is_answered_in_its_line_with_one_entry(
    network: Network, people: list[Any], tmp_path: Path
) -> None:
    before = len(await network.ledger())
    asked = [people[number % len(people)] for number in range(SHORT)]
    batch = Batch(network, tmp_path, [line(record) for record in asked])
    said, _ = await batch.run()
    assert said == {"answered": SHORT, "matches": SHORT, "unchanged": 0, "faulty": 0}
    answers = batch.answered()
    assert [answer["line"] for answer in answers] == [*range(1, SHORT + 1)]
    names = [answer["provided"]["record"]["name"]["legal"] for answer in answers]
    assert names == [record.name.legal for record in asked]
    entries = (await network.ledger())[before:]
    assert len({entry.request_id for entry in entries}) == len(entries) == SHORT
    assert {entry.action for entry in entries} == {ledger.ACTION_INQUIRE_BATCH}


async def test_a_killed_command_goes_on_behind_its_last_answer(
    network: Network, people: list[Any], tmp_path: Path
) -> None:
    asked = [people[number % len(people)] for number in range(LONG)]
    batch = Batch(network, tmp_path, [line(record) for record in asked])
    process = await batch.start()
    while not batch.answers.exists() or batch.answers.read_bytes().count(b"\n") <= TOGETHER:
        assert process.returncode is None
        await asyncio.sleep(0.01)
    process.kill()
    await process.communicate()
    begun = batch.answers.read_bytes()
    assert begun.count(b"\n") < LONG, "it was killed in the middle"
    said, _ = await batch.run()
    assert said["answered"] == LONG
    assert batch.answers.read_bytes().startswith(begun[: begun.rindex(b"\n") + 1])
    answers = batch.answered()
    assert [answer["line"] for answer in answers] == [*range(1, LONG + 1)]
    names = [answer["provided"]["record"]["name"]["legal"] for answer in answers]
    assert names == [record.name.legal for record in asked]
    again = (await batch.run())[0]
    assert again == {"answered": LONG, "matches": 0, "unchanged": 0, "faulty": 0}, "nothing is asked twice"


@pytest.mark.slow
async def test_a_batch_that_is_asked_again_hears_only_what_changed(network: Network, tmp_path: Path) -> None:
    people = [await network.enter(CHIYODA) for _ in range(4)]
    lines = [json.dumps({"individual_number": each.individual_number}) for each in people]
    folders = [tmp_path / name for name in ("first", "second", "third")]
    for folder in folders:
        folder.mkdir()
    first = Batch(network, folders[0], lines[:3])
    await first.run("--field", "address")
    people[1].address.block = "9番"
    await network.submit(CHIYODA, network.submission("CORRECTION_MOVE_WITHIN", people[1]))
    await network.arrived(CHIYODA)

    before = len(await network.ledger())
    second = Batch(network, folders[1], lines[::-1])  # in another order, with one more
    said, _ = await second.run("--field", "address", "--held", str(first.answers))
    assert said == {"answered": 4, "matches": 4, "unchanged": 2, "faulty": 0}
    told = [each.get("provided", {}).get("record", {}).get("address", {}).get("block") for each in second.answered()]
    assert told == ["1番", None, "9番", None]
    entries = (await network.ledger())[before:]
    assert [entry.result for entry in entries] == [ledger.RESULT_PROVIDED] * 4, "what is held is on record too"

    job = FileJob(network, folders[2], lines)
    await job.sign("--field", "address", "--held", str(second.answers))
    process = await job.start()
    _, problem = await process.communicate()
    assert process.returncode == 0, problem.decode()
    report = job.verified()
    assert (report.findings.first_ones, report.answered, report.unchanged) == ([], 4, 4)
    assert b"provided" not in job.result.read_bytes()


async def test_wrong_lines_are_named_and_the_others_answered(
    network: Network, people: list[Any], tmp_path: Path
) -> None:
    some = TOGETHER + 6
    wrong = ['{"name": 7}'] * some
    batch = Batch(network, tmp_path, [*wrong, line(people[0]), *wrong, line(people[1]), *wrong])
    said, _ = await batch.run(code=1)
    assert said == {"answered": 3 * some + 2, "matches": 2, "unchanged": 0, "faulty": 3 * some}
    found = {answer["line"]: answer for answer in batch.answered()}
    assert [number for number, answer in found.items() if "provided" in answer] == [some + 1, 2 * some + 2]
    assert all("not one JSON object" in found[number]["problem"] for number in (1, some, some + 2, 3 * some + 2))


@pytest.mark.parametrize(
    ("asked", "reason"),
    [({"agency": BANK}, "PRIVATE_SECTOR_BANNED"), ({"purpose": "B1-41"}, "PURPOSE_NOT_GRANTED")],
)
async def test_a_batch_that_the_law_does_not_open_ends_at_once(
    network: Network, people: list[Any], tmp_path: Path, asked: dict[str, str], reason: str
) -> None:
    batch = Batch(network, tmp_path, [line(people[0])] * 5)
    _, told = await batch.run(code=4, **asked)
    assert reason in told
    assert batch.answered() == []


@pytest.mark.slow
async def test_a_batch_goes_on_at_a_gateway_that_was_killed_and_came_back(
    new_network: Callable[..., Network], tmp_path: Path
) -> None:
    network = new_network(tmp_path, [CHIYODA])
    async with network.nodes:
        network.nodes.start_all()
        await network.nodes.wait_healthy(seconds=60)
        person = await network.enter(CHIYODA)
        batch = Batch(network, tmp_path, [line(person)] * LONG)
        process = await batch.start()
        while not batch.answers.exists() or batch.answers.read_bytes().count(b"\n") <= TOGETHER:
            assert process.returncode is None
            await asyncio.sleep(0.01)
        network.nodes.kill("gateway-1")
        network.nodes.start("gateway-1")
        printed, told = await process.communicate()
    assert process.returncode == 0, told.decode()
    assert json.loads(printed)["answered"] == LONG
    assert [answer["line"] for answer in batch.answered()] == [*range(1, LONG + 1)]


class FileJob:
    """A signed file job of a test, and the command that runs it."""

    def __init__(self, network: Network, folder: Path, lines: list[str]) -> None:
        self.job, self.result, self._people = folder / "job", folder / "result", folder / "people.jsonl"
        self._people.write_text("".join(f"{each}\n" for each in lines), encoding="utf-8")
        self._mesh = network.mesh
        self._key = network.mesh.operator_key(Identity("agency", PENSION_SERVICE), "op-8")

    async def _start(self, *arguments: str | Path) -> asyncio.subprocess.Process:
        command = (sys.executable, "-m", "jukinet.cli", "batch-job", *map(str, arguments))
        environ = {**os.environ, "NO_PROXY": "127.0.0.1"}
        return await asyncio.create_subprocess_exec(*command, env=environ, stdout=PIPE, stderr=PIPE)

    async def sign(self, *options: str) -> None:
        affair = ("--agency", PENSION_SERVICE, "--purpose", "B1-77.12", "--case", "case-1", "--field", "name")
        files = (self._people, "--out", self.job, "--operator", "op-8", "--operator-key", self._key)
        process = await self._start("sign", *files, *affair, *options)
        _, told = await process.communicate()
        assert process.returncode == 0, told.decode()

    async def start(self) -> asyncio.subprocess.Process:
        return await self._start("run", self.job, "--out", self.result, "--mesh", self._mesh.root, "--operator", "op-7")

    async def begun(self, process: asyncio.subprocess.Process) -> None:
        """Waits until some of it is answered."""
        while not self.result.exists() or self.result.read_bytes().count(b"\n") <= TOGETHER:
            assert process.returncode is None
            await asyncio.sleep(0.01)

    def verified(self) -> BatchReport:
        return verify_batch(self.job, self.result, self._key.with_suffix(".pub"), [self._mesh.ledger_key("gateway-1")])


async def test_a_job_goes_on_after_an_interruption_and_a_kill_and_its_result_is_whole(
    network: Network, people: list[Any], tmp_path: Path
) -> None:
    count = LONG
    before = len(await network.ledger())
    job = FileJob(network, tmp_path, [line(people[number % len(people)]) for number in range(count)])
    await job.sign()
    process = await job.start()
    await job.begun(process)
    process.terminate()
    _, told = await process.communicate()
    assert (process.returncode, "the same command goes on" in told.decode()) == (3, True), told.decode()
    answered = job.verified().answered
    assert TOGETHER <= answered < count
    assert len(await network.ledger()) - before == answered, "what was asked was waited for"
    begun = job.result.read_bytes()

    process = await job.start()
    while job.result.stat().st_size <= len(begun):
        assert process.returncode is None
        await asyncio.sleep(0.01)
    process.kill()
    await process.communicate()
    assert not job.verified().findings.sound
    assert job.result.read_bytes().startswith(begun)

    process = await job.start()
    _, told = await process.communicate()
    assert process.returncode == 0, told.decode()
    report = job.verified()
    assert (report.findings.first_ones, report.answered) == ([], count)
    entries = (await network.ledger())[before:]
    assert count <= len(entries) <= count + 4 * TOGETHER, "a kill doubles no more than what was on its way"
