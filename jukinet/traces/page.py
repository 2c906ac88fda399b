"""The console's pages: the latest traces, and one trace as a waterfall across processes.

No script and nothing from elsewhere: the browser is told so by the Content-Security-Policy, which makes a hostile span
name harmless even if it were not escaped. Bars are SVG because that policy forbids styles in attributes.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from importlib import resources
from typing import Final

import jinja2
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from jukinet.traces.store import Span, SpanStore
from jukinet.traces.tree import Node, render, tree, walk

LOOPBACK: Final = ("127.0.0.1", "localhost")
_MOST_TRACES: Final = 100
_DEEPEST: Final = 12  # steps of indentation that the style sheet knows
_THINNEST: Final = 0.3  # per cent of the width, so that a short span is still seen
# Colours stay the same from trace to trace; roles that are not in the list share the last ones.
_ROLES: Final = ("municipal-system", "municipality", "prefecture", "center", "gateway", "agency", "client")
_OTHER_COLOURS: Final = 1
_JAPAN: Final = timezone(timedelta(hours=9), "JST")
_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True)
class Row:
    """One line of a waterfall; `left` and `width` are per cent of the trace's duration."""

    depth: int
    span: Span
    left: float
    width: float
    offset_seconds: float


def rows(roots: Sequence[Node]) -> list[Row]:
    """Lays a tree out as a waterfall, one row a span."""
    nodes = list(walk(roots))
    if not nodes:
        return []
    begin = min(node.span.start_ns for _, node in nodes)
    whole = max(node.span.end_ns for _, node in nodes) - begin or 1
    return [_row(depth, node.span, begin, whole) for depth, node in nodes]


def _row(depth: int, span: Span, begin: int, whole: int) -> Row:
    width = max(_THINNEST, 100 * (span.end_ns - span.start_ns) / whole)
    left = min(100 - _THINNEST, 100 * (span.start_ns - begin) / whole)
    return Row(min(depth, _DEEPEST), span, left, min(width, 100 - left), (span.start_ns - begin) / 1e9)


def build_app(store: SpanStore) -> Starlette:
    """Builds the pages over a store of spans."""
    templates = _templates()

    def page(template: str, status: int = 200, **values: object) -> HTMLResponse:
        return HTMLResponse(templates.get_template(template).render(values), status, _HEADERS)

    async def latest(request: Request) -> Response:
        asked = request.query_params
        search, service, failed = asked.get("q", "").strip(), asked.get("service", ""), asked.get("failed") == "1"
        found = store.latest(search=search, service=service, failed=failed, limit=_MOST_TRACES)
        return page(
            "latest.html",
            traces=found,
            services=store.services(),
            search=search,
            service=service,
            failed=failed,
            spans=store.count(),
        )

    async def one(request: Request) -> Response:
        trace_id = request.path_params["trace_id"]
        laid = rows(tree(store, trace_id))
        if not laid:
            return page("missing.html", 404, trace_id=trace_id)
        # In the order in which the trace reaches them.
        processes = list({row.span.process: row.span for row in laid}.values())
        first = laid[0].span
        seconds = max(row.offset_seconds + row.span.seconds for row in laid)
        return page("trace.html", trace_id=trace_id, rows=laid, processes=processes, first=first, seconds=seconds)

    async def text(request: Request) -> Response:
        drawn = render(tree(store, request.path_params["trace_id"]))
        return PlainTextResponse(drawn or "There is no such trace.\n", 200 if drawn else 404, _HEADERS)

    style = resources.files(__package__).joinpath("templates/style.css").read_bytes()

    async def style_sheet(_request: Request) -> Response:
        return Response(style, 200, _HEADERS, "text/css")

    async def missing(_request: Request, _error: Exception) -> Response:
        return page("missing.html", 404, trace_id="")

    handlers: dict[int | type[Exception], Callable[[Request, Exception], Awaitable[Response]]] = {404: missing}
    return Starlette(
        routes=[
            Route("/", latest),
            Route("/trace/{trace_id}.txt", text),
            Route("/trace/{trace_id}", one),
            Route("/style.css", style_sheet),
        ],
        # A page of another site that makes its own name point here is turned away.
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=list(LOOPBACK))],
        exception_handlers=handlers,
    )


def _templates() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("jukinet.traces"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"duration": duration, "moment": moment, "colour": colour, "short": short}
    return environment


def duration(seconds: float) -> str:
    """Writes a duration with its unit, in three digits or so."""
    if seconds >= 1:
        return f"{seconds:.2f} s"
    return f"{seconds * 1e3:.1f} ms" if seconds >= 0.001 else f"{seconds * 1e6:.0f} µs"


def moment(nanoseconds: int) -> str:
    """Writes a moment in Japan's time, to the millisecond; what lies beyond the calendar as a dash."""
    try:
        at = datetime.fromtimestamp(nanoseconds / 1e9, _JAPAN)
    except (OverflowError, ValueError, OSError):
        return "–"
    return f"{at:%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03} JST"


def short(name: str) -> str:
    """Writes an RPC without its package: `IntakeService/SubmitChange`."""
    service, slash, method = name.partition("/")
    return f"{service.rpartition('.')[2]}/{method}" if slash else name


def colour(service: str) -> str:
    """Gives the class of the style sheet that colours a role."""
    if service in _ROLES:
        return f"c{_ROLES.index(service)}"
    return f"c{len(_ROLES) + sum(service.encode()) % _OTHER_COLOURS}"
