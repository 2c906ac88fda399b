"""What goes wrong around a node: no upstream, no room on the disk, a second process, a wrong file."""

import asyncio
import os
import re
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from jukinet.cli.output import Exit
from jukinet.mesh.errors import name_of

Network = Any  # the fixture's own class lives in conftest.py
CHIYODA = "131016"
CS = "municipality-131016"
GATEWAY = "gateway-1"
WITNESS = "witness-1"
FULL = ("STORAGE_FULL", grpc.StatusCode.RESOURCE_EXHAUSTED)


@pytest.fixture(scope="module")
def lone(new_network: Callable[..., Network], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """A CS and a gateway with its witness; prefecture and center are down."""
    built = new_network(tmp_path_factory.mktemp("lone"), [CHIYODA])
    try:
        built.start(WITNESS)
        built.start(CS, GATEWAY, healthy=False)
        yield built
    finally:
        codes = built.stop()
    assert codes == {WITNESS: 0, CS: 0, GATEWAY: 0}


async def submitted(network: Network) -> str:
    """The code of somebody new whom the CS accepted."""
    record = network.person(CHIYODA)
    await network.submit(CHIYODA, network.submission("ENTRY_EX_OFFICIO", record))
    return str(record.resident_code)


def codes(network: Network) -> set[str]:
    return {row["resident_code"] for row in network.rows(CS, "residents")}


async def test_a_cs_accepts_and_keeps_changes_while_its_prefecture_is_down(lone: Network) -> None:
    accepted = {await submitted(lone) for _ in range(3)}
    assert accepted <= codes(lone)
    assert await lone.is_healthy(CS)
    (link,) = (await lone.status(CS)).links
    assert (link.connected, link.mark) == (False, 0)
    assert link.last_sequence >= 3
    assert name_of(link.last_error) == "DEPENDENCY_UNAVAILABLE"
    outbox = lone.rows(CS, "outbox")
    assert max(row["last_sequence"] for row in outbox) == link.last_sequence


async def test_a_gateway_refuses_and_records_what_it_cannot_look_up(lone: Network, refused: Any) -> None:
    question = lone.question(lone.person(CHIYODA))
    with refused() as refusal:
        await lone.inquire(question)
    assert (refusal.name, refusal.code) == ("DEPENDENCY_UNAVAILABLE", grpc.StatusCode.UNAVAILABLE)
    (entry,) = [entry for entry in await lone.ledger() if entry.request_id == question.context.request_id]
    assert name_of(entry.refusal) == "DEPENDENCY_UNAVAILABLE"
    assert not await lone.is_healthy(GATEWAY)


async def test_a_cs_whose_quota_is_used_up_takes_nothing_and_loses_nothing(
    new_network: Callable[..., Network], tmp_path: Path, refused: Any
) -> None:
    network = new_network(tmp_path, [CHIYODA])
    try:
        no_room = {"JUKINET_LIMITS_DISK_FREE_BYTES": str(2**60)}
        await asyncio.to_thread(network.start, CS, environ=no_room, healthy=False)
        submission, before = network.submission("ENTRY_EX_OFFICIO", network.person(CHIYODA)), network.digest(CS)
        with refused() as refusal:
            await network.submit(CHIYODA, submission)
        assert (refusal.name, refusal.code) == FULL
        assert network.digest(CS) == before
        assert (await network.status(CS)).role == "municipality"
        assert not await network.is_healthy(CS)
        # The operator makes room: the same message goes in.
        await network.nodes.terminate_all()
        await asyncio.to_thread(network.start, CS)
        assert not (await network.submit(CHIYODA, submission)).repeated
    finally:
        await network.nodes.terminate_all()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a file system cannot be mounted here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


async def test_a_full_disk_refuses_changes_keeps_reading_and_recovers_when_room_is_made(
    new_network: Callable[..., Network], tmp_path: Path, small_disk: Path, refused: Any
) -> None:
    network = new_network(tmp_path, [CHIYODA])
    config = network.mesh.config_path(CS)
    moved = re.sub(r'database = ".*"', f'database = "sqlite:///{small_disk / "register.db"}"', config.read_text())
    config.write_text(moved)
    no_quota = {"JUKINET_LIMITS_DISK_FREE_BYTES": "0", "JUKINET_LIMITS_DISK_FREE_PERCENT": "0"}
    try:
        await asyncio.to_thread(network.start, CS, environ=no_quota)
        accepted = {await submitted(network)}
        ballast = small_disk / "ballast"
        with ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, os.statvfs(small_disk).f_bavail * 4096 - 32 * 1024)
        with refused() as refusal:
            for _ in range(100):
                accepted.add(await submitted(network))
        assert (refusal.name, refusal.code) == FULL
        # Nothing that was answered is lost, nothing that was refused is there, and the operator can still look.
        assert codes(network) == accepted
        status = await network.status(CS)
        assert status.residents == {"ACTIVE": len(accepted)}
        assert status.links[0].last_sequence == len(accepted)
        before = network.digest(CS)
        with refused() as refusal:
            await submitted(network)
        assert (refusal.name, refusal.code) == FULL
        assert network.digest(CS) == before
        ballast.unlink()
        accepted.add(await submitted(network))
        assert codes(network) == accepted
    finally:
        assert await network.nodes.terminate_all() == {CS: 0}


# ---- what keeps a node from starting: one sentence and an exit code ------------------------------------------------


async def start(network: Network, **environ: str) -> tuple[int, str]:
    """Tries to start the CS; gives the exit code and the last line that it told."""
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "jukinet.cli", "node", "run", "--config", str(network.mesh.config_path(CS))),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, **environ},
    )
    told, _ = await asyncio.wait_for(program.communicate(), 30)
    assert b"Traceback" not in told
    assert program.returncode is not None
    return program.returncode, str(told, "utf-8").strip()


async def test_a_second_process_on_the_same_database_does_not_start(lone: Network) -> None:
    before = lone.digest(CS)
    code, told = await start(lone)
    assert code == Exit.DATABASE
    sentence = "The node does not run: another process has register.db open for writing; stop it first"
    assert told.splitlines()[-1] == sentence
    assert lone.digest(CS) == before
    assert await submitted(lone) in codes(lone)


async def test_an_unknown_key_keeps_a_node_from_starting(new_network: Callable[..., Network], tmp_path: Path) -> None:
    network = new_network(tmp_path, [CHIYODA])
    path = network.mesh.config_path(CS)
    path.write_text("listn = 'x'\n" + path.read_text())
    code, told = await start(network, JUKINET_LIMITS_DISK_FREE_BITES="1")
    assert code == Exit.CONFIGURATION
    assert "- unknown key listn; the nearest that exists is listen" in told
    nearest = "the nearest that exists is JUKINET_LIMITS_DISK_FREE_BYTES"
    assert f"- unknown key JUKINET_LIMITS_DISK_FREE_BITES; {nearest}" in told
    assert not (network.folder(CS) / "register.db").exists()


@pytest.mark.parametrize(
    ("variable", "sentence"),
    [("JUKINET_LISTEN", "Cannot listen on"), ("JUKINET_TELEMETRY_METRICS_LISTEN", "Cannot serve metrics on")],
)
async def test_an_address_that_somebody_holds_keeps_a_node_from_starting(
    new_network: Callable[..., Network], tmp_path: Path, variable: str, sentence: str
) -> None:
    network = new_network(tmp_path, [CHIYODA])
    with socket.create_server(("127.0.0.1", 0)) as held:
        address = f"127.0.0.1:{held.getsockname()[1]}"
        code, told = await start(network, **{variable: address})
    assert code == Exit.CONFIGURATION
    assert told.splitlines()[-1].startswith(f"The node does not run: {sentence} {address}.")


async def test_a_database_of_a_newer_program_is_left_alone(new_network: Callable[..., Network], tmp_path: Path) -> None:
    network = new_network(tmp_path, [CHIYODA])
    path = network.folder(CS) / "register.db"
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE alembic_version (version_num TEXT)")
        database.execute("INSERT INTO alembic_version VALUES ('r9999')")
    database.close()
    before = path.read_bytes()
    code, told = await start(network)
    assert code == Exit.DATABASE
    assert "the database's schema r9999 is newer than this program" in told.splitlines()[-1]
    with sqlite3.connect(path) as database:
        assert database.execute("SELECT * FROM alembic_version").fetchall() == [("r9999",)]
        assert database.execute("SELECT count(*) FROM sqlite_schema").fetchall() == [(1,)]
    database.close()
    assert len(path.read_bytes()) == len(before)
