"""One span a change on its way through a receiving node, in the trace that began at the municipal system.

The stream itself has no span: it lives for days. Each traced change brings its own context in the batch. Its span ends
with the commit of the batch and says what became of the change: applied, or why it was parked, or why its batch was
refused.
"""

from collections.abc import Mapping

from google.protobuf.message import DecodeError
from opentelemetry.trace import Span

from jukinet._pb.jukinet.link.v1.link_pb2 import Batch, Segment
from jukinet.link.apply_batch import Taken
from jukinet.mesh import tracing
from jukinet.mesh.errors import name_of

Place = tuple[str, int]
"""Municipality, and sequence number in its stream: where a change stands."""


def change_spans(batch: Batch) -> dict[Place, Span]:
    """Begins a span for every traced change, by its place; `end_spans` ends them."""
    spans: dict[Place, Span] = {}
    for sealed in batch.segments:
        if not any(sealed.traceparents):
            continue
        try:
            segment = Segment.FromString(sealed.segment)
        except DecodeError:
            continue  # the receiver refuses it, with a reason
        for sequence, parent in enumerate(sealed.traceparents, segment.first_sequence):
            if parent:
                spans[segment.municipality, sequence] = tracing.begin(
                    "link.receive",
                    parent=parent,
                    attributes={"jukinet.municipality": segment.municipality, "jukinet.sequence": sequence},
                )
    return spans


def end_spans(spans: Mapping[Place, Span], became: Taken | BaseException) -> None:
    """Ends the spans of a batch, once it is on disk (`became` is what it did) or was refused (why).

    A change that had been here before is `repeated`: its first span said what became of it.
    """
    if not any(span.is_recording() for span in spans.values()):
        return
    if isinstance(became, Taken):
        outcomes = _outcomes(became)
        for place, span in spans.items():
            span.set_attribute("jukinet.outcome", outcomes.get(place, "repeated"))
            span.end()
    else:
        for span in spans.values():
            span.set_attribute("jukinet.outcome", tracing.reason_in(became)[1])
            tracing.fail(span, became)
            span.end()


def _outcomes(taken: Taken) -> dict[Place, str]:
    places = (
        (fresh.segment.municipality, sequence)
        for fresh in taken.fresh
        for sequence, _ in enumerate(fresh.segment.changes, fresh.segment.first_sequence)
    )
    return {
        place: "applied" if reason is None else name_of(reason)
        for place, reason in zip(places, taken.outcomes, strict=True)
    }
