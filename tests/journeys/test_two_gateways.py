"""Two gateways and a center as processes: who is frozen at one gets nothing at the other, whoever is killed, and nobody
asks at both from two terminals."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import grpc
import pytest

from bench.workload import MUNICIPALITY, fill_register, submissions
from jukinet._pb.jukinet.admin.v1 import admin_pb2 as admin
from jukinet._pb.jukinet.admin.v1 import freeze_pb2 as freeze
from jukinet._pb.jukinet.admin.v1.freeze_pb2_grpc import FreezeServiceStub
from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2_grpc import InquiryServiceStub
from jukinet.cli.development_agencies import PENSION_SERVICE
from jukinet.cli.layout import OPERATOR, SECOND_OPERATOR
from jukinet.mesh import pki
from jukinet.mesh.errors import name_of, reason_of
from jukinet.mesh.identity import Identity
from jukinet.mesh.tls import TlsFiles
from jukinet.purpose.agencies import format_agencies, load_agencies
from jukinet.purpose.edition import load_statute
from jukinet.purpose.editions import Editions
from tests.journeys.test_scraper import guessed_numbers

Network = Any  # the fixture's own class lives in conftest.py
CENTER, WITNESS, FIRST, SECOND = "center", "witness-1", "gateway-1", "gateway-2"
AGENCY = Identity("agency", PENSION_SERVICE)
SECONDS = 10.0
TOO_MANY = 11
"""Guesses after which an operator is frozen."""


def freeze_who_guesses(network: Network) -> None:
    """Lets misses freeze, at every node."""
    for path in network.mesh.root.glob("nodes/*/agencies.toml"):
        directory = dict(load_agencies(path, Editions([load_statute()])))
        directory[AGENCY.uri] = replace(directory[AGENCY.uri], on_misses="freeze")
        path.write_text(format_agencies(directory.values()), "utf-8")


class Story:
    """What an agency's operators and those of the network do."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self._guesses = guessed_numbers(Random(7))

    async def ask(
        self, gateway: str, operator: str = "op-7", questions: int = 1, terminal: Identity | TlsFiles = AGENCY
    ) -> str:
        """Guesses; why the last question was refused, empty where it was answered."""
        told = ""
        async with self.network.channel(gateway, terminal) as channel:
            for subject in islice(self._guesses, questions):
                question = inquiry.InquireRequest(
                    context=self.network.context(operator=operator),
                    subject=subject,
                    fields=[inquiry.IDENTITY_FIELD_NAME],
                )
                told = await outcome_of(InquiryServiceStub(channel).Inquire(question, timeout=SECONDS))
        return told

    async def until_told(self, expected: str, gateway: str) -> None:
        async def told() -> bool:
            return await self.ask(gateway) == expected

        await self.network.until(told)

    async def act(self, node: str, request: Any, *operators: str) -> None:
        """Lets operators of the network release somebody or forget a gateway, the last one carries it out."""
        done = None
        for operator in operators:
            async with self.network.channel(node, Identity("operator", operator)) as channel:
                stub: Any = FreezeServiceStub(channel)
                releases = isinstance(request, freeze.ReleaseOperatorRequest)
                done = await (stub.ReleaseOperator if releases else stub.ForgetFrozen)(request, timeout=SECONDS)
        assert done is not None
        assert done.step == admin.RELEASE_STEP_CARRIED_OUT

    async def listed(self, node: str) -> list[tuple[str, str]]:
        """Agency and gateway of all who are frozen, as an operator of the network sees it."""
        async with self.network.channel(node) as channel:
            answer = await FreezeServiceStub(channel).ListFrozen(freeze.ListFrozenRequest(), timeout=SECONDS)
        return [(each.agency, each.gateway) for each in answer.frozen]

    async def start(self, *names: str) -> None:
        for name in names:
            self.network.nodes.start(name)
        await self.network.nodes.wait_healthy(names)


async def outcome_of(call: Any) -> str:
    """The name of a call's refusal; empty where it was answered."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        reason = reason_of(error)
        return name_of(reason) if reason else error.code().name
    return ""


@pytest.fixture
def story(new_network: Callable[..., Network], tmp_path: Path) -> Any:
    network = new_network(tmp_path, [MUNICIPALITY], gateways=[FIRST, SECOND])
    freeze_who_guesses(network)
    fill_register(network.mesh.config(CENTER).database, submissions(20))
    try:
        network.start(CENTER, WITNESS, FIRST, SECOND)
        yield Story(network)
    finally:
        network.stop()


async def test_who_guesses_at_one_gateway_gets_nothing_at_another_through_kills_until_two_operators_act(
    story: Story,
) -> None:
    network = story.network
    assert await story.ask(SECOND) == ""
    assert await story.ask(FIRST, questions=TOO_MANY + 1) == "OPERATOR_FROZEN"
    # Each guess at the second gateway would count there too.
    await network.until(lambda: story.listed(CENTER))
    assert await story.ask(SECOND) == "OPERATOR_FROZEN"
    assert await story.ask(SECOND, operator="op-8") == ""
    frozen = (AGENCY.uri, Identity("gateway", FIRST).uri)
    assert (await story.listed(SECOND), await story.listed(CENTER)) == ([], [frozen])

    # The center is killed while nobody tells it anything: what it acknowledged it still knows.
    network.nodes.kill(FIRST)
    network.nodes.kill(CENTER)
    await asyncio.gather(*(network.nodes.wait_ended(name) for name in (FIRST, CENTER)))
    await story.start(CENTER)
    await network.nodes.wait_healthy([SECOND])
    await story.until_told("OPERATOR_FROZEN", SECOND)

    # He is released where he was frozen, and asks everywhere.
    await story.start(FIRST)
    release = freeze.ReleaseOperatorRequest(agency=AGENCY.uri, operator="op-7")
    await story.act(FIRST, release, OPERATOR, SECOND_OPERATOR)
    await story.until_told("", SECOND)
    assert await story.listed(CENTER) == []
    for gateway in (FIRST, SECOND):
        status = await network.status(gateway)
        assert not status.freezes_undeclared

    # A gateway that is lost for good: two operators let the center forget whom it froze.
    assert await story.ask(FIRST, operator="op-8", questions=TOO_MANY + 1) == "OPERATOR_FROZEN"
    network.nodes.kill(FIRST)
    await network.nodes.wait_ended(FIRST)
    assert await story.listed(CENTER) == [frozen]
    forget = freeze.ForgetFrozenRequest(gateway=Identity("gateway", FIRST).uri)
    await story.act(CENTER, forget, OPERATOR, SECOND_OPERATOR)
    assert await story.ask(SECOND, operator="op-8") == ""
    for name in (CENTER, FIRST, SECOND):
        assert "op-7" not in network.log(name)


async def test_an_operator_asks_at_both_gateways_from_one_terminal_alone(story: Story, tmp_path: Path) -> None:
    network = story.network
    leaf = pki.issue(network.authority(AGENCY), AGENCY, days=1, server=False, key=network.listed_key(AGENCY))
    pki.write_leaf(leaf, tmp_path, "tls")
    second = TlsFiles(tmp_path / "tls.pem", tmp_path / "tls.key", network.mesh.authority("nodes"))
    assert [await story.ask(gateway) for gateway in (FIRST, SECOND)] == ["", ""]
    assert await story.ask(SECOND, operator="op-8", terminal=second) == ""
    assert await story.ask(FIRST, operator="op-8") == "OPERATOR_ELSEWHERE"
    assert "an operator asked from a second terminal" in network.log(CENTER)
    assert "an operator asked from a second terminal" not in network.log(FIRST)
