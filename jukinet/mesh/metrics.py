"""Metrics of a node: one table of instruments, read by Prometheus.

Rule: a label is a word of a closed list (a reason, a result, a direction). No code, no name, no person, and no pair of
agency and purpose: small counts of such pairs would tell who was asked about.
"""

import time
from collections.abc import Callable, Iterable
from typing import Final

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Observation

_meter: Final = metrics.get_meter("jukinet")
_accepted: Final = _meter.create_counter("jukinet_changes_accepted", description="changes that the intake took in")
_refused: Final = _meter.create_counter("jukinet_changes_refused", description="changes that the intake refused, by reason")
_received: Final = _meter.create_counter(
    "jukinet_changes_received", description="changes that came over a link, by outcome: applied, or why parked"
)
_commit_seconds: Final = _meter.create_histogram(
    "jukinet_commit_seconds", unit="s", description="time of one group commit"
)
_commit_jobs: Final = _meter.create_histogram("jukinet_commit_jobs", description="jobs that shared one commit")
_questions: Final = _meter.create_counter("jukinet_questions", description="agencies' questions, by what became of them")


def configure(listen: str | None) -> None:
    """Serves /metrics at host:port; does nothing without an address."""
    if listen is None:
        return
    from opentelemetry.exporter.prometheus import PrometheusMetricReader
    from opentelemetry.sdk.metrics import MeterProvider
    from prometheus_client import start_http_server

    metrics.set_meter_provider(MeterProvider([PrometheusMetricReader()]))
    host, _, port = listen.rpartition(":")
    start_http_server(int(port), addr=host)


def commit(jobs: int, seconds: float) -> None:
    """Notes one group commit."""
    _commit_jobs.record(jobs)
    _commit_seconds.record(seconds)


def changes_accepted(count: int) -> None:
    """Notes changes that the intake took in."""
    _accepted.add(count)


def change_refused(reason: str) -> None:
    """Notes a change that the intake refused, by the reason's name."""
    _refused.add(1, {"reason": reason})


def changes_received(outcome: str, count: int) -> None:
    """Notes changes that came over a link: `applied`, or the reason's name why they are parked."""
    _received.add(count, {"outcome": outcome})


def question(result: str) -> None:
    """Notes what became of a question: `PROVIDED`, `NO_SINGLE_MATCH`, or the reason's name of a refusal."""
    _questions.add(1, {"result": result})


def watch(name: str, description: str, read: Callable[[], float]) -> None:
    """Shows a value that is read whenever someone looks: a lag, a number of parked changes."""

    def observe(_options: CallbackOptions) -> Iterable[Observation]:
        yield Observation(read())

    _meter.create_observable_gauge(name, callbacks=[observe], description=description)


def watch_certificate(ends_at: Callable[[], float]) -> None:
    """Shows how many seconds the node's certificate still holds; `ends_at` gives seconds since 1970."""
    watch("jukinet_certificate_seconds", "seconds until the certificate ends", lambda: ends_at() - time.time())
