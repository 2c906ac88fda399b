"""The main job with PostgreSQL under every node: one server, a database for each."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import grpc
import psycopg
import pytest

from jukinet._pb.jukinet.admin.v1.admin_pb2 import GetStatusRequest, LinkStatus
from jukinet._pb.jukinet.admin.v1.admin_pb2_grpc import AdminServiceStub
from jukinet._pb.jukinet.disclosure.v1.disclosure_pb2 import (
    AFFAIR_FIND_USAGE,
    FindUsageRequest,
    FindUsageResponse,
    Usage,
)
from jukinet._pb.jukinet.disclosure.v1.disclosure_pb2_grpc import DisclosureServiceStub
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.register.v1.identity_pb2 import CalendarDate
from jukinet._pb.jukinet.witness.v1.witness_pb2 import GetLatestRequest
from jukinet._pb.jukinet.witness.v1.witness_pb2_grpc import WitnessServiceStub
from jukinet.cli.admin import get_status
from jukinet.cli.compare import differences
from jukinet.cli.connect import CALL_SECONDS, Target, TlsOptions, channel_to, health_of, in_mesh
from jukinet.cli.counter import open_counter
from jukinet.cli.demo_questions import ask_all
from jukinet.cli.init import UNBRAKED, Plan, write_mesh
from jukinet.cli.layout import DISCLOSURE, Mesh
from jukinet.cli.processes import MeshProcesses
from jukinet.cli.submit import submit
from jukinet.disclosure.usage_rows import rows_of
from jukinet.ledger.verify.notes import read_checkpoint, read_key
from jukinet.mesh.clock import today_in_japan
from jukinet.mesh.errors import reason_of
from jukinet.mesh.identity import Identity
from nation import Nation, Submission, write_csv

PostgresqlServer = Any  # the fixture's own class lives in conftest.py
CHIYODA, OKUTAMA = "131016", "133086"
PREFECTURE = "prefecture-130001"
SECONDS = 60.0


@pytest.fixture
def mesh(tmp_path: Path, postgresql_server: PostgresqlServer) -> Mesh:
    """A mesh whose nodes find empty databases."""
    plan = Plan(
        [CHIYODA, OKUTAMA], ["gateway-1"], postgresql_server.url("{node}"), UNBRAKED, witnesses=1, disclosure=True
    )
    found = write_mesh(tmp_path / "mesh", plan)
    for name in found.names:
        postgresql_server.create(name.replace("-", "_"))
    return found


@pytest.mark.slow
async def test_registers_on_postgresql_equal_the_truth_after_a_prefecture_was_killed(
    mesh: Mesh, tmp_path: Path
) -> None:
    day = date(2026, 1, 5)
    nation = Nation([CHIYODA, OKUTAMA], count=300, seed=20261124, on=day)
    residents = files(tmp_path / "residents", nation.residents())
    someone = next(row for row in nation.registers.of("center").values() if "-00" not in row.record["birth_date"])
    async with MeshProcesses(mesh) as nodes:
        nodes.start_all()
        await nodes.wait_healthy(seconds=SECONDS)
        await submit_all(mesh, residents)
        await arrived(mesh)
        answered = (await ask_all(mesh, someone)).answered
        assert answered is not None
        assert answered.outcome == inquiry.INQUIRY_OUTCOME_MATCH

        changes = nation.changes(day + timedelta(days=1), day + timedelta(days=60), intensity=20, at_least_once=True)
        submitting = asyncio.create_task(submit_all(mesh, files(tmp_path / "changes", changes)))
        while not (await uplink(mesh, CHIYODA)).last_sequence > len(residents[CHIYODA].read_text("utf-8").splitlines()):
            await asyncio.sleep(0.01)
        nodes.kill(PREFECTURE)
        nodes.start(PREFECTURE)
        await submitting
        await arrived(mesh)
        assert set((await nodes.terminate_all()).values()) == {0}
    for name in mesh.registers:
        database = mesh.config(name).database
        assert differences(database, nation.registers.of(name.partition("-")[2] or "center")) == Counter()
        assert count(database, "parked") == 0
    assert count(mesh.config("center").database, "history") == len(nation.residents()) + len(changes)
    assert count(mesh.config("gateway-1").database, "ledger_entries") == 6


@pytest.mark.slow
async def test_a_postgresql_that_is_away_for_a_while_ends_no_node_and_loses_nothing(
    mesh: Mesh, tmp_path: Path, postgresql_server: PostgresqlServer
) -> None:
    day = date(2026, 1, 5)
    nation = Nation([CHIYODA, OKUTAMA], count=60, seed=20261128, on=day)
    someone = next(row for row in nation.registers.of("center").values() if "-00" not in row.record["birth_date"])
    residents = files(tmp_path / "residents", nation.residents())
    changes = files(tmp_path / "changes", nation.changes(day + timedelta(days=1), day + timedelta(days=30)))
    asked = question(mesh, someone.resident_code, tmp_path)
    async with MeshProcesses(mesh) as nodes:
        nodes.start_all()
        await nodes.wait_healthy(seconds=SECONDS)
        await submit_all(mesh, residents)
        await arrived(mesh)
        assert (await ask_all(mesh, someone)).answered is not None
        assert await mirrored(mesh) <= await witnessed(mesh)

        postgresql_server.go_away()
        await asyncio.gather(*(noticed(mesh, name) for name in mesh.registers))
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await ask_all(mesh, someone)
        assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
        assert await refusal(find_usage(mesh, asked)) == errors.ERROR_REASON_LEDGER_UNAVAILABLE
        assert await refusal(witnessed(mesh)) == errors.ERROR_REASON_DEPENDENCY_UNAVAILABLE
        assert not await health_of(mesh, DISCLOSURE)
        assert not await health_of(mesh, "witness-1")
        postgresql_server.restart()

        await nodes.wait_healthy(seconds=SECONDS)
        await submit_all(mesh, changes)
        await arrived(mesh)
        assert (await ask_all(mesh, someone)).answered is not None
        assert await mirrored(mesh) <= await witnessed(mesh)
        # The day on which the resident may ask was not used up by what failed.
        usage = Usage.FromString((await find_usage(mesh, asked)).usage)
        assert len(rows_of(usage)) >= 3
        assert [each.contradicted for each in usage.ledgers] == [False]
        assert set((await nodes.terminate_all()).values()) == {0}
    for name in mesh.registers:
        database = mesh.config(name).database
        assert differences(database, nation.registers.of(name.partition("-")[2] or "center")) == Counter()


def question(mesh: Mesh, resident_code: str, folder: Path) -> FindUsageRequest:
    """A resident's question at a counter who received the record in these days."""
    file = folder / "code.txt"
    file.write_text(resident_code)
    counter = open_counter(mesh.root, CHIYODA, TlsOptions(), None)
    check = counter.check(file, affair=AFFAIR_FIND_USAGE, clerk="7", proof="photo-document")
    first, last = (today_in_japan() + timedelta(days=days) for days in (-1, 0))
    return FindUsageRequest(
        check=check,
        first_day=CalendarDate(year=first.year, month=first.month, day=first.day),
        last_day=CalendarDate(year=last.year, month=last.month, day=last.day),
    )


async def find_usage(mesh: Mesh, asked: FindUsageRequest) -> FindUsageResponse:
    """What the disclosure node tells a counter."""
    async with channel_to(in_mesh(mesh, DISCLOSURE, Identity("counter", CHIYODA))) as channel:
        return await DisclosureServiceStub(channel).FindUsage(asked, timeout=CALL_SECONDS)


async def witnessed(mesh: Mesh) -> int:
    """Entries of the gateway's ledger that the witness has seen, as it tells the gateway."""
    key = read_key(mesh.ledger_key("gateway-1").read_text("utf-8"))
    witness = mesh.config("witness-1").identity
    async with channel_to(Target(mesh.address("witness-1"), witness, mesh.config("gateway-1").tls)) as channel:
        request = GetLatestRequest(origin=key.name)
        answer = await WitnessServiceStub(channel).GetLatest(request, timeout=CALL_SECONDS)
    return read_checkpoint(answer.checkpoint, key).size


async def mirrored(mesh: Mesh) -> int:
    """Waits until the disclosure node has all that the gateway's ledger has now; gives how much that is."""
    size = (await get_status(mesh, "gateway-1")).ledger_entries
    async with asyncio.timeout(SECONDS):
        while (await get_status(mesh, DISCLOSURE)).mirrors[0].entries < size:
            await asyncio.sleep(0.1)
    return size


async def refusal(call: Awaitable[Any]) -> "errors.ErrorReason.ValueType | None":
    """Why a call is refused, as the node says; unspecified where no node says so."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    return reason_of(refused.value)


async def noticed(mesh: Mesh, name: str) -> None:
    """Waits until a node found out twice, five seconds apart, that its database is away."""
    async with asyncio.timeout(SECONDS):
        while mesh.log_path(name).read_text("utf-8").count("how the node stands could not be read") < 2:
            await asyncio.sleep(0.1)


def files(folder: Path, submissions: Sequence[Submission]) -> dict[str, Path]:
    """Change files by municipality."""
    return {path.stem: path for path in write_csv(folder, submissions)}


async def submit_all(mesh: Mesh, of: Mapping[str, Path]) -> None:
    """Submits a file to each municipality's CS and expects that every line is accepted."""

    async def one(code: str, path: Path) -> None:
        async with channel_to(in_mesh(mesh, f"municipality-{code}", Identity("municipal-system", code))) as channel:
            report = await submit(path, channel, rejects_path=path.with_suffix(".rejects"), timeout_seconds=SECONDS)
        assert (report.accepted, report.refused) == (report.lines, {})

    await asyncio.gather(*(one(code, path) for code, path in of.items()))


async def arrived(mesh: Mesh) -> None:
    """Waits until all that was accepted is on disk at the center."""
    async with asyncio.timeout(SECONDS):
        for code in (CHIYODA, OKUTAMA):
            link = await uplink(mesh, code)
            while link.center_mark < link.last_sequence:
                await asyncio.sleep(0.05)
                link = await uplink(mesh, code)


async def uplink(mesh: Mesh, code: str) -> LinkStatus:
    """How far a CS is with its prefecture and the center."""
    async with channel_to(in_mesh(mesh, f"municipality-{code}")) as channel:
        status = await AdminServiceStub(channel).GetStatus(GetStatusRequest(), timeout=SECONDS)
    return status.links[0]


def count(database: str, table: str) -> int:
    """Rows of a table."""
    with psycopg.connect(database) as connection:
        row = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    assert row is not None
    return int(row[0])
