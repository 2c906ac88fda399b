"""Who guesses in batches is found and stopped, who brings a list that is mostly right is not."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from datetime import timedelta
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agency_gateway.batch import UNDER_WAY
from agency_gateway.detectors import BATCH_WINDOW, WINDOW, Detectors, Finding, Seen
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2 as ledger
from jukinet.mesh.errors import Refused
from tests.agency_gateway.agencies import PENSION
from tests.agency_gateway.test_detectors import FROZEN, NOON, TOO_MANY, WHO, answered, found_in, nothing, restart

Network = Any  # the class is in network.py; tests put methods of their own into it, and no context into calls
MOST_IN_BATCHES = 51
"""Misses of 256 persons that are no more than a fifth."""


def listed(misses: Iterable[bool], **asked: Any) -> list[Any]:
    """Answers about persons of batches."""
    entries = [answered(not missed, **asked) for missed in misses]
    for entry in entries:
        entry.action = ledger.ACTION_INQUIRE_BATCH
    return entries


def times_found(detectors: Detectors, entries: Iterable[Any]) -> int:
    return sum(len(detectors.see(Seen(entry))) for entry in entries)


def test_whoever_guesses_in_batches_is_found_with_the_first_miss_over_a_fifth_of_256() -> None:
    findings = found_in(listed([True] * (MOST_IN_BATCHES + 1)))
    assert findings[:-1] == [[]] * MOST_IN_BATCHES
    assert findings[-1] == [Finding("misses", PENSION.uri, b"\x01" * 32)]
    spread = [*[True] * MOST_IN_BATCHES, *[False] * (BATCH_WINDOW - MOST_IN_BATCHES - 1), True]
    assert len(found_in(listed(spread))[-1]) == 1
    assert not any(found_in(listed([*spread[:-1], False, True])))


def test_a_long_list_that_is_mostly_right_is_never_found() -> None:
    random, (hit, miss) = Random(7), listed([False, True])
    for share in (0.03, 0.05, 0.08):
        asked = (miss if random.random() < share else hit for _ in range(100_000))
        assert times_found(Detectors(), asked) == 0


def test_a_list_that_is_mostly_wrong_is_found() -> None:
    random, (hit, miss) = Random(7), listed([False, True])
    asked = (miss if random.random() < 0.3 else hit for _ in range(2 * BATCH_WINDOW))
    assert times_found(Detectors(), asked) > 0


RUNS = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 40)), max_size=12)
"""So many persons who are there, then so many misses."""


@given(runs=RUNS, one_by_one=st.booleans())
def test_misses_are_found_where_those_of_the_last_answers_since_a_finding_are_over_a_fifth(
    runs: list[tuple[int, int]], one_by_one: bool
) -> None:
    misses = [missed for hit, miss in runs for missed in (*[False] * hit, *[True] * miss)]
    window, since = WINDOW if one_by_one else BATCH_WINDOW, list[bool]()
    asked = [answered(not missed) for missed in misses] if one_by_one else listed(misses)
    for missed, found in zip(misses, found_in(asked), strict=True):
        since.append(missed)
        assert bool(found) == (missed and sum(since[-window:]) * 5 > window)
        if found:
            since.clear()


def test_misses_in_batches_and_one_by_one_are_counted_for_themselves_by_operator_and_day() -> None:
    detectors = Detectors()
    assert times_found(detectors, [*listed([True] * MOST_IN_BATCHES), *[answered()] * (TOO_MANY - 1)]) == 0
    assert times_found(detectors, listed([True] * MOST_IN_BATCHES, operator=2)) == 0
    assert times_found(detectors, listed([True] * MOST_IN_BATCHES, at=NOON + timedelta(days=1))) == 0
    assert times_found(detectors, listed([True], at=NOON + timedelta(days=1))) == 1


def nobody(network: Network, persons: int, first: int = 1000) -> Any:
    """A message about people who are not there."""
    return network.batch_of(*range(first, first + persons))


async def test_whoever_guesses_in_a_batch_is_refused_its_next_message_and_goes_on_nowhere(network: Network) -> None:
    network.enter(network.record_of(1))
    messages = [nobody(network, BATCH_WINDOW, first) for first in range(1000, 4000, BATCH_WINDOW)]
    answered_to: list[str] = []
    with pytest.raises(Refused) as refused:
        async for answer in network.batch(as_stream(messages)):
            answered_to.append(answer.request_id)
    assert refused.value.reason == FROZEN
    assert answered_to == [each.context.request_id for each in messages[: len(answered_to)]]
    assert 1 <= len(answered_to) <= UNDER_WAY
    asked = len(network.center.requests)
    assert asked <= UNDER_WAY + 1
    assert await network.refusal_of(network.inquire_batch(network.batch_of(1))) == FROZEN
    assert await network.refusal_of(network.inquire()) == FROZEN
    assert len(network.center.requests) == asked
    assert await network.inquire_batch(network.batch_of(1, operator="op-2"))


async def test_whoever_guesses_in_messages_of_one_person_each_is_frozen_as_well(network: Network) -> None:
    network.enter(network.record_of(1))
    for number in range(MOST_IN_BATCHES + 1):
        await network.inquire_batch(nobody(network, 1, 1000 + number))
    assert set(network.freezes.standing) == {WHO}
    assert await network.refusal_of(network.inquire_batch(network.batch_of(1))) == FROZEN


async def test_what_was_under_way_when_its_operator_was_frozen_does_not_leave(network: Network) -> None:
    network.enter(network.record_of(1))
    network.center.ready.clear()
    asking = asyncio.create_task(network.refusal_of(network.inquire_batch(network.batch_of(1, 2))))
    while not network.center.requests:
        await asyncio.sleep(0)
    network.freezes.freeze(Finding("misses", *WHO))
    network.center.ready.set()
    assert await asking == FROZEN
    assert {entry.result for entry in network.leaves() if entry.operator_proof} == {ledger.RESULT_REFUSED}


async def test_misses_in_batches_are_counted_over_a_restart(network: Network) -> None:
    network.enter(network.record_of(1))
    await network.inquire_batch(nobody(network, MOST_IN_BATCHES))
    await restart(network)
    assert network.freezes.standing == {}
    await network.inquire_batch(nobody(network, 1, 2000))
    assert set(network.freezes.standing) == {WHO}
    await restart(network)
    assert await network.refusal_of(network.inquire_batch(network.batch_of(1))) == FROZEN


async def test_a_batch_whose_freeze_did_not_reach_the_record_freezes_at_the_next_start(network: Network) -> None:
    network.enter(network.record_of(1))
    network.freezes.settle = nothing
    await network.inquire_batch(nobody(network, BATCH_WINDOW))
    await restart(network)
    assert await network.refusal_of(network.inquire_batch(network.batch_of(1))) == FROZEN


async def as_stream(messages: Iterable[Any]) -> AsyncIterator[Any]:
    for message in messages:
        yield message
