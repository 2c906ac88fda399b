"""Spans are kept as they came, found again, and never become too many."""

from pathlib import Path

import pytest

from jukinet.traces.store import Span, SpanStore, TracesError


def span(
    trace: int, number: int = 1, parent: str = "", name: str = "submit", service: str = "center", **more: object
) -> Span:
    start = trace * 1_000
    return Span(f"{trace:032x}", f"{number:016x}", parent, name, "server", service, "", start, start + 500, **more)  # type: ignore[arg-type]


def test_span_is_given_back_as_it_was(tmp_path: Path) -> None:
    kept = span(
        1, failed=True, reason="NOT_HOLDER", attributes={"text": "山田", "count": 3, "share": 0.5, "flag": True}
    )
    with SpanStore(tmp_path / "spans.db") as store:
        assert store.add([kept]) == 1
        store.add([kept])
    with SpanStore(tmp_path / "spans.db") as store:
        assert store.spans(kept.trace_id) == [kept]
        assert store.count() == 1


def test_hostile_texts_are_cut_and_never_break_the_store() -> None:
    with SpanStore(":memory:") as store:
        store.add(
            [
                span(
                    1,
                    name="'; DROP TABLE span; --\x00\ud800" + "x" * 9_999,
                    service="a,b",
                    attributes={"k" * 999: "v" * 999},
                )
            ]
        )
        (found,) = store.spans(span(1).trace_id)
        assert len(found.name) <= 200
        assert found.service == "a b"
        assert [(len(key), len(str(value))) for key, value in found.attributes.items()] == [(200, 200)]


def test_end_never_lies_before_the_start() -> None:
    with SpanStore(":memory:") as store:
        store.add([Span("a" * 32, "b" * 16, "", "x", "server", "center", "", 10, 5)])
        (found,) = store.spans("a" * 32)
        assert found.seconds == 0


def test_latest_traces_come_first_and_can_be_searched() -> None:
    with SpanStore(":memory:") as store:
        store.add([span(1, name="submit"), span(2, name="inquire_x", service="gateway"), span(3, failed=True)])
        store.add([span(2, 2, f"{1:016x}", "look_up", "center", reason="NOT_HOLDER")])

        def found(**asked: object) -> list[str]:
            return [trace.trace_id[-1] for trace in store.latest(**asked)]  # type: ignore[arg-type]

        assert found() == ["3", "2", "1"]
        assert found(limit=2) == ["3", "2"]
        assert found(search="inquire_x") == found(search="holder") == found(search=span(2).trace_id) == ["2"]
        assert found(search="%") == found(search="in%x") == []
        assert found(search="look_up") == ["2"]
        assert found(service="center") == ["3", "2", "1"]
        assert found(service="gateway", search="look") == ["2"]
        assert found(failed=True) == ["3", "2"]
        (both,) = store.latest(service="gateway")
        assert (both.name, both.services, both.spans, both.failures) == ("inquire_x", ("center", "gateway"), 2, 1)
        assert both.seconds == pytest.approx(5e-7)
        assert store.services() == ["center", "gateway"]


def test_name_of_a_trace_without_its_first_span_is_the_earliest() -> None:
    with SpanStore(":memory:") as store:
        store.add([span(1, 2, "f" * 16, name="later")])
        assert [trace.name for trace in store.latest()] == ["later"]


def test_oldest_spans_go_when_there_are_too_many() -> None:
    with SpanStore(":memory:", most=10) as store:
        store.add(span(number) for number in range(1, 1_001))
        assert store.count() == 10
        assert store.spans(span(1_000).trace_id)
        assert not store.spans(span(1).trace_id)


def test_file_that_cannot_be_used_is_refused_with_advice(tmp_path: Path) -> None:
    with pytest.raises(TracesError, match="file that can be written"):
        SpanStore(tmp_path / "missing" / "spans.db")
    (tmp_path / "text").write_text("this is not a database" * 99)
    with pytest.raises(TracesError):
        SpanStore(tmp_path / "text")
