"""Rows rot on the disk of a running node: operators are told, and a copy from before mends them (RECORD_DAMAGED)."""

import asyncio
import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from typer.testing import Result

from jukinet.store.append_only import append_only_ddl, keys_of
from jukinet.store.schema import history
from tests.commands import jukinet
from tests.damaged import flip, flip_kept

Network = Any  # the fixture's own class lives in conftest.py
CHIYODA = "131016"
CS, PREFECTURE, CENTER = "municipality-131016", "prefecture-130001", "center"


async def admin(network: Network, command: str, *more: str) -> Result:
    """Calls `jukinet admin` as an operator does."""
    return await asyncio.to_thread(jukinet, "admin", command, "--mesh", network.mesh.root, *more)


async def drift(network: Network) -> tuple[int, Any]:
    """Compares all: exit code, and what is told."""
    result = await admin(network, "drift", "--json")
    return result.exit_code, json.loads(result.stdout)


async def damaged_at(network: Network, node: str) -> tuple[int, int]:
    """Damaged records and changes, as the status tells them."""
    result = await admin(network, "status", "--node", node, "--json")
    assert result.exit_code == 0
    found = json.loads(result.stdout)["register_scrub"]
    return found["damaged_records"], found["damaged_changes"]


async def start(network: Network, *nodes: str) -> None:
    for node in nodes:
        network.nodes.start(node, {"JUKINET_TELEMETRY_METRICS_LISTEN": network.metrics[node]})
    await network.nodes.wait_healthy(nodes)


def copy(network: Network, node: str, to: Path) -> None:
    """A backup of a running node, as docs/operations.md says."""
    source = f"file:{network.folder(node) / 'register.db'}?mode=ro"
    with closing(sqlite3.connect(source, uri=True)) as running, closing(sqlite3.connect(to)) as backup:
        running.backup(backup)


def replace_by(kept: Path, database: Path) -> None:
    for end in ("-wal", "-shm"):
        database.with_name(database.name + end).unlink(missing_ok=True)
    shutil.copy(kept, database)


async def put_back(network: Network, node: str, kept: Path) -> None:
    """The third step of RECORD_DAMAGED."""
    network.nodes.terminate(node)
    assert await network.nodes.wait_ended(node) == 0
    await asyncio.to_thread(replace_by, kept, network.folder(node) / "register.db")
    await start(network, node)


async def read_anew(network: Network, node: str) -> None:
    """Starts a node again, which begins a pass."""
    network.nodes.terminate(node)
    assert await network.nodes.wait_ended(node) == 0
    await start(network, node)
    await whole(network, node)


async def whole(network: Network, node: str) -> None:
    """Waits until a node has read its whole register."""

    async def read() -> bool:
        return bool((await network.status(node)).register_scrub.HasField("whole_at"))

    await network.until(read)


async def has_all(network: Network, node: str, changes: int) -> None:
    """Waits until a node took back what its copy lacked."""

    async def taken() -> bool:
        return len(network.rows(node, "history")) == changes

    await network.until(taken)


def rot(network: Network, node: str, *, resident: str = "", position: int = 0) -> None:
    """Flips a bit in the database of a node that runs."""
    engine = create_engine(f"sqlite:///{network.folder(node) / 'register.db'}")
    if resident:
        flip(engine, resident)
    else:
        flip_kept(engine, position, "change")
        with engine.begin() as connection:  # no disk takes a trigger away
            no_update = append_only_ddl("history", "sqlite", keys_of(history))[0]
            connection.execute(text(no_update))
    engine.dispose()


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_damaged_rows_are_named_to_operators_and_mended_by_copies_from_before(
    new_network: Callable[..., Network], tmp_path: Path
) -> None:
    network = new_network(tmp_path, [CHIYODA])
    nodes = [CENTER, PREFECTURE, CS]
    async with network.nodes:
        await start(network, *nodes)
        first, second, _ = [await network.enter(CHIYODA) for _ in range(3)]
        copies = {node: tmp_path / f"{node}.copy" for node in (CS, CENTER)}
        for node, kept in copies.items():
            await asyncio.to_thread(copy, network, node, kept)
        await network.enter(CHIYODA)
        for node in nodes:
            await read_anew(network, node)
            assert await damaged_at(network, node) == (0, 0)
        code, told = await drift(network)
        assert (code, told["damaged"], told["damage_not_told"]) == (0, [], {})

        await asyncio.to_thread(rot, network, CS, resident=first.resident_code)
        await asyncio.to_thread(rot, network, CENTER, position=2)
        code, told = await drift(network)
        assert code == 1
        differing = {(row["resident_code"], *row["damaged_at"]) for row in told["municipalities"][0]["drift"]}
        assert differing == {(first.resident_code, CS)}, "of what is compared damage is named at once"
        for node in (CS, CENTER):
            await read_anew(network, node)
        code, told = await drift(network)
        assert code == 1
        assert {(row["node"], row["kind"], row["position"], row["resident_code"]) for row in told["damaged"]} == {
            (CS, "current", 1, first.resident_code),
            (CENTER, "change", 2, second.resident_code),
        }
        assert f"content, damaged at {CS}" in (await admin(network, "drift")).stdout
        assert [await damaged_at(network, node) for node in nodes] == [(0, 1), (0, 0), (1, 0)]
        alarm = "ALARM: 0 records and 1 stored changes are damaged"
        assert alarm in (await admin(network, "status", "--node", CENTER)).stdout
        assert f"{CENTER}: {alarm}" in (await asyncio.to_thread(jukinet, "mesh", "status", network.mesh.root)).output
        sample = 'jukinet_damaged{kind="CHANGE"} 1.0'
        await network.until(lambda: asyncio.to_thread(lambda: sample in network.metrics_of(CENTER)))
        for node in nodes:
            told = [
                network.log(node),
                await asyncio.to_thread(network.metrics_of, node),
                str(await network.status(node)),
            ]
            assert not any(each.resident_code in text for text in told for each in (first, second))

        await network.enter(CHIYODA)  # all others go on
        for node, kept in copies.items():
            await put_back(network, node, kept)
            await whole(network, node)
            await has_all(network, node, 5)
        code, told = await drift(network)
        assert (code, told["damaged"]) == (0, [])
        assert {found["state"] for found in told["municipalities"]} == {"equal"}
        for node in nodes:
            assert await damaged_at(network, node) == (0, 0)
        await network.enter(CHIYODA)
