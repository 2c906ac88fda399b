"""Clients that know only the protos: grpcurl and buf ask a running gateway over mutual TLS."""

import asyncio
import base64
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import json_format
from google.protobuf.message import Message
from google.rpc import error_details_pb2

from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2
from jukinet._pb.jukinet.register.v1 import identity_pb2
from jukinet.cli.development_agencies import BANK, PENSION_SERVICE
from jukinet.mesh.identity import Identity
from jukinet.mesh.tls import TlsFiles

Network = Any  # the fixture's own class lives in conftest.py
CHIYODA, GATEWAY = "131016", "gateway-1"
SECONDS = 30
ROOT = Path(__file__).parents[2]
PROGRAMS = Path(sys.executable).parent
SERVICE = "jukinet.inquiry.v1.InquiryService"


def grpcurl(network: Network, tls: TlsFiles, request: str, rpc: str = "Inquire") -> subprocess.CompletedProcess[str]:
    """Asks with grpcurl."""
    program = PROGRAMS / "grpcurl"
    if not program.exists():
        pytest.skip("the package with grpcurl holds the program for Linux on x86-64 alone")
    # This grpcurl of 2022 cannot parse sources with debug_redact; a descriptor set holds what it does not know.
    contract = network.more / "contract.binpb"
    made = run([PROGRAMS / "buf", "build", ROOT, "-o", contract], "")
    assert made.returncode == 0, made.stderr
    files = ["-cacert", tls.nodes_ca, "-cert", tls.certificate, "-key", tls.key]
    options = ["-servername", network.mesh.config(GATEWAY).identity.server_name, "-max-time", SECONDS, "-format-error"]
    address, path = network.mesh.address(GATEWAY), f"{SERVICE}/{rpc}"
    return run([program, "-protoset", contract, *files, *options, "-d", "@", address, path], request)


def buf_curl(network: Network, tls: TlsFiles, request: str, rpc: str = "Inquire") -> subprocess.CompletedProcess[str]:
    """Asks with `buf curl`."""
    files = ["--cacert", tls.nodes_ca, "--cert", tls.certificate, "--key", tls.key]
    options = ["--servername", network.mesh.config(GATEWAY).identity.server_name, "--timeout", f"{SECONDS}s"]
    options += ["--protocol", "grpc", "--schema", ROOT, "--data", "@-"]
    url = f"https://{network.mesh.address(GATEWAY)}/{SERVICE}/{rpc}"
    return run([PROGRAMS / "buf", "curl", *files, *options, url], request)


def run(command: Sequence[Any], request: str) -> subprocess.CompletedProcess[str]:
    words = [str(word) for word in command]
    return subprocess.run(words, input=request, capture_output=True, text=True, timeout=2 * SECONDS, check=False)


CLIENTS = pytest.mark.parametrize("ask", [grpcurl, buf_curl])
Ask = Callable[..., subprocess.CompletedProcess[str]]


@CLIENTS
async def test_an_agency_gets_its_answer_with_any_grpc_client(network: Network, ask: Ask) -> None:
    record = await network.enter(CHIYODA)
    question = network.signed(network.question(record))
    done = await asyncio.to_thread(
        ask, network, network.tls(Identity("agency", PENSION_SERVICE)), json_format.MessageToJson(question)
    )
    assert done.returncode == 0, done.stderr
    answer = json_format.Parse(done.stdout, inquiry.InquireResponse())
    assert answer.request_id == question.context.request_id
    assert answer.outcome == inquiry.INQUIRY_OUTCOME_MATCH
    assert answer.provided.record == identity_pb2.IdentityRecord(name=record.name)
    assert answer.legal_basis.article == "30-9"
    (entry,) = [entry for entry in await network.ledger() if entry.request_id == question.context.request_id]
    assert entry == ledger_pb2.Entry.FromString(answer.receipt.entry)


@CLIENTS
async def test_a_bank_is_refused_with_a_reason_that_any_grpc_client_can_read(network: Network, ask: Ask) -> None:
    question = network.signed(network.question(await network.enter(CHIYODA)), BANK)
    done = await asyncio.to_thread(
        ask, network, network.tls(Identity("agency", BANK)), json_format.MessageToJson(question)
    )
    assert done.returncode != 0
    assert done.stdout == ""
    refusal = json.loads(done.stderr)
    assert refusal["code"] in (grpc.StatusCode.PERMISSION_DENIED.value[0], "permission_denied")
    assert "art. 30-38" in refusal["message"]
    (detail,) = refusal["details"]
    assert detail.get("@type", detail.get("type")).rpartition("/")[2] == "google.rpc.ErrorInfo"
    packed = detail.get("@value", detail.get("value"))
    info = error_details_pb2.ErrorInfo.FromString(base64.b64decode(packed + "=" * (-len(packed) % 4)))
    assert (info.domain, info.reason) == ("jukinet", "PRIVATE_SECTOR_BANNED")


def by_number(context: inquiry.InquiryContext, subjects: list[inquiry.Subject]) -> inquiry.InquireRequest:
    return inquiry.InquireRequest(context=context, subject=subjects[1], fields=[inquiry.IDENTITY_FIELD_NAME])


def verification(context: inquiry.InquiryContext, subjects: list[inquiry.Subject]) -> inquiry.VerifyIdentityRequest:
    return inquiry.VerifyIdentityRequest(context=context, four_items=subjects[0].four_items)


def batch(context: inquiry.InquiryContext, subjects: list[inquiry.Subject]) -> inquiry.InquireBatchRequest:
    return inquiry.InquireBatchRequest(context=context, subjects=subjects, fields=[inquiry.IDENTITY_FIELD_NAME])


@CLIENTS
@pytest.mark.parametrize(
    ("make", "rpc", "answer"),
    [
        pytest.param(by_number, "Inquire", inquiry.InquireResponse, id="by number"),
        pytest.param(verification, "VerifyIdentity", inquiry.VerifyIdentityResponse, id="verification"),
        pytest.param(batch, "InquireBatch", inquiry.InquireBatchResponse, id="batch"),
    ],
)
async def test_every_kind_of_inquiry_is_made_with_any_grpc_client(
    network: Network, ask: Ask, make: Callable[..., Any], rpc: str, answer: type[Message]
) -> None:
    record = await network.enter(CHIYODA)
    named = network.four_items(record), record.individual_number
    subjects = [inquiry.Subject(four_items=named[0]), inquiry.Subject(individual_number=named[1])]
    question = network.signed(make(network.context(), subjects))
    tls = network.tls(Identity("agency", PENSION_SERVICE))
    done = await asyncio.to_thread(ask, network, tls, json_format.MessageToJson(question), rpc)
    assert done.returncode == 0, done.stderr
    told: Any = json_format.Parse(done.stdout, answer())
    answers = list(told.answers) if rpc == "InquireBatch" else [told]
    assert [each.outcome for each in answers] == [inquiry.INQUIRY_OUTCOME_MATCH] * len(answers)
    assert len(answers) == (2 if rpc == "InquireBatch" else 1)
    entries = [entry.SerializeToString(deterministic=True) for entry in await network.ledger()]
    assert entries[-len(answers) :] == [each.receipt.entry for each in answers]
