"""Clients in other languages ask under seal, where the law lets them."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from tests.journeys.foreign import CHIYODA, ask_under_seal
from tests.journeys.test_foreign_client import CLIENTS, Command, CommandLine
from tests.journeys.test_grpc_js import running
from tests.journeys.test_seals import ROW, first_of_next_month, let_seal

pytestmark = pytest.mark.slow
Network = Any  # the fixture's own class lives in conftest.py


@pytest.fixture(scope="module")
def sealing(new_network: Callable[..., Network], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """A mesh of its own, whose law lets a row be sealed: an approved edition cannot be taken back."""
    folder = tmp_path_factory.mktemp("sealing")
    network = new_network(folder / "network", [CHIYODA])
    try:
        network.start()
        asyncio.run(let_seal(network, folder))
        yield network
    finally:
        codes = network.stop()
    assert set(codes.values()) == {0}


@CLIENTS
async def test_every_kind_of_inquiry_is_sealed_with_any_grpc_client(sealing: Network, command: Command) -> None:
    async with aclosing(CommandLine(sealing, command)) as client:
        await ask_under_seal(sealing, client, ROW, first_of_next_month())


async def test_every_kind_of_inquiry_is_sealed_in_another_language(grpc_js: Path, sealing: Network) -> None:
    async with running(grpc_js, sealing) as client:
        await ask_under_seal(sealing, client, ROW, first_of_next_month())
