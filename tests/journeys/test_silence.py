"""Who is protected, and why nothing is told of anybody: through a real mesh."""

from collections.abc import Awaitable, Callable
from functools import partial
from time import monotonic
from typing import Any

import pytest

from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2_grpc import InquiryServiceStub
from jukinet._pb.jukinet.register.v1.identity_pb2 import Address, PersonName
from jukinet.mesh.identity import Identity
from tests.timing import in_turns, told_apart

Network = Any  # the fixture's own class lives in conftest.py
CHIYODA, YOKOSUKA = "131016", "142018"
AGENCY, PURPOSE = f"municipality-{CHIYODA}", "B2-1-2"
"""Hears of residents of Tokyo alone."""
SECONDS = 5.0
"""From the moment at which the municipality was told that it is registered until nothing of the person is provided."""


async def told(network: Network, record: Any) -> set[bool]:
    """Whether the pension service hears of somebody, by four items and by number."""
    by_number = inquiry.Subject(individual_number=record.individual_number)
    answers = [await network.inquire(network.question(record))]
    answers.append(await network.inquire(network.question(record, subject=by_number)))
    return {answer.outcome == inquiry.INQUIRY_OUTCOME_MATCH for answer in answers}


async def test_who_is_protected_is_provided_to_nobody_from_the_report_to_its_end_through_a_move(
    network: Network,
) -> None:
    record = await network.enter(CHIYODA)
    assert await told(network, record) == {True}
    await network.submit(CHIYODA, network.submission("PROTECTION_BEGIN", record))
    begun = monotonic()
    while await told(network, record) != {False}:
        assert monotonic() - begun < SECONDS

    leave = network.submission("DELETION_DOMESTIC_MOVE_OUT", record, next_municipality=YOKOSUKA)
    version = (await network.submit(CHIYODA, leave)).version
    record.address.CopyFrom(Address(local_government_code=YOKOSUKA, town="本町", block="5番"))
    arrive = {"previous_municipality": CHIYODA, "transfer_version": version}
    await network.submit(YOKOSUKA, network.submission("ENTRY_DOMESTIC_MOVE_IN", record, **arrive))
    await network.arrived(CHIYODA)
    await network.arrived(YOKOSUKA)
    assert await told(network, record) == {False}

    await network.submit(YOKOSUKA, network.submission("PROTECTION_END", record))
    await network.arrived(YOKOSUKA)
    assert await told(network, record) == {True}


async def enter_all(network: Network) -> dict[str, Any]:
    """A question for each reason for which nothing is told."""
    people = {outcome: network.person(CHIYODA) for outcome in ("nobody", "several", "protected", "deleted", "moved")}
    people["outside"] = network.person(YOKOSUKA)
    twin = network.person(CHIYODA, name=PersonName(legal=people["several"].name.legal))
    for record in (*people.values(), twin):
        if record is not people["nobody"]:
            await network.submit(record.address.local_government_code, network.submission("ENTRY_EX_OFFICIO", record))
    for outcome, reason in (
        ("protected", "PROTECTION_BEGIN"),
        ("deleted", "DELETION_DEATH"),
        ("moved", "DELETION_ABROAD_MOVE_OUT"),
    ):
        await network.submit(CHIYODA, network.submission(reason, people[outcome]))
    await network.arrived(CHIYODA)
    await network.arrived(YOKOSUKA)
    return people


# By so many rounds an AUC is known to 0.10, and to 0.03, at three standard errors.
@pytest.mark.parametrize(
    "rounds",
    [
        pytest.param(150, marks=pytest.mark.slow),
        pytest.param(2_000, marks=[pytest.mark.nightly, pytest.mark.timeout(900)]),
    ],
)
async def test_no_clock_of_an_agency_tells_why_nothing_is_told(network: Network, rounds: int) -> None:
    people = await enter_all(network)
    sizes: dict[str, set[int]] = {outcome: set() for outcome in people}
    async with network.channel("gateway-1", Identity("agency", AGENCY)) as channel:
        stub = InquiryServiceStub(channel)

        def asked(outcome: str) -> Callable[[], Awaitable[None]]:
            request = network.question(people[outcome], PURPOSE)

            async def ask() -> None:
                answer = await stub.Inquire(request, timeout=10)
                assert answer.outcome == inquiry.INQUIRY_OUTCOME_NO_SINGLE_MATCH
                answer.ClearField("receipt")
                answer.ClearField("freshness")  # of the municipality that was asked for; its times have their own sizes
                answer.ClearField("repeated")  # whether it was asked before, whatever is found
                sizes[outcome].add(answer.ByteSize())

            return ask

        taken = await in_turns({outcome: partial(asked, outcome) for outcome in people}, rounds=rounds, seed=1)
    assert len(set.union(*sizes.values())) == 1
    assert told_apart(taken, limit=0.55) == {}
