"""Keys of agencies' certificates: what the CA of the agencies issues for another key than the directory lists gets
nowhere, at every RPC of the gateway and in every form of call.

RPCs come from the descriptors of the contract and from the table of callers, so a new one is tried as soon as it is
there.
"""

from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2_grpc import InquiryServiceStub
from jukinet.cli.development_agencies import BANK
from jukinet.mesh import pki
from jukinet.mesh.callers import network_callers
from jukinet.mesh.errors import name_of
from jukinet.mesh.identity import Identity
from jukinet.mesh.key_digest import key_digest_in
from jukinet.mesh.tls import TlsFiles
from tests.journeys.test_private_sector import ASKING, METHODS, call, filled

Network = Any  # the fixture's own class lives in conftest.py
CHIYODA, GATEWAY = "131016", "gateway-1"
AGENCY, ROW = Identity("agency", "municipality-131016"), "B2-1-2"
OTHER = Identity("agency", "prefecture-130001")
HEALTH = "/grpc.health.v1.Health/Check"
OPEN_TO_AGENCIES = [
    rpc for rpc in [*METHODS, HEALTH] if network_callers().allows(rpc, AGENCY, Identity("gateway", GATEWAY))
]
"""Every RPC that the table of callers lets an agency call."""


def certificate(network: Network, folder: Path, identity: Identity, key: Any = None) -> TlsFiles:
    """What the CA of the agencies issues: for a key that nobody listed, unless one is given."""
    leaf = pki.issue(network.authority(identity), identity, days=1, server=False, key=key)
    pki.write_leaf(leaf, folder, "tls")
    return TlsFiles(folder / "tls.pem", folder / "tls.key", network.mesh.authority("nodes"))


def test_the_table_of_callers_opens_no_rpc_to_agencies_that_is_not_tried_here() -> None:
    assert {*ASKING, HEALTH} == set(OPEN_TO_AGENCIES)


@pytest.mark.parametrize("rpc", OPEN_TO_AGENCIES)
async def test_a_certificate_for_a_key_that_is_not_listed_opens_no_rpc(
    network: Network, refused: Any, tmp_path: Path, rpc: str
) -> None:
    """The request is lawful, and its operator's signature holds for this very certificate."""
    request = filled(ASKING[rpc].input_type, network, ROW).SerializeToString() if rpc in ASKING else b""
    before = await network.ledger()
    forged = certificate(network, tmp_path, AGENCY)
    for seconds in (5.0, None):
        async with network.channel(GATEWAY, forged) as channel:
            with refused() as refusal:
                await call(channel, rpc, METHODS.get(rpc), request, seconds=seconds)
        assert (refusal.name, refusal.code) == ("CALLER_NOT_ALLOWED", grpc.StatusCode.PERMISSION_DENIED)
    entries = (await network.ledger())[len(before) :]
    assert [(entry.agency, name_of(entry.refusal), entry.purpose) for entry in entries] == [
        (AGENCY.uri, "CALLER_NOT_ALLOWED", "")
    ] * (2 if rpc in ASKING else 0)


async def test_the_operators_of_the_network_learn_whose_certificate_came_and_for_which_key(
    network: Network, refused: Any, tmp_path: Path
) -> None:
    forged = certificate(network, tmp_path, AGENCY)
    question = network.question(network.person(CHIYODA), ROW)
    async with network.channel(GATEWAY, forged) as channel:
        with refused() as refusal:
            await InquiryServiceStub(channel).Inquire(question, timeout=5)
    digest = key_digest_in(forged.certificate)
    told = f"{refusal.error.details()}{refusal.error.debug_error_string()}{refusal.error.trailing_metadata()}"
    for key in (digest, key_digest_in(network.tls(AGENCY).certificate)):
        assert key not in told
    (warning,) = [line for line in network.log(GATEWAY).splitlines() if digest in line and "WARNING" in line]
    assert AGENCY.uri in warning
    leaf = x509.load_pem_x509_certificate(forged.certificate.read_bytes())
    assert f"sha256:{leaf.fingerprint(hashes.SHA256()).hex()}" in warning  # as the deny list takes it
    assert "jukinet_key_not_listed_total" in network.metrics_of(GATEWAY)
    assert digest not in network.metrics_of(GATEWAY)


async def test_a_key_that_is_listed_for_another_agency_opens_nothing(
    network: Network, refused: Any, tmp_path: Path
) -> None:
    forged = certificate(network, tmp_path, AGENCY, network.listed_key(OTHER))
    async with network.channel(GATEWAY, forged) as channel:
        with refused() as refusal:
            await InquiryServiceStub(channel).Inquire(network.question(network.person(CHIYODA), ROW), timeout=5)
    assert refusal.name == "CALLER_NOT_ALLOWED"


async def test_a_certificate_that_is_renewed_for_its_listed_key_is_answered(network: Network, tmp_path: Path) -> None:
    """The control of the tests above: the key alone keeps their callers out."""
    renewed = certificate(network, tmp_path, AGENCY, network.listed_key(AGENCY))
    question = network.question(network.person(CHIYODA), ROW)
    async with network.channel(GATEWAY, renewed) as channel:
        assert (await InquiryServiceStub(channel).Inquire(question, timeout=5)).receipt.entry


@pytest.mark.parametrize("rpc", [*METHODS, HEALTH])
async def test_a_private_organisation_hears_of_its_ban_whatever_its_key(
    network: Network, refused: Any, tmp_path: Path, rpc: str
) -> None:
    before = await network.ledger()
    async with network.channel(GATEWAY, certificate(network, tmp_path, Identity("private", BANK))) as channel:
        with refused() as refusal:
            await call(channel, rpc, METHODS.get(rpc), b"")
    assert (refusal.name, refusal.code) == ("PRIVATE_SECTOR_BANNED", grpc.StatusCode.PERMISSION_DENIED)
    (entry,) = (await network.ledger())[len(before) :]
    assert (entry.agency, name_of(entry.refusal), entry.article) == (
        Identity("private", BANK).uri,
        "PRIVATE_SECTOR_BANNED",
        "30-38",
    )
