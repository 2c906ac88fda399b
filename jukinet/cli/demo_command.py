"""`jukinet demo`: the main job on real processes, every claim checked."""

import asyncio
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Annotated

import typer

from jukinet.cli.output import JSON_HELP, Exit, failures_told, require_new_file, show_json


def demo(
    folder: Annotated[
        Path | None, typer.Option("--dir", metavar="DIR", help="Make the mesh there and leave its files; a new folder.")
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the mesh running until Ctrl-C.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    """Run center, prefectures, municipalities and a gateway as real processes, and check what the network promises.

    Synthetic residents are entered, a month of life follows, a prefecture is killed in the middle, agencies ask. Needs
    no network, no privileges and some minutes. Exit code 0 only if every claim that it prints held.

    Example: jukinet demo --json
    """
    with failures_told():
        from rich.console import Console

        from jukinet.cli.demo import run_demo

        if folder is not None:
            require_new_file(folder)
        # What ends the demo early, ends it as Ctrl-C does: nodes drained, nothing left in the temporary folder.
        signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
        # Removed when asyncio.run has waited for all threads: one may still write there when the demo is cancelled.
        with nullcontext(folder) if folder else _temporary_folder() as root:
            claims = asyncio.run(run_demo(console=Console(stderr=as_json), folder=root, keep=keep))
        if as_json:
            show_json(claims.as_json())
        if not claims.all_held:
            raise typer.Exit(Exit.REFUSED)


@contextmanager
def _temporary_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="jukinet-demo-") as folder:
        yield Path(folder)
