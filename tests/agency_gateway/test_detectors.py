"""Who guesses is found, and a person whom many look at; a freeze is on record, survives, and two people lift it."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from agency_gateway.detectors import CROWD, Detectors, Finding, Seen
from agency_gateway.freezes import read_frozen
from agency_gateway.today import todays_entries
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2 as ledger
from jukinet._pb.jukinet.provision.v1.provision_pb2 import LOOK_UP_NOBODY, LOOK_UP_SOMEBODY, LookUp
from jukinet.ledger.entry import EntryKeys
from jukinet.ledger.errors import EntryInvalid
from jukinet.ledger.layout import decode, encode
from jukinet.ledger.verify.findings import Unsound
from jukinet.ledger.verify.layout import read_entry
from jukinet.mesh.clock import now
from jukinet.mesh.errors import Refused
from tests.agency_gateway.agencies import PENSION
from tests.agency_gateway.calls import GATEWAY

Network = Any  # the class is in network.py; tests put methods of their own into it, and no context into calls
NOON = datetime(2026, 4, 1, 3, tzinfo=UTC)
FROZEN, NOT_FROZEN = errors.ERROR_REASON_OPERATOR_FROZEN, errors.ERROR_REASON_OPERATOR_NOT_FROZEN
FIRST, SECOND = (f"spiffe://operators.jukinet/operator/{name}" for name in ("first", "second"))
WHO = (PENSION.uri, EntryKeys(bytes(32)).operator_pseudonym(PENSION.uri, "op-1"))
TOO_MANY = 11
"""Misses of fifty answers that are the first over a fifth."""


def answered(
    found: bool = False, *, operator: int = 1, person: int = 0, at: datetime = NOON, proof: bool = True
) -> Any:
    entry = ledger.Entry(
        agency=PENSION.uri,
        operator_pseudonym=bytes([operator]) * 32,
        result=ledger.RESULT_PROVIDED if found else ledger.RESULT_NO_SINGLE_MATCH,
        person_token=person.to_bytes(32, "big") if found else b"",
        operator_proof=bytes(32) if proof else b"",
    )
    entry.time.FromDatetime(at)
    return entry


def found_in(entries: list[Any]) -> list[list[Finding]]:
    detectors = Detectors()
    return [list(detectors.see(Seen(entry))) for entry in entries]


def test_whoever_guesses_is_found_with_his_eleventh_miss_and_not_first_when_he_has_fifty_answers() -> None:
    findings = found_in([answered()] * TOO_MANY)
    assert findings[:-1] == [[]] * (TOO_MANY - 1)
    assert findings[-1] == [Finding("misses", PENSION.uri, b"\x01" * 32)]


@pytest.mark.parametrize("before", [0, 20, 200])
def test_eleven_misses_are_found_within_fifty_answers_and_in_no_more(before: int) -> None:
    hits = [answered(True, person=number) for number in range(before + 40)]
    early, between = hits[:before], hits[before:]
    spread = [*early, *[answered()] * 5, *between[:39], *[answered()] * 6]
    findings = found_in(spread)
    assert not any(findings[:-1])
    assert len(findings[-1]) == 1
    assert not any(found_in([*early, *[answered()] * 5, *between, *[answered()] * 6]))
    assert not any(found_in([*early, *[answered()] * (TOO_MANY - 1), *between]))


@pytest.mark.parametrize(("look_up", "findings"), [("NOBODY", 2), ("SOMEBODY", 0), ("UNSPECIFIED", 0)])
def test_where_nothing_is_provided_a_miss_is_who_was_looked_up_and_is_not_there(look_up: str, findings: int) -> None:
    entry = answered()
    entry.result = ledger.RESULT_NOT_PROVIDED
    seen = Seen(entry, look_up=LookUp.Value(f"LOOK_UP_{look_up}"))
    assert sum(map(len, map(Detectors().see, [seen] * (2 * TOO_MANY)))) == findings


def test_who_is_there_and_too_old_to_be_told_of_counts_as_answered() -> None:
    entry = answered()
    entry.result = ledger.RESULT_NOT_PROVIDED
    somebody, nobody = (Seen(entry, look_up=each) for each in (LOOK_UP_SOMEBODY, LOOK_UP_NOBODY))
    detectors = Detectors()
    assert not any(detectors.see(each) for each in [*[somebody] * 9, nobody] * 30)


def test_nobody_hides_his_guesses_among_questions_that_get_no_look_up() -> None:
    entry = answered()
    entry.result = ledger.RESULT_NOT_PROVIDED
    unseen, nobody = Seen(entry), Seen(entry, look_up=LOOK_UP_NOBODY)
    detectors = Detectors()
    assert sum(len(detectors.see(each)) for each in [*[unseen] * 9, nobody] * TOO_MANY) == 1


def test_a_clerk_who_misses_now_and_then_is_never_found() -> None:
    asked = [answered(number % 5 != 0, person=number) for number in range(400)]
    assert not any(found_in(asked))


def test_misses_are_counted_by_operator_and_day() -> None:
    shared = [answered(operator=number % 2 + 1) for number in range(2 * TOO_MANY - 2)]
    assert not any(found_in(shared))
    assert not any(found_in([answered(at=NOON + timedelta(days=number // 10)) for number in range(20)]))


def test_who_spreads_his_guesses_over_operators_has_each_of_them_found() -> None:
    spread = [answered(operator=number % 12 + 1) for number in range(12 * TOO_MANY)]
    found = [each.operator for findings in found_in(spread) for each in findings]
    assert found == [bytes([operator]) * 32 for operator in range(1, 13)]


def test_whoever_goes_on_guessing_is_found_again() -> None:
    assert sum(map(len, found_in([answered()] * (2 * TOO_MANY)))) == 2


def test_a_person_whom_five_operators_look_at_is_found_with_each_further_one() -> None:
    asked = [answered(True, operator=operator, person=7) for operator in (1, 1, 2, 3, 4, 5, 5, 6)]
    findings = found_in(asked)
    assert [len(each) for each in findings] == [0, 0, 0, 0, 0, 1, 0, 1]
    assert findings[5] == [Finding("crowd", PENSION.uri, bytes([CROWD]) * 32)]
    assert not any(found_in([answered(True, operator=number, person=number) for number in range(1, 40)]))


def test_what_nobody_proved_or_nobody_was_answered_is_not_looked_at() -> None:
    refused = answered()
    refused.result, refused.refusal = ledger.RESULT_REFUSED, errors.ERROR_REASON_OPERATOR_FROZEN
    assert not any(found_in([refused] * 200 + [answered(proof=False)] * 200))


async def guess(network: Network, times: int = TOO_MANY) -> None:
    """Asks about people who are not there, in a municipality that has reported somebody."""
    if not network.entries():
        network.enter(network.record_of(1))
    await asyncio.gather(*(network.inquire(number=number) for number in range(1000, 1000 + times)))


async def test_whoever_guesses_is_frozen_and_nobody_is_looked_up_for_him_any_more(network: Network) -> None:
    await guess(network)
    reads = len(network.center.requests)
    assert await network.refusal_of(network.inquire()) == FROZEN
    assert await network.refusal_of(network.inquire_batch(network.batch_of(1))) == FROZEN
    assert len(network.center.requests) == reads
    assert (await network.inquire(operator="op-2")).outcome == inquiry.INQUIRY_OUTCOME_MATCH
    entries = network.leaves()
    (freeze,) = [entry for entry in entries if entry.action == ledger.ACTION_FREEZE_OPERATOR]
    assert (freeze.about_operator, freeze.agency, freeze.result) == (WHO[1], GATEWAY.uri, ledger.RESULT_DONE)
    assert [entry.refusal for entry in entries if entry.refusal] == [FROZEN, FROZEN]
    for leaf in network.entries():
        assert decode(leaf) == read_entry(leaf)


async def test_an_agency_may_choose_the_alarm_alone(network: Network, caplog: pytest.LogCaptureFixture) -> None:
    object.__setattr__(network.directory[PENSION.uri], "on_misses", "alarm")
    await guess(network)
    await network.inquire()
    assert "an operator's questions have to be explained" in caplog.text
    assert "op-1" not in caplog.text
    assert network.freezes.standing == {}


async def test_a_freeze_outlives_the_process(network: Network) -> None:
    await guess(network)
    with network.ledger_engine.connect() as connection:
        assert {who: each.detector for who, each in read_frozen(connection).items()} == {WHO: "misses"}
    await restart(network)
    assert await network.refusal_of(network.inquire()) == FROZEN


async def test_a_freeze_that_did_not_reach_the_record_is_made_again_at_the_next_start(network: Network) -> None:
    network.freezes.settle = nothing
    await guess(network)
    with network.ledger_engine.connect() as connection:
        assert read_frozen(connection) == {}
    await restart(network)
    assert await network.refusal_of(network.inquire()) == FROZEN
    with network.ledger_engine.connect() as connection:
        assert set(read_frozen(connection)) == {WHO}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("version", 2),
        ("about_operator", b""),
        ("about_operator", b"x"),
        ("action", ledger.ACTION_INQUIRE),
        ("action", ledger.ACTION_PROPOSE_EDITION),
        ("result", ledger.RESULT_REFUSED),
        ("refusal", FROZEN),
        ("purpose", "B1-77"),
        ("edition", "2019-01"),
        ("edition_digest", b"x" * 32),
        ("person_token", b"x" * 32),
        ("operator_proof", b"x" * 32),
        ("new_subject", True),
    ],
)
async def test_a_freeze_says_nothing_of_a_question(network: Network, field: str, value: Any) -> None:
    await guess(network)
    (freeze,) = [entry for entry in network.leaves() if entry.about_operator]
    setattr(freeze, field, value)
    with pytest.raises(EntryInvalid):
        encode(freeze)
    with pytest.raises(Unsound):
        read_entry(freeze.SerializeToString(deterministic=True))


async def nothing() -> None:
    pass


async def test_two_different_operators_of_the_network_release_him(network: Network) -> None:
    await guess(network)
    release = network.freezes.release
    assert await release(PENSION.uri, "op-1", FIRST) == ("propose", FIRST)
    assert await network.refusal_of(network.inquire()) == FROZEN
    assert await network.refusal_of(release(PENSION.uri, "op-1", FIRST)) == errors.ERROR_REASON_SECOND_OPERATOR_NEEDED
    await restart(network)
    release = network.freezes.release
    assert await network.refusal_of(release(PENSION.uri, "op-1", FIRST)) == errors.ERROR_REASON_SECOND_OPERATOR_NEEDED
    assert await release(PENSION.uri, "op-1", SECOND) == ("release", FIRST)
    assert await network.inquire()
    assert await network.refusal_of(release(PENSION.uri, "op-1", SECOND)) == NOT_FROZEN
    actions = [entry.action for entry in network.leaves() if entry.about_operator]
    assert actions == [
        ledger.ACTION_FREEZE_OPERATOR,
        ledger.ACTION_PROPOSE_RELEASE,
        ledger.ACTION_RELEASE_OPERATOR,
    ]
    await restart(network)
    assert await network.inquire()


async def test_who_was_released_begins_anew_and_may_be_frozen_again(network: Network) -> None:
    await guess(network)
    for operator in (FIRST, SECOND):
        await network.freezes.release(PENSION.uri, "op-1", operator)
    await guess(network, TOO_MANY - 1)
    assert network.freezes.standing == {}
    await network.inquire(number=999)
    assert await network.refusal_of(network.inquire()) == FROZEN


async def test_a_freeze_is_one_entry_however_many_questions_are_under_way(network: Network) -> None:
    await guess(network, TOO_MANY - 1)
    asked = [network.inquire(number=900), *(network.inquire(operator="op-2") for _ in range(20))]
    answers = await asyncio.gather(*asked, network.inquire(), return_exceptions=True)
    assert {str(each) for each in answers if isinstance(each, Exception)} <= {"OPERATOR_FROZEN"}
    network.freezes._unrecorded[(PENSION.uri, b"x" * 32)] = "misses"
    await asyncio.gather(*(network.freezes.settle() for _ in range(10)))
    assert len(network.freezes.standing) == 2
    assert [entry.action for entry in network.leaves()].count(ledger.ACTION_FREEZE_OPERATOR) == 2


async def test_nobody_is_released_who_is_not_frozen(network: Network) -> None:
    await guess(network)
    assert await network.refusal_of(network.freezes.release(PENSION.uri, "op-2", FIRST)) == NOT_FROZEN
    assert await network.refusal_of(network.freezes.release(GATEWAY.uri, "op-1", FIRST)) == NOT_FROZEN


async def test_an_act_that_another_one_was_quicker_with_changes_nothing(network: Network) -> None:
    await guess(network)
    with network.ledger_engine.connect() as connection:
        stale = read_frozen(connection)
    await network.freezes.release(PENSION.uri, "op-1", FIRST)
    network.freezes._frozen = stale
    assert await network.refusal_of(network.freezes.release(PENSION.uri, "op-1", SECOND)) == NOT_FROZEN
    with network.ledger_engine.connect() as connection:
        assert read_frozen(connection)[WHO].proposed_by == FIRST
    assert await network.freezes.release(PENSION.uri, "op-1", SECOND) == ("release", FIRST)


async def test_when_a_freeze_cannot_be_put_on_record_the_answer_does_not_leave(network: Network) -> None:
    carry_out = network.record.carry_out

    async def fails(entry: Any, act: Any) -> None:
        raise Refused(errors.ERROR_REASON_LEDGER_UNAVAILABLE)

    network.record.carry_out = fails
    assert await network.refusal_of(guess(network)) == errors.ERROR_REASON_LEDGER_UNAVAILABLE
    network.record.carry_out = carry_out
    assert await network.refusal_of(network.inquire()) == FROZEN
    assert set(network.freezes.standing) == {WHO}


async def restart(network: Network) -> None:
    """What the gateway knows of its operators is what its database tells it."""
    network.begin_admission()
    with network.ledger_engine.connect() as connection:
        network.admission.restore(todays_entries(connection, now()))
    network.desk._admission = network.admission
