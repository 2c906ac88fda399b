"""A trace is one tree, whatever order its spans came in and whatever is missing."""

from hypothesis import given
from hypothesis import strategies as st

from jukinet.traces.store import Span, SpanStore
from jukinet.traces.tree import grown, render, shape, tree, walk

TRACE = "a" * 32


def span(
    number: int, parent: int | None, name: str, service: str = "center", *, at: int = 0, took: int = 1, **more: object
) -> Span:
    ids = f"{number:016x}", "" if parent is None else f"{parent:016x}"
    return Span(TRACE, ids[0], ids[1], name, "internal", service, "", at, at + took, **more)  # type: ignore[arg-type]


WHOLE = [
    span(1, None, "submit", "municipality", at=0, took=9_000_000),
    span(2, 1, "register.apply", "municipality", at=1_000_000, took=2_000_000),
    span(3, 2, "link.receive", "prefecture", at=4_000_000, took=2_000_000, failed=True, reason="DATA_LOSS"),
    span(4, 3, "link.receive", "center", at=5_000_000, took=500_000, attributes={"jukinet.outcome": "applied"}),
    span(5, 1, "ledger.append", "municipality", at=8_000_000, took=1_000_000, reason="NOT_HOLDER"),
]


@given(st.permutations(WHOLE))
def test_tree_does_not_depend_on_the_order_of_arrival(spans: list[Span]) -> None:
    assert shape(grown(spans)) == [
        (0, "municipality", "submit"),
        (1, "municipality", "register.apply"),
        (2, "prefecture", "link.receive"),
        (3, "center", "link.receive"),
        (1, "municipality", "ledger.append"),
    ]


def test_text_shows_branches_durations_reasons_and_outcomes() -> None:
    assert render(grown(WHOLE)) == (
        "municipality submit  9.0 ms\n"
        "├─ municipality register.apply  2.0 ms\n"
        "│  └─ prefecture link.receive  2.0 ms  ✗ DATA_LOSS\n"
        "│     └─ center link.receive  0.5 ms  · applied\n"
        "└─ municipality ledger.append  1.0 ms  · NOT_HOLDER\n"
    )


def test_several_roots_are_drawn_below_each_other() -> None:
    assert render(grown([span(1, None, "a"), span(2, 1, "b"), span(3, 9, "c", at=5)])) == (
        "center a  0.0 ms\n└─ center b  0.0 ms\ncenter c  0.0 ms\n"
    )


def test_span_without_its_parent_is_a_root() -> None:
    assert shape(grown(WHOLE[2:4])) == [(0, "prefecture", "link.receive"), (1, "center", "link.receive")]


def test_nothing_grows_from_nothing() -> None:
    with SpanStore(":memory:") as store:
        assert tree(store, TRACE) == []
    assert render([]) == ""


def test_text_moves_no_cursor() -> None:
    drawn = render(grown([span(1, None, "\x1b[2J\r\n\u202e", "x\ny", failed=True)]))
    assert drawn.count("\n") == 1
    assert "\x1b" not in drawn
    assert drawn.endswith("✗ error\n")


def test_deep_trace_is_drawn() -> None:
    deep = [span(number, number - 1 if number > 1 else None, "x", at=number) for number in range(1, 3_000)]
    assert len(shape(grown(deep))) == 2_999
    assert render(grown(deep[:50])).count("\n") == 50


@given(st.lists(st.tuples(st.integers(1, 12), st.none() | st.integers(1, 12), st.integers(0, 5)), max_size=20))
def test_every_span_is_hung_up_once_even_on_circles(drawn: list[tuple[int, int | None, int]]) -> None:
    spans = {number: span(number, parent, "x", at=at) for number, parent, at in drawn}
    hung = [node.span.span_id for _, node in walk(grown(spans.values()))]
    assert sorted(hung) == sorted(each.span_id for each in spans.values())
