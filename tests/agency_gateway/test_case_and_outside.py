"""A case that stands for everything is found, and who looks outside his agency's territory; as configured, he is frozen
or the network alarmed. So it is with a crowd."""

from datetime import timedelta
from typing import Any

import pytest

from agency_gateway.detectors import MOST_OF_A_CASE, MOST_OUTSIDE, Detectors, Finding, Seen
from agency_gateway.freeze_service import FreezeService
from jukinet._pb.jukinet.admin.v1 import freeze_pb2 as freeze
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2 as ledger
from jukinet._pb.jukinet.register.v1.identity_pb2 import Address
from jukinet.purpose.ticket import question_id
from tests.agency_gateway.agencies import MAYOR, PENSION
from tests.agency_gateway.test_detectors import FROZEN, NOON, answered, found_in, restart

Network = Any  # the class is in network.py; tests put methods of their own into it, and no context into calls
OUTSIDE = Address(local_government_code="271004", town="中央一丁目", block="2番3号")
"""In Osaka: of its residents the mayor of Chiyoda hears nothing by B2-1-2."""


def under_case(number: int, *, case: int = 1, **parts: Any) -> Any:
    """The answer to a question about a person about whom nobody of the agency asked before on the day."""
    entry = answered(True, person=number, **parts)
    entry.new_subject, entry.case_commitment = True, bytes([case]) * 32
    return entry


def test_more_than_fifty_persons_under_one_case_are_found_with_whoever_asked_about_the_last() -> None:
    asked = [under_case(number, operator=number % 2 + 1) for number in range(MOST_OF_A_CASE + 1)]
    findings = found_in(asked)
    assert findings[:-1] == [[]] * MOST_OF_A_CASE
    assert findings[-1] == [Finding("case", PENSION.uri, b"\x01" * 32)]


def test_a_case_goes_on_being_found_with_as_many_persons_once_more() -> None:
    assert sum(map(len, found_in([under_case(number) for number in range(2 * MOST_OF_A_CASE + 2)]))) == 2


def test_many_persons_under_cases_of_their_own_are_nothing_to_explain() -> None:
    asked = [under_case(number, case=number // MOST_OF_A_CASE) for number in range(4 * MOST_OF_A_CASE)]
    assert not any(found_in(asked))


def test_a_case_is_one_of_its_agency_and_day() -> None:
    ours = [under_case(number) for number in range(MOST_OF_A_CASE)]
    theirs, tomorrow = under_case(1000), under_case(1001, at=NOON + timedelta(days=1))
    theirs.agency = MAYOR.uri
    assert not any(found_in([*ours, theirs, tomorrow]))


def test_who_is_asked_about_again_counts_once_for_his_case() -> None:
    again = under_case(1)
    again.new_subject = False
    assert not any(found_in([again] * (3 * MOST_OF_A_CASE)))


def test_what_is_not_provided_counts_for_its_case_and_what_is_refused_does_not() -> None:
    asked = [under_case(number) for number in range(MOST_OF_A_CASE + 1)]
    for entry in asked:
        entry.result = ledger.RESULT_NOT_PROVIDED
    assert len(found_in(asked)[-1]) == 1
    for entry in asked:
        entry.result = ledger.RESULT_REFUSED
    assert not any(found_in(asked))


def test_more_than_ten_persons_outside_are_found_by_operator_and_day() -> None:
    detectors, noon = Detectors(), int(NOON.timestamp())
    for operator in (b"1" * 32, b"2" * 32):
        assert detectors.see_outside(MAYOR.uri, operator, "q", MOST_OUTSIDE, noon) == []
    assert detectors.see_outside(MAYOR.uri, b"1" * 32, "last", 1, noon) == [
        Finding("outside", MAYOR.uri, b"1" * 32, "last")
    ]
    assert detectors.see_outside(MAYOR.uri, b"2" * 32, "q", 1, noon + 86_400) == []


def test_an_answer_of_the_next_day_ends_the_count_of_questions_outside() -> None:
    detectors = Detectors()
    detectors.see_outside(MAYOR.uri, b"1" * 32, "q", MOST_OUTSIDE, int(NOON.timestamp()))
    tomorrow = NOON + timedelta(days=1)
    detectors.see(Seen(answered(at=tomorrow)))
    assert detectors.see_outside(MAYOR.uri, b"1" * 32, "q", MOST_OUTSIDE, int(tomorrow.timestamp())) == []


async def ask_under_one_case(network: Network, first: int = 0) -> None:
    """Asks about as many residents as nobody has to explain, one at a time, each of whom is there."""
    for number in range(first, first + MOST_OF_A_CASE):
        network.enter(network.record_of(number + 1))
        await network.inquire(number=number + 1)


async def ask_outside(network: Network, times: int = MOST_OUTSIDE) -> None:
    """Asks for the mayor about somebody in Osaka."""
    for _ in range(times):
        await network.inquire(MAYOR.name, purpose="B2-1-2", subject=somebody_outside(network))


def somebody_outside(network: Network) -> Any:
    return inquiry.Subject(four_items=network.four_items(network.record_of(1, address=OUTSIDE)))


def react(network: Network, agency: str, detector: str, reaction: str) -> None:
    object.__setattr__(network.directory[agency], f"on_{detector}", reaction)


def alarms(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str, str, str]]:
    """Agency, detector, pseudonym and request id of each line about an operator who has to explain himself."""
    lines: list[Any] = [each for each in caplog.records if "have to be explained" in each.getMessage()]
    return [(each.peer, each.reason, each.operator_pseudonym, each.request_id) for each in lines]


async def detectors_of_the_frozen(network: Network) -> list[tuple[str, int]]:
    service = FreezeService(network.freezes, network.directory)
    listed = await service.ListFrozen(freeze.ListFrozenRequest(), None)  # type: ignore[arg-type]  # it is not used
    return [(each.agency, each.detector) for each in listed.frozen]


async def test_a_case_that_stands_for_everything_is_an_alarm(
    network: Network, caplog: pytest.LogCaptureFixture
) -> None:
    await ask_under_one_case(network)
    assert alarms(caplog) == []
    await network.inquire(number=1000)
    last = network.leaves()[-1]
    assert alarms(caplog) == [(PENSION.uri, "case", last.operator_pseudonym.hex(), last.request_id)]
    assert await network.inquire()
    assert network.freezes.standing == {}


async def test_a_case_that_stands_for_everything_freezes_where_the_directory_says_so(network: Network) -> None:
    react(network, PENSION.uri, "case", "freeze")
    await ask_under_one_case(network)
    await network.inquire(number=1000)
    assert await network.refusal_of(network.inquire()) == FROZEN
    assert await network.inquire(operator="op-2")
    assert await detectors_of_the_frozen(network) == [(PENSION.uri, freeze.DETECTOR_CASE)]


async def test_persons_of_a_case_are_counted_over_a_restart(network: Network, caplog: pytest.LogCaptureFixture) -> None:
    await ask_under_one_case(network)
    await restart(network)
    await network.inquire(number=1000)
    assert [each[1] for each in alarms(caplog)] == ["case"]


async def test_a_batch_names_as_many_persons_under_one_case_as_its_budget_allows(
    network: Network, caplog: pytest.LogCaptureFixture
) -> None:
    numbers = range(1, MOST_OF_A_CASE + 20)
    for number in numbers:
        network.enter(network.record_of(number))
    await network.inquire_batch(network.batch_of(*numbers))
    assert alarms(caplog) == []


async def test_questions_outside_are_an_alarm(network: Network, caplog: pytest.LogCaptureFixture) -> None:
    react(network, MAYOR.uri, "misses", "alarm")  # nobody is told of, so the eleventh is a miss too many as well
    network.enter(network.record_of(1, address=OUTSIDE))
    await ask_outside(network)
    assert alarms(caplog) == []
    await ask_outside(network, 1)
    last = network.leaves()[-1]
    who = last.operator_pseudonym.hex()
    assert alarms(caplog) == [(MAYOR.uri, each, who, last.request_id) for each in ("outside", "misses")]
    assert network.freezes.standing == {}


async def test_questions_outside_freeze_where_the_directory_says_so(network: Network) -> None:
    react(network, MAYOR.uri, "outside", "freeze")
    network.enter(network.record_of(1, address=OUTSIDE))
    await ask_outside(network, MOST_OUTSIDE + 1)
    assert await network.refusal_of(ask_outside(network, 1)) == FROZEN
    assert await detectors_of_the_frozen(network) == [(MAYOR.uri, freeze.DETECTOR_OUTSIDE)]
    await restart(network)
    assert await network.refusal_of(ask_outside(network, 1)) == FROZEN


async def test_a_freeze_for_questions_outside_is_on_record_before_anybody_is_looked_up(network: Network) -> None:
    react(network, MAYOR.uri, "outside", "freeze")
    network.enter(network.record_of(1, address=OUTSIDE))
    await ask_outside(network)
    reads = len(network.center.requests)

    async def fails(entry: Any, act: Any) -> None:
        from jukinet.mesh.errors import Refused

        raise Refused(errors.ERROR_REASON_LEDGER_UNAVAILABLE)

    network.record.carry_out = fails
    assert await network.refusal_of(ask_outside(network, 1)) == errors.ERROR_REASON_LEDGER_UNAVAILABLE
    assert len(network.center.requests) == reads


async def test_each_person_of_a_message_outside_counts_and_its_first_entry_is_named(
    network: Network, caplog: pytest.LogCaptureFixture
) -> None:
    network.enter(network.record_of(1))
    within = inquiry.Subject(four_items=network.four_items(network.record_of(1)))
    message = network.batch_of(1, purpose="B2-1-2", subjects=[within, *[somebody_outside(network)] * MOST_OUTSIDE])
    await network.inquire_batch(message, agency=MAYOR.name)
    assert alarms(caplog) == []
    message = network.batch_of(1, purpose="B2-1-2", subjects=[within, somebody_outside(network)])
    await network.inquire_batch(message, agency=MAYOR.name)
    (alarm,) = alarms(caplog)
    assert alarm[3] == question_id(message.context.request_id, 0) == network.leaves()[-2].request_id


async def test_what_nobody_proved_counts_for_no_operator(network: Network, caplog: pytest.LogCaptureFixture) -> None:
    network.enter(network.record_of(1, address=OUTSIDE))
    forged = network.context(purpose="B2-1-2")
    forged.operator_proof.signature = bytes(64)
    for _ in range(MOST_OUTSIDE + 1):
        asked = network.inquire(MAYOR.name, context=forged, subject=somebody_outside(network))
        assert await network.refusal_of(asked) != FROZEN
    await ask_outside(network)
    assert alarms(caplog) == []


async def test_a_crowd_freezes_where_the_directory_says_so(
    network: Network, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agency_gateway.detectors.CROWD", 3)
    react(network, PENSION.uri, "crowd", "freeze")
    network.enter(network.record_of(1))
    for operator in ("op-1", "op-2", "op-3"):
        await network.inquire(operator=operator)
    (last,) = [entry for entry in network.leaves() if entry.operator_proof][2:]
    assert alarms(caplog) == [(PENSION.uri, "crowd", last.operator_pseudonym.hex(), last.request_id)]
    assert await network.refusal_of(network.inquire(operator="op-3")) == FROZEN
    assert await network.inquire(operator="op-1")
    assert await detectors_of_the_frozen(network) == [(PENSION.uri, freeze.DETECTOR_CROWD)]


async def test_nobody_is_frozen_for_a_crowd_by_default(
    network: Network, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agency_gateway.detectors.CROWD", 2)
    network.enter(network.record_of(1))
    for operator in ("op-1", "op-2"):
        await network.inquire(operator=operator)
    assert [each[1] for each in alarms(caplog)] == ["crowd"]
    assert network.freezes.standing == {}
