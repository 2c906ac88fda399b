"""A flood from one municipality on real processes: held below and above, released by two operators, nothing lost."""

import asyncio
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from jukinet.cli.layout import OPERATOR, SECOND_OPERATOR
from jukinet.cli.output import Exit

Network = Any  # the fixture's own class lives in conftest.py
CHIYODA, CHUO = "131016", "131024"
CS, PREFECTURE, CENTER = "municipality-131016", "prefecture-130001", "center"
FIRST = f"spiffe://operators.jukinet/operator/{OPERATOR}"
PEOPLE, FREE = 12, 50
"""So few that 2 % of them is nothing: what is free in an hour is the floor."""


@dataclass(frozen=True)
class Ended:
    """How a command ended and what it said."""

    code: int
    printed: str
    told: str


@pytest.fixture(scope="module")
def network(network_on: Callable[..., Network], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """Two municipalities of one prefecture, with the brake that every node has by default."""
    made = network_on(tmp_path_factory.mktemp("brake"), [CHIYODA, CHUO])
    try:
        made.start()
        yield made
    finally:
        codes = made.stop()
    assert set(codes.values()) == {0}


async def jukinet(*arguments: str) -> Ended:
    """Runs a command as a person at a terminal does."""
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "jukinet.cli", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    printed, told = await asyncio.wait_for(program.communicate(), 30)
    assert program.returncode is not None
    assert b"Traceback" not in told
    return Ended(program.returncode, printed.decode(), told.decode())


async def operate(network: Network, command: str, *arguments: str, node: str) -> Ended:
    return await jukinet("admin", command, *arguments, "--mesh", str(network.mesh.root), "--node", node)


async def held(network: Network, node: str) -> dict[str, dict[str, Any]]:
    """The municipalities that a node holds, as `jukinet admin parked` shows them, by code."""
    ended = await operate(network, "parked", "--json", node=node)
    assert (ended.code, ended.told) == (Exit.OK, "")
    return {row["municipality"]: row for row in json.loads(ended.printed)["held"]}


async def flood(network: Network, changes: int) -> None:
    """So many moves within Chiyoda; its CS accepts each of them."""
    people = [network.person(CHIYODA) for _ in range(PEOPLE)]
    for person in people:
        await network.submit(CHIYODA, network.submission("ENTRY_EX_OFFICIO", person))
    for number in range(changes):
        person = people[number % PEOPLE]
        person.address.block = f"{number + 2}番"
        await network.submit(CHIYODA, network.submission("CORRECTION_MOVE_WITHIN", person))


async def release(network: Network, node: str) -> dict[str, Any]:
    """Two operators, of whom the first tries to do it alone."""
    proposed = await operate(network, "release", CHIYODA, "--json", node=node)
    assert (proposed.code, json.loads(proposed.printed)["step"]) == (Exit.OK, "proposed")
    twice = await operate(network, "release", CHIYODA, node=node)
    assert (twice.code, twice.told.partition(":")[0]) == (Exit.FORBIDDEN, "SECOND_OPERATOR_NEEDED")
    assert (await held(network, node))[CHIYODA]["proposed_by"] == FIRST
    done = await operate(network, "release", CHIYODA, "--as", SECOND_OPERATOR, "--json", node=node)
    assert (done.code, done.told) == (Exit.OK, "")
    answer: dict[str, Any] = json.loads(done.printed)
    assert (answer["step"], answer["proposed_by"]) == ("carried out", FIRST)
    assert answer["lifted_until"]
    return answer


def sequences(network: Network, node: str, table: str) -> list[int]:
    order = "position" if table == "history" else "id"
    rows = [row for row in network.rows(node, table) if row["municipality"] == CHIYODA]
    return [row["sequence"] for row in sorted(rows, key=lambda row: row[order])]


async def shows_held(network: Network, node: str) -> bool:
    lines = (await asyncio.to_thread(network.metrics_of, node)).splitlines()
    return "jukinet_held 1.0" in [line.replace("{}", "") for line in lines]


@pytest.mark.slow
async def test_a_flood_is_held_others_flow_and_all_arrives_after_the_release(network: Network) -> None:
    last = PEOPLE + FREE + 30
    await flood(network, FREE + 30)

    async def is_held(node: str) -> bool:
        return CHIYODA in {each.municipality for each in (await network.status(node)).held}

    await network.until(lambda: is_held(PREFECTURE))
    taken = sequences(network, PREFECTURE, "history")
    assert taken == list(range(1, len(taken) + 1))
    assert PEOPLE < len(taken) <= PEOPLE + FREE
    row = (await held(network, PREFECTURE))[CHIYODA]
    assert (row["changes"] > FREE, row["deletions"], row["parked"], row["proposed_by"]) == (True, 0, 0, None)

    async def is_told() -> bool:
        link = (await network.status(CS)).links[0]
        return not link.connected and link.last_error == 61  # LINK_HELD

    await network.until(is_told)
    await network.submit(CHUO, network.submission("ENTRY_EX_OFFICIO", network.person(CHUO)))
    await network.arrived(CHUO)
    more = await network.submit(CHIYODA, network.submission("ENTRY_EX_OFFICIO", network.person(CHIYODA)))
    assert more.sequence == last + 1, "the CS keeps accepting"
    shown = await jukinet("mesh", "status", str(network.mesh.root))
    assert "LINK_HELD" in shown.printed
    assert "lifted until" in shown.printed
    await network.until(lambda: shows_held(network, PREFECTURE))
    log = (network.folder(PREFECTURE) / "log.jsonl").read_text("utf-8").splitlines()
    (line,) = [json.loads(each) for each in log if "the change brake holds a municipality" in each]
    assert (line["level"], line["municipality"]) == ("ERROR", CHIYODA)
    assert line["changes"] > FREE

    await release(network, PREFECTURE)

    async def all_below() -> bool:
        return sequences(network, PREFECTURE, "history") == list(range(1, last + 2))

    async with asyncio.timeout(60):  # the CS comes back within its longest pause, 20 s
        while not await all_below():
            await asyncio.sleep(0.1)
    await network.arrived(CHIYODA)
    row = (await held(network, CENTER))[CHIYODA]
    before = sequences(network, CENTER, "history")
    kept = sequences(network, CENTER, "parked")
    assert before + kept == list(range(1, last + 2)), "the center keeps the rest in order"
    assert row["parked"] == len(kept) > 0

    other = await network.enter(CHUO)
    assert other.resident_code in {each["resident_code"] for each in network.rows(CENTER, "residents")}
    answer = await release(network, CENTER)
    assert (answer["taken_up"], answer["left"]) == (len(kept), 0)
    assert sequences(network, CENTER, "history") == list(range(1, last + 2))
    assert not network.rows(CENTER, "parked")
    assert not await held(network, CENTER)
    drift = await jukinet("admin", "drift", "--mesh", str(network.mesh.root))
    assert drift.code == Exit.OK, drift.printed


async def test_who_is_not_held_is_not_released_and_half_a_place_is_none(network: Network) -> None:
    for node in (CENTER, "gateway-1"):
        ended = await operate(network, "release", CHUO, node=node)
        assert (ended.code, ended.told.partition(":")[0]) == (Exit.REFUSED, "NOT_HELD")
    ended = await operate(network, "release", CHUO, "1", node=CENTER)
    assert ended.code == Exit.USAGE
