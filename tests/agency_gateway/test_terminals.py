"""Nobody asks from two terminals at once through two gateways, and who changes the gateway alone goes on."""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from agency_gateway import asked as asked_module
from agency_gateway.deferred_refusals import DeferredRefusals
from center_node import changes as center_changes
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet.mesh.interceptors import Terminal
from tests.agency_gateway import calls
from tests.agency_gateway.agencies import PENSION
from tests.agency_gateway.test_watch import House

Network = Any  # the class is in network.py; tests put methods of their own into it, and no context into calls
ELSEWHERE = errors.ERROR_REASON_OPERATOR_ELSEWHERE


@pytest.fixture
async def other(network: Network) -> AsyncIterator[Network]:
    """Another gateway of the same center."""
    network.enter(network.record_of(1), network.record_of(2))
    other = network.another_gateway("gateway-2")
    async with other.running():
        yield other


@contextmanager
def at_another_desk(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Lets everybody ask from another network address."""
    with monkeypatch.context() as patch:
        patch.setattr(asked_module, "current_terminal", lambda: Terminal(calls.CERTIFICATE, "ipv4:192.0.2.77"))
        yield


async def test_an_operator_at_a_second_terminal_of_another_gateway_is_refused_on_record_and_for_free(
    network: Network, other: Network, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await network.inquire()
    before = len(network.reads), dict(network.asked_today._counts)
    with at_another_desk(monkeypatch):
        assert await other.refusal_of(other.inquire()) == ELSEWHERE
        assert (len(network.reads), dict(network.asked_today._counts)) == before
        await other.inquire(operator="op-2")
    assert [(entry.refusal, entry.operator_proof != b"") for entry in other.leaves()] == [(ELSEWHERE, True), (0, True)]
    alarms: list[Any] = [each for each in caplog.records if each.name == "center_node.terminals"]
    assert [(each.levelname, each.peer) for each in alarms] == [("WARNING", PENSION.uri)]
    await network.inquire()


async def test_who_goes_to_another_gateway_from_his_terminal_goes_on(network: Network, other: Network) -> None:
    for gateway in (network, other, network):
        await gateway.inquire()
        await gateway.inquire_batch(gateway.batch_of(1, 2))


async def test_a_message_of_a_batch_from_a_second_terminal_is_refused_as_a_whole_and_at_once(
    network: Network, other: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never() -> None:
        raise AssertionError("such a refusal stands for no while")

    other.desk._deferred = DeferredRefusals(never)
    await network.inquire_batch(network.batch_of(1, 2))
    with at_another_desk(monkeypatch):
        assert await other.refusal_of(other.inquire_batch(other.batch_of(1, 2))) == ELSEWHERE
    assert [entry.refusal for entry in other.leaves()] == [ELSEWHERE]


async def test_a_list_is_told_at_one_terminal_alone(
    network: Network, other: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(center_changes, "WAIT_SECONDS", 0.0)
    house = House(network)
    await house.begin(await house.handle(1))
    house.network = other
    with at_another_desk(monkeypatch):
        for call in (house.changes(), house.end()):
            assert await other.refusal_of(call) == ELSEWHERE
    house.network = network
    assert await house.changes() == []


async def test_the_center_hears_neither_address_nor_certificate(network: Network, other: Network) -> None:
    await network.inquire()
    (request,) = network.center.requests
    for part in (calls.CERTIFICATE, calls.CERTIFICATE.hex().encode(), b"192.0.2.1"):
        assert part not in request.SerializeToString()


async def test_a_gateway_from_before_this_names_no_terminal_and_goes_on(
    network: Network, other: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    await network.inquire()
    monkeypatch.setattr(asked_module, "terminal_tag", lambda *_: b"")
    with at_another_desk(monkeypatch):
        assert (await other.inquire()).outcome == inquiry.INQUIRY_OUTCOME_MATCH
