"""An outage makes nobody seem to guess, and whoever guesses is found whatever he asks to be told of freshness."""

from collections.abc import Iterable
from typing import Any

import pytest

from agency_gateway.detectors import BATCH_WINDOW, MOST_MISSES
from agency_gateway.today import todays_entries
from center_node.freshness import BEHIND_US
from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.ledger.v1.ledger_pb2 import RESULT_NOT_PROVIDED
from jukinet._pb.jukinet.provision.v1 import provision_pb2 as provision
from jukinet.mesh.clock import now, now_us
from tests.agency_gateway import silent

Network = Any  # the class is in network.py; tests put methods of their own into it, and no context into calls
CHIYODA, YOKOSUKA = "131016", "142018"
TOO_MANY = int(BATCH_WINDOW * MOST_MISSES) + 1
"""Persons of a batch who, all missed, are one more than may be."""
RESIDENTS = range(1, TOO_MANY + 1)
NOT_THERE = range(1001, 1001 + TOO_MANY)


@pytest.fixture
def outage(network: Network) -> Network:
    """So many residents are here, and for two minutes nothing was heard of the municipality."""
    network.enter(*map(network.record_of, RESIDENTS))
    network.complete[CHIYODA] = now_us() - 2 * BEHIND_US
    return network


def by_number(network: Network, numbers: Iterable[int]) -> dict[str, Any]:
    return {"subjects": [inquiry.Subject(individual_number=network.number_of(number)) for number in numbers]}


def by_four_items(network: Network, numbers: Iterable[int], municipality: str = CHIYODA) -> dict[str, Any]:
    people = [network.four_items(network.record_of(number)) for number in numbers]
    for each in people:
        each.address.local_government_code = municipality
    return {"subjects": [inquiry.Subject(four_items=each) for each in people]}


async def ask(network: Network, asked: dict[str, Any], *, maximum_age_seconds: int = 0) -> None:
    """Asks about a batch of persons, of whom nobody is provided."""
    message = network.batch_of(maximum_age_seconds=maximum_age_seconds, **asked)
    (answer,) = await network.inquire_batch(message)
    assert [each.outcome for each in answer.answers] == [inquiry.INQUIRY_OUTCOME_NOT_PROVIDED] * TOO_MANY


@pytest.mark.parametrize("named", [by_number, by_four_items])
async def test_residents_who_are_too_old_to_be_told_of_freeze_nobody(outage: Network, named: Any) -> None:
    await ask(outage, named(outage, RESIDENTS), maximum_age_seconds=60)
    assert outage.freezes.standing == {}


@pytest.mark.parametrize("municipality", [CHIYODA, YOKOSUKA])
async def test_where_nobody_is_looked_up_nobody_is_missed(outage: Network, municipality: str) -> None:
    asked = by_four_items(outage, NOT_THERE, municipality)
    # Of one that never joined nobody is looked up, however old it may be.
    await ask(outage, asked, maximum_age_seconds=60 if municipality == CHIYODA else 0)
    assert outage.freezes.standing == {}


@pytest.mark.parametrize("maximum_age_seconds", [0, 1, 60])
async def test_numbers_are_not_guessed_unseen_by_asking_for_what_is_fresh(
    outage: Network, maximum_age_seconds: int
) -> None:
    await ask(outage, by_number(outage, NOT_THERE), maximum_age_seconds=maximum_age_seconds)
    assert len(outage.freezes.standing) == 1


async def test_names_are_not_guessed_unseen_where_the_municipality_is_behind(outage: Network) -> None:
    await ask(outage, by_four_items(outage, NOT_THERE))
    assert len(outage.freezes.standing) == 1


@pytest.mark.parametrize("named", ["by_four_items", "by_number"])
async def test_what_the_center_found_is_the_same_for_each_reason_to_tell_nothing(network: Network, named: str) -> None:
    silent.enter_all(network)
    found: list[provision.Provision] = []
    network.center.alter = lambda response: found.extend(response.provisions)
    for municipality in network.sources._expected:
        network.complete[municipality] = now_us() - 2 * BEHIND_US
    for outcome in silent.OUTCOMES:
        subject = getattr(silent, named)(network, outcome)
        await network.inquire(silent.AGENCY, subject=subject, purpose=silent.PURPOSE)
    assert {each.outcome for each in found} == {inquiry.INQUIRY_OUTCOME_NOT_PROVIDED}
    assert {each.look_up for each in found} == {provision.LOOK_UP_NOBODY}


async def test_what_was_found_is_in_no_entry_and_no_answer(outage: Network) -> None:
    answers = [
        await outage.inquire(maximum_age_seconds=60, **each)
        for number in (1, 1001)
        for each in [{"subject": by_number(outage, [number])["subjects"][0]}]
    ]
    for answer in answers:
        for own in ("request_id", "receipt"):
            answer.ClearField(own)
    assert answers[0] == answers[1]
    entries = outage.leaves()
    assert [entry.result for entry in entries] == [RESULT_NOT_PROVIDED] * 2
    for entry in entries:
        for own in ("time", "request_id", "answer_digest", "body_digest", "operator_proof"):
            entry.ClearField(own)
    assert entries[0] == entries[1]
    with outage.ledger_engine.connect() as connection:
        assert {seen.look_up for seen in todays_entries(connection, now())} == {provision.LOOK_UP_UNSPECIFIED}
