"""Who says what it holds hears "unchanged" instead of the values, and a mark that is not its own tells nothing."""

from typing import Any

import pytest

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2 as ledger
from jukinet._pb.jukinet.provision.v1 import provision_pb2 as provision
from jukinet._pb.jukinet.register.v1 import change_pb2
from jukinet._pb.jukinet.register.v1.identity_pb2 import CalendarDate
from jukinet.mesh.errors import Refused

Network = Any  # the class is in network.py; tests put methods of their own into it, and no context into calls
NAME, ADDRESS = inquiry.IDENTITY_FIELD_NAME, inquiry.IDENTITY_FIELD_ADDRESS


@pytest.fixture
def network(network: Network) -> Network:
    network.enter(*map(network.record_of, (1, 2, 3)))
    return network


def move(network: Network, number: int, building: str) -> None:
    record = network.record_of(number)
    record.address.building = building
    network.change(
        change_pb2.Change(
            reason=change_pb2.CHANGE_REASON_CORRECTION_MOVE_WITHIN,
            event_date=CalendarDate(year=2026, month=5, day=1),
            record=record,
            version=2,
        )
    )


def in_full(answer: Any) -> bool:
    return bool(answer.HasField("provided")) and not answer.unchanged


async def test_what_did_not_change_is_not_provided_again_and_is_on_record(network: Network) -> None:
    first = await network.inquire()
    assert in_full(first)
    assert len(first.held) == 32
    again = await network.inquire(held=first.held, fields=[ADDRESS, NAME])
    assert (again.outcome, again.unchanged) == (inquiry.INQUIRY_OUTCOME_MATCH, True)
    assert not again.HasField("provided")
    assert again.held == first.held
    entries = network.leaves()
    assert [entry.result for entry in entries] == [ledger.RESULT_PROVIDED] * 2
    assert [list(entry.fields) for entry in entries] == [[NAME, ADDRESS]] * 2


async def test_the_values_are_provided_as_soon_as_one_of_them_changed(network: Network) -> None:
    names, both = await network.inquire(fields=[NAME]), await network.inquire()
    move(network, 1, "架空棟")
    changed = await network.inquire(held=both.held)
    assert in_full(changed)
    assert changed.held != both.held
    assert changed.provided.record.address.building == "架空棟"
    # The name is as it was, and so is what this agency holds of it.
    assert (await network.inquire(held=names.held, fields=[NAME])).unchanged


@pytest.mark.parametrize(
    "other",
    [
        {"number": 2},
        {"purpose": "B1-77.11"},
        {"fields": [NAME]},
        {"by_number": True},
    ],
    ids=lambda other: next(iter(other)),
)
async def test_a_mark_of_another_question_tells_nothing(network: Network, other: dict[str, Any]) -> None:
    held = (await network.inquire()).held
    if other.pop("by_number", False):
        other["subject"] = inquiry.Subject(individual_number=network.number_of(1))
    mine = await network.inquire(**other)
    answer = await network.inquire(held=held, **other)
    assert in_full(answer)
    assert answer.held == mine.held != held


async def test_an_altered_mark_is_answered_as_none(network: Network) -> None:
    held = (await network.inquire()).held
    for altered in (bytes(32), held[:-1] + bytes([held[-1] ^ 1])):
        assert in_full(await network.inquire(held=altered))


async def test_what_is_not_told_says_nothing_of_what_is_held(network: Network) -> None:
    held = (await network.inquire()).held
    nobody = await network.inquire(number=9, held=held)
    assert nobody.outcome == inquiry.INQUIRY_OUTCOME_NO_SINGLE_MATCH
    assert (nobody.held, nobody.unchanged) == (b"", False)


async def test_each_person_of_a_batch_has_a_mark_of_its_own(network: Network) -> None:
    (first,) = await network.inquire_batch(network.batch_of(1, 2, 3))
    marks = [each.held for each in first.answers]
    move(network, 3, "架空棟")
    held = [marks[0], b"", marks[2]]
    (again,) = await network.inquire_batch(network.batch_of(1, 2, 3, held=held, fields=[NAME]))
    assert [each.unchanged for each in again.answers] == [True, False, True]
    assert [each.HasField("provided") for each in again.answers] == [False, True, False]
    (swapped,) = await network.inquire_batch(network.batch_of(1, 2, held=[marks[1], marks[0]]))
    assert all(map(in_full, swapped.answers))


async def test_a_center_that_calls_unchanged_what_nobody_holds_is_not_believed(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered = network.center.Provide

    async def lying(request: provision.ProvideRequest, timeout: float) -> provision.ProvideResponse:
        response: provision.ProvideResponse = await answered(request, timeout=timeout)
        response.provisions[0].unchanged = True
        return response

    monkeypatch.setattr(network.center, "Provide", lying)
    with pytest.raises(Refused) as caught:
        await network.inquire()
    assert caught.value.reason == errors.ERROR_REASON_DEPENDENCY_UNAVAILABLE


async def test_the_center_itself_leaves_out_what_is_held(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    answered = network.center.Provide
    heard: list[provision.Provision] = []

    async def listening(request: provision.ProvideRequest, timeout: float) -> provision.ProvideResponse:
        response: provision.ProvideResponse = await answered(request, timeout=timeout)
        heard.extend(response.provisions)
        return response

    monkeypatch.setattr(network.center, "Provide", listening)
    first = await network.inquire()
    await network.inquire(held=first.held)
    assert [each.HasField("provided") for each in heard] == [True, False]
