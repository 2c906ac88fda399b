"""One running process of a node: its writer, and the moments at which it can die.

The writer works as `jukinet.store.writer` does: jobs in their order, several in one transaction, a job that fails
alone, and results after the commit only. What is in memory dies with the process; the disk stays as it was committed.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.engine import RootTransaction
from sqlalchemy.exc import StatementError

from jukinet.mesh.errors import Refused
from jukinet.simulate.disk import Disk
from jukinet.simulate.observe import Observer, start_of
from jukinet.simulate.timeline import MS, Timeline
from jukinet.store.boot import Boot
from jukinet.store.errors import StorageFull, StoreError, without_values

Outcome = Any
Job = Callable[[Connection], Outcome]
Done = Callable[[Outcome], None]
"""Told of a job's result after its commit, or of the exception that ended it."""


class Fate(Enum):
    """What happens at the next commit of a process."""

    DIES_BEFORE_COMMIT = "crash before commit"
    DIES_AFTER_COMMIT = "crash after commit"
    COMMIT_FAILS_LOST = "commit failed and was lost"
    COMMIT_FAILS_KEPT = "commit failed and was kept"


class Died(Exception):
    """The process is gone; who waited is told nothing."""


@dataclass(eq=False)
class Process:
    """A process of the node `name` on its disk. `on_death` is told when it dies by itself."""

    timeline: Timeline
    name: str
    disk: Disk
    on_death: Callable[["Process"], None]
    boot: Boot | None
    """Whether the node is sure of what it holds; the center has none."""
    skew: int = 0
    """Microseconds by which its clock is wrong."""
    slow: int = 0
    """Microseconds that a commit takes longer than it should."""
    fate: Fate | None = None
    alive: bool = True
    told: bool = True
    """Whether the history hears of its disk: not of the copy that a second instance has."""
    forged: set[bytes] = field(default_factory=set)
    """Changes that an intruder had sealed here."""
    observer: Observer = field(init=False)
    _jobs: deque[tuple[Job, Done]] = field(default_factory=deque)
    _busy: bool = False

    def __post_init__(self) -> None:
        self.disk.connection.info.clear()
        self.observer = Observer(self.disk.connection)
        self.disk.connection.rollback()
        if self.told:
            self.timeline.log("started", node=self.name, restoring=self.restoring, **self.disk.read(start_of))

    @property
    def restoring(self) -> bool:
        """Whether the node still has to learn what it lost."""
        return self.boot is not None and self.boot.restored

    def log(self, event: str) -> None:
        """Writes to the history that something happened to this node, and what then stands on its disk."""
        if self.told:
            self.timeline.log(event, node=self.name, **self.disk.read(start_of))

    def now_us(self) -> int:
        """What its clock shows: microseconds since 1970, skewed."""
        return 1_790_000_000_000_000 + self.timeline.now + self.skew

    def later(self, delay: float, label: str, action: Callable[[], None]) -> None:
        """Does something in this process later; not if it has died meanwhile."""
        self.timeline.after(delay, f"{self.name} {label}", lambda: action() if self.alive else None)

    def submit(self, job: Job, done: Done) -> None:
        """Hands a job to the writer."""
        self._jobs.append((job, done))
        self._wake()

    def die(self) -> None:
        """Ends at once, as `kill -9` ends it."""
        self.alive = False
        self._jobs.clear()
        self.disk.connection.rollback()

    def _wake(self) -> None:
        if not self._busy:
            self._busy = True
            self.later(self.timeline.between(0.2 * MS, 8 * MS) + self.slow, "commits", self._work)

    def _work(self) -> None:
        self._busy = False
        count = self.timeline.random.randint(1, len(self._jobs))
        group = [self._jobs.popleft() for _ in range(count)]
        try:
            for done, outcome in self._attempt(group):
                done(outcome)
                if not self.alive:
                    return
        except Died:
            self.die()
            self.on_death(self)
            return
        if self._jobs:
            self._wake()

    def _attempt(self, group: list[tuple[Job, Done]]) -> list[tuple[Done, Outcome]]:
        connection = self.disk.connection
        failure: Exception
        transaction = connection.begin()
        try:
            results = [(done, job(connection)) for job, done in group]
        except StatementError as error:
            failure = without_values(error)
        except (Refused, StoreError) as error:
            failure = error
        else:
            self.commit(transaction)
            return results
        transaction.rollback()
        if isinstance(failure, StorageFull):
            self.timeline.count("disk full")
        if len(group) == 1:
            return [(group[0][1], failure)]
        return [told for entry in group for told in self._attempt([entry])]

    def commit(self, transaction: RootTransaction) -> None:
        """Commits, or dies of it. Raises Died."""
        fate, self.fate = self.fate, None
        if fate:
            self.timeline.count(fate.value)
        if fate in (Fate.DIES_BEFORE_COMMIT, Fate.COMMIT_FAILS_LOST):
            transaction.rollback()
            raise Died
        # Looked at from inside, told after: a look of its own would cost as much as the commit.
        news = self.observer.news(self.disk.connection, self.forged) if self.told else {}
        transaction.commit()
        if news:
            self.timeline.count("overtaken at a prefecture", news.pop("overtaken", 0))
            self.timeline.log("commit", node=self.name, **news)
        if fate:
            raise Died
