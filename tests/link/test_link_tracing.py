"""One trace follows a change over both hops."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from jukinet.mesh import tracing

TRACE, FIRST = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    """What is exported while tracing is on."""
    exporter = InMemorySpanExporter()
    tracing.configure("center", "test", exporter=exporter)
    yield exporter
    tracing.shutdown()


async def test_a_traced_change_has_a_span_at_each_receiver_and_others_have_none(
    mesh: Callable[..., Any], link: Any, spans: InMemorySpanExporter
) -> None:
    cs, prefecture, center = mesh("municipality", "131016"), mesh("prefecture", "130001"), mesh("center")
    await center.serve(forwards=False)
    await prefecture.serve(forwards=True)
    prefecture.dial(center)
    cs.dial(prefecture)
    cs.submit(link.change(1), link.change(2), traceparents=["", f"00-{TRACE}-{FIRST}-01"])
    cs.submit(link.change(3))
    await link.until(lambda: cs.uplink.state.center_mark == 3)
    tracing.flush()
    near, far = spans.get_finished_spans()
    if far.parent and far.parent.span_id == int(FIRST, 16):
        near, far = far, near
    assert (near.name, far.name) == ("link.receive", "link.receive")
    assert near.parent
    assert far.parent
    assert near.context
    assert (near.parent.span_id, far.parent.span_id) == (int(FIRST, 16), near.context.span_id)
    assert {span.context.trace_id for span in (near, far) if span.context} == {int(TRACE, 16)}
    said = dict(far.attributes or {})
    assert (said["jukinet.municipality"], said["jukinet.sequence"]) == ("131016", 2)
    assert [row.traceparents.count("-01") for row in prefecture.rows("outbox")] == [1, 0]
