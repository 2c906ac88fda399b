"""Operators of agencies (操作者) on real nodes: who did not sign gets nothing, and nobody sits at two terminals."""

from pathlib import Path
from typing import Any

import grpc
import pytest

from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2_grpc import InquiryServiceStub
from jukinet.cli.development_agencies import PENSION_SERVICE
from jukinet.cli.operator_key import Signing
from jukinet.mesh import pki
from jukinet.mesh.client import open_channel
from jukinet.mesh.identity import Identity
from jukinet.mesh.tls import TlsFiles

Network = Any  # the fixture's own class lives in conftest.py
CHIYODA, GATEWAY = "131016", "gateway-1"
AGENCY = Identity("agency", "national-tax-agency")
ROW, SECONDS = "B1-44-2", 10


def terminal(network: Network, folder: Path) -> TlsFiles:
    """One more certificate of the agency, for the key that its directory lists."""
    leaf = pki.issue(network.authority(AGENCY), AGENCY, days=1, server=False, key=network.listed_key(AGENCY))
    pki.write_leaf(leaf, folder, "tls")
    return TlsFiles(folder / "tls.pem", folder / "tls.key", network.mesh.authority("nodes"))


async def ask(network: Network, tls: TlsFiles, *, operator: str, signed_for: TlsFiles | None = None) -> Any:
    """Asks about nobody with one certificate, under a proof that was made for it or for another one."""
    context = network.context(ROW, operator=operator)
    items = network.four_items(network.person(CHIYODA))
    question = inquiry.VerifyIdentityRequest(context=context, four_items=items)
    Signing.of((signed_for or tls).certificate, network.mesh.operator_key(AGENCY, operator))(question)
    address, server = network.mesh.address(GATEWAY), network.mesh.config(GATEWAY).identity
    async with open_channel(address, tls, server=server) as channel:
        return await InquiryServiceStub(channel).VerifyIdentity(question, timeout=SECONDS)


async def test_one_operator_at_two_terminals_is_refused_at_the_second_and_the_network_is_alarmed(
    network: Network, refused: Any, tmp_path: Path
) -> None:
    first, second = terminal(network, tmp_path / "1"), terminal(network, tmp_path / "2")
    assert (await ask(network, first, operator="op-7")).receipt.entry
    with refused() as refusal:
        await ask(network, second, operator="op-7")
    assert (refusal.name, refusal.code) == ("OPERATOR_ELSEWHERE", grpc.StatusCode.PERMISSION_DENIED)
    assert (await ask(network, first, operator="op-7")).receipt.entry
    assert (await ask(network, second, operator="op-8")).receipt.entry
    assert "jukinet_operator_elsewhere_total" in network.metrics_of(GATEWAY)
    assert "an operator asked from a second terminal" in network.log(GATEWAY)


async def test_a_proof_that_was_taken_from_one_channel_is_worthless_on_another(
    network: Network, refused: Any, tmp_path: Path
) -> None:
    first, second = terminal(network, tmp_path / "1"), terminal(network, tmp_path / "2")
    with refused() as refusal:
        await ask(network, second, operator="op-7", signed_for=first)
    assert (refusal.name, refusal.code) == ("OPERATOR_PROOF_INVALID", grpc.StatusCode.UNAUTHENTICATED)


@pytest.mark.parametrize("agency", [PENSION_SERVICE, AGENCY.name])
async def test_an_agencys_own_certificate_alone_gets_no_answer(network: Network, refused: Any, agency: str) -> None:
    question = network.question(network.person(CHIYODA), ROW if agency == AGENCY.name else "B1-77.12")
    address, server = network.mesh.address(GATEWAY), network.mesh.config(GATEWAY).identity
    async with open_channel(address, network.tls(Identity("agency", agency)), server=server) as channel:
        with refused() as refusal:
            await InquiryServiceStub(channel).Inquire(question, timeout=SECONDS)
    assert (refusal.name, refusal.code) == ("OPERATOR_PROOF_MISSING", grpc.StatusCode.UNAUTHENTICATED)
    (entry,) = [entry for entry in await network.ledger() if entry.request_id == question.context.request_id]
    assert entry.operator_proof == b""
