"""The simulated nation keeps its promises, repeats itself, and finds what is broken on purpose (P-01 to P-03)."""

import os
import subprocess
import sys
from typing import Any

import pytest

from jukinet.link import service
from jukinet.simulate.campaign import RARE, RARE_IN_SAFETY, Campaign, kill, simulate
from jukinet.simulate.mutants import MUTANTS, Mutant
from jukinet.simulate.nation import run

MODES: Any = ("safety", "liveness")
_HASHES = "from jukinet.simulate.nation import run; print(*(run(s, m).event_hash for s in range({}) for m in {}))"


def _hashes_elsewhere(seeds: int, hash_seed: str) -> list[str]:
    """Event hashes from another process."""
    done = subprocess.run(
        [sys.executable, "-c", _HASHES.format(seeds, MODES)],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


def test_no_promise_is_broken_in_a_few_seeds() -> None:
    found = simulate(range(12), MODES, lambda: None)
    assert [(each.seed, each.mode, each.violations) for each in found.failing] == []


def test_a_seed_is_the_same_run_in_another_process() -> None:
    here = [run(seed, mode).event_hash for seed in range(2) for mode in MODES]
    assert _hashes_elsewhere(2, "4711") == here
    assert len(set(here)) == len(here)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("first", range(0, 1000, 250))
def test_no_promise_is_broken_in_a_thousand_seeds_and_every_rare_situation_occurs(first: int) -> None:
    found = simulate(range(first, first + 250), MODES, lambda: None)
    assert [(each.seed, each.mode, each.violations) for each in found.failing] == []
    assert found.too_rare == []
    assert found.held


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_hundred_runs_have_the_same_hash_in_every_process() -> None:
    assert _hashes_elsewhere(100, "1") == _hashes_elsewhere(100, "2")


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_is_found_within_200_seeds(mutant: Any) -> None:
    assert kill(mutant) is not None


def test_a_mutant_that_only_raises_is_not_found() -> None:
    assert kill(Mutant("raises", "nothing", lambda: [(service, "greet", lambda: None)]), seeds=1) is None


def test_a_situation_that_hardly_occurred_makes_a_campaign_fail() -> None:
    found = Campaign(seeds=1000)
    found.counters.update(dict.fromkeys((*RARE, *RARE_IN_SAFETY), 50))
    found.finish(MODES)
    assert found.held
    found.counters["refused: LINK_FENCED"] = 49
    found.finish(MODES)
    assert not found.held
    assert found.too_rare == ["refused: LINK_FENCED"]


def test_what_a_mutant_breaks_is_whole_again_afterwards() -> None:
    before = run(0, "safety").event_hash
    for mutant in MUTANTS:
        with mutant.in_force():
            pass
    assert run(0, "safety").event_hash == before
