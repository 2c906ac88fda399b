"""The generated pages say what the code says now."""

import importlib.util
import urllib.request
from pathlib import Path
from types import ModuleType

import pytest

from jukinet.mesh import metrics
from jukinet.mesh.metrics import INSTRUMENTS

DOCS = Path(__file__).parents[2] / "docs"


def _generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", ["configuration.md", "errors.md", "telemetry.md"])
def test_a_generated_page_is_what_the_code_renders(page: str) -> None:
    rendered = _generator().PAGES[page]()
    assert (DOCS / page).read_text("utf-8") == rendered, "run `.venv/bin/python docs/generate.py`"


def test_the_metrics_are_named_as_prometheus_sees_them() -> None:
    address = metrics.configure("127.0.0.1:0")
    try:
        metrics.parked(0)
        metrics.spans_lost(1)
        metrics.commit(1, 0.001)
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
            scraped = answer.read().decode()
    finally:
        metrics.shutdown()
    page = (DOCS / "telemetry.md").read_text("utf-8")
    for name in ("jukinet_parked", "jukinet_spans_lost_total", "jukinet_commit_duration_seconds"):
        assert f"# TYPE {name} " in scraped
        assert f"| `{name}` |" in page
    assert page.count("| `jukinet_") == len(INSTRUMENTS)
