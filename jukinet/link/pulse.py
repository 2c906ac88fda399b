"""Signs of life on a link, and what tells a sick neighbour from one that has nothing to say.

A sender gives a sign of life every ten seconds, amid its changes too, and its receiver answers each word with an
acknowledgement. So either side knows when the other owes it something. Who owes for long is *slow* and is shown to the
operator while the stream still stands: a process that is stopped, or a disk that hangs, keeps its connections open. Who
stays silent is given up, and what it held up goes another way as soon as it is back.

Times are seconds of any clock that only goes forward. Source: reliability protocol, flow control.
"""

from collections import deque
from dataclasses import dataclass, field

HEARTBEAT = 10.0
"""Between two signs of life of a sender."""
SLOW = 15.0
"""Who owes a word, or an acknowledgement, for longer is called slow."""
SILENCE = 25.0
"""Who says nothing for so long counts as gone: two signs of life were not answered, or did not come."""


@dataclass(slots=True)
class Owed:
    """What a receiver owes its sender: an acknowledgement of each batch, a word for each sign of life."""

    _batches: deque[tuple[int, float]] = field(default_factory=deque)
    """Last sequence number of each batch without an acknowledgement, and when it was sent."""
    _asked_at: float | None = None
    _reached: int = 0

    def said(self, reached: int, now: float) -> None:
        """Something was sent; `reached` is the last sequence number that has ever been sent on this stream."""
        if reached > self._reached:
            self._batches.append((reached, now))
            self._reached = reached
        elif self._asked_at is None:
            self._asked_at = now

    def heard(self, mark: int) -> None:
        """The receiver spoke; everything up to `mark` is on its disk."""
        self._asked_at = None
        while self._batches and self._batches[0][0] <= mark:
            self._batches.popleft()

    def since(self) -> float | None:
        """Since when the oldest answer is owed; None when nothing is."""
        owed = [at for at in (self._asked_at, self._batches[0][1] if self._batches else None) if at is not None]
        return min(owed, default=None)

    def is_slow(self, now: float) -> bool:
        """Whether an answer is owed for longer than a neighbour in health takes."""
        since = self.since()
        return since is not None and now - since > SLOW
