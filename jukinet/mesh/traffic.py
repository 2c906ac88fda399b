"""The calls that are running, and whether the node takes new ones."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from jukinet._pb.jukinet.errors.v1 import errors_pb2
from jukinet.mesh.errors import Refused

# A node that is full or stopping must still say so when it is asked for its health.
_ALWAYS_ANSWERED: Final = "/grpc.health.v1.Health/"


class Traffic:
    """Counts running calls.

    Args:
        most: calls at the same time; health checks do not count.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self.running = 0
        self.draining = asyncio.Event()
        """Set when the node stops; streams that stay open watch it and end by themselves."""
        self._idle = asyncio.Event()
        self._idle.set()

    @contextmanager
    def call(self, rpc: str) -> Iterator[None]:
        """Holds one call.

        Raises:
            Refused: DRAINING or OVERLOADED.
        """
        if rpc.startswith(_ALWAYS_ANSWERED):
            yield
            return
        if self.draining.is_set():
            raise Refused(errors_pb2.ERROR_REASON_DRAINING)
        if self.running >= self._most:
            raise Refused(errors_pb2.ERROR_REASON_OVERLOADED)
        self.running += 1
        self._idle.clear()
        try:
            yield
        finally:
            self.running -= 1
            if not self.running:
                self._idle.set()

    async def idle(self) -> None:
        """Waits until no call is running."""
        await self._idle.wait()
