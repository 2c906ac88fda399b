"""A ledger whose disk is full, read-only or hangs: no answer without its entry, told soon, healed by itself."""

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection

from agency_gateway import record as record_module
from agency_gateway.detectors import Finding
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2 as ledger
from jukinet.ledger import store
from jukinet.mesh.errors import Refused
from jukinet.store import grouping as grouping_module

Network = Any  # the class is in network.py; tests put methods of their own into it, and no context into calls
UNAVAILABLE = errors.ERROR_REASON_LEDGER_UNAVAILABLE
QUESTIONS = 12
TOLD_SECONDS = 2.0
"""Within which agencies hear that nothing is answered now, beside what as many answers take here at the time."""
KEEP_SECONDS = record_module.KEEP_SECONDS


@pytest.fixture(autouse=True)
def as_in_operation(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ledger waits for its disk no longer than in operation."""
    monkeypatch.setattr(record_module, "KEEP_SECONDS", KEEP_SECONDS)


async def ask_all(network: Network) -> tuple[list[Any], list[Refused], float]:
    """Asks many questions at once: answers, refusals, and seconds until the last one was told."""
    began = time.monotonic()
    asked = await asyncio.gather(*(network.inquire() for _ in range(QUESTIONS)), return_exceptions=True)
    answers = [each for each in asked if not isinstance(each, BaseException)]
    refused = [each for each in asked if isinstance(each, Refused)]
    assert len(answers) + len(refused) == QUESTIONS, asked
    return answers, refused, time.monotonic() - began


def assert_all_answers_stand(network: Network, answers: list[Any]) -> None:
    """Each answer's entry is in a ledger that derives itself again."""
    with network.ledger_engine.connect() as connection:
        store.load(connection, network.signer)
    entries = network.entries()
    assert all(entries[answer.receipt.index] == answer.receipt.entry for answer in answers)


async def on_writer(network: Network, job: Callable[[Connection], Any]) -> None:
    await network.writer.run(job)


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # no event tells of it
            await asyncio.sleep(0.01)


def set_on_writer(network: Network, pragma: str) -> None:
    """Sets something on the connection that writes, which is idle: a read-only one cannot begin a transaction."""
    network.ledger_engine.raw_connection().driver_connection.execute(f"PRAGMA {pragma}").fetchall()


@pytest.mark.parametrize(
    ("sick", "well"),
    [
        pytest.param("max_page_count=1", "max_page_count=1000000", id="full"),
        pytest.param("query_only=1", "query_only=0", id="read-only"),
    ],
)
async def test_nothing_is_answered_while_the_disk_takes_nothing(network: Network, sick: str, well: str) -> None:
    network.enter(network.record_of(1))
    answers, refused, usual = await ask_all(network)
    assert (len(answers), len(refused)) == (QUESTIONS, 0)
    set_on_writer(network, sick)
    none: list[Any] = []
    for _ in range(40):  # a page may have room for some more
        more, refused, seconds = await ask_all(network)
        none = more
        answers += more
        assert seconds <= TOLD_SECONDS + usual
        if not more:
            break
    assert none == []
    assert {each.reason for each in refused} == {UNAVAILABLE}
    set_on_writer(network, well)
    before = len(network.entries())
    more, refused, _ = await ask_all(network)
    assert (len(more), len(refused)) == (QUESTIONS, 0)
    assert len(network.entries()) == before + QUESTIONS
    assert_all_answers_stand(network, answers + more)


async def test_a_commit_that_hangs_is_told_within_two_seconds_and_nobody_is_looked_up_meanwhile(
    network: Network,
) -> None:
    network.enter(network.record_of(1))
    answers, _, usual = await ask_all(network)
    moves_on = threading.Event()
    hanging = asyncio.ensure_future(on_writer(network, lambda _: moves_on.wait(30)))
    try:
        none, refused, seconds = await ask_all(network)
        assert (none, {each.reason for each in refused}) == ([], {UNAVAILABLE})
        assert seconds <= TOLD_SECONDS + usual
        await _until(lambda: not network.record.is_open())  # who waited may have done so since before the commit began
        network.reads.clear()
        took = []
        for _ in range(3):  # the machine may be busy once; a ledger that is waited for is so each time
            none, refused, seconds = await ask_all(network)
            assert (none, {each.reason for each in refused}) == ([], {UNAVAILABLE})
            took.append(seconds)
        assert min(took) < KEEP_SECONDS
        assert network.reads == []
    finally:
        moves_on.set()
        await hanging
    await _until(network.record.is_open)
    more, refused, _ = await ask_all(network)
    assert (len(more), len(refused)) == (QUESTIONS, 0)
    # What hung may be on record without an answer, never the other way round.
    provided = [entry for entry in network.leaves() if entry.result == ledger.RESULT_PROVIDED]
    assert len(provided) >= 2 * QUESTIONS
    assert_all_answers_stand(network, answers + more)


async def test_a_question_waits_no_longer_for_a_freeze_that_is_to_be_put_on_record(network: Network) -> None:
    network.enter(network.record_of(1))
    await network.inquire(operator="op-2")
    _, _, usual = await ask_all(network)
    asked = network.leaves()[-1]
    moves_on = threading.Event()
    hanging = asyncio.ensure_future(on_writer(network, lambda _: moves_on.wait(30)))
    network.freezes.freeze(Finding("misses", asked.agency, asked.operator_pseudonym, asked.request_id))
    began = time.monotonic()
    try:
        assert await network.refusal_of(network.inquire()) == UNAVAILABLE
        assert time.monotonic() - began <= TOLD_SECONDS + usual
        assert network.freezes.standing == {}
    finally:
        moves_on.set()
        await hanging
    await _until(lambda: bool(network.freezes.standing))  # it goes on by itself
    assert [each.action for each in network.leaves()][1 + QUESTIONS :] == [ledger.ACTION_FREEZE_OPERATOR]
    assert await network.refusal_of(network.inquire()) == errors.ERROR_REASON_OPERATOR_FROZEN


async def test_an_operators_act_waits_for_its_commit(network: Network) -> None:
    """It takes effect when it is on disk: to be told otherwise before would leave it half known."""
    network.enter(network.record_of(1))
    await network.inquire()
    moves_on = threading.Event()
    hanging = asyncio.ensure_future(on_writer(network, lambda _: moves_on.wait(30)))
    entry = network.leaves()[0]
    entry.request_id = "5f7d1c1e-0000-4000-8000-00000000000a"
    act = asyncio.ensure_future(network.record.carry_out(entry, lambda _: True))
    await asyncio.sleep(1.7)
    assert not act.done()
    moves_on.set()
    await asyncio.gather(hanging, act)
    assert [each.request_id for each in network.leaves()][-1] == entry.request_id


async def test_a_question_that_gives_up_between_two_commits_does_not_leave_the_ledger_closed(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    network.enter(network.record_of(1))
    network.record.grouping._pause = 2.0
    monkeypatch.setattr(grouping_module, "SPACING", 1e12)
    monkeypatch.setattr(grouping_module, "PAUSE_EACH", 2.0)
    await network.inquire()
    monkeypatch.setattr(record_module, "KEEP_SECONDS", 0.01)  # the next commit is due later than that
    assert await network.refusal_of(network.inquire()) == UNAVAILABLE
    monkeypatch.setattr(record_module, "KEEP_SECONDS", 60.0)
    assert (await network.inquire()).receipt.entry
