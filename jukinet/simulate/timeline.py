"""The virtual clock, the one source of randomness, and the order of everything that happens.

Rule: whatever happens in a run is an event of this queue, and every choice is drawn from this `random`. Two runs of one
seed are then the same run, event for event, and their hashes are equal in every process.
"""

import hashlib
import heapq
from collections import Counter
from collections.abc import Callable, Mapping
from random import Random
from typing import Any

MS = 1_000
SECOND = 1_000_000
"""Virtual time is counted in microseconds."""


class Timeline:
    """One run: what happens when, what is written to its history, what was counted."""

    def __init__(self, seed: str) -> None:
        self.random = Random(seed)  # noqa: S311  # a simulation must be repeatable
        self.now = 0
        self.history: list[Mapping[str, Any]] = []
        self.counters: Counter[str] = Counter()
        self.tell: Callable[[Mapping[str, Any]], None] = self.history.append
        self._queue: list[tuple[int, int, str, Callable[[], None]]] = []
        self._number = 0
        self._hash = hashlib.sha256()

    def after(self, delay: float, label: str, action: Callable[[], None]) -> None:
        """Lets `action` happen so many microseconds from now; `label` stands in the hash."""
        self._number += 1
        heapq.heappush(self._queue, (self.now + max(0, int(delay)), self._number, label, action))

    def between(self, low: float, high: float) -> int:
        """A time between two, in microseconds, the short ones more often."""
        return int(low + (high - low) * self.random.random() ** 3)

    def log(self, event: str, **items: Any) -> None:
        """Writes an event of the history, which the checker reads."""
        entry = {"event": event, **items}
        self._hash.update(repr(entry).encode())
        self.tell(entry)

    def count(self, what: str, times: int = 1) -> None:
        """Counts a situation that must have occurred for a campaign to mean anything."""
        self.counters[what] += times

    def run(self, until: int) -> None:
        """Lets everything happen up to a moment."""
        while self._queue and self._queue[0][0] <= until:
            self.now, number, label, action = heapq.heappop(self._queue)
            self._hash.update(f"{self.now} {number} {label}\n".encode())
            action()
        self.now = until

    @property
    def event_hash(self) -> str:
        """Fingerprint of all that happened."""
        return self._hash.hexdigest()
