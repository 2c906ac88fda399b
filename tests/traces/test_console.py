"""Spans go from any OpenTelemetry SDK through the collector to the tree and the page."""

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from jukinet.mesh import tracing
from jukinet.traces.console import Addresses, announce, console, serve
from jukinet.traces.receiver import Receiver
from jukinet.traces.store import SpanStore, TracesError
from jukinet.traces.tree import shape, tree

HERE = "127.0.0.1:0"


def work(endpoint: str) -> str:
    """One trace through three processes' worth of configuration, as the nodes make it."""
    tracing.configure("municipality", "131016", endpoint=endpoint)
    with tracing.span("register.apply", **{"jukinet.reason": "ENTRY_BIRTH"}):
        context, trace_id = tracing.traceparent(), tracing.trace_id()
    tracing.shutdown()
    attributes: dict[str, str | int] = {"jukinet.municipality": "131016", "jukinet.sequence": 1}
    for role, code in (("prefecture", "130001"), ("center", "")):
        tracing.configure(role, code, endpoint=endpoint)
        with tracing.span("link.receive", parent=context, **attributes):
            context = tracing.traceparent()
        tracing.shutdown()
    return trace_id


async def test_change_is_one_tree_across_its_nodes(tmp_path: Path) -> None:
    async with console(tmp_path / "spans.db", HERE, HERE) as addresses:
        trace_id = await asyncio.to_thread(work, addresses.otlp)
        async with httpx.AsyncClient(trust_env=False) as client:
            page = await client.get(f"{addresses.page}/trace/{trace_id}")
        assert page.status_code == 200
        assert "prefecture/130001" in page.text
    with SpanStore(tmp_path / "spans.db") as store:
        roots = tree(store, trace_id)
        assert shape(roots) == [
            (0, "municipality", "register.apply"),
            (1, "prefecture", "link.receive"),
            (2, "center", "link.receive"),
        ]
        assert roots[0].span.instance == "131016"
        assert roots[0].span.attributes["jukinet.reason"] == "ENTRY_BIRTH"
        assert roots[0].children[0].span.attributes["jukinet.sequence"] == 1


async def test_spans_of_any_sdk_are_taken(tmp_path: Path) -> None:
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

    def export(endpoint: str) -> str:
        provider = TracerProvider(resource=Resource({"service.name": "other"}), shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(endpoint=endpoint, insecure=True)))
        with (
            pytest.raises(ValueError, match="wrong"),
            provider.get_tracer("x").start_as_current_span("outer", attributes={"list": [1, 2], "share": 0.5}) as span,
        ):
            raise ValueError("wrong")
        provider.shutdown()
        return f"{span.get_span_context().trace_id:032x}"

    async with console(tmp_path / "spans.db", HERE, HERE) as addresses:
        trace_id = await asyncio.to_thread(export, addresses.otlp)
    with SpanStore(tmp_path / "spans.db") as store:
        (span,) = store.spans(trace_id)
    assert (span.service, span.name, span.kind, span.failed) == ("other", "outer", "internal", True)
    assert dict(span.attributes) == {"list": "<array>", "share": 0.5}


async def test_spans_without_ids_are_rejected_and_counted() -> None:
    request = ExportTraceServiceRequest()
    spans = request.resource_spans.add().scope_spans.add().spans
    spans.add(trace_id=b"a" * 16, span_id=b"b" * 8, name="good", kind=99)
    spans.add(trace_id=b"a" * 16, span_id=b"", name="no id")
    spans.add(trace_id=b"short", span_id=b"b" * 8, name="no trace")
    spans.add(trace_id=b"a" * 16, span_id=b"c" * 8, parent_span_id=b"odd", name="odd parent")
    spans[0].end_time_unix_nano = 2**64 - 1
    spans[0].attributes.extend([KeyValue(key="none"), KeyValue(key="all", value=AnyValue(array_value=ArrayValue()))])
    with SpanStore(":memory:") as store:
        context: Any = None
        answer = await Receiver(store).Export(request, context)
        assert answer.partial_success.rejected_spans == 3
        (span,) = store.spans((b"a" * 16).hex())
    assert (span.service, span.kind, span.end_ns) == ("unknown", "unspecified", 2**63 - 1)
    assert dict(span.attributes) == {"none": "<nothing>", "all": "<array>"}


async def test_request_beyond_the_limit_is_refused(tmp_path: Path) -> None:
    request = ExportTraceServiceRequest()
    request.resource_spans.add().scope_spans.add().spans.add(name="x" * (17 * 2**20))
    async with (
        console(tmp_path / "spans.db", HERE, HERE) as addresses,
        grpc.aio.insecure_channel(addresses.otlp.removeprefix("http://")) as channel,
    ):
        export: Any = TraceServiceStub(channel).Export  # type: ignore[no-untyped-call]
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await export(request, timeout=30)
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "198.51.100.1:0", ":0", "127.0.0.1:none", "127.0.0.1:999999"])
@pytest.mark.parametrize("which", ["grpc_listen", "http_listen"])
async def test_address_that_others_could_reach_is_refused(tmp_path: Path, listen: str, which: str) -> None:
    asked = {"grpc_listen": HERE, "http_listen": HERE, which: listen}
    with pytest.raises(TracesError, match="addresses of this machine"):
        async with console(tmp_path / "spans.db", **asked):
            pass


async def test_port_that_is_taken_is_refused(tmp_path: Path) -> None:
    async with console(tmp_path / "first.db", HERE, HERE) as first:
        for which, url in (("grpc_listen", first.otlp), ("http_listen", first.page)):
            asked = {"grpc_listen": HERE, "http_listen": HERE, which: url.removeprefix("http://")}
            with pytest.raises(TracesError, match="Cannot listen"):
                async with console(tmp_path / "second.db", **asked):
                    pass


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_process_says_where_it_listens_and_stops_when_asked(tmp_path: Path, number: signal.Signals) -> None:
    code = (
        "import asyncio; from jukinet.traces.console import serve; "
        f"asyncio.run(serve({str(tmp_path / 'spans.db')!r}, {HERE!r}, {HERE!r}))"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    async with asyncio.timeout(60), httpx.AsyncClient(trust_env=False) as client:
        addresses = Addresses(**json.loads(await process.stdout.readline()))
        assert (await client.get(addresses.page)).status_code == 200
        process.send_signal(number)
        assert await process.wait() == 0


async def test_console_can_be_told_to_stop_before_it_is_asked_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    def stop_at_once(addresses: Addresses, _file: Path | None) -> None:
        told.append(addresses.page)
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr("jukinet.traces.console.announce", stop_at_once)
    async with asyncio.timeout(60):
        await serve(tmp_path / "spans.db", HERE, HERE)
    assert told


def test_addresses_are_one_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    announce(Addresses("http://127.0.0.1:1", "http://127.0.0.1:2"), None)
    assert capsys.readouterr().out == '{"otlp": "http://127.0.0.1:1", "page": "http://127.0.0.1:2"}\n'


def test_addresses_are_written_to_a_file_in_one_step(tmp_path: Path) -> None:
    addresses = Addresses("http://127.0.0.1:1", "http://127.0.0.1:2")
    announce(addresses, tmp_path / "addresses.json")
    assert json.loads((tmp_path / "addresses.json").read_text()) == {"otlp": addresses.otlp, "page": addresses.page}
    assert [path.name for path in tmp_path.iterdir()] == ["addresses.json"]
