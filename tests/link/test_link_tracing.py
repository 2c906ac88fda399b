"""One trace follows a change over both hops."""

from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from jukinet._pb.jukinet.link.v1.link_pb2 import Batch, Hello, SealedSegment, StreamRequest
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
    assert [(span.attributes or {})["jukinet.outcome"] for span in (near, far)] == ["applied", "applied"]
    assert [row.traceparents.count("-01") for row in prefecture.rows("outbox")] == [1, 0]


async def test_a_span_says_what_became_of_its_change(
    mesh: Callable[..., Any], link: Any, spans: InMemorySpanExporter
) -> None:
    cs, prefecture, sealer = mesh("municipality", "131016"), mesh("prefecture", "130001"), link.Sealer()
    await prefecture.serve(forwards=True)

    def traced(*changes: Any) -> SealedSegment:
        sealed: SealedSegment = sealer.segment([change.SerializeToString() for change in changes])
        sealed.traceparents.extend([f"00-{TRACE}-{FIRST}-01"] * len(changes))
        return sealed

    # The second waits for a change that did not come; then a repetition, and a segment with a broken seal.
    first = sealer.batch(traced(link.change(1), link.change(2, 3)))
    second = Batch(epoch=1, first_sequence=1, segments=[*first.segments, traced(link.change(3))])
    broken = Batch(epoch=1, first_sequence=4, segments=[traced(link.change(4))])
    broken.segments[0].seal = bytes(64)
    async with cs.speaks(prefecture) as call:
        await call.write(StreamRequest(hello=Hello(epoch=1, version_min=1, version_max=1)))
        for batch in (first, second):
            await call.write(StreamRequest(batch=batch))
        while (answer := await call.read()).ack.mark < 3:
            assert answer is not grpc.aio.EOF
        broken.previous_chain = answer.ack.chain
        await call.write(StreamRequest(batch=broken))
        with pytest.raises(grpc.aio.AioRpcError):
            while await call.read() is not grpc.aio.EOF:
                pass
    tracing.flush()
    ended = [dict(span.attributes or {}) for span in spans.get_finished_spans()]
    assert [(said["jukinet.sequence"], said["jukinet.outcome"]) for said in ended] == [
        (1, "applied"),
        (2, "WAITING_FOR_EARLIER_CHANGE"),
        (1, "repeated"),
        (2, "repeated"),
        (3, "applied"),
        (4, "LINK_SEAL"),
    ]
    assert [said.get("error.reason") for said in ended] == [None] * 5 + ["LINK_SEAL"]
