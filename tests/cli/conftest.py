"""A communication server that takes changes in, with faults on request; and a mesh that runs."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import grpc
import pytest

from jukinet.cli.init import Plan, write_mesh
from jukinet.cli.processes import MeshProcesses
from tests.cli.intake import Intake, dial, serving
from tests.cli.running import CODE, Running, residents


@pytest.fixture
def intake() -> Intake:
    return Intake()


@pytest.fixture
async def channel(intake: Intake) -> AsyncIterator[grpc.aio.Channel]:
    async with serving(intake) as port, dial(port) as channel:
        yield channel


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("running")
    processes = MeshProcesses(write_mesh(folder / "mesh", Plan([CODE], ["gateway-1"])))
    processes.start_all()
    try:
        asyncio.run(processes.wait_healthy())
        yield Running(processes.mesh, residents(folder / "load"))
    finally:
        codes = asyncio.run(processes.terminate_all())
    assert set(codes.values()) == {0}
