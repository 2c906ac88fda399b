"""A client in another language, @grpc/grpc-js, asks every kind of question and signs each by what the contract says."""

import asyncio
import base64
import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import json_format
from google.protobuf.message import Message

from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2
from jukinet.cli.development_agencies import BANK, PENSION_SERVICE
from jukinet.mesh.identity import Identity
from tests.journeys import operators

pytestmark = pytest.mark.slow
Network = Any  # the fixture's own class lives in conftest.py
CHIYODA, GATEWAY = "131016", "gateway-1"
ROOT = Path(__file__).parents[2]
SECONDS = 120
Job = tuple[str, Message]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program and its pinned packages, installed by their lock."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("node and npm are not on this machine")
    folder = tmp_path_factory.mktemp("grpc-js")
    for file in (Path(__file__).parent / "grpc_js").iterdir():
        shutil.copy(file, folder)
    done = subprocess.run([npm, "ci"], cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=False)
    if done.returncode != 0:
        pytest.skip(f"npm ci ended with {done.returncode}: the packages of the lock need a registry that answers")
    return folder


async def ask(
    client: Path, network: Network, agency: str, single: Sequence[Job], batch: Sequence[Message] = ()
) -> tuple[list[Any], list[Any]]:
    """What the program was answered: to single questions, and on one stream."""
    asking = Identity("agency", agency)
    tls = network.tls(asking)
    job = {
        "protos": [str(ROOT / "protos"), str(ROOT / "third_party" / "protovalidate")],
        "address": network.mesh.address(GATEWAY),
        "server_name": network.mesh.config(GATEWAY).identity.server_name,
        "agency": asking.uri,
        "ca": str(tls.nodes_ca),
        "certificate": str(tls.certificate),
        "key": str(tls.key),
        "operator_key": str(network.mesh.operator_key(asking, operators.OPERATOR)),
        "single": [{"method": method, "question": as_json(question)} for method, question in single],
        "batch": [as_json(question) for question in batch],
    }
    done = await asyncio.to_thread(run, [shutil.which("node") or "node", str(client / "ask.cjs")], json.dumps(job))
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    return answers["answers"], answers["batch"]


def run(program: list[str], job: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(program, input=job, capture_output=True, text=True, timeout=SECONDS, check=False)


def as_json(question: Message) -> Any:
    """A question with the names of the contract, but for the proof, which the program makes itself."""
    shown = json_format.MessageToDict(question, preserving_proto_field_name=True)
    shown["context"].pop("operator_proof", None)
    return shown


def entry_of(answer: Any) -> ledger_pb2.Entry:
    return ledger_pb2.Entry.FromString(base64.b64decode(answer["receipt"]["entry"]))


async def test_every_kind_of_inquiry_is_answered_to_a_client_of_another_language(
    client: Path, network: Network
) -> None:
    record = await network.enter(CHIYODA)
    by_items = network.question(record)
    by_number = inquiry.InquireRequest(
        context=network.context(),
        subject=inquiry.Subject(individual_number=record.individual_number),
        fields=[inquiry.IDENTITY_FIELD_BIRTH_DATE],
    )
    verify = inquiry.VerifyIdentityRequest(context=network.context(), four_items=network.four_items(record))
    batch = inquiry.InquireBatchRequest(
        context=network.context(), subjects=[by_items.subject, by_number.subject], fields=[inquiry.IDENTITY_FIELD_SEX]
    )
    answers, (of_batch,) = await ask(
        client,
        network,
        PENSION_SERVICE,
        [("Inquire", by_items), ("Inquire", by_number), ("VerifyIdentity", verify)],
        [batch],
    )
    found, dated, verified = answers
    assert found["provided"]["record"]["name"]["legal"] == record.name.legal
    assert dated["provided"]["record"]["birth_date"]["year"] == record.birth_date.year
    assert (verified["verified"], verified["outcome"]) == (True, "INQUIRY_OUTCOME_MATCH")
    assert [each["outcome"] for each in of_batch["answers"]] == ["INQUIRY_OUTCOME_MATCH"] * 2
    entries = {entry.request_id: entry for entry in await network.ledger()}
    for answer in (found, dated, verified, *of_batch["answers"]):
        assert entries[entry_of(answer).request_id] == entry_of(answer)


async def test_a_bank_is_refused_in_another_language_too(client: Path, network: Network) -> None:
    question = network.question(await network.enter(CHIYODA))
    (refused,), _ = await ask(client, network, BANK, [("Inquire", question)])
    assert refused["code"] == grpc.StatusCode.PERMISSION_DENIED.value[0]
    assert "art. 30-38" in refused["message"]
