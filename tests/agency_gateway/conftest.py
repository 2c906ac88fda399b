"""A gateway and its center for each test, with residents and a municipality that corrects what it recorded of them."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agency_gateway import recall_service as recall_service_module
from agency_gateway import record as record_module
from center_node import corrections as corrections_module
from tests.agency_gateway.network import Network
from tests.agency_gateway.office import Office


@pytest.fixture
async def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Network]:
    monkeypatch.setattr(record_module, "KEEP_SECONDS", 60.0)  # the disk of a test may be as slow as it likes
    built = Network(tmp_path)
    async with built.running():
        yield built
    built.close()


@pytest.fixture
def office(network: Network, monkeypatch: pytest.MonkeyPatch) -> Office:
    """Three residents are here, and nobody waits for a correction or a recall."""
    for module in (corrections_module, recall_service_module):
        monkeypatch.setattr(module, "WAIT_SECONDS", 0.0)
    return Office(network, 1, 2, 3)
