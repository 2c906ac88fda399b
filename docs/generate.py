"""Writes the pages of this folder that repeat what the code says: `.venv/bin/python docs/generate.py`.

A page that is written by hand drifts from the code; `tests/docs` compares these with what is rendered now.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from jukinet.mesh import config_file, errors, metrics, span_table


def telemetry_markdown() -> str:
    """Renders the spans and metrics of a node for `docs/telemetry.md`."""
    lines = [
        "# Telemetry",
        "",
        "What leaves a node beside its answers: spans and metrics, and nothing that is not on this page. How to switch",
        "both on stands in [operations.md](operations.md). Generated from `jukinet/mesh/span_table.py` and",
        "`jukinet/mesh/metrics.py`.",
        "",
        "## Spans",
        "",
        "| span | attributes |",
        "|---|---|",
    ]
    for name, attributes in span_table.spans().items():
        lines.append(f"| `{name}` | {', '.join(f'`{each}`' for each in attributes)} |")
    lines += [
        "",
        "## Metrics",
        "",
        "Served on `telemetry.metrics_listen` as `/metrics`, in the text format of Prometheus.",
        "",
        "| metric | kind | meaning |",
        "|---|---|---|",
    ]
    for name, (kind, unit, meaning) in metrics.INSTRUMENTS.items():
        lines.append(f"| `{_exposed(name, kind, unit)}` | {kind} | {meaning} |")
    return "\n".join(lines) + "\n"


PAGES: Final[Mapping[str, Callable[[], str]]] = {
    "configuration.md": config_file.render_markdown,
    "errors.md": errors.render_markdown,
    "telemetry.md": telemetry_markdown,
}
"""File name -> what renders it."""


def _exposed(name: str, kind: str, unit: str) -> str:
    """Gives the name under which Prometheus sees an instrument."""
    seconds = "_seconds" if unit == "s" else ""
    return f"jukinet_{name}{seconds}{'_total' if kind == 'counter' else ''}"


if __name__ == "__main__":
    for page, render in PAGES.items():
        Path(__file__).with_name(page).write_text(render(), encoding="utf-8")
