"""How far a node's own stream is above: shown to operators, and kept on disk now and then."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from sqlalchemy import Connection

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.errors.v1.errors_pb2 import ErrorReason
from jukinet.link.pulse import HEARTBEAT, Owed
from jukinet.link.restore import Restore
from jukinet.mesh.clock import now_us
from jukinet.mesh.failpoints import passing
from jukinet.store import journal
from jukinet.store.writer import Writer

log = logging.getLogger(__name__)

PROGRESS_EVERY = 0.2  # seconds between durable notes of how far the neighbours are
RETRY_AFTER = HEARTBEAT  # seconds after a note that could not be made


@dataclass(slots=True)
class UplinkState:
    """What the operator sees of the link."""

    connected: bool = False
    last_error: "ErrorReason.ValueType" = errors.ERROR_REASON_UNSPECIFIED
    """Why the last stream ended or could not begin; unspecified while one stands."""
    neighbour_mark: int = 0
    center_mark: int = 0
    owed: Owed = field(default_factory=Owed)
    """What the neighbour owes this node on the stream that stands, by the monotonic clock."""
    parked_above: int = 0
    """Changes that a node above told of as parked, since this process began."""


class Progressed:
    """Keeps the neighbours' marks on disk; `on_center_marks` is told which sources' changes reached the center's."""

    def __init__(self, *, writer: Writer, restore: Restore, on_center_marks: Callable[[dict[str, int]], None]) -> None:
        self.state = UplinkState()
        self._writer = writer
        self._restore = restore
        self._on_center_marks = on_center_marks
        self._moved = asyncio.Event()

    def moved(self, neighbour_mark: int, center_mark: int) -> None:
        """The neighbour told its marks."""
        self.state.neighbour_mark = max(self.state.neighbour_mark, neighbour_mark)
        self.state.center_mark = max(self.state.center_mark, center_mark)
        self._moved.set()

    async def note(self) -> None:
        """Keeps the marks, at most every 0.2 s, without end: they only say what may be pruned one day."""
        self._moved.set()
        while True:
            await self._moved.wait()
            self._moved.clear()
            near, far, at = self.state.neighbour_mark, self.state.center_mark, now_us()

            def note(connection: Connection, near: int = near, far: int = far, at: int = at) -> dict[str, int]:
                return journal.record_progress(connection, neighbour_mark=near, center_mark=far, now_us=at)

            commit = asyncio.wrap_future(self._writer.submit(note))
            commit.add_done_callback(self._noted)
            await asyncio.wait({commit})  # unlike `await commit`, leaves it running when the stream ends
            await self._restore.acknowledged(near)
            await asyncio.sleep(RETRY_AFTER if commit.exception() else PROGRESS_EVERY)

    def _noted(self, commit: "asyncio.Future[dict[str, int]]") -> None:
        """Runs for every note, even when its stream is over: those below wait for their center marks."""
        passing("uplink.noted")
        failure = commit.exception()
        if failure:
            log.warning("progress could not be noted", extra={"reason": type(failure).__name__})
            self._moved.set()
        elif commit.result():
            self._on_center_marks(commit.result())
