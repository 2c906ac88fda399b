"""What a node counts, for Prometheus: one table of instruments and one function for each.

Rule: a label is a name from the contract (a reason, a result) or the SPIFFE ID of a node; never an agency, an operator,
a purpose or anything that a person wrote. Numbers of rare labels would tell who asked about whom.

Off until `configure` is given an address; then every function costs one comparison. The functions may be called from
any thread.

Source: reference threat "trace and request ids as a covert link": no agency beside a purpose in metrics; Prometheus
text exposition format.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.metrics import CallbackOptions, Counter, Histogram, Meter, Observation
from opentelemetry.metrics import _Gauge as Gauge

from jukinet._pb.jukinet.admin.v1.freeze_pb2 import Detector
from jukinet._pb.jukinet.errors.v1.errors_pb2 import ErrorReason
from jukinet._pb.jukinet.ledger.v1.ledger_pb2 import Result
from jukinet._pb.jukinet.register.v1.change_pb2 import ChangeReason
from jukinet.mesh.clock import now
from jukinet.mesh.errors import name_of
from jukinet.mesh.identity import Identity

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.view import View

INSTRUMENTS: Final = {
    "changes_accepted": ("counter", "1", "changes that a municipal system reported and the CS registered, by reason"),
    "changes_refused": ("counter", "1", "changes that a municipal system reported and the CS refused, by refusal"),
    "changes_received": ("counter", "1", "changes that came over a link, applied or parked, by refusal"),
    "link_lag": ("gauge", "1", "changes that this node holds and the peer has not acknowledged"),
    "link_connected": ("gauge", "1", "1 while the stream to the peer is open"),
    "link_slow": ("gauge", "1", "1 while the peer owes an answer for more than fifteen seconds"),
    "parked": ("gauge", "1", "changes that are kept but not applied"),
    "held": ("gauge", "1", "municipalities that the change brake holds until two operators release them: an alarm"),
    "damaged": ("gauge", "1", "rows of the register that are not what was written, by kind: an alarm"),
    "waiting_age": ("gauge", "s", "since when the oldest change waits for an earlier one of its resident"),
    "waiting_too_long": ("gauge", "1", "changes that wait longer than `limits.waiting_alarm_hours`: an alarm"),
    "commit_duration": ("histogram", "s", "duration of one durable commit"),
    "commit_jobs": ("histogram", "1", "jobs that shared one commit"),
    "batch_changes": ("histogram", "1", "changes of one batch of a link"),
    "inquiries": ("counter", "1", "questions answered or refused, by result and refusal"),
    "key_not_listed": ("counter", "1", "calls by certificates whose key their agency does not list: an alarm"),
    "operator_elsewhere": (
        "counter",
        "1",
        "questions of an operator who was at another terminal then: an alarm",
    ),
    "budget_exceeded": ("counter", "1", "questions refused because a budget is used up"),
    "detector_findings": ("counter", "1", "operators whose questions have to be explained, by detector: an alarm"),
    "operators_frozen": ("gauge", "1", "operators of agencies who are frozen until two people released them: an alarm"),
    "freezes_undeclared": ("gauge", "1", "1 while the center does not know who is frozen here: an alarm"),
    "questions_outside": (
        "counter",
        "1",
        "persons asked about at an address of which the row tells the agency nothing",
    ),
    "ledger_entries": ("gauge", "1", "entries of the ledger"),
    "ledger_published": ("gauge", "1", "entries under the checkpoint that a quorum of witnesses cosigned"),
    "ledger_unpublished_age": ("gauge", "s", "since when a quorum is not known to have cosigned all of the ledger"),
    "witness_lag": ("gauge", "1", "entries of the ledger that the witness has not cosigned"),
    "witness_answers": ("gauge", "1", "1 while the witness's last answer was right"),
    "mirror_entries": ("gauge", "1", "entries of the peer's ledger that are verified at the disclosure node"),
    "mirror_verified": ("gauge", "1", "1 while what the peer's ledger showed last verified; 0 = away or contradicted"),
    "requests_open": (
        "gauge",
        "1",
        "residents' requests for their record or its correction, neither answered nor closed",
    ),
    "requests_overdue": ("gauge", "1", "those among them whose term has passed: an alarm"),
    "watches_open": ("gauge", "1", "lists of persons whose later changes agencies are told"),
    "watch_untold_age": ("gauge", "s", "since when the oldest change waits for an agency to have it on disk"),
    "recalls_open": ("gauge", "1", "recalls of wrong answers that their agencies did not acknowledge yet"),
    "recall_unacknowledged_age": ("gauge", "s", "since when the oldest of them waits for its agency: an alarm"),
    "recall_behind": ("gauge", "s", "since when corrections may be missing among the recalls: an alarm"),
    "certificate_expiry": ("gauge", "s", "time until the node's certificate ends"),
    "spans_lost": ("counter", "1", "spans that the collector did not get"),
    "tasks": ("gauge", "1", "tasks of the event loop; a number that goes on growing is a fault of the program"),
}
"""Kind, unit and meaning of every instrument; Prometheus sees it as `jukinet_` and the name."""

_SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_SIZES: Final = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0)


class MetricsError(OSError):
    """The metrics cannot be served. Give `metrics_listen` as host:port, of a port that is free."""


@dataclass(frozen=True)
class _Serving:
    counters: dict[str, Counter]
    gauges: dict[str, Gauge]
    histograms: dict[str, Histogram]
    stop: Callable[[], None]


_serving: _Serving | None = None
_not_after: datetime | None = None


def configure(listen: str | None) -> str | None:
    """Serves /metrics, or switches the metrics off.

    Args:
        listen: host:port, port 0 = any free one; None = off.

    Returns:
        host:port that is served; None when off.

    Raises:
        MetricsError: the address cannot be used.
    """
    global _serving  # noqa: PLW0603  # one registry a process
    shutdown()
    if listen is None:
        return None
    # A tenth of the time that a node takes to start, and most nodes of a test or a demo serve no metrics.
    from opentelemetry.exporter.prometheus import PrometheusMetricReader
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.resources import Resource
    from prometheus_client import CollectorRegistry, start_http_server

    registry = CollectorRegistry()
    host, _, port = listen.rpartition(":")
    try:
        server, thread = start_http_server(int(port), addr=host.strip("[]"), registry=registry)
    except (OSError, ValueError, OverflowError):
        raise MetricsError(f"Cannot serve metrics on {listen}. {MetricsError.__doc__}") from None
    # Its own registry and provider: nothing of this outlives `shutdown`, and no library adds to it.
    provider = MeterProvider(
        [
            PrometheusMetricReader(
                disable_target_info=True, prefix="jukinet", scope_info_enabled=False, registry=registry
            )
        ],
        resource=Resource({}),
        shutdown_on_exit=False,
        views=[
            _buckets("commit_duration", _SECONDS),
            _buckets("commit_jobs", _SIZES),
            _buckets("batch_changes", _SIZES),
        ],
    )

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join()
        provider.shutdown()

    _serving = _instruments(provider.get_meter("jukinet"), stop)
    return f"{host}:{server.server_port}"


def shutdown() -> None:
    """Stops serving and forgets what was counted."""
    global _serving, _not_after
    ending, _serving, _not_after = _serving, None, None
    if ending is not None:
        ending.stop()


def change_accepted(reason: "ChangeReason.ValueType") -> None:
    """Counts a change that the CS registered."""
    if _serving is not None:
        _count("changes_accepted", reason=ChangeReason.Name(reason).removeprefix("CHANGE_REASON_"))


def change_refused(refusal: "ErrorReason.ValueType") -> None:
    """Counts a change that the CS refused."""
    if _serving is not None:
        _count("changes_refused", refusal=name_of(refusal))


def change_received(outcome: "ErrorReason.ValueType | None") -> None:
    """Counts a change that came over a link: applied (None), or parked for a reason."""
    if _serving is not None:
        applied = outcome is None
        _count("changes_received", outcome="applied" if applied else "parked", refusal=_refusal(outcome))


def link_lag(peer: Identity, changes: int) -> None:
    """Shows how many changes the peer has not acknowledged: last sequence minus mark."""
    if _serving is not None:
        _serving.gauges["link_lag"].set(changes, {"peer": peer.uri})


def link_connected(peer: Identity, connected: bool) -> None:
    """Shows whether the stream to the peer is open."""
    if _serving is not None:
        _serving.gauges["link_connected"].set(int(connected), {"peer": peer.uri})


def link_slow(peer: Identity, slow: bool) -> None:
    """Shows whether the peer, its stream open, owes an answer for too long."""
    if _serving is not None:
        _serving.gauges["link_slow"].set(int(slow), {"peer": peer.uri})


def parked(changes: int) -> None:
    """Shows how many changes are kept but not applied."""
    if _serving is not None:
        _serving.gauges["parked"].set(changes)


def held(municipalities: int) -> None:
    """Shows how many municipalities the change brake holds."""
    if _serving is not None:
        _serving.gauges["held"].set(municipalities)


def damaged(records: int, changes: int) -> None:
    """Shows how many current rows and how many rows of the history are not what was written."""
    if _serving is not None:
        _serving.gauges["damaged"].set(records, {"kind": "CURRENT"})
        _serving.gauges["damaged"].set(changes, {"kind": "CHANGE"})


def waiting(seconds: float, too_long: int) -> None:
    """Shows how long the oldest change has waited for an earlier one, and how many wait longer than the alarm age."""
    if _serving is not None:
        _serving.gauges["waiting_age"].set(seconds)
        _serving.gauges["waiting_too_long"].set(too_long)


def commit(jobs: int, seconds: float) -> None:
    """Records one durable commit.

    Args:
        jobs: that shared it.
        seconds: that it took.
    """
    if _serving is not None:
        _serving.histograms["commit_duration"].record(seconds)
        _serving.histograms["commit_jobs"].record(jobs)


def batch(changes: int) -> None:
    """Records how many changes one batch of a link holds."""
    if _serving is not None:
        _serving.histograms["batch_changes"].record(changes)


def inquiry(result: "Result.ValueType", refusal: "ErrorReason.ValueType | None" = None, *, count: int = 1) -> None:
    """Counts questions by what became of them, and why they were refused."""
    if _serving is not None:
        # Whether somebody was found stays between the ledger and the asker: both count as answered.
        kind = "refused" if result == Result.RESULT_REFUSED else "answered"
        _count("inquiries", count=count, result=kind, refusal=_refusal(refusal))


def key_not_listed() -> None:
    """Counts a call by a certificate whose key its agency does not list."""
    if _serving is not None:
        _count("key_not_listed")


def operator_elsewhere() -> None:
    """Counts a question that came from a second terminal of its operator."""
    if _serving is not None:
        _count("operator_elsewhere")


def budget_exceeded() -> None:
    """Counts a question that is over one of the limits of an agency."""
    if _serving is not None:
        _count("budget_exceeded")


def detector_finding(detector: "Detector.ValueType") -> None:
    """Counts an operator whose questions have to be explained, by what found it."""
    if _serving is not None:
        _count("detector_findings", detector=Detector.Name(detector).removeprefix("DETECTOR_"))


def operators_frozen(operators: int) -> None:
    """Shows how many operators of agencies are frozen."""
    if _serving is not None:
        _serving.gauges["operators_frozen"].set(operators)


def freezes_undeclared(undeclared: bool) -> None:
    """Shows whether the center has yet to learn who is frozen at this gateway."""
    if _serving is not None:
        _serving.gauges["freezes_undeclared"].set(int(undeclared))


def questions_outside(persons: int) -> None:
    """Counts persons who are looked for at an address outside of what the agency may hear of."""
    if _serving is not None:
        _count("questions_outside", count=persons)


def ledger_entries(entries: int) -> None:
    """Shows how many entries the ledger has."""
    if _serving is not None:
        _serving.gauges["ledger_entries"].set(entries)


def ledger_published(entries: int, unpublished_seconds: float) -> None:
    """Shows how many entries are under the published checkpoint, and since when it is not known to hold all."""
    if _serving is not None:
        _serving.gauges["ledger_published"].set(entries)
        _serving.gauges["ledger_unpublished_age"].set(unpublished_seconds)


def mirror(peer: Identity, entries: int, *, verified: bool) -> None:
    """Shows how much of a gateway's ledger is verified at the disclosure node, and whether it verified last."""
    if _serving is not None:
        _serving.gauges["mirror_entries"].set(entries, {"peer": peer.uri})
        _serving.gauges["mirror_verified"].set(int(verified), {"peer": peer.uri})


def requests(waiting: int, overdue: int) -> None:
    """Shows how many residents' requests are neither answered nor closed, and how many of them are overdue."""
    if _serving is not None:
        _serving.gauges["requests_open"].set(waiting)
        _serving.gauges["requests_overdue"].set(overdue)


def watches(lists: int, untold_seconds: float) -> None:
    """Shows how many lists of later changes are open, and how long the oldest change has waited for its agency."""
    if _serving is not None:
        _serving.gauges["watches_open"].set(lists)
        _serving.gauges["watch_untold_age"].set(untold_seconds)


def recalls(waiting: int, oldest_seconds: float, behind_seconds: float) -> None:
    """Shows how many recalls are not acknowledged by their agencies, the oldest's age, and how far behind noting is."""
    if _serving is not None:
        _serving.gauges["recalls_open"].set(waiting)
        _serving.gauges["recall_unacknowledged_age"].set(oldest_seconds)
        _serving.gauges["recall_behind"].set(behind_seconds)


def witness(peer: Identity, behind: int, answers: bool) -> None:
    """Shows how many entries a witness has not cosigned, and whether its last answer was right."""
    if _serving is not None:
        _serving.gauges["witness_lag"].set(behind, {"peer": peer.uri})
        _serving.gauges["witness_answers"].set(int(answers), {"peer": peer.uri})


def certificate_until(not_after: datetime) -> None:
    """Shows the time that is left until the node's certificate ends; computed when it is asked for.

    Args:
        not_after: aware.
    """
    global _not_after  # noqa: PLW0603  # one certificate a process
    _not_after = not_after


def spans_lost(count: int) -> None:
    """Counts spans that the collector did not get."""
    if _serving is not None:
        _serving.counters["spans_lost"].add(count)


def tasks(number: int) -> None:
    """Shows how many tasks the event loop has."""
    if _serving is not None:
        _serving.gauges["tasks"].set(number)


def _refusal(reason: "ErrorReason.ValueType | None") -> str:
    # Prometheus takes an empty label for an absent one.
    return "" if reason is None else name_of(reason)


def _count(name: str, *, count: int = 1, **labels: str) -> None:
    if (serving := _serving) is not None:
        serving.counters[name].add(count, labels)


def _buckets(name: str, bounds: Iterable[float]) -> "View":
    from opentelemetry.sdk.metrics.view import ExplicitBucketHistogramAggregation, View

    return View(instrument_name=name, aggregation=ExplicitBucketHistogramAggregation(tuple(bounds)))


def _instruments(meter: Meter, stop: Callable[[], None]) -> _Serving:
    made: dict[str, dict[str, Any]] = {"counter": {}, "gauge": {}, "histogram": {}}
    create: dict[str, Any] = {
        "counter": meter.create_counter,
        "gauge": meter.create_gauge,
        "histogram": meter.create_histogram,
    }
    for name, (kind, unit, meaning) in INSTRUMENTS.items():
        if name == "certificate_expiry":
            meter.create_observable_gauge(name, [_seconds_left], unit, meaning)
        else:
            # The unit "1" would make Prometheus call every gauge a ratio.
            made[kind][name] = create[kind](name, "" if unit == "1" else unit, meaning)
    return _Serving(made["counter"], made["gauge"], made["histogram"], stop)


def _seconds_left(_options: CallbackOptions) -> Iterable[Observation]:
    if _not_after is not None:
        yield Observation((_not_after - now()).total_seconds())
