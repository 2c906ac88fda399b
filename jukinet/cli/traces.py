"""`jukinet traces serve` and `jukinet trace`: one change or inquiry, followed through all nodes."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jukinet.cli.output import JSON_HELP, Exit, Failure, failures_told, show, show_json

if TYPE_CHECKING:
    from jukinet.traces.store import Span

app = typer.Typer(no_args_is_help=True, help="The trace console: takes spans over OTLP, shows them in a browser.")


@app.command()
def serve(
    db: Annotated[Path, typer.Option("--db", metavar="FILE", help="SQLite file of the spans; made if missing.")],
    grpc: Annotated[
        str, typer.Option("--grpc", metavar="HOST:PORT", help="Where spans are taken (OTLP).")
    ] = "127.0.0.1:4317",
    http: Annotated[str, typer.Option("--http", metavar="HOST:PORT", help="Where the pages are.")] = "127.0.0.1:4380",
    address_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Gets both URLs as JSON instead of standard output.")
    ] = None,
) -> None:
    """Collect the nodes' spans and show them, on this machine alone, until SIGTERM or Ctrl-C.

    Example: jukinet traces serve --db traces.db
    """
    with failures_told():
        from jukinet.traces import console
        from jukinet.traces.store import TracesError

        try:
            asyncio.run(console.serve(db, grpc, http, address_file=address_file))
        except TracesError as error:
            raise Failure(str(error), Exit.CONFIGURATION) from None


def trace(
    trace_id: Annotated[str, typer.Argument(metavar="ID", help="32 hex digits, as `jukinet submit --trace` prints.")],
    db: Annotated[
        Path, typer.Option("--db", metavar="FILE", help="SQLite file of the spans.", exists=True, dir_okay=False)
    ],
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    """Show one trace as a tree across all nodes that took part, with how long each step took.

    Exit codes: 0 shown, 1 there is no such trace (yet: nodes send their spans every few seconds).

    Example: jukinet trace 0af7651916cd43dd8448eb211c80319c --db traces.db
    """
    with failures_told():
        from jukinet.traces.store import SpanStore, TracesError
        from jukinet.traces.tree import render, tree, walk

        try:
            with SpanStore(db) as store:
                roots = tree(store, trace_id.lower())
        except TracesError as error:
            raise Failure(str(error), Exit.CONFIGURATION) from None
        if not roots:
            raise Failure(f"{db} holds no such trace; its spans may still be on their way.")
        if as_json:
            show_json({"trace": trace_id.lower(), "spans": [_as_json(depth, node.span) for depth, node in walk(roots)]})
        else:
            show(render(roots).rstrip("\n"))


def _as_json(depth: int, span: "Span") -> dict[str, Any]:
    return {
        "depth": depth,
        "span": span.span_id,
        "parent": span.parent_id or None,
        "process": span.process,
        "name": span.name,
        "start_ns": span.start_ns,
        "seconds": span.seconds,
        "failed": span.failed,
        "reason": span.reason or None,
        "attributes": dict(span.attributes),
    }
