"""Parked changes on real processes: listed, released by two operators on the command line, an alarm when late."""

import asyncio
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

from jukinet._pb.jukinet.register.v1 import change_pb2, identity_pb2
from jukinet.cli.layout import OPERATOR, SECOND_OPERATOR
from jukinet.cli.output import Exit
from jukinet.link.outbox import queue
from jukinet.mesh.pki import load_signing_key
from jukinet.store.engine import open_writer
from jukinet.store.migrate import REGISTER, ensure_schema

Network = Any  # the fixture's own class lives in conftest.py
CHIYODA = "131016"
CS, PREFECTURE, CENTER = "municipality-131016", "prefecture-130001", "center"
FIRST = f"spiffe://operators.jukinet/operator/{OPERATOR}"
REFUSED, FOLLOWER, LAST, LONELY = 2, 3, 4, 6
"""Places in Chiyoda's stream: refused for good, the two that wait behind it, one whose earlier change never came."""


def change(record: identity_pb2.IdentityRecord, version: int, **name: str) -> bytes:
    """An entry (version 1) or a move within the municipality, as it is sealed; `name` is what no move may change."""
    copy = identity_pb2.IdentityRecord()
    copy.CopyFrom(record)
    copy.address.block = f"{version}番"
    copy.name.MergeFrom(identity_pb2.PersonName(**name))
    return change_pb2.Change(
        reason=change_pb2.CHANGE_REASON_ENTRY_EX_OFFICIO
        if version == 1
        else change_pb2.CHANGE_REASON_CORRECTION_MOVE_WITHIN,
        event_date=identity_pb2.CalendarDate(year=2026, month=4, day=1),
        record=copy,
        version=version,
    ).SerializeToString()


def seal(network: Network, *changes: bytes) -> None:
    """Puts what its intake would refuse into the outbox of a CS that does not run, under its own seal."""
    engine = open_writer(network.mesh.config(CS).database)
    try:
        ensure_schema(engine, REGISTER)
        with engine.begin() as connection:
            key = load_signing_key(network.folder(CS) / "seal.key")
            traceparents = [""] * len(changes)
            queue(connection, changes, traceparents=traceparents, municipality=CHIYODA, key=key, now_us=1)
    finally:
        engine.dispose()


@pytest.fixture(scope="module")
def parked(new_network: Callable[..., Network], tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """A mesh whose prefecture and center parked four changes; waiting alarms the prefecture after 4 ms."""
    network = new_network(tmp_path_factory.mktemp("parked"), [CHIYODA])
    held, lonely = network.person(CHIYODA), network.person(CHIYODA)
    of_held = [change(held, 1), change(held, 2, legal="別人　太郎"), change(held, 3), change(held, 4)]
    seal(network, *of_held, change(lonely, 1), change(lonely, 3))
    try:
        network.start(CENTER)
        network.start(PREFECTURE, environ={"JUKINET_LIMITS_WAITING_ALARM_HOURS": "0.000001"})
        network.start(CS)
        asyncio.run(network.arrived(CHIYODA))
        yield SimpleNamespace(network=network, resident_code=held.resident_code)
    finally:
        codes = network.stop()
    assert codes == {CENTER: 0, PREFECTURE: 0, CS: 0}


@dataclass(frozen=True)
class Ended:
    """How a command ended and what it said."""

    code: int
    printed: str
    told: str


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


async def listed(network: Network, node: str) -> dict[int, dict[str, Any]]:
    """What `jukinet admin parked` lists at a node, by sequence number."""
    ended = await jukinet("admin", "parked", "--mesh", str(network.mesh.root), "--node", node, "--json")
    assert (ended.code, ended.told) == (Exit.OK, "")
    return {row["sequence"]: row for row in json.loads(ended.printed)["parked"]}


async def release(network: Network, node: str, sequence: int, *options: str) -> Ended:
    """Runs `jukinet admin release` on a change of Chiyoda."""
    place = (CHIYODA, "1", str(sequence))
    return await jukinet("admin", "release", *place, "--mesh", str(network.mesh.root), "--node", node, *options)


def versions(network: Network, node: str, code: str) -> list[int]:
    """The versions of a resident that a node applied, in order."""
    rows = [row for row in network.rows(node, "history") if row["resident_code"] == code]
    return [row["version"] for row in sorted(rows, key=lambda row: row["position"])]


@pytest.mark.parametrize("node", [PREFECTURE, CENTER])
async def test_two_operators_release_what_holds_up_a_resident(parked: SimpleNamespace, node: str) -> None:
    network, code = parked.network, parked.resident_code
    before = await listed(network, node)
    row = before[REFUSED]
    assert (row["municipality"], row["epoch"], row["reason"]) == (CHIYODA, 1, "CHANGE_NOT_COVERED")
    assert [place["sequence"] for place in row["waiting"]] == [FOLLOWER, LAST]
    assert (row["behind"], row["proposed_by"], row["proposed_at"]) == (2, None, None)
    assert {before[each]["reason"] for each in (FOLLOWER, LAST)} == {"WAITING_FOR_EARLIER_CHANGE"}
    assert versions(network, node, code) == [1]

    proposed = await release(network, node, REFUSED, "--json")
    assert (proposed.code, proposed.told) == (Exit.OK, "")
    assert json.loads(proposed.printed) == {"step": "proposed", "proposed_by": FIRST, "applied": 0}
    row = (await listed(network, node))[REFUSED]
    assert row["proposed_by"] == FIRST
    assert row["proposed_at"] is not None

    twice = await release(network, node, REFUSED)
    assert (twice.code, twice.printed) == (Exit.FORBIDDEN, "")
    assert twice.told.startswith("SECOND_OPERATOR_NEEDED: The same operator proposed this. A second, different")
    assert REFUSED in {row["sequence"] for row in network.rows(node, "parked")}
    assert versions(network, node, code) == [1]

    done = await release(network, node, REFUSED, "--as", SECOND_OPERATOR)
    assert (done.code, done.told) == (Exit.OK, "")
    assert done.printed == f"step: carried out, proposed_by: {FIRST}, applied: 2\n"
    assert set(before) - set(await listed(network, node)) == {REFUSED, FOLLOWER, LAST}
    assert versions(network, node, code) == [1, 3, 4]
    (kept,) = network.rows(node, "set_aside")
    assert (kept["sequence"], kept["proposed_by"]) == (REFUSED, FIRST)
    assert kept["carried_out_by"] == f"spiffe://operators.jukinet/operator/{SECOND_OPERATOR}"


@pytest.mark.parametrize("options", [(), ("--again",)])
async def test_what_is_not_parked_is_refused(parked: SimpleNamespace, options: tuple[str, ...]) -> None:
    ended = await release(parked.network, CENTER, 99, *options)
    assert (ended.code, ended.printed) == (Exit.REFUSED, "")
    assert ended.told.startswith("NOT_PARKED: No change is parked here under this municipality, epoch and sequence")


async def test_judging_again_does_not_hurry_what_rightly_waits(parked: SimpleNamespace) -> None:
    ended = await release(parked.network, CENTER, LONELY, "--again", "--json")
    assert (ended.code, ended.told) == (Exit.OK, "")
    assert json.loads(ended.printed) == {
        "step": "still parked",
        "reason": "WAITING_FOR_EARLIER_CHANGE",
        "applied": 0,
    }
    assert LONELY in await listed(parked.network, CENTER)


async def test_what_waits_longer_than_the_alarm_age_is_shown_wherever_operators_look(parked: SimpleNamespace) -> None:
    network, mesh = parked.network, str(parked.network.mesh.root)
    assert (await listed(network, PREFECTURE))[LONELY]["waits_too_long"]
    told = await jukinet("admin", "status", "--mesh", mesh, "--node", PREFECTURE)
    assert "waiting too long, since 20" in told.printed
    # Exit code 3, for the gateway of this mesh does not run.
    assert "waiting too long)" in (await jukinet("mesh", "status", mesh)).printed

    async def gauge_shows() -> bool:
        lines = (await asyncio.to_thread(network.metrics_of, PREFECTURE)).splitlines()
        gauges = dict(line.rsplit(" ", 1) for line in lines if line.startswith("jukinet_waiting"))
        found = {name.partition("{")[0]: float(value) for name, value in gauges.items()}
        return found.get("jukinet_waiting_too_long", 0) >= 1 and found.get("jukinet_waiting_age_seconds", 0) > 0

    await network.until(gauge_shows)


async def test_what_waits_less_than_the_alarm_age_is_no_alarm(parked: SimpleNamespace) -> None:
    network = parked.network
    assert not (await listed(network, CENTER))[LONELY]["waits_too_long"]
    assert (await network.status(CENTER)).waiting_too_long == 0
    told = await jukinet("admin", "status", "--mesh", str(network.mesh.root), "--node", CENTER)
    assert told.code == Exit.OK
    assert "ALARM" not in told.printed
