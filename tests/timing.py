"""How well a clock tells two kinds of question apart: the AUC of their latencies.

0.5 = not at all; 1 = always. It is the chance that a question of the one kind took longer than one of the other, so it
needs no assumption about how latencies are spread, and outliers of a busy machine weigh no more than others.

A measured AUC is a draw. `told_apart` names pairs of which it can be said, with three standard errors, that the true
one is over the limit. A busy machine takes every AUC towards 0.5 and raises no alarm, and of a hundred runs over
fifteen pairs that are all at the limit itself two do.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import combinations
from random import Random
from time import perf_counter_ns


def auc(one: Sequence[float], other: Sequence[float]) -> float:
    """Of two samples, whichever is the slower; ties count half (Mann and Whitney). At least 0.5."""
    ranked = sorted(other)
    above = sum(bisect_left(ranked, each) + bisect_right(ranked, each) for each in one) / 2
    share = above / (len(one) * len(other))
    return max(share, 1 - share)


def told_apart(taken: Mapping[str, Sequence[float]], *, limit: float) -> dict[tuple[str, str], float]:
    """The pairs of kinds whose true AUC is over the limit, with the one measured. All samples have one size."""
    (size,) = {len(sample) for sample in taken.values()}
    error = ((2 * size + 1) / (12 * size * size)) ** 0.5  # of two samples that are alike
    measured = {(one, other): auc(taken[one], taken[other]) for one, other in combinations(taken, 2)}
    return {pair: found for pair, found in measured.items() if found - 3 * error > limit}


def undisturbed(taken: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """How many times as long as the quickest kind each takes when little else runs: by the first deciles."""
    first = {kind: sorted(sample)[len(sample) // 10] for kind, sample in taken.items()}
    return {kind: each / min(first.values()) for kind, each in first.items()}


async def in_turns(
    questions: Mapping[str, Callable[[], Callable[[], Awaitable[object]]]], *, rounds: int, seed: int
) -> dict[str, list[float]]:
    """Nanoseconds of each kind of question, each asked once a round, in an order of its own in each round.

    What else the machine does falls on all kinds alike. What a question returns when it is called is what is timed;
    what it does before, such as signing, is not.
    """
    order, random = list(questions), Random(seed)
    taken: dict[str, list[float]] = {kind: [] for kind in order}
    for number in range(rounds + rounds // 20):
        ready = {kind: questions[kind]() for kind in order}
        random.shuffle(order)
        for kind in order:
            begun = perf_counter_ns()
            await ready[kind]()
            if number >= rounds // 20:  # the first ones fill caches
                taken[kind].append(perf_counter_ns() - begun)
    return taken
