"""The queue of ended spans on their way to the collector.

Rule: a slow or absent collector costs spans, never an answer. The queue is bounded and another thread empties it; what
finds it full, and what the collector does not take, is dropped and counted (`metrics.spans_lost`).
"""

import threading
from collections.abc import Callable, Sequence
from typing import Final

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from jukinet.mesh import metrics
from jukinet.mesh.span_table import cleaned

QUEUE_SPANS: Final = 4_096
"""Ended spans that may wait for the collector; some 4 MiB."""
_EXPORT_EVERY_MS: Final = 500


class SpanQueue(SpanProcessor):
    """The queue to the collector: bounded, and everything in it has passed the table."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._waiting = 0
        self._lock = threading.Lock()
        self._batches = BatchSpanProcessor(
            _Counted(exporter, self._gone), max_queue_size=QUEUE_SPANS * 2, schedule_delay_millis=_EXPORT_EVERY_MS
        )

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Nothing: what a span says is looked at when it ends."""

    def on_end(self, span: ReadableSpan) -> None:
        """Queues a span, or drops it when the queue is full."""
        with self._lock:
            full = self._waiting >= QUEUE_SPANS
            self._waiting += not full
        if full:
            metrics.spans_lost(1)
        else:
            self._batches.on_end(span)

    def shutdown(self) -> None:
        """Sends the rest."""
        self._batches.shutdown()  # type: ignore[no-untyped-call]  # the SDK left it untyped

    def force_flush(self, timeout_millis: int | None = None) -> bool:
        """Sends what waits."""
        return self._batches.force_flush(timeout_millis)

    def _gone(self, count: int) -> None:
        with self._lock:
            self._waiting -= count


class _Counted(SpanExporter):
    """An exporter behind the table; tells how many spans it took out of the queue."""

    def __init__(self, exporter: SpanExporter, gone: Callable[[int], None]) -> None:
        self._exporter = exporter
        self._gone = gone

    def export(self, batch: Sequence[ReadableSpan]) -> SpanExportResult:
        """Sends what the table lets through."""
        result = SpanExportResult.FAILURE
        clean = [copy for each in batch if (copy := cleaned(each)) is not None]
        try:
            result = self._exporter.export(clean) if clean else SpanExportResult.SUCCESS
        finally:
            self._gone(len(batch))
            if result is not SpanExportResult.SUCCESS:
                metrics.spans_lost(len(clean))
        return result

    def shutdown(self) -> None:
        """Ends the exporter."""
        self._exporter.shutdown()
