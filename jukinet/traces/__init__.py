"""The project's own trace console: takes spans over OTLP, keeps them, shows one change or inquiry across all nodes."""

from jukinet.traces.console import Addresses, console, serve
from jukinet.traces.store import Span, SpanStore, TracesError
from jukinet.traces.tree import Node, Shape, grown, render, shape, tree

__all__ = [
    "Addresses",
    "Node",
    "Shape",
    "Span",
    "SpanStore",
    "TracesError",
    "console",
    "grown",
    "render",
    "serve",
    "shape",
    "tree",
]
