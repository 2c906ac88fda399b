"""The calls that are running, and whether the node takes new ones.

Rule: a caller that holds as many calls as there are places left free gets no more. So one caller takes at most half of
what the others leave, and every newcomer gets in while there is a place at all. A fixed number for each caller would be
too small for a gateway, which asks the center for all agencies, or too large for a municipality of Hokkaido, whose
prefecture keeps a stream open for each of its 179 and has 200 places.

Operators have a few places beside these: whoever has to find out why a node is full must get in.

Source: dynamic thresholds for shared buffers (Choudhury and Hahne, 1998), with a factor of one.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from jukinet._pb.jukinet.errors.v1 import errors_pb2
from jukinet.mesh.errors import Refused
from jukinet.mesh.identity import Identity

# A node that is full or stopping must still say so when it is asked for its health.
_ALWAYS_ANSWERED: Final = frozenset({"/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/List"})
_FOR_OPERATORS: Final = 8  # two people with a look at status, parked and digest each, while the node is full
# Stays open until its caller leaves: it takes a place, but a stopping node tells it so and does not wait for it.
_WATCH: Final = "/grpc.health.v1.Health/Watch"


class Traffic:
    """Counts running calls, streams that stay open among them.

    Args:
        most: calls at the same time, without the places that only operators have.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: dict[Identity, int] = {}
        self._watching = 0
        self.running = 0
        self.draining = asyncio.Event()
        """Set when the node stops; streams that stay open watch it and end by themselves."""
        self._idle = asyncio.Event()
        self._idle.set()

    @contextmanager
    def call(self, rpc: str, caller: Identity) -> Iterator[None]:
        """Holds one call.

        Args:
            rpc: full path.
            caller: whose call it is.

        Raises:
            Refused: DRAINING, OVERLOADED or CALLER_AT_LIMIT.
        """
        if rpc in _ALWAYS_ANSWERED:
            yield
            return
        watching = rpc == _WATCH
        if self.draining.is_set() and not watching:
            raise Refused(errors_pb2.ERROR_REASON_DRAINING)
        places = self._most + (_FOR_OPERATORS if caller.kind == "operator" else 0)
        free, held = places - self.running, self._held.get(caller, 0)
        if free <= 0:
            raise Refused(errors_pb2.ERROR_REASON_OVERLOADED)
        if held >= free:
            raise Refused(errors_pb2.ERROR_REASON_CALLER_AT_LIMIT)
        self._held[caller] = held + 1
        self._count(1, watching)
        try:
            yield
        finally:
            self._count(-1, watching)
            held = self._held.pop(caller)
            if held > 1:
                self._held[caller] = held - 1

    async def idle(self) -> None:
        """Waits until no call is running but those that watch the node's health."""
        await self._idle.wait()

    def _count(self, by: int, watching: bool) -> None:
        self.running += by
        if watching:
            self._watching += by
        if self.running > self._watching:
            self._idle.clear()
        else:
            self._idle.set()
