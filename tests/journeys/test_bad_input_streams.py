"""What is wrong in a stream of changes is refused in its place, and the others go in; what is no change ends it."""

from typing import Any

import grpc
import pytest

from jukinet._pb.jukinet.intake.v1.intake_pb2 import SubmitChangesRequest, SubmitChangesResponse
from jukinet._pb.jukinet.intake.v1.intake_pb2_grpc import IntakeServiceStub
from jukinet.mesh.client import streaming
from jukinet.mesh.errors import name_of
from jukinet.mesh.identity import Identity
from tests.journeys.load import answers_of
from tests.journeys.mistakes import wrong_digit

Network = Any  # the fixture's own class lives in conftest.py
CHIYODA = "131016"
CS = "municipality-131016"
SYSTEM = Identity("municipal-system", CHIYODA)


async def test_a_refused_change_does_not_end_the_stream_and_the_others_go_in(network: Network) -> None:
    good, bad, last = (network.submission("ENTRY_EX_OFFICIO", network.person(CHIYODA)) for _ in range(3))
    bad.record.individual_number = wrong_digit(bad.record.individual_number)
    async with network.channel(CS, SYSTEM) as channel:
        requests = [SubmitChangesRequest(submission=each) for each in (good, bad, last)]
        answers = [
            each async for each in answers_of(IntakeServiceStub(channel).SubmitChanges(iter(requests), timeout=5))
        ]
    assert [answer.message_id for answer in answers] == [good.message_id, bad.message_id, last.message_id]
    assert [answer.WhichOneof("result") for answer in answers] == ["accepted", "refused", "accepted"]
    assert name_of(answers[1].refused.reason) == "INDIVIDUAL_NUMBER_CHECK_DIGIT"
    assert answers[1].refused.field == "record.individual_number"
    assert answers[2].accepted.sequence == answers[0].accepted.sequence + 1


async def test_an_element_that_breaks_the_contract_is_refused_in_its_place_and_the_others_go_in(
    network: Network,
) -> None:
    first, bad, between, unnamed, last = (
        network.submission("ENTRY_EX_OFFICIO", network.person(CHIYODA)) for _ in range(5)
    )
    bad.event_date.month = 2
    bad.event_date.day = 30
    unnamed.message_id = "電文 一"
    requests = [SubmitChangesRequest(submission=each) for each in (first, bad, between, unnamed, last)]
    requests.insert(3, SubmitChangesRequest(submission=between, traceparent="00"))
    requests.insert(4, SubmitChangesRequest())
    async with network.channel(CS, SYSTEM) as channel:
        answers = [
            each async for each in answers_of(IntakeServiceStub(channel).SubmitChanges(iter(requests), timeout=5))
        ]
    named = [each.message_id for each in (first, bad, between, between)]
    assert [answer.message_id for answer in answers] == [*named, "", "", last.message_id]
    reasons = [name_of(answer.refused.reason) for answer in answers if answer.HasField("refused")]
    assert reasons == ["INVALID_MESSAGE"] * 4
    assert [answer.refused.field for answer in answers] == ["", "event_date", "", "traceparent", "", "message_id", ""]
    rules = [[(each.field, each.rule) for each in answer.refused.broken_rules] for answer in answers]
    assert rules[3:6] == [[("traceparent", "string.pattern")], [("", "required")], [("message_id", "string.pattern")]]
    sequence = answers[0].accepted.sequence
    assert [answer.accepted.sequence for answer in answers] == [sequence, 0, sequence + 1, 0, 0, 0, sequence + 2]


def of_raw_elements(channel: Any) -> Any:
    """The stream of changes, for elements as bytes."""
    return channel.stream_stream(
        "/jukinet.intake.v1.IntakeService/SubmitChanges", response_deserializer=SubmitChangesResponse.FromString
    )


@pytest.mark.parametrize(
    ("raw", "reason"),
    [(b"\xff" * 20, "INVALID_MESSAGE"), (b"\0" * (1024 * 1024 + 1), "MESSAGE_TOO_LARGE")],
    ids=["no message", "too large"],
)
async def test_what_is_no_element_ends_the_stream_after_the_answers_to_all_before_it(
    network: Network, refused: Any, raw: bytes, reason: str
) -> None:
    entries = [network.submission("ENTRY_EX_OFFICIO", network.person(CHIYODA)) for _ in range(20)]
    sent = [SubmitChangesRequest(submission=each).SerializeToString() for each in entries]
    async with network.channel(CS, SYSTEM) as channel:
        stream = of_raw_elements(channel)
        answers = []
        with refused() as refusal:
            async with streaming(stream(iter([*sent[:19], raw, sent[19]]), timeout=5)) as call:
                async for answer in answers_of(call):
                    answers.append(answer)
    assert refusal.name == reason
    assert [answer.message_id for answer in answers] == [each.message_id for each in entries[:19]]
    assert all(answer.HasField("accepted") for answer in answers)


async def test_an_element_that_grpc_does_not_take_ends_the_stream_and_what_was_not_answered_may_come_again(
    network: Network, refused: Any
) -> None:
    entries = [network.submission("ENTRY_EX_OFFICIO", network.person(CHIYODA)) for _ in range(20)]
    sent = [SubmitChangesRequest(submission=each).SerializeToString() for each in entries]
    async with network.channel(CS, SYSTEM) as channel:
        stream = of_raw_elements(channel)
        before = 0
        with refused() as refusal:
            async with streaming(stream(iter([*sent, b"\0" * (2 * 1024 * 1024)]), timeout=5)) as call:
                async for _ in answers_of(call):
                    before += 1
        assert (refusal.name, refusal.code) == ("", grpc.StatusCode.RESOURCE_EXHAUSTED)
        answers = [each async for each in answers_of(stream(iter(sent), timeout=5))]
    assert all(answer.accepted.repeated for answer in answers[:before])
    assert [answer.message_id for answer in answers if answer.HasField("accepted")] == [e.message_id for e in entries]
