"""A communication server that takes changes in, with faults on request."""

from collections.abc import AsyncIterator

import grpc
import pytest

from tests.cli.intake import Intake, dial, serving


@pytest.fixture
def intake() -> Intake:
    return Intake()


@pytest.fixture
async def channel(intake: Intake) -> AsyncIterator[grpc.aio.Channel]:
    async with serving(intake) as port, dial(port) as channel:
        yield channel
