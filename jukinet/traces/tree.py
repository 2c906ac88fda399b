"""One trace as a tree across processes: to be drawn, printed, or compared with the tree that a test expects.

A span whose parent is not there is a root: its parent may have been dropped, or may not have arrived yet. Spans that
are their own ancestors, which only a hostile sender makes, are hung up at the earliest of them.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from jukinet.traces.store import Span, SpanStore

Shape = list[tuple[int, str, str]]
"""(depth from 0, service, span name) of every span, in the order of the tree."""


@dataclass
class Node:
    """A span and those that it began, the earliest first."""

    span: Span
    children: list["Node"] = field(default_factory=list)


def tree(store: SpanStore, trace_id: str) -> list[Node]:
    """Reads one trace.

    Args:
        store: of spans.
        trace_id: 32 hex digits.

    Returns:
        Its roots, the earliest first; one if the trace is whole, none if it is unknown.
    """
    return grown(store.spans(trace_id))


def grown(spans: Iterable[Span]) -> list[Node]:
    """Hangs spans of one trace under their parents.

    Returns:
        The roots, the earliest first.
    """
    nodes = {span.span_id: Node(span) for span in sorted(spans, key=_order)}
    below: defaultdict[str, list[Node]] = defaultdict(list)
    for node in nodes.values():
        below[node.span.parent_id if node.span.parent_id in nodes else ""].append(node)
    hung: set[str] = set()
    roots = [_hang(root, below, hung) for root in below[""]]
    # Whatever is left lies on a circle of parents.
    roots += [_hang(node, below, hung) for node in nodes.values() if node.span.span_id not in hung]
    return roots


def walk(roots: Sequence[Node]) -> Iterator[tuple[int, Node]]:
    """Goes through a tree from top to bottom.

    Yields:
        (depth from 0, node).
    """
    waiting = [(0, root) for root in reversed(roots)]
    while waiting:
        depth, node = waiting.pop()
        yield depth, node
        waiting += [(depth + 1, child) for child in reversed(node.children)]


def shape(roots: Sequence[Node]) -> Shape:
    """Gives what of a tree does not change from run to run."""
    return [(depth, node.span.service, node.span.name) for depth, node in walk(roots)]


def render(roots: Sequence[Node]) -> str:
    """Writes a tree as text, one span a line, with durations in milliseconds."""
    lines: list[str] = []
    waiting = [(root, "", "", "") for root in reversed(roots)]
    while waiting:
        node, before, branch, trunk = waiting.pop()
        lines.append(f"{before}{branch}{_line(node.span)}")
        before += trunk
        last = len(node.children) - 1
        waiting += [
            (child, before, "└─ " if at == last else "├─ ", "   " if at == last else "│  ")
            for at, child in reversed(list(enumerate(node.children)))
        ]
    return "".join(f"{line}\n" for line in lines)


def _line(span: Span) -> str:
    remark = f"  {'✗' if span.failed else '·'} {span.remark}" if span.remark else ""
    text = f"{span.process} {span.name}  {span.seconds * 1_000:.1f} ms{remark}"
    # A terminal obeys control characters, and these words may come from anybody.
    return "".join(each if each.isprintable() else "�" for each in text)


def _hang(root: Node, below: dict[str, list[Node]], hung: set[str]) -> Node:
    waiting = [root]
    hung.add(root.span.span_id)
    while waiting:
        node = waiting.pop()
        node.children = [child for child in below.get(node.span.span_id, ()) if child.span.span_id not in hung]
        hung |= {child.span.span_id for child in node.children}
        waiting += node.children
    return root


def _order(span: Span) -> tuple[int, int, str]:
    # At the same instant the longer one holds the shorter one.
    return span.start_ns, -span.end_ns, span.span_id
