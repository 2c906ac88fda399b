"""Clients that know only the protos: grpcurl and buf ask running nodes over mutual TLS."""

import asyncio
import base64
import json
import subprocess
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import json_format
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2

from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2
from jukinet._pb.jukinet.register.v1 import identity_pb2
from jukinet.cli.development_agencies import BANK, PENSION_SERVICE
from jukinet.mesh.identity import Identity
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
from tests.journeys.test_batch_journey import line

Network = Any  # the fixture's own class lives in conftest.py
SECONDS = 60
ROOT = Path(__file__).parents[2]
PROGRAMS = Path(sys.executable).parent


def grpcurl(network: Network, caller: Identity, path: str) -> list[str]:
    """The command that asks with grpcurl what it reads from standard input."""
    program = PROGRAMS / "grpcurl"
    if not program.exists():
        pytest.skip("the package with grpcurl holds the program for Linux on x86-64 alone")
    # This grpcurl of 2022 cannot parse sources with debug_redact; a descriptor set holds what it does not know.
    contract = network.more / "contract.binpb"
    made = run([str(PROGRAMS / "buf"), "build", str(ROOT), "-o", str(contract)], "")
    assert made.returncode == 0, made.stderr
    tls, node = network.tls(caller), node_for(caller)
    files = ["-cacert", tls.nodes_ca, "-cert", tls.certificate, "-key", tls.key]
    options = ["-servername", network.mesh.config(node).identity.server_name, "-max-time", SECONDS, "-format-error"]
    words = [program, "-protoset", contract, *files, *options, "-d", "@", network.mesh.address(node), path]
    return [str(word) for word in words]


def buf_curl(network: Network, caller: Identity, path: str) -> list[str]:
    """The same with `buf curl`."""
    tls, node = network.tls(caller), node_for(caller)
    files = ["--cacert", tls.nodes_ca, "--cert", tls.certificate, "--key", tls.key]
    options = ["--servername", network.mesh.config(node).identity.server_name, "--timeout", f"{SECONDS}s"]
    options += ["--protocol", "grpc", "--schema", ROOT, "--data", "@-"]
    words = [PROGRAMS / "buf", "curl", *files, *options, f"https://{network.mesh.address(node)}/{path}"]
    return [str(word) for word in words]


def run(command: Sequence[str], request: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, input=request, capture_output=True, text=True, timeout=2 * SECONDS, check=False)


def path_of(question: Message) -> str:
    method = method_of(question)
    return f"{method.containing_service.full_name}/{method.name}"


Command = Callable[[Network, Identity, str], list[str]]
CLIENTS = pytest.mark.parametrize("command", [grpcurl, buf_curl])


async def ask(
    network: Network, command: Command, question: Message, caller: Identity = AGENCY
) -> subprocess.CompletedProcess[str]:
    """Asks one question, as it is."""
    words = await asyncio.to_thread(command, network, caller, path_of(question))
    return await asyncio.to_thread(run, words, json_format.MessageToJson(question))


def columns(subject: inquiry.Subject) -> str:
    """A person as `batch-job sign` takes him."""
    if subject.individual_number:
        return json.dumps({"individual_number": subject.individual_number})
    items = subject.four_items
    name = identity_pb2.PersonName(legal=items.name)
    return line(
        identity_pb2.IdentityRecord(name=name, birth_date=items.birth_date, sex=items.sex, address=items.address)
    )


class CommandLine:
    """The client of `foreign.Client`: one run of the program a question, or a stream."""

    def __init__(self, network: Network, command: Command, caller: Identity = AGENCY) -> None:
        self._network = network
        self._command = command
        self._caller = caller
        self._streams: dict[str, Stream] = {}

    async def ask(self, question: Any) -> Any:
        method = method_of(question)
        if self._caller == AGENCY:
            question = self._network.signed(question)
        if not method.client_streaming:
            done = await ask(self._network, self._command, question, self._caller)
            assert done.returncode == 0, done.stderr
            return json_format.Parse(done.stdout, GetMessageClass(method.output_type)())
        if method.name not in self._streams:
            words = await asyncio.to_thread(self._command, self._network, self._caller, path_of(question))
            process = await asyncio.create_subprocess_exec(*words, stdin=PIPE, stdout=PIPE)
            self._streams[method.name] = Stream(process)
        told = await self._streams[method.name].ask(json_format.MessageToJson(question))
        return json_format.ParseDict(told, GetMessageClass(method.output_type)())

    async def order(self, question: inquiry.InquireBatchRequest, job: Path) -> None:
        people, mesh = job.with_suffix(".jsonl"), ("--mesh", str(self._network.mesh.root), "--agency", PENSION_SERVICE)
        people.write_text("".join(f"{columns(each)}\n" for each in question.subjects), "utf-8")
        context = question.context
        affair = ("--purpose", context.purpose, "--case", context.case_reference, "--operator", context.operator)
        names = [inquiry.IdentityField.Name(each).removeprefix("IDENTITY_FIELD_") for each in question.fields]
        fields = [word for name in names for word in ("--field", name.lower().replace("_", "-"))]
        words = [sys.executable, "-m", "jukinet.cli", "batch-job", "sign", str(people), "--out", str(job)]
        done = await asyncio.to_thread(run, [*words, *mesh, *affair, *fields], "")
        assert done.returncode == 0, done.stderr

    async def aclose(self) -> None:
        """Ends the streams, as a client does that has asked all."""
        for stream in self._streams.values():
            assert await stream.end() == 0


class Stream:
    """A program that sends what it reads as JSON, object by object, and writes each answer as it comes."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._read = ""

    async def ask(self, request: str) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{request}\n".encode())
        return await asyncio.wait_for(self._object(), SECONDS)

    async def end(self) -> int:
        assert self._process.stdin is not None
        self._process.stdin.close()
        return await asyncio.wait_for(self._process.wait(), SECONDS)

    async def _object(self) -> Any:
        assert self._process.stdout is not None
        while True:
            try:
                found, end = json.JSONDecoder().raw_decode(self._read)
            except json.JSONDecodeError:
                more = await self._process.stdout.readline()
                assert more, f"the stream ended after {self._read!r}"
                self._read = (self._read + more.decode()).lstrip()
            else:
                self._read = self._read[end:].lstrip()
                return found


@pytest.fixture(params=[grpcurl, buf_curl])
async def client(request: pytest.FixtureRequest, network: Network) -> AsyncIterator[CommandLine]:
    async with aclosing(CommandLine(network, request.param)) as client:
        yield client


@CLIENTS
async def test_an_agency_gets_its_answer_with_any_grpc_client(network: Network, command: Command) -> None:
    record = await network.enter(CHIYODA)
    question = network.signed(network.question(record))
    done = await ask(network, command, question)
    assert done.returncode == 0, done.stderr
    answer = json_format.Parse(done.stdout, inquiry.InquireResponse())
    assert answer.request_id == question.context.request_id
    assert answer.outcome == inquiry.INQUIRY_OUTCOME_MATCH
    assert answer.provided.record == identity_pb2.IdentityRecord(name=record.name)
    assert answer.legal_basis.article == "30-9"
    (entry,) = [entry for entry in await network.ledger() if entry.request_id == question.context.request_id]
    assert entry == ledger_pb2.Entry.FromString(answer.receipt.entry)


@CLIENTS
async def test_a_bank_is_refused_with_a_reason_that_any_grpc_client_can_read(
    network: Network, command: Command
) -> None:
    question = network.signed(network.question(await network.enter(CHIYODA)), BANK)
    done = await ask(network, command, question, Identity("private", BANK))
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
    ("make", "answer"),
    [
        pytest.param(by_number, inquiry.InquireResponse, id="by number"),
        pytest.param(verification, inquiry.VerifyIdentityResponse, id="verification"),
        pytest.param(batch, inquiry.InquireBatchResponse, id="batch"),
    ],
)
async def test_every_kind_of_inquiry_is_made_with_any_grpc_client(
    network: Network, command: Command, make: Callable[..., Any], answer: type[Message]
) -> None:
    record = await network.enter(CHIYODA)
    named = network.four_items(record), record.individual_number
    subjects = [inquiry.Subject(four_items=named[0]), inquiry.Subject(individual_number=named[1])]
    question = network.signed(make(network.context(), subjects))
    done = await ask(network, command, question)
    assert done.returncode == 0, done.stderr
    told: Any = json_format.Parse(done.stdout, answer())
    answers = list(told.answers) if make is batch else [told]
    assert [each.outcome for each in answers] == [inquiry.INQUIRY_OUTCOME_MATCH] * len(answers)
    assert len(answers) == (2 if make is batch else 1)
    entries = [entry.SerializeToString(deterministic=True) for entry in await network.ledger()]
    assert entries[-len(answers) :] == [each.receipt.entry for each in answers]


@pytest.mark.slow
async def test_a_list_is_begun_taken_and_ended_with_any_grpc_client(network: Network, client: CommandLine) -> None:
    await watch_a_person(network, client)


@pytest.mark.slow
async def test_a_recall_is_taken_and_acknowledged_with_any_grpc_client(network: Network, client: CommandLine) -> None:
    await take_a_recall(network, client)


@pytest.mark.slow
async def test_an_age_is_demanded_and_what_is_held_is_said_with_any_grpc_client(
    network: Network, client: CommandLine
) -> None:
    await hold_what_was_answered(network, client)


@pytest.mark.slow
async def test_a_batch_is_asked_under_a_signed_job_with_any_grpc_client(
    network: Network, client: CommandLine, tmp_path: Path
) -> None:
    await carry_out_a_job(network, client, tmp_path)


@pytest.mark.slow
@CLIENTS
async def test_a_counter_asks_for_a_resident_with_any_grpc_client(
    network: Network, command: Command, tmp_path: Path
) -> None:
    await ask_for_a_resident(network, CommandLine(network, command, COUNTER), tmp_path)
