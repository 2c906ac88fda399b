"""Only what stands in the table of spans leaves the process, and a trace never costs an answer."""

import asyncio
import threading
import time
from collections.abc import Iterator, Sequence

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, Status, StatusCode

from jukinet._pb.jukinet.errors.v1 import errors_pb2
from jukinet.domain.refusal import ChangeRefused
from jukinet.mesh import metrics, tracing
from jukinet.mesh.errors import Refused
from jukinet.mesh.span_queue import QUEUE_SPANS
from jukinet.mesh.span_table import ATTRIBUTES, allowed, is_failure, spans

CANARY = "00123456789 山田太郎"
CONTEXT = f"00-{'a' * 32}-{'b' * 16}-01"


@pytest.fixture
def exported() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    tracing.configure("prefecture", "130001", exporter=exporter)
    yield exporter
    tracing.shutdown()


def only(exported: InMemorySpanExporter) -> ReadableSpan:
    tracing.flush()
    (span,) = exported.get_finished_spans()
    return span


def test_span_has_its_node_its_attributes_and_its_resource(exported: InMemorySpanExporter) -> None:
    attributes: dict[str, str | int] = {"jukinet.municipality": "131016", "jukinet.sequence": 7}
    with tracing.span("link.receive", parent=CONTEXT, **attributes) as span:
        span.set_attribute("jukinet.outcome", "applied")
    done = only(exported)
    assert done.name == "link.receive"
    assert dict(done.attributes or {}) == {
        "jukinet.node": "prefecture/130001",
        "jukinet.municipality": "131016",
        "jukinet.sequence": 7,
        "jukinet.outcome": "applied",
    }
    assert done.resource.attributes["service.name"] == "prefecture"
    assert done.resource.attributes["service.instance.id"] == "130001"
    assert done.parent is not None
    assert f"{done.parent.span_id:016x}" == "b" * 16


def test_what_is_not_in_the_table_is_dropped(exported: InMemorySpanExporter) -> None:
    with tracing.span("link.receive", **{"jukinet.purpose": "B1-77.12", "resident_code": CANARY}) as span:
        span.set_attribute("jukinet.municipality", CANARY)
        span.set_attribute("jukinet.reason", CANARY)
        span.set_attribute("enduser.id", CANARY)
        span.add_event(CANARY, {"name": CANARY})
        span.record_exception(ValueError(CANARY))
        span.add_link(tracing.parsed(CONTEXT), {"name": CANARY})
        span.set_status(Status(StatusCode.ERROR, CANARY))
    done = only(exported)
    assert dict(done.attributes or {}) == {"jukinet.node": "prefecture/130001"}
    assert not done.events
    assert not done.links
    assert (done.status.status_code, done.status.description) == (StatusCode.ERROR, None)
    assert CANARY not in done.to_json()


def test_span_with_an_unknown_name_is_dropped(exported: InMemorySpanExporter) -> None:
    with tracing.span(CANARY):
        pass
    tracing.flush()
    assert exported.get_finished_spans() == ()


@given(st.sampled_from(sorted(spans())), st.dictionaries(st.sampled_from(sorted(ATTRIBUTES)), st.text(min_size=1)))
def test_no_words_pass_through_any_attribute(name: str, attributes: dict[str, str]) -> None:
    for value in allowed(name, attributes).values():
        assert isinstance(value, str)
        assert value.isascii()
        assert not set(value) & set(" \n\r\t\x00\x1b@'\"<>")


@pytest.mark.parametrize("attribute", sorted(ATTRIBUTES))
@pytest.mark.parametrize(
    "value", [CANARY, "山田太郎", "00123456789", "001234567890", 1.5, True, None, b"x", "1985-04-01", -1]
)
def test_no_attribute_takes_a_persons_value(attribute: str, value: object) -> None:
    assert not ATTRIBUTES[attribute](value)


def test_every_row_of_the_table_uses_known_attributes() -> None:
    assert {attribute for row in spans().values() for attribute in row} == set(ATTRIBUTES)


@pytest.mark.parametrize(
    ("error", "reason", "status"),
    [
        (Refused(errors_pb2.ERROR_REASON_NOT_HOLDER, detail=CANARY), "NOT_HOLDER", StatusCode.UNSET),
        (ChangeRefused(errors_pb2.ERROR_REASON_EVENT_DATE), "EVENT_DATE", StatusCode.UNSET),
        (Refused(errors_pb2.ERROR_REASON_LEDGER_UNAVAILABLE), "LEDGER_UNAVAILABLE", StatusCode.ERROR),
        (ValueError(CANARY), "ValueError", StatusCode.ERROR),
        (asyncio.CancelledError(CANARY), "CANCELLED", StatusCode.UNSET),
    ],
)
def test_failed_work_is_named_by_its_reason_and_never_by_its_text(
    exported: InMemorySpanExporter, error: BaseException, reason: str, status: StatusCode
) -> None:
    with pytest.raises(type(error)), tracing.span("ledger.append"):
        raise error
    begun = tracing.begin("ledger.append")
    tracing.fail(begun, error)
    begun.end()
    tracing.flush()
    for done in exported.get_finished_spans():
        assert (done.attributes or {})["error.reason"] == reason
        assert done.status.status_code is status
        assert CANARY not in done.to_json()
    assert len(exported.get_finished_spans()) == 2


def test_span_outlives_the_task_that_began_it(exported: InMemorySpanExporter) -> None:
    change = tracing.begin("intake.change", parent=CONTEXT)
    applying = tracing.begin("register.apply", parent=tracing.context_of(change))
    assert tracing.traceparent() == ""
    for begun in (applying, change):
        ending = threading.Thread(target=begun.end)
        ending.start()
        ending.join()
    tracing.flush()
    inner, outer = exported.get_finished_spans()
    assert (inner.name, outer.name) == ("register.apply", "intake.change")
    assert outer.context is not None
    assert inner.context is not None
    assert inner.parent is not None
    assert inner.parent.span_id == outer.context.span_id
    assert f"{inner.context.trace_id:032x}" == f"{outer.context.trace_id:032x}" == "a" * 32


def test_empty_context_means_not_traced_and_so_does_what_follows(exported: InMemorySpanExporter) -> None:
    with tracing.span("intake.change", parent=""), tracing.span("register.apply"):
        assert tracing.traceparent() == ""
        assert tracing.trace_id() == ""
    for parent in ("", "nonsense", CONTEXT.removesuffix("1") + "0"):
        begun = tracing.begin("link.receive", parent=parent)
        assert not begun.is_recording()
        assert tracing.context_of(begun) == ""
        begun.end()
    tracing.flush()
    assert exported.get_finished_spans() == ()


def test_stored_context_carries_a_trace_on(exported: InMemorySpanExporter) -> None:
    with tracing.span("register.apply"):
        stored, trace_id = tracing.traceparent(), tracing.trace_id()
    with tracing.span("link.receive", parent=stored):
        assert tracing.trace_id() == trace_id
    tracing.flush()
    assert {f"{span.context.trace_id:032x}" for span in exported.get_finished_spans() if span.context} == {trace_id}


def test_share_of_traces_is_decided_at_their_beginning() -> None:
    exporter = InMemorySpanExporter()
    tracing.configure("center", "", sample_ratio=0.0, exporter=exporter)
    with tracing.span("link.receive"):
        assert tracing.traceparent() == ""
    with tracing.span("link.receive", parent=CONTEXT):
        assert tracing.traceparent()
    tracing.shutdown()
    assert [span.name for span in exporter.get_finished_spans()] == ["link.receive"]


def test_tracing_is_off_without_an_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    tracing.configure("center", "")
    with tracing.span("link.receive") as span:
        assert not span.is_recording()
        assert tracing.traceparent() == ""
    assert tracing.context_of(tracing.begin("link.receive", parent=CONTEXT)) == CONTEXT
    tracing.flush()
    tracing.shutdown()


@pytest.mark.parametrize("by_variable", [True, False])
def test_collector_that_is_away_delays_nothing(monkeypatch: pytest.MonkeyPatch, by_variable: bool) -> None:
    # Port 1 of the loopback address refuses connections.
    endpoint = "http://127.0.0.1:1"
    if by_variable:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
    # So long the exporter tries to send one batch, and the spans below are one or two.
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "6")
    tracing.configure("center", "", endpoint=None if by_variable else endpoint)
    begun = time.monotonic()
    for _ in range(500):
        with tracing.span("link.receive"):
            pass
    assert time.monotonic() - begun < 5
    begun = time.monotonic()
    tracing.shutdown()
    assert time.monotonic() - begun < 5
    # What goes on in the background would count its lost spans in the tests that follow.
    for thread in threading.enumerate():
        if thread.name == "jukinet-last-spans":
            thread.join(60)
            assert not thread.is_alive()


class Stalled(SpanExporter):
    """A collector that takes nothing until it is let go."""

    def __init__(self, result: SpanExportResult = SpanExportResult.SUCCESS) -> None:
        self.go = threading.Event()
        self.taken = 0
        self._result = result

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.go.wait(30)
        self.taken += len(spans)
        return self._result

    def shutdown(self) -> None:
        self.go.set()


def test_queue_is_bounded_and_what_does_not_fit_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    lost: list[int] = []
    monkeypatch.setattr(metrics, "spans_lost", lost.append)
    stalled = Stalled()
    tracing.configure("center", "", exporter=stalled)
    for _ in range(QUEUE_SPANS + 100):
        with tracing.span("link.receive"):
            pass
    assert sum(lost) == 100
    stalled.go.set()
    tracing.flush()
    assert stalled.taken == QUEUE_SPANS
    with tracing.span("link.receive"):
        pass
    tracing.shutdown()
    assert stalled.taken == QUEUE_SPANS + 1


def test_spans_that_the_collector_refuses_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    lost: list[int] = []
    monkeypatch.setattr(metrics, "spans_lost", lost.append)
    refusing = Stalled(SpanExportResult.FAILURE)
    refusing.go.set()
    tracing.configure("center", "", exporter=refusing)
    with tracing.span("link.receive"), tracing.span("not in the table"):
        pass
    tracing.shutdown()
    assert lost == [1]


@pytest.mark.parametrize("code", list(grpc.StatusCode))
def test_refusal_is_an_error_for_the_caller_and_an_answer_for_the_server(code: grpc.StatusCode) -> None:
    assert is_failure(code, of_server=False) is (code is not grpc.StatusCode.OK)
    refusal = code in (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.OK)
    assert not (refusal and is_failure(code, of_server=True))


def test_kinds_of_spans_are_told_apart(exported: InMemorySpanExporter) -> None:
    tracing.begin("ledger.append", kind=SpanKind.CLIENT).end()
    assert only(exported).kind is SpanKind.CLIENT


@pytest.mark.parametrize(("variable", "expected"), [("0", 0), ("1", 1), ("no number", 1), (None, 1)])
def test_the_standard_variable_says_how_many_traces_are_recorded(
    monkeypatch: pytest.MonkeyPatch, variable: str | None, expected: int
) -> None:
    if variable is None:
        monkeypatch.delenv("OTEL_TRACES_SAMPLER_ARG", raising=False)
    else:
        monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", variable)
    exporter = InMemorySpanExporter()
    tracing.configure("center", "", exporter=exporter)
    with tracing.span("ledger.append"):
        pass
    tracing.flush()
    assert len(exporter.get_finished_spans()) == expected
    tracing.shutdown()
