"""CS, prefecture and center are compared while they run (整合性確認): what differs is named, and left alone."""

import asyncio
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url

from jukinet._pb.jukinet.register.v1.identity_pb2 import Resident
from jukinet.store.schema import residents
from tests.commands import jukinet

Network = Any  # the fixture's own class lives in conftest.py
CHIYODA, CHUO, YOKOSUKA = "131016", "131024", "142018"


@pytest.fixture
def network(new_network: Any, tmp_path: Path) -> Iterator[Network]:
    """Two municipalities of one prefecture and one of another: three tiers each."""
    made = new_network(tmp_path, [CHIYODA, CHUO, YOKOSUKA])
    made.start()
    yield made
    made.stop()


def drift(network: Network, *more: str) -> tuple[int, dict[str, Any]]:
    """Compares all, and gives what is told of each municipality."""
    result = jukinet("admin", "drift", "--mesh", network.mesh.root, "--json", *more)
    return result.exit_code, {found["municipality"]: found for found in json.loads(result.stdout)["municipalities"]}


def database(network: Network, node: str) -> str:
    path = make_url(network.mesh.config(node).database).database
    assert path
    return path


def meddle(network: Network, node: str, statement: str, *values: Any) -> None:
    """What somebody with access to the database itself can do to it."""
    with closing(sqlite3.connect(database(network, node), timeout=10)) as connection, connection:
        connection.execute(statement, values)


def all_rows(network: Network, node: str) -> list[Any]:
    with closing(sqlite3.connect(database(network, node), timeout=10)) as connection:
        return connection.execute("SELECT resident, * FROM residents ORDER BY resident_code").fetchall()


async def people(network: Network) -> list[str]:
    """Residents of all three; one moved within the prefecture, one out of it. Gives the codes of those who stayed."""
    records = [network.person(CHIYODA) for _ in range(6)]
    for record in records:
        await network.submit(CHIYODA, network.submission("ENTRY_EX_OFFICIO", record))
    for record, there in zip(records, (CHUO, YOKOSUKA), strict=False):
        left = network.submission("DELETION_DOMESTIC_MOVE_OUT", record, next_municipality=there)
        await network.submit(CHIYODA, left)
        moved = network.person(there, resident_code=record.resident_code)
        come = network.submission("ENTRY_DOMESTIC_MOVE_IN", moved, previous_municipality=CHIYODA, transfer_version=2)
        await network.submit(there, come)
    for code in (CHIYODA, CHUO, YOKOSUKA):
        await network.arrived(code)
    return [record.resident_code for record in records[2:]]


def test_each_kind_of_drift_is_named_to_the_row_and_nothing_is_repaired(network: Network, tmp_path: Path) -> None:
    altered, lost, stale, _ = asyncio.run(people(network))
    certificate, authority = tmp_path / "equal.txt", str(network.mesh.authority("operators"))
    code, found = drift(network, "--certificate", str(certificate))
    assert code == 0
    assert {each["state"] for each in found.values()} == {"equal"}
    assert (found[CHIYODA]["sequence"], found[CHIYODA]["rows"], found[YOKOSUKA]["rows"]) == (8, 6, 1)
    assert jukinet("admin", "certificate", "verify", str(certificate), "--authority", authority).exit_code == 0
    certificate.write_text(certificate.read_text("utf-8").replace("sequence 8", "sequence 9"), "utf-8")
    assert jukinet("admin", "certificate", "verify", str(certificate), "--authority", authority).exit_code == 1

    (row,) = [each[0] for each in all_rows(network, "center") if each[1] == altered]
    message = Resident.FromString(row)
    message.record.name.furigana = "しけん　じろう"
    meddle(network, "center", "UPDATE residents SET resident = ? WHERE resident_code = ?",
           message.SerializeToString(), altered)  # fmt: skip
    meddle(network, "center", "DELETE FROM residents WHERE resident_code = ?", lost)
    meddle(network, "prefecture-130001", "UPDATE residents SET version = 9 WHERE resident_code = ?", stale)
    added = network.code()
    copied = ", ".join(column.name for column in residents.c if column.name != "resident_code")
    meddle(
        network,
        "center",
        f"INSERT INTO residents (resident_code, {copied}) SELECT ?, {copied} FROM residents WHERE resident_code = ?",
        added,
        altered,
    )
    held = all_rows(network, "center")

    code, found = drift(network)
    assert code == 1
    assert {each["state"] for each in found.values() if each["municipality"] != CHIYODA} == {"equal"}
    named = {(row["resident_code"], row["node"], row["kind"]) for row in found[CHIYODA]["drift"]}
    assert named == {
        (altered, "center", "content"),
        (lost, "center", "missing"),
        (stale, "prefecture-130001", "version"),
        (added, "center", "added"),
    }
    assert all_rows(network, "center") == held
    for node in network.mesh.names:
        assert not any(resident_code in network.log(node) for resident_code in (altered, lost, stale, added))


@pytest.mark.slow
def test_what_moves_on_meanwhile_is_compared_as_of_one_place(network: Network) -> None:
    async def compare_under_traffic() -> tuple[int, dict[str, Any]]:
        await people(network)
        checked = asyncio.create_task(asyncio.to_thread(drift, network))
        while not checked.done():
            await network.submit(CHIYODA, network.submission("ENTRY_EX_OFFICIO", network.person(CHIYODA)))
        return await checked

    for _ in range(2):
        code, found = asyncio.run(compare_under_traffic())
        assert code == 0
        assert {each["state"] for each in found.values()} == {"equal"}


@pytest.mark.slow
def test_a_tier_that_does_not_answer_makes_its_municipalities_not_comparable(network: Network) -> None:
    asyncio.run(people(network))
    network.nodes.terminate("prefecture-140007")
    asyncio.run(network.nodes.wait_ended("prefecture-140007"))
    code, found = drift(network, "--municipality", YOKOSUKA)
    assert (code, found[YOKOSUKA]["state"]) == (3, "not comparable")
    code, found = drift(network, "--municipality", CHIYODA)
    assert (code, found[CHIYODA]["state"]) == (0, "equal")


@pytest.mark.slow
def test_a_tier_that_holds_nothing_of_a_municipality_is_not_equal_to_one_that_does(network: Network) -> None:
    asyncio.run(people(network))
    meddle(network, "center", "DELETE FROM residents WHERE holder = ?", YOKOSUKA)
    meddle(network, "center", "DELETE FROM origins WHERE municipality = ?", YOKOSUKA)
    code, found = drift(network, "--municipality", YOKOSUKA)
    assert (code, found[YOKOSUKA]["state"]) == (3, "not comparable")
    assert found[YOKOSUKA]["why"] == "Nothing of it has come yet to: center."
    assert found[YOKOSUKA]["ahead"] == {f"municipality-{YOKOSUKA}": 1, "prefecture-140007": 1, "center": 0}
    meddle(network, "center", "UPDATE residents SET holder = ? WHERE holder = ?", YOKOSUKA, CHIYODA)
    code, found = drift(network, "--municipality", YOKOSUKA)
    assert (code, found[YOKOSUKA]["state"]) == (1, "drift"), "a row that nobody sealed is named, whatever came"


@pytest.mark.slow
def test_a_change_that_waits_at_the_center_is_told_apart_from_drift(network: Network) -> None:
    record = network.person(CHUO)
    entry = network.submission("ENTRY_DOMESTIC_MOVE_IN", record, previous_municipality=YOKOSUKA, transfer_version=1)

    async def arrive_before_the_move_out() -> None:
        await network.submit(CHUO, entry)
        await network.arrived(CHUO)

    asyncio.run(arrive_before_the_move_out())
    code, found = drift(network)
    assert code == 0
    assert found[CHUO]["state"] == "equal"
    assert [(row["node"], row["kind"]) for row in found[CHUO]["waiting"]] == [("center", "missing")]


def test_one_node_tells_its_digests_under_the_key_of_a_run(network: Network) -> None:
    asyncio.run(people(network))
    mesh = str(network.mesh.root)
    roots = set()
    for node in ("center", "prefecture-130001", f"municipality-{CHIYODA}"):
        result = jukinet(
            "admin", "digest", "--mesh", mesh, "--node", node, "--municipality", CHIYODA, "--key", "ab" * 32, "--json"
        )
        assert result.exit_code == 0
        (found,) = json.loads(result.stdout)["digests"]
        roots.add((found["sequence"], found["rows"], found["root"]))
    assert len(roots) == 1
    assert jukinet("admin", "digest", "--mesh", mesh, "--node", "center", "--key", "ab").exit_code == 2


def test_what_two_operators_set_aside_is_no_drift(network: Network) -> None:
    """The center is behind for good there, and says so: waiting, not drift."""

    async def given_up() -> str:
        record = network.person(CHIYODA)
        await network.submit(CHIYODA, network.submission("ENTRY_EX_OFFICIO", record))
        await network.arrived(CHIYODA)
        (row,) = [each[0] for each in all_rows(network, "center") if each[1] == record.resident_code]
        message = Resident.FromString(row)
        message.record.name.furigana = "べつ　じん"
        meddle(network, "center", "UPDATE residents SET resident = ? WHERE resident_code = ?",
               message.SerializeToString(), record.resident_code)  # fmt: skip
        record.address.block = "9番"
        await network.submit(CHIYODA, network.submission("CORRECTION_MOVE_WITHIN", record))
        await network.arrived(CHIYODA)
        return str(record.resident_code)

    resident = asyncio.run(given_up())
    for operator in ("operator", "operator-2"):
        where = ("--mesh", str(network.mesh.root), "--node", "center", "--as", operator)
        assert jukinet("admin", "release", CHIYODA, "1", "2", *where).exit_code == 0
    code, found = drift(network)
    assert (code, found[CHIYODA]["state"], found[CHIYODA]["drift"]) == (0, "equal", [])
    assert [(row["resident_code"], row["node"], row["kind"]) for row in found[CHIYODA]["waiting"]] == [
        (resident, "center", "version")
    ]
