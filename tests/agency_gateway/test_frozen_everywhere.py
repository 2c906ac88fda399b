"""Who is frozen at one gateway gets no answer through any, over restarts and outages, until two people lift it."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import grpc
import pytest
from sqlalchemy import select

from agency_gateway.declarations import Declarations
from agency_gateway.deferred_refusals import DeferredRefusals
from agency_gateway.detectors import Finding
from agency_gateway.freezes import RELEASE
from center_node import changes as center_changes
from center_node.frozen import FrozenOperators, frozen_operators
from center_node.frozen_service import FreezeService
from jukinet._pb.jukinet.admin.v1 import freeze_pb2 as freeze
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2 as ledger
from jukinet._pb.jukinet.provision.v1 import frozen_pb2
from jukinet.mesh.clock import now
from jukinet.mesh.errors import Refused
from jukinet.mesh.identity import Identity
from jukinet.store.errors import StoreError
from tests.agency_gateway.agencies import MAYOR, OPERATOR_KEYS, PENSION
from tests.agency_gateway.calls import GATEWAY, called_by
from tests.agency_gateway.test_detectors import FIRST, FROZEN, NOT_FROZEN, SECOND, guess
from tests.agency_gateway.test_watch import House

Network = Any  # the class is in network.py; tests put methods of their own into it, and no context into calls
OTHER = Identity("gateway", "gateway-2")


@pytest.fixture
async def other(network: Network) -> AsyncIterator[Network]:
    """Another gateway of the same center."""
    network.enter(network.record_of(1))
    other = network.another_gateway(OTHER.name)
    async with other.running():
        yield other


def freeze_at(gateway: Network, operator: str = "op-1", agency: str = PENSION.uri) -> None:
    gateway.freezes.freeze(Finding("misses", agency, gateway.keys.operator_pseudonym(agency, operator)))


async def release_at(gateway: Network, operator: str = "op-1") -> None:
    await gateway.freezes.release(PENSION.uri, operator, FIRST)
    assert (await gateway.freezes.release(PENSION.uri, operator, SECOND))[0] == RELEASE


def restart_center(network: Network) -> None:
    """What is in memory becomes what a start reads."""
    again = FrozenOperators(network.register_reader, network.register_writer, token_key=bytes(32))
    vars(network.frozen).update(vars(again))


def restarted(gateway: Network) -> Declarations:
    """What declares after a restart of a gateway, which numbers its declarations anew."""
    return Declarations(
        center=gateway.frozen_service, freezes=gateway.freezes, keys=gateway.keys, directory=gateway.directory
    )


def operators_of(network: Network) -> FreezeService:
    """The center, for operators of the network."""
    return FreezeService(network.frozen, network.register_reader, network.directory)


async def listed(network: Network) -> list[freeze.FrozenOperator]:
    answer = await operators_of(network).ListFrozen(freeze.ListFrozenRequest(), None)  # type: ignore[arg-type]  # the context is not used
    return list(answer.frozen)


async def forget(network: Network, operator: str, gateway: Identity = GATEWAY) -> tuple[int, str]:
    with called_by(Identity("operator", operator)):
        request = freeze.ForgetFrozenRequest(gateway=gateway.uri)
        done = await operators_of(network).ForgetFrozen(request, None)  # type: ignore[arg-type]  # the context is not used
    return done.step, done.proposed_by


class Away:
    """A center to which declarations do not get; `code` and `trailing` say why."""

    def __init__(self, code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE) -> None:
        self.code = code
        self.calls = 0

    async def DeclareFrozen(self, request: Any, timeout: float) -> Any:
        self.calls += 1
        raise grpc.aio.AioRpcError(self.code, grpc.aio.Metadata(), grpc.aio.Metadata())


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # no event tells of it
            await asyncio.sleep(0.001)


def lines_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.name == "agency_gateway.declarations"]


# ---- refused everywhere ----------------------------------------------------------------------------------------


async def test_who_is_frozen_at_one_gateway_is_refused_at_another_on_record_and_for_free(
    network: Network, other: Network
) -> None:
    await network.inquire()
    await guess(network)
    await network.declarations.step()
    before = len(network.reads), dict(network.asked_today._counts)
    assert await other.refusal_of(other.inquire()) == FROZEN
    assert await other.refusal_of(other.verify(other.four_items(other.record_of(1)))) == FROZEN
    assert (len(network.reads), dict(network.asked_today._counts)) == before
    assert [(entry.refusal, entry.operator_proof != b"") for entry in other.leaves()] == [(FROZEN, True)] * 2


async def test_his_colleagues_and_who_has_his_name_at_another_agency_go_on(network: Network, other: Network) -> None:
    freeze_at(network)
    await network.declarations.step()
    await other.inquire(operator="op-2")
    await other.inquire(MAYOR.name, purpose="B2-1-2")


async def test_two_operators_release_him_where_he_is_frozen_and_he_asks_everywhere(
    network: Network, other: Network
) -> None:
    freeze_at(network)
    await network.freezes.settle()
    await network.declarations.step()
    await network.freezes.release(PENSION.uri, "op-1", FIRST)
    await network.declarations.step()
    assert await other.refusal_of(other.inquire()) == FROZEN
    await network.freezes.release(PENSION.uri, "op-1", SECOND)
    await network.declarations.step()
    await other.inquire()
    await network.inquire()


async def test_nobody_releases_him_where_he_is_not_frozen(network: Network, other: Network) -> None:
    freeze_at(network)
    await network.declarations.step()
    assert await network.refusal_of(other.freezes.release(PENSION.uri, "op-1", FIRST)) == NOT_FROZEN
    request = freeze.ReleaseOperatorRequest(agency=PENSION.uri, operator="op-1")
    assert await network.refusal_of(operators_of(network).ReleaseOperator(request, None)) == NOT_FROZEN  # type: ignore[arg-type]  # the context is not used


async def test_who_is_frozen_at_two_gateways_is_released_at_both(network: Network, other: Network) -> None:
    for gateway in (network, other):
        freeze_at(gateway)
        await gateway.freezes.settle()
        await gateway.declarations.step()
    await release_at(network)
    await network.declarations.step()
    assert await network.refusal_of(network.inquire()) == FROZEN
    await release_at(other)
    await other.declarations.step()
    await network.inquire()


async def test_a_freeze_counts_that_is_not_on_record_yet(network: Network, other: Network) -> None:
    network.record._is_open = lambda: False
    freeze_at(network)
    with pytest.raises(Refused):
        await network.freezes.settle()
    await network.declarations.step()
    assert network.freezes.standing == {}
    assert await other.refusal_of(other.inquire()) == FROZEN


async def test_a_refusal_by_the_center_waits_as_one_by_the_gateway_does(network: Network, other: Network) -> None:
    freeze_at(network)
    await network.declarations.step()
    due = asyncio.Event()
    other.desk._deferred = deferred = DeferredRefusals(due.wait)
    asked = [asyncio.create_task(other.refusal_of(other.inquire())) for _ in range(3)]
    await until(lambda: len(deferred._going_on._tasks) == 3)
    assert other.leaves() == []
    due.set()
    assert await asyncio.gather(*asked) == [FROZEN] * 3
    assert [entry.refusal for entry in other.leaves()] == [FROZEN] * 3


async def test_of_a_batch_under_way_at_another_gateway_the_next_message_is_refused_as_a_whole(
    network: Network, other: Network
) -> None:
    network.enter(network.record_of(2))

    async def messages() -> AsyncIterator[Any]:
        yield other.batch_of(1, 2)
        await answered.wait()
        freeze_at(network)
        await network.declarations.step()
        yield other.batch_of(1, 2)

    answered, answers = asyncio.Event(), []
    with pytest.raises(Refused) as caught:
        async for answer in other.batch(messages()):
            answers.append(answer)
            answered.set()
    assert caught.value.reason == FROZEN
    assert [len(each.answers) for each in answers] == [2]
    assert [(entry.action, entry.refusal) for entry in other.leaves()] == [
        *[(ledger.ACTION_INQUIRE_BATCH, 0)] * 2,
        (ledger.ACTION_INQUIRE_BATCH, FROZEN),
    ]


async def test_his_lists_tell_nothing_and_are_neither_begun_nor_ended_elsewhere(
    network: Network, other: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(center_changes, "WAIT_SECONDS", 0.0)
    house = House(other)
    handle = await house.handle(1)
    await house.begin(handle)
    house.report(1, block="9番9号")
    freeze_at(network)
    await network.declarations.step()
    for call in (house.begin(handle), house.changes(), house.end()):
        assert await network.refusal_of(call) == FROZEN
    await release_frozen(network)
    assert len(await house.changes()) == 1


async def release_frozen(network: Network) -> None:
    await network.freezes.settle()
    await release_at(network)
    await network.declarations.step()


# ---- what is declared, and when ----------------------------------------------------------------------------------


async def test_a_freeze_and_a_release_are_declared_at_once(network: Network, other: Network) -> None:
    running = asyncio.create_task(network.declarations.run())
    await until(lambda: network.declarations.is_known)
    freeze_at(network)
    assert not network.declarations.is_known
    await until(lambda: network.declarations.is_known)
    assert await other.refusal_of(other.inquire()) == FROZEN
    await network.freezes.settle()
    await release_at(network)
    await until(lambda: network.declarations.is_known)
    await other.inquire()
    running.cancel()


async def test_a_center_that_was_away_learns_who_was_frozen_and_released_meanwhile(
    network: Network, other: Network, caplog: pytest.LogCaptureFixture
) -> None:
    for operator in ("op-1", "op-2"):
        freeze_at(network, operator)
    await network.freezes.settle()
    await network.declarations.step()
    network.declarations._center = Away()
    await release_at(network)
    freeze_at(network, "op-3")
    assert [await network.declarations.step() for _ in range(3)] == [1.0] * 3
    assert not network.declarations.is_known
    network.declarations._center = network.frozen_service
    await network.declarations.step()
    assert network.declarations.is_known
    await other.inquire()
    for operator in ("op-2", "op-3"):
        assert await other.refusal_of(other.inquire(operator=operator)) == FROZEN
    assert lines_of(caplog) == ["the center does not know who is frozen here"]


async def test_who_is_frozen_while_a_declaration_is_under_way_is_not_known_by_it(
    network: Network, other: Network
) -> None:
    class Slow:
        async def DeclareFrozen(self, request: Any, timeout: float) -> Any:
            freeze_at(network)
            return await network.frozen_service.DeclareFrozen(request, timeout=timeout)

    network.declarations._center = Slow()
    await network.declarations.step()
    assert not network.declarations.is_known
    await network.declarations.step()
    assert network.declarations.is_known
    assert await other.refusal_of(other.inquire()) == FROZEN


async def test_a_declaration_that_comes_late_brings_nothing_back(network: Network, other: Network) -> None:
    sent: list[frozen_pb2.DeclareFrozenRequest] = []

    class Slow:
        async def DeclareFrozen(self, request: Any, timeout: float) -> Any:
            kept = frozen_pb2.DeclareFrozenRequest()
            kept.CopyFrom(request)
            sent.append(kept)
            raise grpc.aio.AioRpcError(grpc.StatusCode.DEADLINE_EXCEEDED, grpc.aio.Metadata(), grpc.aio.Metadata())

    freeze_at(network)
    await network.freezes.settle()
    network.declarations._center = Slow()
    await network.declarations.step()
    await release_at(network)
    network.declarations._center = network.frozen_service
    await network.declarations.step()
    late = await network.frozen_service.DeclareFrozen(sent[0], timeout=1)
    assert (late.taken, late.number) == (False, sent[0].number + 1)
    await other.inquire()


@pytest.mark.parametrize("declarations", [1, 2, 5])
async def test_a_gateway_that_starts_again_is_believed_and_what_it_sent_before_is_not(
    network: Network, other: Network, declarations: int
) -> None:
    freeze_at(network)
    await network.freezes.settle()
    for _ in range(declarations):
        await network.declarations.step()
    await release_at(network)
    again = restarted(network)
    await again.step()
    assert again.is_known
    await other.inquire()


async def test_a_center_that_starts_again_still_refuses_whom_it_acknowledged(network: Network, other: Network) -> None:
    freeze_at(network)
    await network.freezes.settle()
    await network.declarations.step()
    restart_center(network)
    assert await other.refusal_of(other.inquire()) == FROZEN
    await release_at(network)
    await network.declarations.step()
    await other.inquire()


async def test_a_center_whose_database_is_older_is_told_again(network: Network, other: Network) -> None:
    freeze_at(network)
    await network.declarations.step()
    with network.register.begin() as connection:
        connection.execute(frozen_operators.delete())
    restart_center(network)
    await other.inquire()
    assert await network.declarations.step() == 30.0
    assert await other.refusal_of(other.inquire()) == FROZEN


async def test_who_was_taken_out_of_one_directory_stays_frozen_where_another_lists_him(
    network: Network, other: Network
) -> None:
    freeze_at(network)
    await network.declarations.step()
    gone = {PENSION.uri: replace(network.directory[PENSION.uri], operators={})}
    later = Declarations(center=network.frozen_service, freezes=network.freezes, keys=network.keys, directory=gone)
    await later.step()
    assert later.is_known
    assert await other.refusal_of(other.inquire()) == FROZEN
    await release_frozen(network)
    await other.inquire()


async def test_what_the_center_cannot_store_it_does_not_acknowledge(network: Network, other: Network) -> None:
    run = network.register_writer.run

    async def full(job: Any) -> Any:
        raise StoreError("no room")

    network.register_writer.run = full
    freeze_at(network)
    assert await network.declarations.step() == 1.0
    assert not network.declarations.is_known
    network.register_writer.run = run
    await network.declarations.step()
    assert network.declarations.is_known
    assert await other.refusal_of(other.inquire()) == FROZEN


@pytest.mark.parametrize(
    "code", [grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.INVALID_ARGUMENT]
)
async def test_with_a_center_that_takes_no_declarations_a_gateway_goes_on_and_says_so_once(
    network: Network, other: Network, caplog: pytest.LogCaptureFixture, code: grpc.StatusCode
) -> None:
    network.declarations._center = away = Away(code)
    freeze_at(network)
    assert [await network.declarations.step() for _ in range(4)] == [30.0] * 4
    assert away.calls == 4
    assert lines_of(caplog) == ["the center does not know who is frozen here"]
    assert await network.refusal_of(network.inquire()) == FROZEN
    await network.inquire(operator="op-2")
    network.declarations._center = network.frozen_service
    caplog.set_level(logging.INFO)
    await network.declarations.step()
    assert lines_of(caplog)[1:] == ["the center knows who is frozen here"]


# ---- whose freezes ------------------------------------------------------------------------------------------------


async def test_a_gateway_declares_for_nobody_but_itself(network: Network, other: Network) -> None:
    freeze_at(network)
    await network.declarations.step()
    await other.declarations.step()
    assert await other.refusal_of(other.inquire()) == FROZEN


async def test_a_gateway_that_the_center_does_not_list_declares_nothing(network: Network, other: Network) -> None:
    del network.gateway_keys[GATEWAY.uri]
    freeze_at(network)
    await network.declarations.step()
    assert not network.declarations.is_known
    await other.inquire()


async def test_the_center_lists_all_by_gateway_and_as_the_gateways_ledger_names_them(
    network: Network, other: Network
) -> None:
    before = now()
    object.__setattr__(network.directory[PENSION.uri], "contact", {"office": "照会窓口"})
    for gateway, operator in ((network, "op-1"), (other, "op-2")):
        freeze_at(gateway, operator)
        await gateway.declarations.step()
    shown = await listed(network)
    assert [(each.gateway, each.agency, each.operator_pseudonym, each.detector) for each in shown] == [
        (gateway.gateway.uri, PENSION.uri, gateway.keys.operator_pseudonym(PENSION.uri, operator), 1)
        for gateway, operator in ((network, "op-1"), (other, "op-2"))
    ]
    assert {each.contact.office for each in shown} == {"照会窓口"}
    assert all(before <= each.since.ToDatetime(tzinfo=before.tzinfo) <= now() for each in shown)


async def test_two_operators_let_the_center_forget_whom_a_gateway_froze_that_is_gone(
    network: Network, other: Network
) -> None:
    freeze_at(network)
    freeze_at(other, "op-2")
    for gateway in (network, other):
        await gateway.declarations.step()
    assert await forget(network, "first") == (1, FIRST)
    assert {each.gateway: each.proposed_by for each in await listed(network)} == {GATEWAY.uri: FIRST, OTHER.uri: ""}
    assert await network.refusal_of(forget(network, "first")) == errors.ERROR_REASON_SECOND_OPERATOR_NEEDED
    assert await other.refusal_of(other.inquire()) == FROZEN
    assert await forget(network, "second") == (2, FIRST)
    await other.inquire()
    assert await network.refusal_of(network.inquire(operator="op-2")) == FROZEN
    assert [each.gateway for each in await listed(network)] == [OTHER.uri]
    assert await network.refusal_of(forget(network, "first")) == NOT_FROZEN
    restart_center(network)
    await other.inquire()


async def test_a_gateway_that_is_there_declares_again_what_was_forgotten(network: Network, other: Network) -> None:
    freeze_at(network)
    await network.declarations.step()
    for operator in ("first", "second"):
        await forget(network, operator)
    await network.declarations.step()
    assert await other.refusal_of(other.inquire()) == FROZEN


async def test_no_name_of_an_operator_is_on_the_centers_disk_or_in_a_log(
    network: Network, other: Network, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    operators = {**network.directory[PENSION.uri].operators, "taro.yamada": OPERATOR_KEYS["op-1"].public_key()}
    object.__setattr__(network.directory[PENSION.uri], "operators", operators)
    freeze_at(network, "taro.yamada")
    network.declarations._center = Away()
    await network.declarations.step()
    network.declarations._center = network.frozen_service
    await network.declarations.step()
    assert await other.refusal_of(other.inquire(operator="taro.yamada")) == FROZEN
    with network.register.connect() as connection:
        kept = str(connection.execute(select(frozen_operators)).all())
    assert PENSION.uri in kept
    assert "taro.yamada" not in kept + caplog.text + str(await listed(network))
