"""Who hangs up is charged and on record as if he had waited: nobody looks people up by leaving before the answer."""

import asyncio
from collections.abc import Awaitable
from typing import Any

import grpc
import pytest

from agency_gateway.budgets import Budgets
from agency_gateway.detectors import Finding, Seen
from agency_gateway.today import todays_entries
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2 as ledger
from jukinet.mesh.clock import now
from tests.agency_gateway.residents import make_record
from tests.agency_gateway.test_detectors import FROZEN, TOO_MANY

Network = Any  # the class is in network.py; tests put methods of their own into it, and no context into calls
PROVIDED, NOBODY = ledger.RESULT_PROVIDED, ledger.RESULT_NO_SINGLE_MATCH


@pytest.fixture
def slow(network: Network) -> Network:
    """A network whose center takes its time, with one resident."""
    network.enter(make_record(1))
    network.center.ready.clear()
    return network


async def hang_up(network: Network, *calls: Awaitable[Any]) -> None:
    """Makes calls whose callers hang up while the center works on them, and waits for what goes on."""
    asking = [asyncio.ensure_future(call) for call in calls]
    before = len(network.center.requests)
    while len(network.center.requests) == before:
        await asyncio.sleep(0)
    for each in asking:
        each.cancel()
    await asyncio.wait(asking)
    settled = asyncio.ensure_future(network.desk.settle())
    network.center.ready.set()
    await settled
    assert all(each.cancelled() for each in asking)


def results(network: Network) -> list["ledger.Result.ValueType"]:
    return [entry.result for entry in network.leaves()]


async def test_a_question_whose_caller_hangs_up_is_on_record_as_it_would_have_been_answered(slow: Network) -> None:
    await hang_up(slow, slow.inquire())
    await slow.inquire()
    left, waited = slow.leaves()
    assert (left.result, left.person_token) == (PROVIDED, waited.person_token)
    await slow.refusal_of(slow.inquire(request_id=left.request_id))


async def test_a_verification_and_a_message_of_a_batch_go_on_too(slow: Network) -> None:
    await hang_up(slow, slow.verify(slow.four_items(make_record(1))))
    slow.center.ready.clear()
    await hang_up(slow, slow.inquire_batch(slow.batch_of(1, 2)))
    assert results(slow) == [PROVIDED, PROVIDED, NOBODY]


async def test_what_the_center_refuses_after_the_caller_left_is_on_record(slow: Network) -> None:
    slow.center.fail = grpc.StatusCode.UNAVAILABLE
    await hang_up(slow, slow.inquire())
    assert [entry.refusal for entry in slow.leaves()] == [errors.ERROR_REASON_DEPENDENCY_UNAVAILABLE]


async def test_who_hangs_up_gets_no_new_budget_by_a_restart(slow: Network) -> None:
    await hang_up(slow, slow.inquire())
    slow.center.ready.clear()
    await hang_up(slow, slow.inquire_batch(slow.batch_of(1, 2)))
    again = Budgets(slow.directory)
    with slow.ledger_engine.connect() as connection:
        for seen in todays_entries(connection, now()):
            again.restore(seen.entry)
    before = slow.admission._budgets
    assert [each.rows for each in again._agencies.values()] == [each.rows for each in before._agencies.values()]
    assert [each.rows["B1-77"] for each in again._agencies.values()] == [3]


async def test_who_hangs_up_before_each_answer_is_found_by_his_misses_and_who_asks_rightly_is_not(
    slow: Network,
) -> None:
    for _ in range(TOO_MANY):
        slow.center.ready.clear()
        await hang_up(slow, slow.inquire(operator="op-2"))
    for _ in range(TOO_MANY):
        slow.center.ready.clear()
        await hang_up(slow, slow.inquire(number=2))
    assert await slow.refusal_of(slow.inquire()) == FROZEN
    await slow.inquire(operator="op-2")


async def test_who_hangs_up_while_his_entry_is_on_its_way_to_the_disk_is_on_record_and_seen(network: Network) -> None:
    network.enter(make_record(1))
    seen: list[str] = []
    see = network.admission._detectors.see

    def noted(each: Seen) -> list[Finding]:
        seen.append(each.entry.request_id)
        return list(see(each))

    network.admission._detectors.see = noted
    hand_in, asking = network.record.grouping.hand_in, asyncio.ensure_future(network.inquire())

    def hung_up(handed: Any) -> Any:
        asking.cancel()
        return hand_in(handed)

    network.record.grouping.hand_in = hung_up
    await asyncio.wait([asking])
    await network.desk.settle()
    assert asking.cancelled()
    assert results(network) == [PROVIDED]
    assert seen == [entry.request_id for entry in network.leaves()]


async def test_who_hangs_up_and_asks_again_is_not_told_that_he_has_the_answer(slow: Network) -> None:
    await hang_up(slow, slow.inquire())
    assert not (await slow.inquire()).repeated
