"""Nobody asks more than his budget allows: by minute and day, operator, agency, row and person, across restarts."""

from collections.abc import Iterator
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agency_gateway.budgets import Budgets, Charge, OverBudget
from agency_gateway.detectors import Finding
from agency_gateway.today import todays_entries
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2 as ledger
from jukinet._pb.jukinet.provision.v1 import provision_pb2 as provision
from jukinet.ledger.entry import EntryKeys
from jukinet.mesh.clock import now
from jukinet.mesh.errors import Refused
from jukinet.purpose.agencies import Agency
from jukinet.purpose.budgets import Budget
from tests.agency_gateway.agencies import PENSION

Network = Any  # the class is in network.py; tests put methods of their own into it, and no context into calls
NOON = datetime(2026, 4, 1, 3, tzinfo=UTC)
"""In Japan."""
SECOND = timedelta(seconds=1)
OVER, FROZEN = errors.ERROR_REASON_BUDGET_EXCEEDED, errors.ERROR_REASON_OPERATOR_FROZEN
ROW = "B1-77.12"


def budgets(**limits: Any) -> Budgets:
    nothing: frozenset[str] = frozenset()
    agency = Agency(
        PENSION.name, PENSION.uri, "P", "年", "public", nothing, nothing, NOON.date(), budget=Budget(**limits)
    )
    return Budgets({PENSION.uri: agency})


def charge(
    counted: Budgets, at: datetime = NOON, *, operator: int = 1, kind: Any = "search", purpose: str = ROW, **more: Any
) -> str:
    """The limit that stops a question; empty where none does. Each is about somebody else unless it is said."""
    subject = more.pop("subject", str(at).encode())
    try:
        counted.charge(Charge(PENSION.uri, bytes([operator]) * 32, kind, purpose, **more), subject, at)
    except OverBudget as over:
        return over.limit
    return ""


def moments(step: timedelta = SECOND, start: datetime = NOON) -> Iterator[datetime]:
    while True:
        yield start
        start += step


def allowed(counted: Budgets, times: Iterator[datetime], **asked: Any) -> tuple[int, str]:
    """How many questions are charged before one is refused, and by which limit."""
    for count, at in enumerate(times):
        if limit := charge(counted, at, **asked):
            return count, limit
    raise AssertionError("never refused")


def test_an_operator_searches_thirty_times_a_minute() -> None:
    counted = budgets()
    times = moments()
    assert allowed(counted, times) == (30, "operator_searches_minute")
    assert charge(counted, NOON + 30 * SECOND, operator=2) == ""
    assert charge(counted, NOON + 59 * SECOND) == "operator_searches_minute"
    assert charge(counted, NOON + 60 * SECOND) == ""


def test_an_operator_searches_three_hundred_times_a_day() -> None:
    counted = budgets()
    assert allowed(counted, moments(timedelta(seconds=3))) == (300, "operator_searches_day")
    assert charge(counted, NOON + timedelta(hours=11)) == "operator_searches_day"
    assert charge(counted, NOON + timedelta(hours=12)) == ""  # midnight in Japan


def test_an_operator_asks_by_number_a_hundred_and_twenty_times_a_minute() -> None:
    counted = budgets()
    assert allowed(counted, moments(SECOND / 10), kind="number") == (120, "operator_numbers_minute")
    assert charge(counted, NOON + 30 * SECOND) == ""  # by four items is another limit


def test_all_operators_of_an_agency_search_a_thousand_times_a_day() -> None:
    counted = budgets()
    made = [charge(counted, at, operator=number % 5) for number, at in zip(range(1002), moments(), strict=False)]
    assert (made.index("agency_searches_day"), set(made[1000:])) == (1000, {"agency_searches_day"})


def test_an_agency_asks_about_five_thousand_persons_a_day_and_again_about_them() -> None:
    counted = budgets()
    for number, at in zip(range(5000), moments(timedelta(seconds=0.4)), strict=False):
        assert (
            charge(counted, at, operator=number % 250, kind="number", subject=bytes([number % 256, number // 256]))
            == ""
        )
    later = NOON + timedelta(hours=2)
    assert charge(counted, later, kind="number", subject=b"one more") == "agency_subjects_day"
    assert charge(counted, later, kind="number", subject=bytes([7, 0])) == ""


def test_who_is_asked_about_openly_and_under_seal_counts_as_two_persons() -> None:
    counted = budgets(agency_subjects_day=2)
    assert [charge(counted, subject=b"one", sealed=sealed) for sealed in (False, True, False, True)] == [""] * 4
    assert charge(counted, subject=b"another") == "agency_subjects_day"


def test_a_batch_has_a_budget_of_its_own() -> None:
    counted = budgets(agency_batch_day=100)
    assert charge(counted, kind="batch", persons=64) == ""
    assert charge(counted, kind="batch", persons=37) == "agency_batch_day"
    assert charge(counted, kind="batch", persons=36) == ""
    assert charge(counted) == ""


def test_an_operator_has_a_day_of_batches_beside_his_agencys() -> None:
    counted = budgets(agency_batch_day=100, operator_batch_day=60)
    assert charge(counted, kind="batch", persons=60) == ""
    assert charge(counted, kind="batch") == "operator_batch_day"
    assert charge(counted, kind="batch", operator=2, persons=40) == ""
    assert charge(counted, kind="batch", operator=2) == "agency_batch_day"
    assert charge(counted, NOON + timedelta(hours=12), kind="batch", persons=60) == ""


def test_one_operator_may_do_the_whole_run_of_his_agency_where_no_line_says_less() -> None:
    counted = budgets(agency_batch_day=100)
    assert charge(counted, kind="batch", persons=100) == ""
    assert charge(counted, kind="batch") == "agency_batch_day"


def test_without_a_line_nobody_gets_a_batch() -> None:
    for counted in (budgets(), budgets(row_questions_day={"B1-77": 4}), Budgets({})):
        assert charge(counted, kind="batch") == "agency_batch_day"
        assert charge(counted) == ""


def test_a_row_may_have_a_limit_of_its_own() -> None:
    counted = budgets(row_questions_day={"B1-77": 2})
    asked = [charge(counted, purpose=purpose, kind=kind) for purpose, kind in (
        ("B1-77", "search"), ("B1-77.12", "number"), ("B1-77.3", "search"), ("B1-72", "search"), ("B1-7", "search"),
    )]  # fmt: skip
    assert asked == ["", "", "row_questions_day", "", ""]


def test_persons_of_a_batch_count_for_their_row() -> None:
    counted = budgets(agency_batch_day=100, row_questions_day={"B1-77": 4})
    assert charge(counted, purpose="B1-77", kind="batch", persons=5) == "row_questions_day"
    assert charge(counted, purpose="B1-77.12", kind="batch", persons=3) == ""
    assert charge(counted, purpose="B1-77") == ""
    assert charge(counted, purpose="B1-77", kind="batch") == "row_questions_day"
    assert charge(counted, purpose="B1-72", kind="batch", persons=5) == ""


def test_what_is_refused_is_not_charged() -> None:
    counted = budgets(operator_searches_day=1)
    asked = [charge(counted, at) for _, at in zip(range(3), moments(), strict=False)]
    assert asked == ["", "operator_searches_day", "operator_searches_day"]
    assert charge(counted, NOON + 9 * SECOND, kind="number") == ""
    assert counted._agencies[PENSION.uri].subjects == 2


def test_a_clock_that_is_put_back_opens_no_second_day() -> None:
    counted = budgets(operator_searches_day=1)
    assert charge(counted) == ""
    assert charge(counted, NOON - timedelta(days=2)) == "operator_searches_day"


def test_an_agency_that_is_not_listed_has_the_defaults() -> None:
    counted = Budgets({})
    assert allowed(counted, moments()) == (30, "operator_searches_minute")


NAMES = [each.name for each in fields(Budget) if each.name != "row_questions_day"]
LIMITS = st.fixed_dictionaries({name: st.integers(0, 6) for name in NAMES})
ASKED = st.lists(
    st.tuples(st.integers(0, 40), st.integers(1, 3), st.sampled_from(["search", "number", "batch"]), st.integers(0, 3)),
    max_size=40,
)


@given(limits=LIMITS, asked=ASKED)
def test_no_order_of_questions_gets_more_than_any_limit(limits: dict[str, int], asked: list[Any]) -> None:
    counted, at, taken = budgets(**limits), NOON, []
    for wait, operator, kind, subject in asked:
        at += wait * SECOND
        if not charge(counted, at, operator=operator, kind=kind, subject=bytes([subject])):
            taken.append((at, operator, kind, subject))
    for end, who, _, _ in taken:
        last = [each for each in taken if end - timedelta(minutes=1) < each[0] <= end and each[1] == who]
        assert sum(each[2] == "search" for each in last) <= limits["operator_searches_minute"]
        assert sum(each[2] == "number" for each in last) <= limits["operator_numbers_minute"]
        assert sum(each[1:3] == (who, "search") for each in taken) <= limits["operator_searches_day"]
        assert sum(each[1:3] == (who, "batch") for each in taken) <= limits["operator_batch_day"]
    assert sum(each[2] == "search" for each in taken) <= limits["agency_searches_day"]
    assert sum(each[2] == "batch" for each in taken) <= limits["agency_batch_day"]
    assert len({each[3] for each in taken if each[2] != "batch"}) <= limits["agency_subjects_day"]


def limited(network: Network, **limits: Any) -> None:
    """Gives the pension service of the fixture other limits."""
    own = network.directory[PENSION.uri]
    object.__setattr__(own, "budget", Budget(**limits))


def at_another_gateway(network: Network) -> None:
    """Who asks next is at a gateway that was asked nothing yet; the center stays the same."""
    network.admission._budgets = Budgets(network.directory)


async def limit_of(call: Any) -> str:
    """The limit that a call is told to have reached."""
    with pytest.raises(Refused) as caught:
        await call
    assert caught.value.reason == OVER
    return caught.value.limit


async def test_whoever_is_over_a_limit_is_told_which_one(network: Network) -> None:
    network.enter(network.record_of(1))
    limited(network, operator_searches_minute=0)
    assert await limit_of(network.inquire()) == "operator_searches_minute"
    limited(network, agency_batch_day=0)
    assert await limit_of(network.inquire_batch(network.batch_of(1))) == "agency_batch_day"
    limited(network, row_questions_day={"B1-77": 0})
    assert await limit_of(network.inquire()) == "row_questions_day"


async def test_whoever_is_over_a_limit_that_the_center_counts_is_told_which_one(network: Network) -> None:
    network.enter(network.record_of(1))
    limited(network, operator_searches_day=1, agency_batch_day=1)
    await network.inquire()
    await network.inquire_batch(network.batch_of(1))
    at_another_gateway(network)
    assert await limit_of(network.inquire()) == "operator_searches_day"
    assert await limit_of(network.inquire_batch(network.batch_of(1))) == "agency_batch_day"


async def test_a_limit_that_no_directory_knows_is_told_to_nobody(network: Network) -> None:
    network.enter(network.record_of(1))

    def refuse(response: provision.ProvideResponse) -> None:
        response.provisions[0].refusal, response.provisions[0].limit = OVER, "山田 太郎"

    network.center.alter = refuse
    assert await limit_of(network.inquire()) == ""


def test_whoever_reached_a_limit_of_the_day_is_not_told_to_wait_for_a_minute() -> None:
    counted = budgets(operator_searches_minute=1, operator_searches_day=1)
    assert allowed(counted, moments()) == (1, "operator_searches_day")


def restarted(network: Network) -> Budgets:
    """The counts as a gateway makes them at its next start."""
    again = Budgets(network.directory)
    with network.ledger_engine.connect() as connection:
        for entry in (seen.entry for seen in todays_entries(connection, now())):
            again.restore(entry)
    return again


async def test_a_question_over_budget_is_on_record_and_nobody_is_looked_up(network: Network) -> None:
    network.enter(network.record_of(1))
    limited(network, operator_searches_day=1)
    await network.inquire()
    before = len(network.reads), len(network.center.requests)
    assert await network.refusal_of(network.inquire()) == OVER
    assert await network.refusal_of(network.verify(network.four_items(network.record_of(2)))) == OVER
    assert (len(network.reads), len(network.center.requests)) == before
    assert [entry.refusal for entry in network.leaves()] == [0, OVER, OVER]
    assert [entry.new_subject for entry in network.leaves()] == [True, False, False]


async def test_a_batch_without_a_line_is_refused_on_record_and_nobody_is_looked_up(network: Network) -> None:
    network.enter(network.record_of(1))
    limited(network)
    assert await network.refusal_of(network.inquire_batch(network.batch_of(1))) == OVER
    assert network.center.requests == []
    assert [(entry.action, entry.refusal) for entry in network.leaves()] == [(ledger.ACTION_INQUIRE_BATCH, OVER)]


async def test_an_agency_may_try_a_batch_again_and_again_while_the_center_is_away(network: Network) -> None:
    network.enter(network.record_of(1))
    limited(network, agency_batch_day=6, row_questions_day={ROW: 6})
    network.center.fail = grpc.StatusCode.UNAVAILABLE
    for _ in range(3):
        away = await network.refusal_of(network.inquire_batch(network.batch_of(1, 1, 1)))
        assert away == errors.ERROR_REASON_DEPENDENCY_UNAVAILABLE
    assert network.desk._admission._budgets._agencies == restarted(network)._agencies
    network.center.fail = None
    await network.inquire_batch(network.batch_of(1, 1, 1))
    assert await network.refusal_of(network.inquire_batch(network.batch_of(1))) == OVER


def test_what_was_charged_yesterday_gives_nothing_back_today() -> None:
    counted, midnight = budgets(agency_batch_day=100), NOON + timedelta(hours=12)
    message = Charge(PENSION.uri, bytes([1]) * 32, "batch", ROW, persons=100)
    counted.charge(message, b"", midnight - SECOND)
    assert charge(counted, midnight, kind="batch", persons=100) == ""
    counted.keep_one(message, midnight - SECOND)
    assert charge(counted, midnight, kind="batch") == "agency_batch_day"


async def test_what_a_frozen_operator_was_refused_costs_nobody_anything_after_a_restart(network: Network) -> None:
    network.freezes.freeze(Finding("misses", PENSION.uri, EntryKeys(bytes(32)).operator_pseudonym(PENSION.uri, "op-1")))
    assert await network.refusal_of(network.inquire()) == FROZEN
    assert not restarted(network)._agencies


async def test_what_was_asked_at_another_gateway_counts_at_the_center(network: Network) -> None:
    network.enter(network.record_of(1))
    limited(network, agency_searches_day=2, agency_batch_day=2)
    await network.inquire()
    await network.verify(network.four_items(network.record_of(2)))
    await network.inquire_batch(network.batch_of(1, 2))
    at_another_gateway(network)
    before = len(network.reads)
    assert await network.refusal_of(network.inquire()) == OVER
    assert await network.refusal_of(network.inquire_batch(network.batch_of(1))) == OVER
    assert network.reads[before:] == []
    assert [entry.refusal for entry in network.leaves()][-2:] == [OVER, OVER]


async def test_an_operator_who_goes_to_another_gateway_begins_no_new_day(network: Network) -> None:
    network.enter(network.record_of(1))
    limited(network, operator_searches_day=2)
    for number in (1, 2):
        at_another_gateway(network)
        await network.inquire(number=number)
    at_another_gateway(network)
    before = len(network.reads)
    assert await network.refusal_of(network.inquire()) == OVER
    assert network.reads[before:] == []
    await network.inquire(operator="op-2")


async def test_an_operator_who_takes_his_batch_to_another_gateway_begins_no_new_day(network: Network) -> None:
    network.enter(network.record_of(1))
    limited(network, agency_batch_day=100, operator_batch_day=3)
    await network.inquire_batch(network.batch_of(1, 2))
    at_another_gateway(network)
    before = len(network.reads)
    assert await network.refusal_of(network.inquire_batch(network.batch_of(1, 2))) == OVER
    assert network.reads[before:] == []
    await network.inquire_batch(network.batch_of(1))
    await network.inquire_batch(network.batch_of(1, 2, operator="op-2"))


async def test_an_agency_that_goes_to_another_gateway_asks_about_no_more_persons(network: Network) -> None:
    network.enter(network.record_of(1))
    limited(network, agency_subjects_day=2)
    for number in (1, 2):
        at_another_gateway(network)
        await network.inquire(number=number)
    at_another_gateway(network)
    assert await network.refusal_of(network.inquire(number=3)) == OVER
    await network.inquire(number=1)


async def test_a_match_and_none_cost_the_same(network: Network) -> None:
    network.enter(network.record_of(1))
    limited(network, operator_searches_day=4)
    for number in (1, 2, 1, 2):
        await network.inquire(number=number)
    assert await network.refusal_of(network.inquire()) == OVER


async def test_a_question_that_is_refused_later_was_asked_all_the_same(network: Network) -> None:
    limited(network, operator_searches_day=2)
    network.center.fail = grpc.StatusCode.UNAVAILABLE
    assert await network.refusal_of(network.inquire()) == errors.ERROR_REASON_DEPENDENCY_UNAVAILABLE
    network.center.fail = None
    await network.inquire()
    assert await network.refusal_of(network.inquire()) == OVER


async def test_what_the_law_refuses_and_what_nobody_signed_costs_nothing(network: Network) -> None:
    limited(network, operator_searches_day=1)
    await network.refusal_of(network.inquire(purpose="B1-41"))
    await network.refusal_of(network.inquire(operator="op-4"))
    await network.inquire()
    assert await network.refusal_of(network.inquire()) == OVER


async def test_a_restart_gives_nobody_a_new_budget(network: Network) -> None:
    network.enter(network.record_of(1))
    await network.inquire()
    await network.inquire(operator="op-2", number=2)
    by_number = inquiry.Subject(individual_number=network.number_of(1))
    await network.inquire(subject=by_number)
    await network.inquire_batch(network.batch_of(1, 2, 3))
    await network.refusal_of(network.inquire(purpose="B1-41"))
    network.center.fail = grpc.StatusCode.UNAVAILABLE
    await network.refusal_of(network.inquire())
    limited(network, operator_searches_day=2)
    assert await network.refusal_of(network.inquire()) == OVER
    before, again = network.admission._budgets, restarted(network)
    by_operator = [
        {
            key: (each.searches_day, each.batch_day, len(each.searches), len(each.numbers))
            for key, each in counts._operators.items()
        }
        for counts in (before, again)
    ]
    assert by_operator[0] == by_operator[1]
    assert {each[1] for each in by_operator[1].values()} == {0, 3}
    told = [(each.searches, each.subjects, each.batch, each.rows) for each in again._agencies.values()]
    assert told == [(each.searches, each.subjects, each.batch, each.rows) for each in before._agencies.values()]
    assert told == [(3, 3, 3, {"B1-77": 7})]


async def test_an_operator_at_his_limit_stays_there_over_a_restart(network: Network) -> None:
    limited(network, operator_searches_day=1)
    await network.inquire()
    network.admission._budgets = restarted(network)
    assert await network.refusal_of(network.inquire()) == OVER


async def test_the_questions_of_yesterday_are_not_of_today(network: Network) -> None:
    await network.inquire()
    with network.ledger_engine.connect() as connection:
        assert len(list(todays_entries(connection, now()))) == 1
        assert list(todays_entries(connection, now() + timedelta(days=1))) == []


async def test_the_ledger_says_nothing_of_who_was_asked_about_but_that_he_was_new(network: Network) -> None:
    for number in (1, 2, 1):
        await network.inquire(number=number)
    assert [entry.new_subject for entry in network.leaves()] == [True, True, False]
    assert {entry.action for entry in network.leaves()} == {ledger.ACTION_INQUIRE}
