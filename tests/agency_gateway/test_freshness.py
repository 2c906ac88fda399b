"""An answer says how fresh its source is, and nobody is told that somebody is not there where that cannot be known."""

import itertools
from typing import Any

import pytest

from center_node.completeness import Completeness
from center_node.freshness import BEHIND_US, Sources
from jukinet._pb.jukinet.errors.v1.errors_pb2 import ERROR_REASON_WAITING_FOR_EARLIER_CHANGE
from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2 as ledger
from jukinet._pb.jukinet.register.v1.change_pb2 import (
    CHANGE_REASON_DELETION_EX_OFFICIO,
    CHANGE_REASON_ENTRY_DOMESTIC_MOVE_IN,
    Change,
)
from jukinet._pb.jukinet.register.v1.identity_pb2 import CalendarDate, IdentityRecord
from jukinet.domain.arrival import Arrival
from jukinet.domain.brake import Tally
from jukinet.ledger.verify.freshness import is_signed
from jukinet.mesh.clock import now_us
from jukinet.store import journal
from jukinet.store.brakes import keep_tally
from jukinet.store.register import apply_arrivals

Network = Any  # the class is in network.py; tests put methods of their own into it, and no context into calls
CHIYODA, YOKOSUKA = "131016", "142018"
NAME = [inquiry.IDENTITY_FIELD_NAME]


@pytest.fixture
def behind(network: Network) -> int:
    """One resident is here, and for two minutes nothing was heard of the municipality."""
    network.enter(network.record_of(1))
    at: int = now_us() - 2 * BEHIND_US
    network.complete[CHIYODA] = at
    return at


def by_number(network: Network, number: int) -> inquiry.Subject:
    return inquiry.Subject(individual_number=network.number_of(number))


def looked_up(network: Network) -> bool:
    return any("FROM residents" in statement for statement in network.reads)


async def test_an_answer_says_up_to_when_its_source_is_whole_under_the_centers_signature(network: Network) -> None:
    network.enter(network.record_of(1))
    before = now_us()
    (said,) = (await network.inquire()).freshness
    assert (said.municipality, said.sequence, said.state) == (CHIYODA, 1, inquiry.SOURCE_STATE_CONNECTED)
    assert before <= said.complete_as_of.ToMicroseconds() <= now_us()
    key = network.freshness_key.public_key()
    assert is_signed(said, key)
    for field in ("complete_as_of", "state", "municipality", "said_at", "signature"):
        altered = inquiry.Freshness()
        altered.CopyFrom(said)
        altered.ClearField(field)
        assert not is_signed(altered, key)


async def test_who_is_not_there_is_not_called_so_while_the_municipality_is_behind(
    network: Network, behind: int
) -> None:
    nobody = await network.inquire(number=9)
    assert nobody.outcome == inquiry.INQUIRY_OUTCOME_NOT_PROVIDED
    (said,) = nobody.freshness
    assert (said.state, said.complete_as_of.ToMicroseconds()) == (inquiry.SOURCE_STATE_BEHIND, behind)
    verified = await network.verify(network.four_items(network.record_of(9)))
    assert (verified.verified, verified.outcome) == (False, inquiry.INQUIRY_OUTCOME_NOT_PROVIDED)
    assert [entry.result for entry in network.leaves()] == [ledger.RESULT_NOT_PROVIDED] * 2
    assert [entry.person_token for entry in network.leaves()] == [b""] * 2


async def test_who_is_there_is_provided_with_the_age_while_the_municipality_is_behind(
    network: Network, behind: int
) -> None:
    answer = await network.inquire()
    assert answer.outcome == inquiry.INQUIRY_OUTCOME_MATCH
    assert [said.complete_as_of.ToMicroseconds() for said in answer.freshness] == [behind]


@pytest.mark.parametrize("number", [1, 9])
async def test_nobody_is_looked_up_in_what_is_older_than_the_asker_allows(
    network: Network, behind: int, number: int
) -> None:
    answer = await network.inquire(number=number, maximum_age_seconds=100)
    assert answer.outcome == inquiry.INQUIRY_OUTCOME_NOT_PROVIDED
    assert not answer.HasField("provided")
    assert not looked_up(network)


@pytest.mark.parametrize(("number", "outcome"), [(1, "MATCH"), (9, "NOT_PROVIDED")])
async def test_who_allows_what_is_old_is_told_of_who_is_there_and_not_that_nobody_is(
    network: Network, behind: int, number: int, outcome: str
) -> None:
    for allowed in (1000, 2**32 - 1):
        answer = await network.inquire(number=number, maximum_age_seconds=allowed)
        assert inquiry.InquiryOutcome.Name(answer.outcome) == f"INQUIRY_OUTCOME_{outcome}"


async def test_what_becomes_too_old_while_somebody_is_looked_up_does_not_make_him_not_found(
    network: Network, behind: int
) -> None:
    seconds = itertools.count(1000)  # each look at the clock takes one
    network.sources._clock = lambda: behind + next(seconds) * 1_000_000
    answer = await network.inquire(maximum_age_seconds=1000)
    assert answer.outcome == inquiry.INQUIRY_OUTCOME_MATCH
    answer = await network.inquire(maximum_age_seconds=1000)
    assert answer.outcome == inquiry.INQUIRY_OUTCOME_NOT_PROVIDED


async def test_a_municipality_that_never_joined_is_not_called_empty(network: Network) -> None:
    items = network.four_items(network.record_of(1))
    for code in (CHIYODA, YOKOSUKA):
        items.address.local_government_code = code
        answer = await network.inquire(subject=inquiry.Subject(four_items=items))
        assert answer.outcome == inquiry.INQUIRY_OUTCOME_NOT_PROVIDED
        assert [said.state for said in answer.freshness] == [inquiry.SOURCE_STATE_NOT_JOINED]
    assert not looked_up(network)


async def test_a_municipality_is_answered_for_from_its_first_change_on(network: Network) -> None:
    assert (await network.inquire()).outcome == inquiry.INQUIRY_OUTCOME_NOT_PROVIDED
    network.enter(network.record_of(1))
    assert (await network.inquire()).outcome == inquiry.INQUIRY_OUTCOME_MATCH


async def test_a_municipality_that_its_brake_holds_is_behind(network: Network) -> None:
    network.enter(network.record_of(1))
    with network.register.begin() as connection:
        keep_tally(connection, CHIYODA, Tally(held_at=1))
    for allowed in (0, 86_400, 2**32 - 1):
        subjects = [inquiry.Subject(four_items=network.four_items(network.record_of(9))), by_number(network, 9)]
        for subject in subjects:
            answer = await network.inquire(subject=subject, maximum_age_seconds=allowed)
            assert answer.outcome == inquiry.INQUIRY_OUTCOME_NOT_PROVIDED


async def test_by_number_nobody_is_missing_while_any_municipality_is_behind_and_none_is_named(
    network: Network, behind: int
) -> None:
    nobody = await network.inquire(subject=by_number(network, 9))
    assert nobody.outcome == inquiry.INQUIRY_OUTCOME_NOT_PROVIDED
    assert said_of_all(network, nobody) == (inquiry.SOURCE_STATE_BEHIND, behind)
    assert (await network.inquire(subject=by_number(network, 1))).outcome == inquiry.INQUIRY_OUTCOME_MATCH
    too_old = [await network.inquire(subject=by_number(network, n), maximum_age_seconds=100) for n in (1, 9)]
    assert [answer.outcome for answer in too_old] == [inquiry.INQUIRY_OUTCOME_NOT_PROVIDED] * 2
    assert [said_of_all(network, answer) for answer in too_old] == [(inquiry.SOURCE_STATE_BEHIND, behind)] * 2
    assert not any(answer.HasField("provided") for answer in too_old)
    network.complete[CHIYODA] = fresh = now_us()
    network.sources._said.clear()
    network.sources._completeness.read_at = 0
    nobody = await network.inquire(subject=by_number(network, 9))
    assert nobody.outcome == inquiry.INQUIRY_OUTCOME_NO_SINGLE_MATCH
    assert said_of_all(network, nobody) == (inquiry.SOURCE_STATE_CONNECTED, fresh)


def said_of_all(network: Network, answer: inquiry.InquireResponse) -> tuple[int, int]:
    """State and completeness that the center signed of all municipalities together."""
    (said,) = answer.freshness
    assert is_signed(said, network.freshness_key.public_key())
    assert not said.municipality
    return said.state, said.complete_as_of.ToMicroseconds()


async def test_a_clock_that_is_put_back_makes_nobody_fresh_who_is_silent(network: Network) -> None:
    network.enter(network.record_of(1))
    moment = now_us()
    network.sources._clock = lambda: moment
    network.complete[CHIYODA] = moment
    assert (await network.inquire(number=9)).outcome == inquiry.INQUIRY_OUTCOME_NO_SINGLE_MATCH
    moment -= 1_800_000_000  # heard of last at what is half an hour from now
    by_items = inquiry.Subject(four_items=network.four_items(network.record_of(9)))
    for subject in (by_items, by_number(network, 9)):
        nobody = await network.inquire(subject=subject)
        assert nobody.outcome == inquiry.INQUIRY_OUTCOME_NOT_PROVIDED
        assert [said.state for said in nobody.freshness] == [inquiry.SOURCE_STATE_BEHIND]
        assert nobody.freshness[0].said_at.ToMicroseconds() == moment


def deletion_of(record: IdentityRecord) -> Change:
    """Deleted ex officio, towards nowhere."""
    day = CalendarDate(year=2026, month=4, day=2)
    return Change(reason=CHANGE_REASON_DELETION_EX_OFFICIO, event_date=day, record=record, version=2)


def move_in(network: Network, number: int = 1) -> None:
    """A resident moved in at Yokosuka; the change before has not come."""
    record = network.record_of(number)
    record.address.local_government_code = YOKOSUKA
    change = Change(
        reason=CHANGE_REASON_ENTRY_DOMESTIC_MOVE_IN,
        event_date=CalendarDate(year=2026, month=5, day=1),
        record=record,
        version=4,
        previous_municipality=CHIYODA,
    )
    arrival = Arrival(YOKOSUKA, 1, 1, change, change.SerializeToString())
    with network.register.begin() as connection:
        applied = apply_arrivals(connection, [arrival], scope="", now_us=now_us())
        journal.write_origin(connection, YOKOSUKA, journal.Origin(1, 1, b"", 1))
    assert applied.outcomes == [ERROR_REASON_WAITING_FOR_EARLIER_CHANGE]


async def ask_at_yokosuka(network: Network, **changed: Any) -> tuple[str, str]:
    """Outcome and state of the source, of resident 1 at the new address."""
    network.sources._said.clear()
    network.sources._completeness.read_at = 0
    items = network.four_items(network.record_of(1))
    items.address.local_government_code = YOKOSUKA
    answer = await network.inquire(subject=inquiry.Subject(four_items=items), **changed)
    (said,) = answer.freshness
    assert is_signed(said, network.freshness_key.public_key())
    outcome, state = inquiry.InquiryOutcome.Name(answer.outcome), inquiry.SourceState.Name(said.state)
    return outcome.removeprefix("INQUIRY_OUTCOME_"), state.removeprefix("SOURCE_STATE_")


async def test_who_moved_in_from_a_municipality_that_is_behind_is_not_called_not_found(
    network: Network, behind: int
) -> None:
    move_in(network)
    assert await ask_at_yokosuka(network) == ("NOT_PROVIDED", "WAITING")
    assert await ask_at_yokosuka(network, maximum_age_seconds=1000) == ("NOT_PROVIDED", "WAITING")
    assert await ask_at_yokosuka(network, maximum_age_seconds=100) == ("NOT_PROVIDED", "WAITING")
    assert looked_up(network)
    network.complete[CHIYODA] = now_us()
    assert await ask_at_yokosuka(network) == ("NO_SINGLE_MATCH", "CONNECTED")
    network.complete[YOKOSUKA] = behind
    assert await ask_at_yokosuka(network) == ("NOT_PROVIDED", "BEHIND")


async def test_a_change_waits_for_one_that_the_brake_holds(network: Network) -> None:
    network.enter(network.record_of(1))
    move_in(network)
    with network.register.begin() as connection:
        keep_tally(connection, CHIYODA, Tally(held_at=1))
    assert await ask_at_yokosuka(network) == ("NOT_PROVIDED", "WAITING")


@pytest.mark.parametrize("is_known", [False, True])
async def test_a_change_of_somebody_whom_nobody_holds_may_wait_for_any_municipality(
    network: Network, behind: int, *, is_known: bool
) -> None:
    network.complete[CHIYODA] = now_us()
    if is_known:
        network.change(deletion_of(network.record_of(1)))
    move_in(network, number=1 if is_known else 3)
    assert await ask_at_yokosuka(network) == ("NO_SINGLE_MATCH", "CONNECTED")
    network.complete[CHIYODA] = behind
    assert await ask_at_yokosuka(network) == ("NOT_PROVIDED", "WAITING")


async def test_what_is_known_of_all_municipalities_takes_the_same_queries_however_many_they_are(
    network: Network,
) -> None:
    queries = []
    for size in (1, 1000):
        everybody = Completeness(expected=[f"{number:06}" for number in range(size)], complete_as_of=lambda _: 1)
        before = len(network.reads)
        with network.register_reader.connect() as connection:
            assert everybody.of_nation(connection, now_us()) == 0
        queries.append(len(network.reads) - before)
    assert queries[0] == queries[1]


async def test_who_is_there_is_fresh_enough_where_all_together_are(network: Network) -> None:
    network.enter(network.record_of(1))
    moment, age = [1_000_000_000], [9_900_000]
    sources = Sources(
        key=network.freshness_key,
        expected=[CHIYODA],
        complete_as_of=lambda _: moment[0] - age[0],
        clock=lambda: moment[0],
    )
    asked, allowed = by_number(network, 1), 10_000_000
    with network.register_reader.connect() as connection:
        sources.of(connection, CHIYODA, moment[0])
        moment[0], age[0] = moment[0] + 500_000, 0  # a sign of life came, and what was said before is too old by now
        (source,) = sources.of_questions(connection, [(asked, allowed)], moment[0])
        assert source.otherwise == inquiry.INQUIRY_OUTCOME_NO_SINGLE_MATCH
        assert sources.of(connection, CHIYODA, moment[0]).is_fresh(moment[0], maximum_age_us=allowed)


async def test_who_is_there_is_not_called_not_found_in_the_moment_in_which_the_brake_holds(network: Network) -> None:
    network.enter(network.record_of(1))
    moment = now_us()
    network.sources._clock = lambda: moment
    asked = {"subject": by_number(network, 1), "maximum_age_seconds": 1000}
    assert (await network.inquire(**asked)).outcome == inquiry.INQUIRY_OUTCOME_MATCH
    with network.register.begin() as connection:
        keep_tally(connection, CHIYODA, Tally(held_at=1))
    network.sources._said.clear()
    assert (await network.inquire(**asked)).outcome == inquiry.INQUIRY_OUTCOME_NOT_PROVIDED


async def test_a_statement_is_signed_at_most_once_a_second_and_never_older(network: Network) -> None:
    network.enter(network.record_of(1))
    moment = [1_000_000_000]
    sources = Sources(
        key=network.freshness_key,
        expected=[CHIYODA],
        complete_as_of=lambda _: moment[0],
        clock=lambda: moment[0],
    )
    with network.register_reader.connect() as connection:
        first = sources.of(connection, CHIYODA, moment[0])
        moment[0] += 999_999
        assert sources.of(connection, CHIYODA, moment[0]) is first
        moment[0] += 1
        assert sources.of(connection, CHIYODA, moment[0]).message.said_at.ToMicroseconds() == moment[0]
        for number in range(100):
            sources.of(connection, f"{number:06}", moment[0])
        assert set(sources._said) == {CHIYODA}
