"""A node on its way back, in the simulation: `jukinet.link.restore` without threads and tasks.

The steps and their order are the product's; each takes the product's transactions, and the process may die between any
two of them.
"""

from collections.abc import Callable

from sqlalchemy import Connection

from jukinet._pb.jukinet.link.v1.link_pb2 import Batch
from jukinet.link.reapply import Reapplied
from jukinet.link.restore import adopt
from jukinet.simulate.process import Outcome, Process
from jukinet.store import journal
from jukinet.store.boot import Boot, write_boot_id

Then = Callable[[Exception | None], None]
"""Told when a step is on disk, or why it is not."""


class Restoring:
    """Where one process's node stands. `reapply` puts a batch back; `on_doubt` ends what may not go on."""

    def __init__(self, process: Process, boot: Boot, reapply: Reapplied, on_doubt: Callable[[], None]) -> None:
        self._process = process
        self._boot = boot
        self._reapply = reapply
        self._on_doubt = on_doubt

    @property
    def restored(self) -> bool:
        """Whether the node still has to learn what it lost."""
        return self._boot.restored

    def doubt(self, then: Then) -> None:
        """The neighbour holds more than this node."""
        self._boot.doubt()
        self._process.timeline.count("loss found out by the welcome")
        self._on_doubt()

        def flushed(failure: Exception | None) -> None:
            self._process.log("restoring")
            then(failure)

        self._job(lambda _: None, flushed)

    def adopt(self, epoch: int, then: Then) -> None:
        """Keeps the epoch that the neighbour gave."""
        self._process.timeline.count("epoch adopted")
        self._job(lambda connection: adopt(connection, epoch), then)

    def put_back(self, batch: Batch, then: Then) -> None:
        """Puts one batch back."""
        at = self._process.now_us()
        self._process.timeline.count("segment put back", len(batch.segments))
        self._job(lambda connection: self._reapply(connection, batch, at), then)

    def complete(self, then: Then) -> None:
        """The node holds all that its neighbour holds of it."""

        def renewed(outcome: Outcome) -> None:
            if isinstance(outcome, Exception):
                then(outcome)
                return
            boot_id = self._boot.renew("", outcome.neighbour_mark)
            self._job(lambda connection: write_boot_id(connection, boot_id), settled)

        def settled(failure: Exception | None) -> None:
            if failure is None:
                self._boot.settled()
                self._process.timeline.count("restored and complete")
                self._process.log("complete")
            then(failure)

        self._process.submit(journal.read_stream, renewed)

    def acknowledged(self, mark: int) -> None:
        """The neighbour has the changes up to the mark on disk."""
        self._boot.acknowledged(mark)

    def _job(self, job: Callable[[Connection], object], then: Then) -> None:
        self._process.submit(job, lambda outcome: then(outcome if isinstance(outcome, Exception) else None))
