"""What a node counts can be scraped, names no agency and costs nothing while it is off."""

import inspect
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prometheus_client import REGISTRY

from jukinet._pb.jukinet.admin.v1.freeze_pb2 import DETECTOR_MISSES
from jukinet._pb.jukinet.errors.v1 import errors_pb2
from jukinet._pb.jukinet.ledger.v1.ledger_pb2 import RESULT_PROVIDED, RESULT_REFUSED
from jukinet._pb.jukinet.register.v1.change_pb2 import CHANGE_REASON_ENTRY_BIRTH
from jukinet.mesh import metrics
from jukinet.mesh.identity import Identity

PEER = Identity("prefecture", "130001")
WITNESS = Identity("witness", "witness-1")
GATEWAY = Identity("gateway", "gateway-1")


@pytest.fixture
def address() -> Iterator[str]:
    served = metrics.configure("127.0.0.1:0")
    assert served is not None
    yield served
    metrics.shutdown()


def scrape(address: str) -> str:
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
        text: str = answer.read().decode()
    return text


def value(text: str, sample: str) -> float:
    (found,) = re.findall(rf"^{re.escape(sample)} (\S+)$", text, re.MULTILINE)
    return float(found)


def record_everything() -> None:
    metrics.change_accepted(CHANGE_REASON_ENTRY_BIRTH)
    metrics.change_refused(errors_pb2.ERROR_REASON_EVENT_DATE)
    metrics.change_received(None)
    metrics.change_received(errors_pb2.ERROR_REASON_NOT_HOLDER)
    metrics.link_lag(PEER, 12)
    metrics.link_connected(PEER, True)
    metrics.link_slow(PEER, False)
    metrics.parked(3)
    metrics.held(1)
    metrics.damaged(1, 2)
    metrics.waiting(90.0, 1)
    metrics.commit(40, 0.004)
    metrics.batch(500)
    metrics.inquiry(RESULT_PROVIDED)
    metrics.inquiry(RESULT_REFUSED, errors_pb2.ERROR_REASON_PRIVATE_SECTOR_BANNED)
    metrics.key_not_listed()
    metrics.operator_elsewhere()
    metrics.budget_exceeded()
    metrics.detector_finding(DETECTOR_MISSES)
    metrics.operators_frozen(2)
    metrics.freezes_undeclared(True)
    metrics.questions_outside(1)
    metrics.ledger_entries(9)
    metrics.ledger_published(8, 1.5)
    metrics.witness(WITNESS, 4, True)
    metrics.mirror(GATEWAY, 7, verified=True)
    metrics.requests(3, 1)
    metrics.watches(5, 60.5)
    metrics.recalls(6, 3600.5, 7.5)
    metrics.certificate_until(datetime.now(UTC) + timedelta(hours=1))
    metrics.spans_lost(2)
    metrics.tasks(7)


def test_everything_that_is_recorded_can_be_scraped(address: str) -> None:
    record_everything()
    text = scrape(address)
    expected = {
        'jukinet_changes_accepted_total{reason="ENTRY_BIRTH"}': 1,
        'jukinet_changes_refused_total{refusal="EVENT_DATE"}': 1,
        'jukinet_changes_received_total{outcome="applied",refusal=""}': 1,
        'jukinet_changes_received_total{outcome="parked",refusal="NOT_HOLDER"}': 1,
        f'jukinet_link_lag{{peer="{PEER.uri}"}}': 12,
        f'jukinet_link_connected{{peer="{PEER.uri}"}}': 1,
        f'jukinet_link_slow{{peer="{PEER.uri}"}}': 0,
        "jukinet_parked": 3,
        "jukinet_held": 1,
        'jukinet_damaged{kind="CURRENT"}': 1,
        'jukinet_damaged{kind="CHANGE"}': 2,
        "jukinet_waiting_age_seconds": 90,
        "jukinet_waiting_too_long": 1,
        'jukinet_commit_duration_seconds_bucket{le="0.005"}': 1,
        'jukinet_commit_duration_seconds_bucket{le="0.0025"}': 0,
        'jukinet_commit_jobs_bucket{le="50.0"}': 1,
        "jukinet_batch_changes_sum": 500,
        'jukinet_inquiries_total{refusal="",result="answered"}': 1,
        'jukinet_inquiries_total{refusal="PRIVATE_SECTOR_BANNED",result="refused"}': 1,
        "jukinet_key_not_listed_total": 1,
        "jukinet_operator_elsewhere_total": 1,
        "jukinet_budget_exceeded_total": 1,
        'jukinet_detector_findings_total{detector="MISSES"}': 1,
        "jukinet_operators_frozen": 2,
        "jukinet_freezes_undeclared": 1,
        "jukinet_questions_outside_total": 1,
        "jukinet_ledger_entries": 9,
        "jukinet_ledger_published": 8,
        "jukinet_ledger_unpublished_age_seconds": 1.5,
        f'jukinet_witness_lag{{peer="{WITNESS.uri}"}}': 4,
        f'jukinet_witness_answers{{peer="{WITNESS.uri}"}}': 1,
        "jukinet_requests_open": 3,
        "jukinet_requests_overdue": 1,
        "jukinet_watches_open": 5,
        "jukinet_watch_untold_age_seconds": 60.5,
        "jukinet_recalls_open": 6,
        "jukinet_recall_unacknowledged_age_seconds": 3600.5,
        "jukinet_recall_behind_seconds": 7.5,
        f'jukinet_mirror_entries{{peer="{GATEWAY.uri}"}}': 7,
        f'jukinet_mirror_verified{{peer="{GATEWAY.uri}"}}': 1,
        "jukinet_spans_lost_total": 2,
        "jukinet_tasks": 7,
    }
    assert {sample: value(text, sample) for sample in expected} == expected
    assert 3_500 < value(text, "jukinet_certificate_expiry_seconds") <= 3_600
    for name in metrics.INSTRUMENTS:
        assert f"# TYPE jukinet_{name}" in text


def test_time_until_the_certificate_ends_is_absent_until_it_is_known(address: str) -> None:
    assert "jukinet_certificate_expiry_seconds " not in scrape(address)


def test_labels_are_names_of_the_contract_or_nodes(address: str) -> None:
    record_everything()
    labels = {label for labels in re.findall(r"\{([^}]*)\}", scrape(address)) for label in labels.split(",")}
    known = {"reason", "refusal", "outcome", "result", "detector", "kind", "peer", "le"}
    assert {label.partition("=")[0] for label in labels} <= known
    assert not any("agencies.jukinet" in label for label in labels)


def recorders() -> list[Callable[..., Any]]:
    own = [each for _, each in inspect.getmembers(metrics, inspect.isfunction) if each.__module__ == metrics.__name__]
    return [
        each for each in own if not each.__name__.startswith("_") and each.__name__ not in ("configure", "shutdown")
    ]


def test_no_recorder_takes_free_text() -> None:
    for recorder in recorders():
        for parameter in inspect.signature(recorder).parameters.values():
            assert parameter.annotation is not str
            assert "ValueType" in str(parameter.annotation) or parameter.annotation in (
                int, float, bool, Identity, datetime,
            )  # fmt: skip


def test_recording_is_cheap_and_silent_while_off() -> None:
    metrics.shutdown()
    assert metrics.configure(None) is None
    record_everything()
    metrics.shutdown()


def test_nothing_stays_behind(address: str) -> None:
    record_everything()
    again = metrics.configure("127.0.0.1:0")
    assert again is not None
    assert "jukinet_parked 3" not in scrape(again)
    with pytest.raises(urllib.error.URLError):
        scrape(address)
    assert not [family for family in REGISTRY.collect() if family.name.startswith("jukinet")]


@pytest.mark.parametrize("listen", ["127.0.0.1:none", "127.0.0.1:99999999", "203.0.113.1:0", "nowhere"])
def test_address_that_cannot_be_used_is_refused_with_advice(listen: str) -> None:
    with pytest.raises(metrics.MetricsError, match="metrics_listen"):
        metrics.configure(listen)
    assert metrics.configure(None) is None


def test_port_in_use_is_refused(address: str) -> None:
    # Served already by this process, so the first one must stay up while the second is refused.
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(metrics.MetricsError):
            metrics.configure(f"127.0.0.1:{taken.getsockname()[1]}")
