"""The pages show any trace, obey their own policy and escape what is hostile."""

import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from httpx import ASGITransport, AsyncClient, Response

from jukinet.traces.page import build_app, colour, duration, moment, rows, short
from jukinet.traces.store import Span, SpanStore
from jukinet.traces.tree import grown

TRACE = "0a" * 16
HOSTILE = "</title><script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{7*7}}\x1b"


@pytest.fixture
def store() -> Iterator[SpanStore]:
    with SpanStore(":memory:") as kept:
        yield kept


def a_trace() -> list[Span]:
    start, ms = 1_763_949_600_000_000_000, 1_000_000
    cs, prefecture = ("internal", "municipality", "131016"), ("internal", "prefecture", "130001")
    rpc = "jukinet.intake.v1.IntakeService/SubmitChange"
    one, two, three, four = ("1" * 16, "2" * 16, "3" * 16, "4" * 16)
    born = {"jukinet.reason": "ENTRY_BIRTH"}
    return [
        Span(TRACE, one, "", rpc, "server", "municipality", "131016", start, start + 9 * ms),
        Span(TRACE, two, one, "register.apply", *cs, start + 10, start + 4 * ms, attributes=born),
        Span(TRACE, three, two, "link.receive", *prefecture, start + 5 * ms, start + 6 * ms, reason="NOT_HOLDER"),
        Span(TRACE, four, three, "link.receive", "internal", "center", "", start + 7 * ms, start + 7 * ms, True),
    ]


async def get(store: SpanStore, path: str, host: str = "127.0.0.1") -> Response:
    transport = ASGITransport(build_app(store))
    async with AsyncClient(transport=transport, base_url=f"http://{host}:1234") as client:
        return await client.get(path)


class Tags(HTMLParser):
    """Collects tags and attributes, and checks that what is opened is closed."""

    VOID = frozenset({"meta", "link", "input", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def tags(page: Response) -> list[tuple[str, dict[str, str | None]]]:
    parser = Tags()
    parser.feed(page.text)
    assert parser.open == []
    return parser.found


async def test_empty_console_says_what_to_do(store: SpanStore) -> None:
    page = await get(store, "/")
    assert page.status_code == 200
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" in page.text


async def test_latest_page_lists_traces_with_their_services(store: SpanStore) -> None:
    store.add(a_trace())
    page = await get(store, "/")
    assert f"/trace/{TRACE}" in page.text
    for word in ("SubmitChange", "municipality", "prefecture", "center", "refused or failed", "9.0 ms", "JST"):
        assert word in page.text
    assert ("a", {"href": f"/trace/{TRACE}"}) in tags(page)


@pytest.mark.parametrize(
    "query", ["?q=register.apply", "?q=0a0a", "?service=center", "?failed=1", "?q=not_holder&failed=1"]
)
async def test_search_finds_a_trace(store: SpanStore, query: str) -> None:
    store.add(a_trace())
    assert f"/trace/{TRACE}" in (await get(store, f"/{query}")).text


@pytest.mark.parametrize("query", ["?q=nothing", "?service=agency", "?q=ffff"])
async def test_search_that_finds_nothing_says_so(store: SpanStore, query: str) -> None:
    store.add(a_trace())
    page = await get(store, f"/{query}")
    assert "No trace matches" in page.text
    assert f"/trace/{TRACE}" not in page.text


async def test_waterfall_shows_every_span_of_every_process(store: SpanStore) -> None:
    store.add(a_trace())
    page = await get(store, f"/trace/{TRACE}")
    assert page.status_code == 200
    found = tags(page)
    assert sum(tag == "details" for tag, _ in found) == 4
    bars = [attributes for tag, attributes in found if tag == "rect"]
    assert bars[0]["x"] == "0.00%"
    assert bars[0]["width"] == "100.00%"
    assert bars[3]["width"] == "0.30%"
    for word in ("municipality/131016", "prefecture/130001", "ENTRY_BIRTH", "NOT_HOLDER", "4 spans", ">error<"):
        assert word in page.text


async def test_trace_is_given_as_text_too(store: SpanStore) -> None:
    store.add(a_trace())
    page = await get(store, f"/trace/{TRACE}.txt")
    assert page.headers["content-type"].startswith("text/plain")
    assert "└─ municipality/131016 register.apply  4.0 ms" in page.text


async def test_hostile_text_is_shown_and_does_nothing(store: SpanStore) -> None:
    start = 2**63 - 2
    store.add(
        [
            Span(
                TRACE,
                "1" * 16,
                "",
                HOSTILE,
                "server",
                HOSTILE,
                HOSTILE,
                start,
                start,
                True,
                HOSTILE,
                {HOSTILE: HOSTILE},
            )
        ]
    )
    for path in ("/", f"/trace/{TRACE}", f"/?q={HOSTILE[:20]}"):
        page = await get(store, path)
        assert page.status_code == 200
        found = tags(page)
        assert not {tag for tag, _ in found} & {"script", "img", "iframe", "style", "object"}
        assert not [name for _, attributes in found for name in attributes if name.startswith("on") or name == "style"]
        assert "49" not in re.sub(r"[^<>]*ns|\d{3,}", "", page.text).replace("{{7*7}}", "")
    assert "&lt;script&gt;" in (await get(store, "/")).text


@pytest.mark.parametrize(
    "path", ["/", f"/trace/{TRACE}", f"/trace/{TRACE}.txt", "/style.css", "/nothing", "/trace/none"]
)
async def test_every_answer_carries_the_strict_policy(store: SpanStore, path: str) -> None:
    store.add(a_trace())
    page = await get(store, path)
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    assert "http" not in policy
    assert page.headers["x-content-type-options"] == "nosniff"


async def test_pages_ask_for_nothing_from_elsewhere(store: SpanStore) -> None:
    store.add(a_trace())
    for path in ("/", f"/trace/{TRACE}"):
        for _, attributes in tags(await get(store, path)):
            for name in ("href", "src", "action"):
                assert (attributes.get(name) or "/").startswith(("/", "#"))
    style = await get(store, "/style.css")
    assert "url(" not in style.text
    assert "@import" not in style.text
    assert "prefers-color-scheme: dark" in style.text
    assert "max-width: 45rem" in style.text


@pytest.mark.parametrize("path", ["/nothing", f"/trace/{'f' * 32}", f"/trace/{'f' * 32}.txt", "/trace/%3Cscript%3E"])
async def test_unknown_page_is_not_found(store: SpanStore, path: str) -> None:
    page = await get(store, path)
    assert page.status_code == 404
    assert "<script>" not in page.text


async def test_name_of_another_site_is_turned_away(store: SpanStore) -> None:
    assert (await get(store, "/", host="evil.example")).status_code == 400
    assert (await get(store, "/", host="localhost")).status_code == 200


def test_bars_stay_within_the_picture() -> None:
    for row in rows(grown(a_trace())):
        assert 0 <= row.left <= 100
        assert 0 < row.width <= 100 - row.left + 1e-9
    assert rows([]) == []


def test_durations_have_units_and_moments_are_japans() -> None:
    assert [duration(seconds) for seconds in (2.5, 0.0123, 0.000042)] == ["2.50 s", "12.3 ms", "42 µs"]
    assert moment(0) == "1970-01-01 09:00:00.000 JST"
    assert moment(2**200) == "–"


async def test_processes_stand_in_the_order_in_which_the_trace_reaches_them(store: SpanStore) -> None:
    first = a_trace()[0]
    store.add([*a_trace(), replace(first, span_id="9" * 16, parent_id=first.span_id, start_ns=first.end_ns)])
    page = await get(store, f"/trace/{TRACE}")
    assert re.findall(r'<li class="chip c\d">([^<]*)', page.text) == [
        "municipality/131016",
        "prefecture/130001",
        "center",
    ]


def test_names_of_calls_are_shown_without_their_package() -> None:
    assert short("jukinet.intake.v1.IntakeService/SubmitChange") == "IntakeService/SubmitChange"
    assert short("link.receive") == "link.receive"
    assert short("a/b/c") == "a/b/c"


def test_role_keeps_its_colour() -> None:
    roles = ("municipal-system", "municipality", "prefecture", "center", "gateway", "agency", "client")
    assert len({colour(role) for role in roles}) == len(roles)
    assert colour("another") == colour("another")
