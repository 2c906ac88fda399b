"""The exact trace of a notification, an inquiry and a refused inquiry: which process did what, under what, saying what.

The spans come from real processes over OTLP and are read from the store of the project's own trace console.
"""

import asyncio
import json
import os
import secrets
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as OtlpSpan

from jukinet._pb.jukinet.intake.v1.intake_pb2 import ChangeAnswer, SubmitChangeResponse, SubmitChangesRequest
from jukinet._pb.jukinet.intake.v1.intake_pb2_grpc import IntakeServiceStub
from jukinet._pb.jukinet.register.v1.identity_pb2 import IdentityRecord
from jukinet.cli.development_agencies import BANK, PENSION_SERVICE
from jukinet.mesh.client import streaming
from jukinet.mesh.errors import name_of
from jukinet.mesh.identity import Identity
from jukinet.mesh.span_table import ATTRIBUTES, spans
from jukinet.traces.receiver import Receiver
from jukinet.traces.store import Span, SpanStore
from jukinet.traces.tree import tree, walk
from tests.journeys.collector import Collector
from tests.journeys.load import answers_of

Network = Any  # the fixture's own class lives in conftest.py
Caller = tuple[str, str]
"""Trace id and span id of a caller outside, who sends no spans of his own."""
CHIYODA, OKUTAMA, GATEWAY = "131016", "133086", "gateway-1"
SECONDS = 15.0

# Two spaces a level: process, kind of span, name, what it says beyond its name, and why it was refused.
NOTIFICATION = """
municipality/131016 server jukinet.intake.v1.IntakeService/SubmitChange rpc.grpc.status_code=0
  municipality/131016 internal register.apply jukinet.outcome=applied jukinet.reason=ENTRY_EX_OFFICIO {sequence}
    prefecture/130001 internal link.receive jukinet.municipality=131016 jukinet.outcome=applied {sequence}
      center internal link.receive jukinet.municipality=131016 jukinet.outcome=applied {sequence}
"""
STREAMED_NOTIFICATION = """
municipality/131016 internal intake.change jukinet.reason=DELETION_DEATH
  municipality/131016 internal register.apply jukinet.outcome=applied jukinet.reason=DELETION_DEATH {sequence}
    prefecture/130001 internal link.receive jukinet.municipality=131016 jukinet.outcome=applied {sequence}
      center internal link.receive jukinet.municipality=131016 jukinet.outcome=applied {sequence}
"""
PARKED_NOTIFICATION = """
municipality/131016 server jukinet.intake.v1.IntakeService/SubmitChange rpc.grpc.status_code=0
  municipality/131016 internal register.apply jukinet.outcome=applied jukinet.reason=ENTRY_EX_OFFICIO {sequence}
    prefecture/130001 internal link.receive jukinet.municipality=131016 jukinet.outcome={reason} {sequence}
      center internal link.receive jukinet.municipality=131016 jukinet.outcome={reason} {sequence}
"""
REPEATED_NOTIFICATION = """
municipality/131016 server jukinet.intake.v1.IntakeService/SubmitChange rpc.grpc.status_code=0
  municipality/131016 internal register.apply jukinet.outcome=repeated jukinet.reason=ENTRY_EX_OFFICIO {sequence}
"""
REFUSED_CHANGE = """
municipality/131016 server jukinet.intake.v1.IntakeService/SubmitChange rpc.grpc.status_code=9 ! {why}
  municipality/131016 internal register.apply jukinet.outcome={why} jukinet.reason=ENTRY_EX_OFFICIO ! {why}
"""
REFUSED_ELEMENT = """
municipality/131016 internal intake.change jukinet.reason=ENTRY_EX_OFFICIO ! {why}
  municipality/131016 internal register.apply jukinet.outcome={why} jukinet.reason=ENTRY_EX_OFFICIO ! {why}
"""
BROKEN_ELEMENT = """
municipality/131016 internal intake.change ! INVALID_MESSAGE
"""
INQUIRY = """
agency/command-line client jukinet.inquiry.v1.InquiryService/Inquire rpc.grpc.status_code=0
  gateway/gateway-1 server jukinet.inquiry.v1.InquiryService/Inquire rpc.grpc.status_code=0
    gateway/gateway-1 internal inquiry.decide jukinet.purpose=B1-77.12
    gateway/gateway-1 internal inquiry.provide
      center internal provision.decide jukinet.purpose=B1-77.12
      center internal provision.look_up
    gateway/gateway-1 internal ledger.append
"""
REFUSED_INQUIRY = """
gateway/gateway-1 server jukinet.inquiry.v1.InquiryService/Inquire rpc.grpc.status_code=7 ! PURPOSE_NOT_GRANTED
  gateway/gateway-1 internal inquiry.decide jukinet.purpose=B1-41
  gateway/gateway-1 internal ledger.append
"""
BANNED_INQUIRY = """
gateway/gateway-1 server jukinet.inquiry.v1.InquiryService/Inquire rpc.grpc.status_code=7 ! PRIVATE_SECTOR_BANNED
  gateway/gateway-1 internal inquiry.decide jukinet.purpose=B1-77.12
  gateway/gateway-1 internal ledger.append
"""


async def test_a_notification_is_one_trace_from_the_intake_to_the_center(
    network: Network, collector: Collector
) -> None:
    caller, header = outside()
    submission = network.submission("ENTRY_EX_OFFICIO", network.person(CHIYODA))
    answer = await network.submit(CHIYODA, submission, metadata=(("traceparent", header),))
    assert await shown(network, collector, caller) == NOTIFICATION.format(sequence=at(answer))


async def test_a_trace_says_of_a_change_whether_it_was_repeated_or_refused(
    network: Network, collector: Collector, refused: Callable[[], Any]
) -> None:
    submission = network.submission("ENTRY_EX_OFFICIO", network.person(CHIYODA))
    await network.submit(CHIYODA, submission)
    caller, header = outside()
    again = await network.submit(CHIYODA, submission, metadata=(("traceparent", header),))
    assert await shown(network, collector, caller) == REPEATED_NOTIFICATION.format(sequence=at(again))
    submission.message_id = network.message_id()
    caller, header = outside()
    with refused():
        await network.submit(CHIYODA, submission, metadata=(("traceparent", header),))
    assert await shown(network, collector, caller) == REFUSED_CHANGE.format(why="RESIDENT_EXISTS")


async def test_a_trace_says_where_and_why_a_change_was_parked(network: Network, collector: Collector) -> None:
    stolen = await network.enter(OKUTAMA)
    stolen.address.local_government_code = CHIYODA
    caller, header = outside()
    submission = network.submission("ENTRY_EX_OFFICIO", stolen)
    answer = await network.submit(CHIYODA, submission, metadata=(("traceparent", header),))
    await network.arrived(CHIYODA)
    (parked,) = [row for row in network.rows("center", "parked") if row["resident_code"] == stolen.resident_code]
    expected = PARKED_NOTIFICATION.format(reason=name_of(parked["reason"]), sequence=at(answer))
    assert await shown(network, collector, caller) == expected


async def test_each_change_of_a_stream_is_a_trace_of_its_own(network: Network, collector: Collector) -> None:
    record = await network.enter(CHIYODA)
    (caller, header), (twice, header_twice), (broken, header_broken) = outside(), outside(), outside()
    untraced = network.submission("ENTRY_EX_OFFICIO", network.person(CHIYODA))
    traced = network.submission("DELETION_DEATH", record)
    here_already = network.submission("ENTRY_EX_OFFICIO", untraced.record)
    answers = await stream(
        network,
        SubmitChangesRequest(submission=untraced),
        SubmitChangesRequest(submission=traced, traceparent=header),
        SubmitChangesRequest(submission=here_already, traceparent=header_twice),
        SubmitChangesRequest(traceparent=header_broken),
    )
    shown_tree = await shown(network, collector, caller)
    assert shown_tree == STREAMED_NOTIFICATION.format(sequence=at(answers[1].accepted))
    assert rendered(collector, *twice) == REFUSED_ELEMENT.format(why="RESIDENT_EXISTS")
    assert rendered(collector, *broken) == BROKEN_ELEMENT


async def test_an_inquiry_is_one_trace_from_the_agency_over_both_decisions_to_the_ledger(
    network: Network, collector: Collector, tmp_path: Path
) -> None:
    record = await network.enter(CHIYODA)
    asked = ("agency", "jukinet.inquiry.v1.InquiryService/Inquire")
    before = collector.traces_with(asked)
    await inquire_as_a_program(network, collector, record, tmp_path)
    await barrier(network, collector)
    (trace_id,) = collector.traces_with(asked) - before
    assert rendered(collector, trace_id) == INQUIRY


async def test_a_refused_inquiry_is_decided_and_put_on_record_and_nobody_is_looked_up(
    network: Network, collector: Collector, refused: Callable[[], Any]
) -> None:
    record = await network.enter(CHIYODA)
    for agency, purpose, expected in (
        (PENSION_SERVICE, "B1-41", REFUSED_INQUIRY),
        (BANK, "B1-77.12", BANNED_INQUIRY),
    ):
        caller, header = outside()
        with refused():
            await network.inquire(network.question(record, purpose), agency, metadata=(("traceparent", header),))
        assert await shown(network, collector, caller) == expected


async def test_spans_say_nothing_that_is_not_in_the_table(network: Network, collector: Collector) -> None:
    await network.inquire(network.question(await network.enter(CHIYODA)))
    await barrier(network, collector)
    names = set()
    for resource, span in otlp(collector):
        said = {pair.key: pair.value for pair in span.attributes}
        assert set(said) <= set(spans()[span.name])
        for key, value in said.items():
            assert ATTRIBUTES[key](getattr(value, value.WhichOneof("value") or "")), f"{span.name}: {key}"
        assert list(span.events) == []
        assert list(span.links) == []
        assert span.status.message in ("", said["error.reason"].string_value if "error.reason" in said else "")
        node = said["jukinet.node"].string_value
        assert node in (f"{resource['service.name']}/{resource['service.instance.id']}", resource["service.name"])
        names.add(span.name)
    assert {"register.apply", "link.receive", "inquiry.decide", "provision.look_up", "ledger.append"} <= names


async def test_every_row_of_the_table_is_said_by_a_node(network: Network, collector: Collector) -> None:
    header = outside()[1]
    submission = network.submission("ENTRY_EX_OFFICIO", network.person(CHIYODA))
    await stream(network, SubmitChangesRequest(submission=submission, traceparent=header))
    await barrier(network, collector)
    said: defaultdict[str, set[str]] = defaultdict(set)
    for _, span in otlp(collector):
        said[span.name].update(pair.key for pair in span.attributes)
    # Calls have the same row each; why something was refused is said where something was.
    rows = {name: set(row) - {"error.reason"} for name, row in spans().items() if "/" not in name}
    assert {name: said[name] - {"error.reason"} for name in rows} == rows


async def stream(network: Network, *requests: SubmitChangesRequest) -> list[ChangeAnswer]:
    """Reports changes in a stream."""
    async with (
        network.channel(f"municipality-{CHIYODA}", Identity("municipal-system", CHIYODA)) as channel,
        streaming(IntakeServiceStub(channel).SubmitChanges(iter(requests), timeout=SECONDS)) as call,
    ):
        return [answer async for answer in answers_of(call)]


def at(answer: SubmitChangeResponse) -> str:
    """Where a change stands in its municipality's stream, as a span says it."""
    return f"jukinet.sequence={answer.sequence}"


def outside() -> tuple[Caller, str]:
    """A caller who began a trace, and the header that he sends."""
    caller = secrets.token_hex(16), secrets.token_hex(8)
    return caller, f"00-{caller[0]}-{caller[1]}-01"


async def inquire_as_a_program(network: Network, collector: Collector, record: IdentityRecord, folder: Path) -> None:
    """Asks by `jukinet inquire`, which begins the trace itself."""
    born = record.birth_date
    person = {
        "name": record.name.legal,
        "birth_date": f"{born.year:04}-{born.month:02}-{born.day:02}",
        "sex": "male",
        "local_government_code": record.address.local_government_code,
        "town": record.address.town,
        "block": record.address.block,
    }
    subject = folder / "person.json"
    subject.write_text(json.dumps(person), "utf-8")
    command = ["inquire", "--mesh", str(network.mesh.root), "--agency", PENSION_SERVICE, "--purpose", "B1-77.12"]
    command += ["--case", "case-1", "--operator", "op-7", "--field", "address", "--subject", str(subject)]
    running = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "jukinet.cli", *command,
        env={**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint, "NO_PROXY": "127.0.0.1"},
    )  # fmt: skip
    assert await running.wait() == 0


async def barrier(network: Network, collector: Collector) -> None:
    """Waits until all spans that ended before have come: a process exports them in the order in which they ended."""
    await network.arrived(CHIYODA)
    (trace_id, _), header = outside()
    record = await network.enter(CHIYODA)
    await network.submit(CHIYODA, network.submission("DELETION_DEATH", record), metadata=(("traceparent", header),))
    await network.arrived(CHIYODA)
    await network.inquire(network.question(record), metadata=(("traceparent", header),))
    await collector.wait_for(
        trace_id,
        ("municipality", "jukinet.intake.v1.IntakeService/SubmitChange"),
        ("prefecture", "link.receive"),
        ("center", "provision.decide"),
        ("gateway", "jukinet.inquiry.v1.InquiryService/Inquire"),
    )


async def shown(network: Network, collector: Collector, caller: Caller) -> str:
    """The whole trace of a caller outside, as soon as it has come."""
    await barrier(network, collector)
    return rendered(collector, *caller)


def rendered(collector: Collector, trace_id: str, parent_id: str = "") -> str:
    """A trace as text; `parent_id` is what its one root must hang under."""
    with SpanStore(":memory:") as store:
        receiver = Receiver(store)
        for raw in collector.exports:
            # Called as the console's server would call it; it never waits.
            request = ExportTraceServiceRequest.FromString(raw)
            asyncio_step(receiver.Export(request, None))  # type: ignore[arg-type]
        (root,) = tree(store, trace_id)
    assert root.span.parent_id == parent_id
    lines = [f"{'  ' * depth}{line(node.span)}" for depth, node in walk([root])]
    return "\n".join(["", *lines, ""])


def asyncio_step(coroutine: Any) -> None:
    """Runs a coroutine that does not wait."""
    try:
        coroutine.send(None)
    except StopIteration:
        return
    raise AssertionError("it waited")


def line(span: Span) -> str:
    """One span as text."""
    said = dict(span.attributes)
    assert said.pop("jukinet.node") == span.process
    service, _, method = span.name.partition("/")
    if method:
        assert (said.pop("rpc.system"), said.pop("rpc.service"), said.pop("rpc.method")) == ("grpc", service, method)
    words = [span.process, span.kind, span.name, *(f"{key}={said[key]}" for key in sorted(said))]
    return " ".join([*words, "!", span.reason] if span.reason else words)


def otlp(collector: Collector) -> list[tuple[dict[str, str], OtlpSpan]]:
    """Resource and span of all that came, as it came over the wire."""
    found = []
    for raw in tuple(collector.exports):
        for of_resource in ExportTraceServiceRequest.FromString(raw).resource_spans:
            resource = {pair.key: pair.value.string_value for pair in of_resource.resource.attributes}
            found += [(resource, span) for of_scope in of_resource.scope_spans for span in of_scope.spans]
    return found
