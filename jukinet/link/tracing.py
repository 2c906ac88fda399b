"""One span a change on its way through a receiving node, in the trace that began at the municipal system.

The stream itself has no span: it lives for days. Each traced change brings its own context in the batch.
"""

from contextlib import ExitStack

from google.protobuf.message import DecodeError

from jukinet._pb.jukinet.link.v1.link_pb2 import Batch, Segment
from jukinet.mesh import tracing


def change_spans(stack: ExitStack, batch: Batch) -> dict[tuple[str, int], str]:
    """Opens a span for every traced change; they end when `stack` closes.

    Returns the trace context to forward, by (municipality, sequence).
    """
    forwarded: dict[tuple[str, int], str] = {}
    for sealed in batch.segments:
        if not any(sealed.traceparents):
            continue
        try:
            segment = Segment.FromString(sealed.segment)
        except DecodeError:
            continue  # the receiver refuses it, with a reason
        for sequence, parent in enumerate(sealed.traceparents, segment.first_sequence):
            if parent:
                forwarded[(segment.municipality, sequence)] = tracing.start_span(
                    stack,
                    "link.receive",
                    parent=parent,
                    attributes={"jukinet.municipality": segment.municipality, "jukinet.sequence": sequence},
                )
    return forwarded
