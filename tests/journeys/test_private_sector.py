"""The ban on private use (民間利用の禁止, Act art. 30-38), against every RPC of every node of a running mesh.

RPCs and requests are made from the descriptors of the contract, so a new RPC is tried as soon as it is in the protos.
"""

import secrets
import uuid
from collections.abc import Iterator
from datetime import timedelta
from itertools import chain
from pathlib import Path
from typing import Any

import grpc
import protovalidate
import pytest
from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message

from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2 as ledger
from jukinet._pb.jukinet.register.v1.identity_pb2 import CalendarDate
from jukinet._pb.jukinet.watch.v1 import watch_pb2 as watch
from jukinet.cli.development_agencies import BANK
from jukinet.ledger.yearly_report import report_year
from jukinet.mesh.client import streaming
from jukinet.mesh.clock import now, today_in_japan
from jukinet.mesh.errors import name_of, violations_of
from jukinet.mesh.identity import Identity
from jukinet.mesh.redaction import contract
from tests.journeys.collector import Collector
from tests.ledger.ledger_files import act, write

Network = Any  # the fixture's own class lives in conftest.py
CHIYODA = "131016"
GATEWAY = "gateway-1"
PRIVATE = [BANK, "example-insurer", "example-broker"]
"""A bank with rows granted by mistake, an insurer that is listed as a public body's equal by mistake as well, and who
is in no directory."""

METHODS = {
    f"/{service.full_name}/{method.name}": method
    for file in contract()
    for service in file.services_by_name.values()
    for method in service.methods
}
"""Every RPC of the contract."""
LOOKING = {rpc: method for rpc, method in METHODS.items() if rpc.startswith("/jukinet.inquiry.v1.InquiryService/")}
"""Questions that look somebody up; lists (異動情報) are begun without, and recalls (旧値の回収) told."""
_UNNAMED = "/jukinet.watch.v1.WatchService/", "/jukinet.recall.v1.RecallService/TellRecalls"
ASKING = LOOKING | {rpc: method for rpc, method in METHODS.items() if rpc.startswith(_UNNAMED)}
UNHEARD = (
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    "/grpc.health.v1.Health/List",
    "/jukinet.inquiry.v1.InquiryService/Unheard",
)
"""RPCs that are not of the contract."""
LIST_ENTRIES = "ledger.v1.LedgerService/ListEntries"
LOOKED_UP = ("center", "provision.decide"), ("center", "provision.look_up")
"""Spans of a question that reached the center, and of its reading the residents' table."""


@pytest.mark.parametrize("organisation", PRIVATE)
async def test_a_private_organisation_is_refused_by_every_rpc_of_every_node(
    network: Network, refused: Any, organisation: str
) -> None:
    """A control that this proves something stands below: the same requests of a public agency are answered."""
    tried = set()
    for node in network.mesh.names:
        async with network.channel(node, Identity("private", organisation)) as channel:
            for rpc, method in METHODS.items():
                with refused() as refusal:
                    await call(channel, rpc, method, b"")
                wanted = ("PRIVATE_SECTOR_BANNED", grpc.StatusCode.PERMISSION_DENIED)
                if node != GATEWAY:
                    # No other node trusts the CA of the agencies: the handshake ends it.
                    wanted = ("", grpc.StatusCode.UNAVAILABLE)
                assert (refusal.name, refusal.code) == wanted, f"{rpc} at {node}"
                tried.add((node, rpc))
    assert len(tried) == len(METHODS) * len(network.mesh.names)


async def test_each_call_of_a_private_organisation_is_counted_however_broken_it_is(
    network: Network, refused: Any, tmp_path: Path
) -> None:
    """And it hears of the ban alone: neither which fields are wrong nor what it forgot."""
    before = await network.ledger()
    calls = list(chain(METHODS.items(), dict.fromkeys(UNHEARD).items()))
    async with network.channel(GATEWAY, Identity("private", BANK)) as channel:
        for rpc, method in calls:
            for request, seconds in ((b"", 5.0), (b"\xff", 5.0), (b"", None)):
                with refused() as refusal:
                    await call(channel, rpc, method, request, seconds=seconds)
                told = refusal.name, refusal.code, violations_of(refusal.error)
                assert told == ("PRIVATE_SECTOR_BANNED", grpc.StatusCode.PERMISSION_DENIED, ()), rpc
    entries = (await network.ledger())[len(before) :]
    assert len(entries) == 3 * len(calls)
    for number, entry in enumerate(entries):
        assert (entry.agency, entry.article) == (Identity("private", BANK).uri, "30-38")
        assert (entry.result, name_of(entry.refusal)) == (ledger.RESULT_REFUSED, "PRIVATE_SECTOR_BANNED")
        assert (entry.action == ledger.ACTION_OTHER_CALL) == (calls[number // 3][0] not in ASKING)
    assert reported(entries, tmp_path) == {"private_attempt": len(entries)}


async def test_a_public_body_hears_what_is_wrong_with_its_call(network: Network, refused: Any, tmp_path: Path) -> None:
    before = await network.ledger()
    inquire, list_entries = (f"/jukinet.{each}" for each in ("inquiry.v1.InquiryService/Inquire", LIST_ENTRIES))
    told = []
    async with network.channel(GATEWAY, Identity("agency", "pension-service")) as channel:
        for rpc, seconds in ((inquire, 5.0), (inquire, None), (list_entries, 5.0)):
            with refused() as refusal:
                await call(channel, rpc, METHODS[rpc], b"", seconds=seconds)
            told.append((refusal.name, bool(violations_of(refusal.error))))
    assert told == [("INVALID_MESSAGE", True), ("DEADLINE_REQUIRED", False), ("CALLER_NOT_ALLOWED", False)]
    entries = (await network.ledger())[len(before) :]
    assert [name_of(entry.refusal) for entry in entries] == ["INVALID_MESSAGE", "DEADLINE_REQUIRED"]
    assert "private_attempt" not in reported(entries, tmp_path)


@pytest.mark.parametrize("organisation", PRIVATE)
@pytest.mark.parametrize("rpc", ASKING)
async def test_a_private_question_is_banned_by_article_and_put_on_record_once(
    network: Network, refused: Any, rpc: str, organisation: str
) -> None:
    asked = {}
    before = await network.ledger()
    async with network.channel(GATEWAY, Identity("private", organisation)) as channel:
        for purpose in ("B1-77.12", "B1-72", "B1-4", "B1-999"):  # granted by mistake, of another, deleted, unknown
            request: Any = filled(ASKING[rpc].input_type, network, purpose)
            if purpose == "B1-72" and "sealed_until" in request.DESCRIPTOR.fields_by_name:
                request.sealed_until = "2999-01-01"  # nor is a ban kept from the ledger
            with refused() as refusal:
                await call(channel, rpc, ASKING[rpc], request.SerializeToString())
            assert (refusal.name, refusal.code) == ("PRIVATE_SECTOR_BANNED", grpc.StatusCode.PERMISSION_DENIED)
            assert "30-38" in str(refusal.error.details())
            asked[next(request_ids(request))] = purpose
    entries = (await network.ledger())[len(before) :]
    assert [entry.request_id for entry in entries] == list(asked)
    for entry in entries:
        assert (entry.agency, entry.article) == (Identity("private", organisation).uri, "30-38")
        assert (entry.result, name_of(entry.refusal)) == (ledger.RESULT_REFUSED, "PRIVATE_SECTOR_BANNED")
        assert entry.purpose == asked[entry.request_id]
        assert not entry.person_token
        assert not entry.fields


@pytest.mark.parametrize("rpc", LOOKING)
async def test_nobody_is_looked_up_for_a_private_organisation(
    network: Network, collector: Collector, refused: Any, rpc: str
) -> None:
    """The center exports its spans in the order of their ends: when a control's came, all before it came."""
    record = await network.enter(CHIYODA)

    async def ask(agency: str) -> str:
        request = filled(ASKING[rpc].input_type, network, "B1-77.12", record)
        trace_id = secrets.token_hex(16)
        async with network.channel(GATEWAY, network.asking(agency)) as channel:
            calling = call(channel, rpc, ASKING[rpc], request.SerializeToString(), trace_id)
            if agency in PRIVATE:
                with refused() as refusal:
                    await calling
                assert refusal.name == "PRIVATE_SECTOR_BANNED"
                await collector.wait_for(trace_id, ("gateway", "inquiry.decide"))
            else:
                await calling
                await collector.wait_for(trace_id, *LOOKED_UP)
        return trace_id

    await ask("pension-service")
    before = collector.traces_with(*LOOKED_UP)
    banned = [await ask(organisation) for organisation in PRIVATE]
    lawful = await ask("pension-service")
    assert collector.traces_with(*LOOKED_UP) - before == {lawful}
    for trace_id in banned:
        assert {role for role, _ in collector.spans(trace_id)} == {"gateway"}


@pytest.mark.parametrize(
    "caller",
    [
        Identity("municipality", CHIYODA),
        Identity("municipal-system", CHIYODA),
        Identity("prefecture", "130001"),
        Identity("center"),
        Identity("gateway", GATEWAY),
        Identity("operator", "operator"),
    ],
    ids=lambda caller: caller.kind,
)
@pytest.mark.parametrize("rpc", ASKING)
async def test_nodes_and_operators_ask_nothing_of_the_gateway(
    network: Network, refused: Any, rpc: str, caller: Identity
) -> None:
    request = filled(ASKING[rpc].input_type, network, "B1-77.12")
    async with network.channel(GATEWAY, caller) as channel:
        with refused() as refusal:
            await call(channel, rpc, ASKING[rpc], request.SerializeToString())
    assert (refusal.name, refusal.code) == ("CALLER_NOT_ALLOWED", grpc.StatusCode.PERMISSION_DENIED)


async def test_a_private_organisation_learns_of_the_gateway_only_that_it_runs(network: Network, refused: Any) -> None:
    async with network.channel(GATEWAY, Identity("private", BANK)) as channel:
        for rpc in UNHEARD:
            with refused() as refusal:
                await call(channel, rpc, None, b"")
            assert refusal.name == "PRIVATE_SECTOR_BANNED"
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        assert await check(b"", timeout=5) == b"\x08\x01"  # SERVING


def reported(entries: list[ledger.Entry], folder: Path) -> dict[str, int | None]:
    """Numbers of the yearly report on these entries once their month is over, by kind."""
    leaves = [entry.SerializeToString(deterministic=True) for entry in entries]
    written = write(folder / "ledger", [*leaves, act(now() + timedelta(days=40))])
    today = today_in_japan()
    report = report_year(today.year - (today.month < 4), [written.path], [written.key])
    return {line.kind: line.number for line in report.lines}


async def call(
    channel: grpc.aio.Channel,
    rpc: str,
    method: MethodDescriptor | None,
    request: bytes,
    trace_id: str = "",
    *,
    seconds: float | None = 5.0,
) -> None:
    """Makes one call of any kind and waits for its end."""
    as_bytes: Any = channel  # without serialisers, which the stubs do not know
    metadata = [("traceparent", f"00-{trace_id}-{secrets.token_hex(8)}-01")] if trace_id else []
    if method is None or method.client_streaming:
        several: Any = as_bytes.stream_stream(rpc)(iter([request]), timeout=seconds, metadata=metadata)
        async with streaming(several):
            async for _answer in several:
                pass
    elif method.server_streaming:
        async for _answer in as_bytes.unary_stream(rpc)(request, timeout=seconds, metadata=metadata):
            pass
    else:
        await as_bytes.unary_unary(rpc)(request, timeout=seconds, metadata=metadata)


def filled(descriptor: Descriptor, network: Network, purpose: str, record: Any = None) -> Message:
    """Makes a lawful request of any RPC of the inquiry service, or of watching, out of the parts that such have."""
    record = record or network.person(CHIYODA)
    items = network.four_items(record)
    parts: dict[str, Any] = {
        "jukinet.inquiry.v1.InquiryContext": network.context(purpose),
        "jukinet.inquiry.v1.Subject": inquiry.Subject(four_items=items),
        "jukinet.inquiry.v1.FourItems": items,
        "jukinet.inquiry.v1.IdentityField": inquiry.IDENTITY_FIELD_NAME,
        "jukinet.inquiry.v1.InquireRequest.for_watch": False,
        "jukinet.inquiry.v1.InquireRequest.held": bytes(range(32)),
        "jukinet.inquiry.v1.InquireRequest.sealed_until": "",
        "jukinet.inquiry.v1.VerifyIdentityRequest.sealed_until": "",
        "jukinet.inquiry.v1.InquireBatchRequest.for_watch": False,
        "jukinet.inquiry.v1.InquireBatchRequest.held": bytes(range(32)),
        "jukinet.inquiry.v1.InquireBatchRequest.job": bytes(range(32)),
        "jukinet.inquiry.v1.InquireBatchRequest.sealed_until": "",
        "jukinet.watch.v1.WatchOrder": watch.WatchOrder(
            list_id=str(uuid.uuid4()), handles=[b"x"], expires_on=CalendarDate(year=2027, month=3, day=31)
        ),
        "jukinet.watch.v1.WatchPlace": watch.WatchPlace(list_id=str(uuid.uuid4())),
        "jukinet.watch.v1.EndWatchRequest.list_id": str(uuid.uuid4()),
        "jukinet.recall.v1.TellRecallsRequest.acknowledged_position": 0,
        "jukinet.recall.v1.TellRecallsRequest.acknowledged": bytes(24),
    }
    request = message_factory.GetMessageClass(descriptor)(
        **{field.name: _value(field, parts) for field in descriptor.fields}
    )
    assert not protovalidate.collect_violations(request), f"say here how a {descriptor.name} is filled"
    return request


def _value(field: FieldDescriptor, parts: dict[str, Any]) -> Any:
    kind = field.message_type or field.enum_type
    value = parts.get(field.full_name if kind is None else kind.full_name)
    if value is None:
        assert isinstance(kind, Descriptor), f"say here what {field.full_name} holds"
        value = message_factory.GetMessageClass(kind)(**{each.name: _value(each, parts) for each in kind.fields})
    return [value] if field.is_repeated else value


def request_ids(message: Message) -> Iterator[str]:
    """Request ids anywhere in a request."""
    for field, value in message.ListFields():
        if field.name == "request_id":
            yield str(value)
        elif isinstance(value, Message):
            yield from request_ids(value)
