"""Questions that reach a gateway together share a call to the center, and nothing else."""

import asyncio
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agency_gateway.center import MOST_TOGETHER
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2 as ledger
from jukinet._pb.jukinet.provision.v1 import provision_pb2 as provision
from jukinet._pb.jukinet.watch.v1 import watch_pb2 as watch
from jukinet.mesh.clock import now
from jukinet.mesh.errors import Refused, name_of
from jukinet.mesh.identity import Identity
from jukinet.purpose.ticket import used_key
from jukinet.store.schema import residents
from tests.agency_gateway.agencies import signed
from tests.agency_gateway.calls import called_by

Network = Any  # the class is in network.py; tests put methods of their own into it, and no context into calls


async def waiting(network: Network, *questions: Any) -> "list[asyncio.Task[Any]]":
    """Asks while the center takes its time: the first question is under way, the others wait together."""
    network.center.ready.clear()
    tasks = []
    for question in questions:
        tasks.append(asyncio.ensure_future(question))
        while not network.center.requests:
            await asyncio.sleep(0)
    return tasks


async def outcomes(tasks: "list[asyncio.Task[Any]]") -> list[Any]:
    """Answers and refusals, in the order of the questions."""
    return await asyncio.gather(*tasks, return_exceptions=True)


async def test_what_waits_while_a_call_is_under_way_shares_the_next_one(network: Network) -> None:
    network.enter(*map(network.record_of, range(1, 21)))
    tasks = await waiting(network, *(network.inquire(number=number) for number in range(1, 21)))
    network.center.ready.set()
    answers = await asyncio.gather(*tasks)
    assert [answer.provided.record.name.legal for answer in answers] == [f"試験花子{n}" for n in range(1, 21)]
    assert [len(request.questions) for request in network.center.requests] == [1, 19]
    assert len({answer.receipt.index for answer in answers}) == 20


async def test_no_call_holds_more_than_the_center_takes(network: Network) -> None:
    network.enter(network.record_of(1))
    count = 3 * MOST_TOGETHER
    tasks = await waiting(network, *(network.inquire() for _ in range(count)))
    network.center.ready.set()
    assert {answer.outcome for answer in await asyncio.gather(*tasks)} == {inquiry.INQUIRY_OUTCOME_MATCH}
    sizes = [len(request.questions) for request in network.center.requests]
    assert (sum(sizes), max(sizes)) == (count, MOST_TOGETHER)


async def test_a_question_that_the_center_refuses_takes_nothing_from_the_others(network: Network) -> None:
    network.enter(network.record_of(1), network.record_of(2))
    network.desk._policy = Lenient(network.desk._policy)
    responses: list[provision.ProvideResponse] = []
    network.center.alter = responses.append
    tasks = await waiting(
        network,
        network.inquire(),
        network.inquire(),
        network.inquire("example-bank"),
        network.inquire(purpose="B1-41"),
        network.inquire(number=2),
        network.inquire(number=3),
    )
    network.center.ready.set()
    _, lawful, bank, ungranted, other, nobody = await outcomes(tasks)
    assert len(network.center.requests[-1].questions) == 5
    assert lawful.provided.record.name.legal == "試験花子1"
    assert isinstance(bank, Refused)
    assert bank.reason == errors.ERROR_REASON_PRIVATE_SECTOR_BANNED
    assert isinstance(ungranted, Refused)
    assert ungranted.reason == errors.ERROR_REASON_PURPOSE_NOT_GRANTED
    assert other.provided.record.name.legal == "試験花子2"
    assert nobody.outcome == inquiry.INQUIRY_OUTCOME_NO_SINGLE_MATCH
    assert len(network.leaves()) == 6
    refused = [each for each in responses[-1].provisions if each.refusal]
    assert len(refused) == 2
    for each in refused:
        assert {field.name for field, _ in each.ListFields()} == {"request_id", "subject_digest", "refusal"}


class Lenient:
    """A gateway's policy that lets everybody ask everything that the pension service may ask under its own row."""

    def __init__(self, policy: Any) -> None:
        self._policy = policy
        self.territory = policy.territory

    def decide(self, question: Any) -> Any:
        pension = "spiffe://agencies.jukinet/agency/pension-service"
        return self._policy.decide(question._replace(agency=pension, purpose="B1-77.12"))


async def test_answers_in_another_order_never_leave(network: Network) -> None:
    network.enter(*map(network.record_of, range(1, 7)))

    def turn(response: provision.ProvideResponse) -> None:
        turned = list(reversed(response.provisions))
        del response.provisions[:]
        response.provisions.extend(turned)

    network.center.alter = turn
    tasks = await waiting(network, *(network.inquire(number=number) for number in range(1, 4)))
    network.center.ready.set()
    answers = await outcomes(tasks)
    assert [type(answer) for answer in answers[1:]] == [Refused, Refused]


async def test_an_answer_too_few_answers_nobody(network: Network) -> None:
    network.enter(network.record_of(1))

    def cut(response: provision.ProvideResponse) -> None:
        del response.provisions[-1]

    network.center.alter = cut
    assert await network.refusal_of(network.inquire()) == errors.ERROR_REASON_DEPENDENCY_UNAVAILABLE


async def test_a_center_that_fails_is_told_to_each_and_recorded_for_each(network: Network) -> None:
    network.center.fail = grpc.StatusCode.UNAVAILABLE
    tasks = await waiting(network, *(network.inquire() for _ in range(10)))
    network.center.ready.set()
    refusals = await outcomes(tasks)
    assert [refusal.reason for refusal in refusals] == [errors.ERROR_REASON_DEPENDENCY_UNAVAILABLE] * 10
    assert len(network.leaves()) == 10


@pytest.mark.parametrize("reason", [errors.ERROR_REASON_TICKET_INVALID, errors.ERROR_REASON_CALLER_NOT_ALLOWED])
async def test_what_the_center_says_of_the_gateway_is_no_ban_of_the_agency_and_stands_in_the_log(
    network: Network, caplog: pytest.LogCaptureFixture, reason: "errors.ErrorReason.ValueType"
) -> None:
    network.enter(network.record_of(1))

    def refuse(response: provision.ProvideResponse) -> None:
        for each in response.provisions:
            each.refusal = reason

    network.center.alter = refuse
    refusal = await network.refusal_of(network.inquire_batch(network.batch_of(1, 1)))
    assert refusal == errors.ERROR_REASON_DEPENDENCY_UNAVAILABLE
    assert [entry.refusal for entry in network.leaves()] == [refusal]
    said = [record for record in caplog.records if "the center refuses this gateway" in record.message]
    assert [vars(record)["reason"] for record in said] == [name_of(reason)]


async def test_a_ticket_key_that_the_center_does_not_know_is_no_ban_of_the_agency_and_stands_in_the_log(
    network: Network, caplog: pytest.LogCaptureFixture
) -> None:
    network.asking._ticket_key = network.watch._ticket_key = Ed25519PrivateKey.generate()
    end = watch.EndWatchRequest(context=network.context(), list_id="5f7d1c1e-0000-4000-8000-000000000001")
    with called_by(Identity("agency", "pension-service")):
        ending = network.watch.EndWatch(signed(end), None)
        assert await network.refusal_of(ending) == errors.ERROR_REASON_DEPENDENCY_UNAVAILABLE
    assert await network.refusal_of(network.inquire()) == errors.ERROR_REASON_DEPENDENCY_UNAVAILABLE
    said = [record for record in caplog.records if "the center refuses this gateway" in record.message]
    assert [vars(record)["reason"] for record in said] == ["TICKET_INVALID"] * 2


async def test_a_request_id_that_another_gateway_used_is_the_agencys_own_fault(network: Network) -> None:
    network.enter(network.record_of(1))
    request_id = "5f7d1c1e-0000-4000-8000-000000000001"
    used = network.center_service._tickets._used
    used[used_key("spiffe://agencies.jukinet/agency/pension-service", request_id)] = now().timestamp() + 60
    asking = network.inquire(request_id=request_id)
    assert await network.refusal_of(asking) == errors.ERROR_REASON_REQUEST_ID_REUSED
    assert [entry.refusal for entry in network.leaves()] == [errors.ERROR_REASON_REQUEST_ID_REUSED]


async def test_a_caller_who_hangs_up_takes_nothing_from_the_others(network: Network) -> None:
    network.enter(network.record_of(1), network.record_of(2))
    tasks = await waiting(network, *(network.inquire(number=1 + number % 2) for number in range(8)))
    while len(network.asking._grouping._waiting) < 7:
        await asyncio.sleep(0)
    for impatient in (tasks[0], tasks[5]):
        impatient.cancel()
    network.center.ready.set()
    answers = await outcomes(tasks)
    told = [answer if isinstance(answer, BaseException) else answer.provided.record.name.legal for answer in answers]
    for number in (1, 2, 3, 4, 6, 7):
        assert told[number] == f"試験花子{1 + number % 2}"
    assert isinstance(told[0], asyncio.CancelledError)
    assert isinstance(told[5], asyncio.CancelledError)
    await network.desk.settle()
    assert [entry.result for entry in network.leaves()] == [ledger.RESULT_PROVIDED] * 8


async def test_one_damaged_record_takes_nothing_from_the_others(network: Network) -> None:
    network.enter(network.record_of(1), network.record_of(2))
    damaged = network.record_of(2).resident_code
    with network.register.begin() as connection:
        connection.execute(residents.update().where(residents.c.resident_code == damaged).values(checksum=1))
    tasks = await waiting(network, *(network.inquire(number=1 + number % 2) for number in range(6)))
    network.center.ready.set()
    answers = await outcomes(tasks)
    for number, answer in enumerate(answers):
        if number % 2:
            assert isinstance(answer, Refused)
            assert answer.reason == errors.ERROR_REASON_DEPENDENCY_UNAVAILABLE
        else:
            assert answer.provided.record.name.legal == "試験花子1"


@pytest.mark.parametrize("count", [0, 2])
async def test_a_sheet_for_another_number_of_questions_is_refused(network: Network, count: int) -> None:
    network.enter(network.record_of(1))
    await network.inquire()
    (request,) = network.center.requests
    questions = [request.questions[0]] * count
    network.reads.clear()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await network.center.Provide(provision.ProvideRequest(tickets=request.tickets, questions=questions), timeout=1)
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert network.reads == []
