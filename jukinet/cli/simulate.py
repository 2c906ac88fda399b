"""`jukinet simulate`: the deterministic nation under faults, judged by an independent checker."""

import json
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jukinet.cli.output import (
    JSON_HELP,
    Exit,
    Failure,
    failures_told,
    require_new_file,
    show,
    show_json,
    show_table,
    tell,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from jukinet.simulate.campaign import Campaign
    from jukinet.simulate.nation import Mode

    Kept = Callable[[range, tuple[Mode, ...], Callable[[], None]], Campaign]


class Modes(StrEnum):
    """What a seed is run for."""

    SAFETY = "safety"
    LIVENESS = "liveness"
    BOTH = "both"


def simulate(
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds, one after the other.")] = 100,
    seed: Annotated[int, typer.Option(min=0, help="The first seed.")] = 0,
    mutants: Annotated[
        bool, typer.Option("--mutants", help="Break one rule at a time and see whether so many seeds notice it.")
    ] = False,
    mode: Annotated[Modes, typer.Option(help="What is judged: safety, liveness or both.")] = Modes.BOTH,
    history: Annotated[
        Path | None, typer.Option(help="New file for the history of the first seed, one JSON object a line.")
    ] = None,
    results: Annotated[
        Path | None, typer.Option(help="File that keeps what is done, and from which a later call goes on.")
    ] = None,
    minutes: Annotated[int | None, typer.Option(min=1, help="With --results: stop after so many minutes.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    """Simulate three municipalities, two prefectures and the center under faults, and judge what they did.

    The nodes run the product's own code; only network, clock and disk are simulated. One seed is always the same run.

    Exit codes: 0 every promise held (with --mutants: every mutant was found), 1 not, or not all is done, 2 wrong usage.

    Example: jukinet simulate --seeds 1000 --json
    """
    with failures_told():
        if history:
            _write_history(history, seed, mode)
        elif mutants:
            _mutants(seed, seeds, as_json)
        else:
            _seeds(range(seed, seed + seeds), _modes(mode), as_json, _kept(results, minutes))


def _modes(mode: Modes) -> "tuple[Mode, ...]":
    if mode is Modes.SAFETY:
        return ("safety",)
    return ("liveness",) if mode is Modes.LIVENESS else ("safety", "liveness")


def _kept(results: Path | None, minutes: int | None) -> "Kept | None":
    """How to run seeds so that what was done is kept."""
    from jukinet.simulate.results import AnotherCampaign, go_on

    if results is None:
        return None
    until = time.monotonic() + minutes * 60 if minutes else math.inf

    def kept(seeds: range, modes: "tuple[Mode, ...]", advance: "Callable[[], None]") -> "Campaign":
        try:
            return go_on(results, seeds, modes, out_of_time=lambda: time.monotonic() > until, progress=advance)
        except AnotherCampaign as error:
            raise Failure(f"{results}: {error.__doc__}", Exit.USAGE) from None

    return kept


def _seeds(seeds: range, modes: "tuple[Mode, ...]", as_json: bool, kept: "Kept | None") -> None:
    from jukinet.simulate.campaign import simulate as campaign

    with _progress("seeds", len(seeds)) as advance:
        found = (kept or campaign)(seeds, modes, advance)
    if as_json:
        show_json(found.as_dict())
    else:
        show_table(["situation", "times"], [[name, str(times)] for name, times in sorted(found.counters.items())])
    _tell_failures(found)
    if not found.held:
        raise Failure("A promise did not hold, or nothing was seen of a situation that it is about.")
    tell(f"{found.seeds} seeds, {' and '.join(modes)}: all promises held.")
    if found.seeds < len(seeds):
        raise Failure(f"{found.seeds} of {len(seeds)} seeds are done: call again to go on.")


def _tell_failures(found: "Campaign") -> None:
    for failed in found.failing[:10]:
        tell(f"Seed {failed.seed} ({failed.mode}, event hash {failed.event_hash[:16]}):")
        for violation in failed.violations[:5]:
            tell(f"  {violation}")
        tell(f"  Replay: jukinet simulate --seed {failed.seed} --seeds 1 --mode {failed.mode}")
    for name in found.too_rare:
        tell(f"Too rare in {found.seeds} seeds: {name}, {found.counters[name]} times")


def _mutants(first: int, seeds: int, as_json: bool) -> None:
    from jukinet.simulate.campaign import kill_all
    from jukinet.simulate.mutants import MUTANTS

    rows: list[list[str]] = []
    with _progress("mutants", len(MUTANTS)) as advance:

        def noticed(name: str, breaks: str, by: str) -> None:
            rows.append([name, breaks, by])
            advance()

        result = kill_all(
            first,
            seeds,
            lambda mutant, run: noticed(
                mutant.name, mutant.breaks, f"seed {run.seed}, {run.mode}: {run.violations[0]}" if run else "SURVIVED"
            ),
        )
    if as_json:
        show_json(result)
    else:
        show_table(["mutant", "breaks", "found by"], rows)
    if result["survivors"]:
        raise Failure(f"Not found within {seeds} seeds: {', '.join(result['survivors'])}.")


def _write_history(path: Path, seed: int, mode: Modes) -> None:
    from jukinet.simulate.nation import run

    require_new_file(path)
    if mode is Modes.BOTH:
        raise Failure("A history is of one run: name --mode safety or --mode liveness.", Exit.USAGE)
    with path.open("w", encoding="utf-8") as file:
        result = run(seed, _modes(mode)[0], lambda entry: print(json.dumps(entry), file=file))
    show(f"{path}: seed {seed}, {mode.value}, event hash {result.event_hash}")
    for violation in result.violations:
        tell(str(violation))
    if result.violations:
        raise Failure("A promise did not hold.")


@contextmanager
def _progress(what: str, total: int) -> "Iterator[Callable[[], None]]":
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.advance(task)
