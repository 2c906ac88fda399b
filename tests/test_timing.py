"""The judge of latencies finds what differs and only that."""

from random import Random

import pytest

from tests.timing import auc, in_turns, told_apart, undisturbed


def test_the_auc_is_the_share_of_pairs_in_which_one_is_slower() -> None:
    assert auc([1, 2, 3], [4, 5, 6]) == auc([4, 5, 6], [1, 2, 3]) == 1
    assert auc([1, 2], [1, 2]) == auc([5], [5]) == 0.5
    assert auc([1, 4], [2, 3]) == 0.5
    assert auc([1, 3], [2, 4]) == 0.75


@pytest.mark.parametrize(("slower", "found"), [(0.0, False), (0.1, False), (0.5, True)])
def test_pairs_are_told_apart_only_beyond_the_limit(slower: float, found: bool) -> None:
    """A tenth of the spread is an AUC of 0.53, half of it one of 0.64."""
    for seed in range(20):
        random = Random(seed)
        taken = {
            kind: [random.gauss(by, 1) for _ in range(1_000)] for kind, by in (("a", 0.0), ("b", slower), ("c", 0.0))
        }
        told = told_apart(taken, limit=0.55)
        assert set(told) == ({("a", "b"), ("b", "c")} if found else set())


def test_how_much_longer_a_kind_takes_is_found_however_often_it_is_disturbed() -> None:
    random = Random(1)
    taken = {
        kind: [random.gauss(by, 1) + random.choice((0, 0, 900)) for _ in range(1_000)]
        for kind, by in (("a", 100.0), ("b", 105.0), ("c", 100.0))
    }
    times = undisturbed(taken)
    assert 1.04 < times["b"] < 1.06
    assert times["a"] < 1.01
    assert times["c"] < 1.01


async def test_every_kind_is_timed_once_a_round() -> None:
    asked: list[str] = []

    async def ask(kind: str) -> None:
        asked.append(kind)

    taken = await in_turns({"a": lambda: lambda: ask("a"), "b": lambda: lambda: ask("b")}, rounds=40, seed=1)
    assert {kind: len(sample) for kind, sample in taken.items()} == {"a": 40, "b": 40}
    assert all(set(asked[turn : turn + 2]) == {"a", "b"} for turn in range(0, len(asked), 2))
    assert asked != sorted(asked)
