"""A client in another language, @grpc/grpc-js, asks every kind of question and signs each by what the contract says."""

import asyncio
import base64
import json
import shutil
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import json_format
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from jukinet._pb.jukinet.disclosure.v1 import disclosure_pb2 as disclosure
from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2
from jukinet.cli.development_agencies import BANK
from jukinet.mesh.identity import Identity
from tests.journeys import operators
from tests.journeys.foreign import (
    AGENCY,
    CHIYODA,
    COUNTER,
    ask_for_a_resident,
    carry_out_a_job,
    hold_what_was_answered,
    method_of,
    node_for,
    take_a_recall,
    watch_a_person,
)

pytestmark = pytest.mark.slow
Network = Any  # the fixture's own class lives in conftest.py
ROOT = Path(__file__).parents[2]
SECONDS = 120


class Client:
    """The client of `foreign.Client`: one run of the program for one caller."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def ask(self, question: Any) -> Any:
        """Raises Refused."""
        method = method_of(question)
        told = await self._told({"method": method.name, "question": as_json(question)})
        if "answer" not in told:
            raise Refused(told["code"], told["message"])
        return GetMessageClass(method.output_type).FromString(base64.b64decode(told["answer"]))

    async def order(self, question: inquiry.InquireBatchRequest, job: Path) -> None:
        told = await self._told({"order": as_json(question)})
        await asyncio.to_thread(job.write_text, told["job"], "utf-8")

    async def _told(self, line: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{json.dumps(line)}\n".encode())
        return json.loads(await asyncio.wait_for(self._process.stdout.readline(), SECONDS))


class Refused(Exception):
    """Code of the status, and its message."""


@asynccontextmanager
async def running(grpc_js: Path, network: Network, caller: Identity = AGENCY) -> AsyncIterator[Client]:
    """The program while it asks as somebody; it ends its streams as it should."""
    tls, node = network.tls(caller), node_for(caller)
    check_key = network.mesh.client(caller).key.with_name("check.key")
    operator_key = network.mesh.operator_key(caller, operators.OPERATOR)
    job = {
        "protos": [str(ROOT / "protos"), str(ROOT / "third_party" / "protovalidate")],
        "address": network.mesh.address(node),
        "server_name": network.mesh.config(node).identity.server_name,
        "agency": caller.uri,
        "ca": str(tls.nodes_ca),
        "certificate": str(tls.certificate),
        "key": str(tls.key),
        "signing_key": str(check_key if caller == COUNTER else operator_key),
    }
    command = [shutil.which("node") or "node", str(grpc_js / "ask.cjs"), json.dumps(job)]
    process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE)
    assert process.stdin is not None
    try:
        yield Client(process)
    finally:
        process.stdin.close()
        ended = await asyncio.wait_for(process.wait(), SECONDS)
    assert ended == 0


def as_json(question: Message) -> Any:
    """A question with the names of the contract; what is signed in it the program makes itself."""
    told = json_format.MessageToDict(question, preserving_proto_field_name=True)
    if "check" in told:
        check = disclosure.IdentityCheck.FromString(base64.b64decode(told["check"]["check"]))
        told["check"] = json_format.MessageToDict(check, preserving_proto_field_name=True)
    return told


async def test_every_kind_of_inquiry_is_answered_to_a_client_of_another_language(
    grpc_js: Path, network: Network
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
    async with running(grpc_js, network) as client:
        found, dated, verified, of_batch = [await client.ask(each) for each in (by_items, by_number, verify, batch)]
    assert found.provided.record.name.legal == record.name.legal
    assert dated.provided.record.birth_date.year == record.birth_date.year
    assert (verified.verified, verified.outcome) == (True, inquiry.INQUIRY_OUTCOME_MATCH)
    assert [each.outcome for each in of_batch.answers] == [inquiry.INQUIRY_OUTCOME_MATCH] * 2
    entries = await network.ledger()
    for answer in (found, dated, verified, *of_batch.answers):
        assert entries[answer.receipt.index] == ledger_pb2.Entry.FromString(answer.receipt.entry)


async def test_a_bank_is_refused_in_another_language_too(grpc_js: Path, network: Network) -> None:
    question = network.question(await network.enter(CHIYODA))
    async with running(grpc_js, network, Identity("private", BANK)) as client:
        with pytest.raises(Refused) as refused:
            await client.ask(question)
    code, message = refused.value.args
    assert code == grpc.StatusCode.PERMISSION_DENIED.value[0]
    assert "art. 30-38" in message


async def test_a_list_is_begun_taken_and_ended_in_another_language(grpc_js: Path, network: Network) -> None:
    async with running(grpc_js, network) as client:
        await watch_a_person(network, client)


async def test_a_recall_is_taken_and_acknowledged_in_another_language(grpc_js: Path, network: Network) -> None:
    async with running(grpc_js, network) as client:
        await take_a_recall(network, client)


async def test_an_age_is_demanded_and_what_is_held_is_said_in_another_language(grpc_js: Path, network: Network) -> None:
    async with running(grpc_js, network) as client:
        await hold_what_was_answered(network, client)


async def test_a_batch_is_ordered_and_asked_under_its_job_in_another_language(
    grpc_js: Path, network: Network, tmp_path: Path
) -> None:
    async with running(grpc_js, network) as client:
        await carry_out_a_job(network, client, tmp_path)


async def test_a_counter_asks_for_a_resident_in_another_language(
    grpc_js: Path, network: Network, tmp_path: Path
) -> None:
    async with running(grpc_js, network, COUNTER) as client:
        await ask_for_a_resident(network, client, tmp_path)
