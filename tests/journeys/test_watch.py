"""`jukinet watch` against running nodes: each change is in the agency's file once and in order, whoever is killed."""

import asyncio
import json
import os
import sys
import uuid
from asyncio.subprocess import PIPE
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from jukinet._pb.jukinet.ledger.v1 import ledger_pb2 as ledger
from jukinet.cli.development_agencies import BANK, PENSION_SERVICE
from jukinet.mesh.clock import today_in_japan
from tests.journeys.test_batch_journey import line

Network = Any  # the fixture's own class lives in conftest.py
CHIYODA = "131016"


class Case:
    """A case of an agency, with its files and its list."""

    def __init__(self, network: Network, folder: Path, agency: str = PENSION_SERVICE) -> None:
        self.network = network
        self.out = folder / "changes.jsonl"
        self._folder = folder
        self._affair = ("--purpose", "B1-77.12", "--case", "case-1", "--operator", "op-7")
        self._target = ("--mesh", str(network.mesh.root), "--agency", agency)
        self.list_id = ""

    async def command(self, *words: str) -> asyncio.subprocess.Process:
        command = (sys.executable, "-m", "jukinet.cli", *words, *self._affair, *self._target)
        environ = {**os.environ, "NO_PROXY": "127.0.0.1"}
        return await asyncio.create_subprocess_exec(*command, env=environ, stdout=PIPE, stderr=PIPE)

    async def run(self, *words: str, code: int = 0) -> str:
        process = await self.command(*words)
        printed, told = await process.communicate()
        assert process.returncode == code, told.decode()
        return (printed + told).decode()

    async def begin(self, people: list[Any]) -> list[int]:
        """Asks about persons, and puts them on a list."""
        questions, answers = self._folder / "people.jsonl", self._folder / "answers.jsonl"
        questions.write_text("".join(f"{line(person)}\n" for person in people), "utf-8")
        await self.run("inquire-batch", str(questions), "--out", str(answers), "--field", "name", "--for-watch")
        expires = (today_in_japan() + timedelta(days=30)).isoformat()
        fields = ("--field", "address", "--field", "change")
        self.list_id = str(uuid.uuid4())
        order = ("--list", self.list_id, "--expires", expires)
        begun = json.loads(await self.run("watch", "begin", str(answers), *order, *fields, "--json"))
        return list(begun["numbers"])

    async def take(self, *options: str, code: int = 0) -> str:
        return await self.run("watch", "changes", "--list", self.list_id, "--out", str(self.out), *options, code=code)

    def taken(self) -> list[tuple[int, str]]:
        """Number of the person and block of the address of each change in the file."""
        lines = [json.loads(each) for each in self.out.read_text("utf-8").splitlines()[1:] if each.endswith("}")]
        assert [each["line"] for each in lines] == sorted({each["line"] for each in lines})
        return [(int(each["number"]), each["provided"]["record"]["address"]["block"]) for each in lines]

    async def move(self, person: Any, block: str) -> None:
        """The municipality reports that somebody moved within it."""
        person.address.block = block
        await self.network.submit(CHIYODA, self.network.submission("CORRECTION_MOVE_WITHIN", person))


@pytest.mark.slow
async def test_an_agency_takes_the_changes_of_its_list_once_and_nobody_else_does(
    network: Network, tmp_path: Path
) -> None:
    people = [await network.enter(CHIYODA) for _ in range(3)]
    case = Case(network, tmp_path)
    numbers = await case.begin(people[:2])
    before = len(await network.ledger())
    for person, block in ((people[0], "11番"), (people[2], "12番"), (people[1], "13番"), (people[0], "14番")):
        await case.move(person, block)
    await network.arrived(CHIYODA)
    wanted = [(numbers[0], "11番"), (numbers[1], "13番"), (numbers[0], "14番")]
    bank = Case(network, tmp_path, BANK)
    bank.out, bank.list_id = tmp_path / "bank.jsonl", case.list_id
    assert "PRIVATE_SECTOR_BANNED" in await bank.take(code=4)
    while len(case.taken() if case.out.exists() else []) < 3:
        await case.take()
    assert case.taken() == wanted
    told = [entry.result for entry in (await network.ledger())[before:] if entry.action == ledger.ACTION_TELL_CHANGE]
    assert sorted(told) == [ledger.RESULT_PROVIDED] * 3 + [ledger.RESULT_REFUSED]
    await case.run("watch", "end", "--list", case.list_id)
    assert "WATCH_UNKNOWN" in await case.take(code=2)


@pytest.mark.slow
async def test_each_change_is_told_once_whoever_is_killed(new_network: Callable[..., Network], tmp_path: Path) -> None:
    network = new_network(tmp_path, [CHIYODA])
    async with network.nodes:
        network.nodes.start_all()
        await network.nodes.wait_healthy(seconds=60)
        people = [await network.enter(CHIYODA) for _ in range(3)]
        case = Case(network, tmp_path)
        numbers = await case.begin(people[:2])
        wanted: list[tuple[int, str]] = []
        for round_, killed in enumerate(("client", "gateway-1", "center")):
            follow = ("--list", case.list_id, "--out", str(case.out), "--follow")
            client = await case.command("watch", "changes", *follow)
            for number in range(8):
                block = f"{round_}-{number}"
                await case.move(people[number % 3], block)
                if number % 3 < 2:
                    wanted.append((numbers[number % 3], block))
                if number == 4 and killed != "client":
                    network.nodes.kill(killed)
                    network.nodes.start(killed)
            while not case.out.exists() or len(case.taken()) < len(wanted) - 3:
                assert client.returncode is None
                await asyncio.sleep(0.05)
            client.kill()
            await client.communicate()
        while len(case.taken()) < len(wanted):
            await case.take()
    assert case.taken() == wanted
