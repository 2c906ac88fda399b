"""Many seeds: what broke, what occurred, and which mutants the runs find."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from jukinet.simulate.mutants import MUTANTS, Mutant
from jukinet.simulate.nation import Mode, Run, run

SEEDS_A_MUTANT = 200

RARE = (
    "answered again",
    "asked again",
    "batch repeated",
    "came back with the disk",
    "center restored",
    "change forged",
    "clock jumped",
    "commit failed and was kept",
    "commit failed and was lost",
    "connection cut",
    "crash after commit",
    "crash at any moment",
    "crash before commit",
    "crash in a start",
    "disk full",
    "disk lost",
    "disk slow",
    "duplicate dropped",
    "epoch adopted",
    "fenced one made current",
    "fork mended",
    "look-up at the center",
    "loss found out by the welcome",
    "one-way partition",
    "overtaken at a prefecture",
    "parked and released",
    "partition",
    "refused: LINK_FENCED",
    "refused: LINK_GAP",
    "refused: RESTORING",
    "restore cut off",
    "restored and complete",
    "restored from a backup",
    "second instance",
    "segment put back",
    "stopped for people: LINK_FENCED",
    "stopped for people: LINK_FORK",
    "stream superseded",
    "submitted again after a loss",
    "transfer in before transfer out",
    "unlawful change parked",
)
"""Situations that must occur in either mode."""
RARE_IN_SAFETY = (
    "bit flipped",
    "other past told",
    "refused: LINK_FORK",
    "refused: LINK_SEAL",
    "restored unnoticed",
    "segment tampered",
    "stopped for people: LINK_SEAL",
)
"""Situations of safety runs alone."""
ENOUGH_FOR_COUNTERS = 200
"""Seeds from which on a situation that hardly occurred means that the campaign was blind."""
SEEDS_AN_OCCURRENCE = 20
"""Every situation must have occurred once in so many seeds: 1,000 times in 20,000."""


@dataclass(slots=True)
class Campaign:
    """The result of a run of seeds."""

    seeds: int = 0
    violations: Counter[Mode] = field(default_factory=Counter)
    failing: list[Run] = field(default_factory=list)
    counters: Counter[str] = field(default_factory=Counter)
    too_rare: list[str] = field(default_factory=list)
    """Situations that occurred too seldom for the campaign to mean anything."""

    @property
    def held(self) -> bool:
        """Whether every promise held, and enough happened to say so."""
        return not self.failing and not self.too_rare

    def note(self, result: Run) -> None:
        """Takes one run in."""
        self.counters.update(result.counters)
        if result.violations:
            self.violations[result.mode] += len(result.violations)
            self.failing.append(result)

    def add(self, part: "Campaign") -> None:
        """Takes a part of the campaign in."""
        self.seeds += part.seeds
        self.counters.update(part.counters)
        self.violations.update(part.violations)
        self.failing.extend(part.failing)

    def finish(self, modes: Iterable[Mode]) -> None:
        """All seeds are done: asks whether enough happened."""
        must = [*RARE, *(RARE_IN_SAFETY if "safety" in modes else ())]
        self.counters.update(dict.fromkeys(must, 0))
        if self.seeds >= ENOUGH_FOR_COUNTERS:
            self.too_rare = [name for name in must if self.counters[name] * SEEDS_AN_OCCURRENCE < self.seeds]

    def as_dict(self) -> dict[str, Any]:
        """The object that `--json` prints."""
        return {
            "seeds": self.seeds,
            "safety_violations": self.violations["safety"],
            "liveness_violations": self.violations["liveness"],
            "first_failing_seed": min((each.seed for each in self.failing), default=None),
            "counters": dict(sorted(self.counters.items())),
        }


def simulate(seeds: Iterable[int], modes: Iterable[Mode], progress: Callable[[], None]) -> Campaign:
    """Runs each seed in each mode. `progress` is called after each seed."""
    found = Campaign()
    modes = tuple(modes)
    for seed in seeds:
        for mode in modes:
            found.note(run(seed, mode))
        found.seeds += 1
        progress()
    found.finish(modes)
    return found


def kill(mutant: Mutant, first: int = 0, seeds: int = SEEDS_A_MUTANT) -> Run | None:
    """The first run that notices a mutant; None when it survives so many seeds."""
    modes: tuple[Mode, ...] = ("safety", "liveness")
    with mutant.in_force():
        for seed in range(first, first + seeds):
            for mode in modes:
                result = run(seed, mode)
                # Event 0 is an exception: it may be the mutant's own mistake, and no promise is seen to be broken.
                if any(each.event for each in result.violations):
                    return result
    return None


def kill_all(first: int, seeds: int, progress: Callable[[Mutant, Run | None], None]) -> dict[str, Any]:
    """Tries every mutant; the object that `--mutants --json` prints."""
    survivors = []
    for mutant in MUTANTS:
        noticed = kill(mutant, first, seeds)
        progress(mutant, noticed)
        if noticed is None:
            survivors.append(mutant.name)
    return {"mutants": len(MUTANTS), "killed": len(MUTANTS) - len(survivors), "survivors": survivors}
