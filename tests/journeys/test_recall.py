"""`jukinet recalls` against running nodes: who was told what was wrong hears so once, whoever is killed."""

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2 as ledger
from jukinet.cli.development_agencies import PENSION_SERVICE, TAX_AGENCY
from jukinet.mesh.failpoints import VARIABLE
from jukinet.mesh.identity import Identity

Network = Any  # the fixture's own class lives in conftest.py
CHIYODA, GATEWAY = "131016", "gateway-1"
PURPOSES = {PENSION_SERVICE: "B1-77.12", TAX_AGENCY: "B1-41-3"}


async def ask(network: Network, person: Any, agency: str = PENSION_SERVICE) -> str:
    """Asks for an address; gives the request id."""
    fields = [inquiry.IDENTITY_FIELD_ADDRESS]
    answer = await network.inquire(network.question(person, PURPOSES[agency], fields=fields), agency)
    assert answer.outcome == inquiry.INQUIRY_OUTCOME_MATCH
    return str(answer.request_id)


async def correct(network: Network, person: Any, block: str) -> None:
    """The municipality reports that a block was wrong from the beginning."""
    person.address.block = block
    await network.submit(CHIYODA, network.submission("CORRECTION_MINOR", person, was_wrong=True))


async def command(*words: str) -> str:
    environ = {**os.environ, "NO_PROXY": "127.0.0.1"}
    run = (sys.executable, "-m", "jukinet.cli", *words)
    process = await asyncio.create_subprocess_exec(*run, env=environ, stdout=PIPE, stderr=PIPE)
    printed, told = await process.communicate()
    assert process.returncode == 0, told.decode()
    return printed.decode()


async def take(network: Network, out: Path, agency: str = PENSION_SERVICE) -> list[str]:
    """Takes what there is; gives the questions of all recalls in the file, in their order."""
    affair = ("--purpose", PURPOSES[agency], "--case", "case-1", "--operator", "op-7", "--agency", agency)
    await command("recalls", "--out", str(out), "--mesh", str(network.mesh.root), *affair)
    return recalled(out)


def recalled(out: Path) -> list[str]:
    lines = [json.loads(each) for each in out.read_text("utf-8").splitlines()[1:]]
    assert all(each["items"] == ["IDENTITY_FIELD_ADDRESS"] for each in lines)
    assert [each["line"] for each in lines] == sorted({each["line"] for each in lines})
    return [each["request_id"] for each in lines]


async def unacknowledged(network: Network, agency: str) -> int:
    told = await command("admin", "recalls", "--mesh", str(network.mesh.root), "--node", GATEWAY, "--json")
    uri = Identity("agency", agency).uri
    return sum(each["recalls"] for each in json.loads(told)["unacknowledged"] if each["agency"] == uri)


@pytest.mark.slow
async def test_who_asked_is_told_that_it_was_wrong_and_acknowledges_and_nobody_else_hears(
    network: Network, tmp_path: Path
) -> None:
    wrong, right, mistaken = [await network.enter(CHIYODA) for _ in range(3)]
    asked = [await ask(network, each) for each in (wrong, mistaken)]
    await ask(network, right)
    await ask(network, right, TAX_AGENCY)
    await correct(network, wrong, "11番")
    await network.submit(CHIYODA, network.submission("DELETION_EX_OFFICIO", mistaken, was_wrong=True))
    await network.arrived(CHIYODA)
    while await unacknowledged(network, PENSION_SERVICE) < len(asked):
        pass
    assert (await take(network, tmp_path / "pension.jsonl"))[-2:] == asked
    assert await take(network, tmp_path / "tax.jsonl", TAX_AGENCY) == []
    assert await unacknowledged(network, PENSION_SERVICE) == 0
    entries = [(entry.action, entry.result) for entry in await network.ledger()]
    for action in (ledger.ACTION_RECALL, ledger.ACTION_ACKNOWLEDGE_RECALL):
        assert (action, ledger.RESULT_DONE) in entries


@pytest.mark.slow
async def test_each_wrong_answer_is_recalled_once_whoever_is_killed(
    new_network: Callable[..., Network], tmp_path: Path
) -> None:
    network = new_network(tmp_path, [CHIYODA])
    async with network.nodes:
        network.nodes.start_all()
        await network.nodes.wait_healthy(seconds=60)
        people = [await network.enter(CHIYODA) for _ in range(4)]
        wanted: list[str] = []
        told: list[str] = []
        for place in ("recall.known", "center", "recall.noted"):
            if place != "center":
                network.nodes.kill(GATEWAY)
                network.nodes.start(GATEWAY, {VARIABLE: f"{place}:1:{os.getpid()}"})
                await network.nodes.wait_healthy(seconds=60)
            asked = [await ask(network, person) for person in people]
            for number, person in enumerate(people[:3]):
                await correct(network, person, f"{len(wanted)}-{number}")
                if number == 1 and place == "center":
                    network.nodes.kill(place)
                    network.nodes.start(place)
            while place != "center" and network.nodes.is_running(GATEWAY):
                await asyncio.sleep(0.05)
            if place != "center":
                network.nodes.start(GATEWAY)
            wanted += asked[:3]
            await network.nodes.wait_healthy(seconds=60)
            await network.arrived(CHIYODA)
            while len(told) < len(wanted):
                told = await take(network, tmp_path / "recalls.jsonl")
        assert sorted(told) == sorted(wanted)
        entries = await network.ledger()
        for action in (ledger.ACTION_RECALL, ledger.ACTION_ACKNOWLEDGE_RECALL):
            assert sum(entry.action == action for entry in entries) == len(wanted)
