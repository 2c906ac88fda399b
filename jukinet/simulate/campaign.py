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
    "center restored",
    "change forged",
    "clock jumped",
    "commit failed and was kept",
    "commit failed and was lost",
    "connection cut",
    "crash after commit",
    "crash at any moment",
    "crash before commit",
    "disk full",
    "disk slow",
    "duplicate dropped",
    "look-up at the center",
    "one-way partition",
    "overtaken at a prefecture",
    "parked and released",
    "partition",
    "refused: LINK_GAP",
    "second instance",
    "stream superseded",
    "transfer in before transfer out",
    "unlawful change parked",
)
"""Situations that must occur in either mode."""
RARE_IN_SAFETY = (
    "bit flipped",
    "refused: LINK_FORK",
    "refused: LINK_SEAL",
    "restored unnoticed",
    "segment tampered",
    "stopped for people: LINK_FORK",
    "stopped for people: LINK_RECEIVER_AHEAD",
    "stopped for people: LINK_SEAL",
)
"""Situations after which only people can go on."""
ENOUGH_FOR_COUNTERS = 200
"""Seeds from which on a situation that never occurred means that the campaign was blind."""


@dataclass(slots=True)
class Campaign:
    """The result of a run of seeds."""

    seeds: int = 0
    violations: Counter[Mode] = field(default_factory=Counter)
    failing: list[Run] = field(default_factory=list)
    counters: Counter[str] = field(default_factory=Counter)
    never: list[str] = field(default_factory=list)

    @property
    def held(self) -> bool:
        """Whether every promise held, and enough happened to say so."""
        return not self.failing and not self.never

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
            result = run(seed, mode)
            found.counters.update(result.counters)
            if result.violations:
                found.violations[mode] += len(result.violations)
                found.failing.append(result)
        found.seeds += 1
        progress()
    must = [*RARE, *(RARE_IN_SAFETY if "safety" in modes else ())]
    found.counters.update(dict.fromkeys(must, 0))
    if found.seeds >= ENOUGH_FOR_COUNTERS:
        found.never = [name for name in must if not found.counters[name]]
    return found


def kill(mutant: Mutant, first: int = 0, seeds: int = SEEDS_A_MUTANT) -> Run | None:
    """The first run that notices a mutant; None when it survives so many seeds."""
    modes: tuple[Mode, ...] = ("safety", "liveness")
    with mutant.in_force():
        for seed in range(first, first + seeds):
            for mode in modes:
                result = run(seed, mode)
                if result.violations:
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
