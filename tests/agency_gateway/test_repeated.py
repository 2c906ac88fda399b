"""Who asks the same question again the same day, and does not say what is held, is told so; by the questions alone."""

from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest

from agency_gateway.named_today import NamedToday
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from tests.agency_gateway import silent
from tests.agency_gateway.agencies import MAYOR
from tests.agency_gateway.silent import AGENCY, OUTCOMES, PURPOSE

Network = Any  # the class is in network.py; tests put methods of their own into it, and no context into calls
NAME, ADDRESS = inquiry.IDENTITY_FIELD_NAME, inquiry.IDENTITY_FIELD_ADDRESS
EVENING = datetime(2026, 4, 1, 14, 59, tzinfo=UTC)
"""A minute before midnight in Japan."""


@pytest.fixture
def known(network: Network) -> Network:
    """A network that knows two residents."""
    network.enter(*map(network.record_of, (1, 2)))
    return network


async def test_the_same_question_is_answered_again_with_a_warning_and_the_mark_saves_it(known: Network) -> None:
    first = await known.inquire()
    again = await known.inquire(fields=[ADDRESS, NAME], operator="op-2")
    assert (first.repeated, again.repeated) == (False, True)
    assert again.HasField("provided")
    assert again.held == first.held, "nothing changed"
    spared = await known.inquire(held=again.held)
    assert (spared.unchanged, spared.repeated) == (True, False)


@pytest.mark.parametrize(
    "other",
    [{"number": 2}, {"purpose": "B1-77.11"}, {"fields": [NAME]}, {"by_number": True}],
    ids=lambda other: next(iter(other)),
)
async def test_another_question_is_no_repetition(known: Network, other: dict[str, Any]) -> None:
    await known.inquire()
    if other.pop("by_number", False):
        other["subject"] = inquiry.Subject(individual_number=known.number_of(1))
    assert not (await known.inquire(**other)).repeated


async def test_nobody_hears_what_another_agency_asked(known: Network) -> None:
    asked = {"purpose": PURPOSE, "subject": inquiry.Subject(four_items=known.four_items(known.record_of(1)))}
    await known.inquire(AGENCY, **asked)
    assert (await known.inquire(AGENCY, **asked)).repeated
    assert not (await known.inquire()).repeated


async def test_what_was_not_answered_is_no_repetition(known: Network) -> None:
    known.center.fail = grpc.StatusCode.UNAVAILABLE
    assert await known.refusal_of(known.inquire()) == errors.ERROR_REASON_DEPENDENCY_UNAVAILABLE
    known.center.fail = None
    assert not (await known.inquire()).repeated


async def test_the_warning_is_the_same_whoever_is_asked_about(network: Network) -> None:
    silent.enter_all(network)
    object.__setattr__(network.directory[MAYOR.uri], "on_misses", "alarm")  # all of these are misses
    told: set[tuple[bool, bytes]] = set()
    for outcome in OUTCOMES:
        subject = silent.by_number(network, outcome)
        for _ in range(2):
            answer = await network.inquire(AGENCY, purpose=PURPOSE, subject=subject)
            for own in ("request_id", "receipt", "freshness", "legal_basis"):
                answer.ClearField(own)
            told.add((answer.repeated, answer.SerializeToString()))
    assert [repeated for repeated, _ in sorted(told)] == [False, True]


def test_what_was_named_is_forgotten_when_the_day_ends_in_japan() -> None:
    named = NamedToday()
    this, that, new = named.digest(b"a", b"bc"), named.digest(b"ab", b"c"), named.digest(b"new")
    named.add(this, now=EVENING)
    assert named.knows(this, now=EVENING + timedelta(seconds=59))
    assert not named.knows(that, now=EVENING)
    assert not named.knows(this, now=EVENING + timedelta(seconds=60))
    named.add(new, now=EVENING)  # a clock that was put back
    assert not named.knows(this, now=EVENING)
    assert named.knows(new, now=EVENING)


def test_each_process_names_by_a_key_of_its_own() -> None:
    assert NamedToday().digest(b"a") != NamedToday().digest(b"a")
