"""`jukinet bench`: what the network costs, measured beside a floor in the same run."""

import asyncio
import selectors
from typing import TYPE_CHECKING, Annotated

import typer

from jukinet.cli.output import JSON_HELP, Failure, failures_told, show, show_json, show_table

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any

    from bench.results import Report

app = typer.Typer(no_args_is_help=True, help="Measure what the network costs, beside a floor in the same run.")

Rounds = Annotated[int, typer.Option(min=1, help="How often product and floor take turns; medians are reported.")]
AsJson = Annotated[bool, typer.Option("--json", help=JSON_HELP)]


@app.command()
def link(
    changes: Annotated[int, typer.Option(min=1, help="Changes of each round's rate.")] = 5000,
    seconds: Annotated[float, typer.Option(min=0.1, help="Length of each round's latency at 200/s.")] = 3.0,
    rounds: Rounds = 3,
    as_json: AsJson = False,
) -> None:
    """Measure a change's way, intake to center: changes a second, and how soon one is visible there.

    Floor of the rate: the same rules, tables and commits in one plain script a tier. Floor of the time: three durable
    commits and two calls, at the same pace; beside it the same without pauses.

    Exit codes: 0 both sides did all the work, 1 they did not.

    Example: jukinet bench link --json
    """
    from bench.link import run_link

    _report(run_link(changes=changes, seconds=seconds, rounds=rounds), as_json)


@app.command()
def inquiry(
    residents: Annotated[int, typer.Option(min=1, help="Residents in the center's register.")] = 10_000,
    seconds: Annotated[float, typer.Option(min=0.1, help="Length of each of the four parts of a round.")] = 3.0,
    rounds: Rounds = 3,
    as_json: AsJson = False,
) -> None:
    """Measure a lawful question, agency to center and back: inquiries a second, and the latency at half that rate.

    Floor: two processes that echo messages of the same sizes over mutual TLS.

    Exit codes: 0 every question was answered and recorded, 1 not.

    Example: jukinet bench inquiry --json
    """
    from bench.inquiry import run_inquiry

    _report(run_inquiry(residents=residents, seconds=seconds, rounds=rounds), as_json)


@app.command()
def batch(
    residents: Annotated[int, typer.Option(min=1, help="Residents in the center's register.")] = 10_000,
    persons: Annotated[int, typer.Option(min=1, help="Persons asked about in a round.")] = 20_000,
    rounds: Rounds = 3,
    as_json: AsJson = False,
) -> None:
    """Measure a batch, agency to center and back: persons a second on two streams, and what one costs each node.

    Floor: two processes that echo messages of the same sizes over mutual TLS, on as many streams.

    Exit codes: 0 every person was found and recorded, 1 not.

    Example: jukinet bench batch --json
    """
    from bench.batch import run_batch

    _report(run_batch(residents=residents, persons=persons, rounds=rounds), as_json)


@app.command()
def drain(
    changes: Annotated[int, typer.Option(min=2000, help="Changes of the backlog.")] = 100_000,
    as_json: AsJson = False,
) -> None:
    """Measure how fast a CS's backlog goes up to the center once the link is back, over both hops.

    Floor: one plain script that applies the same batches to one register. Takes some minutes, most of them to make the
    backlog.

    Exit codes: 0 all of it arrived, 1 it did not.

    Example: jukinet bench drain --changes 20000 --json
    """
    from bench.drain import run_drain

    _report(run_drain(changes=changes), as_json)


@app.command()
def rebuild(
    residents: Annotated[int, typer.Option(min=3000, help="Residents of the three municipalities together.")] = 120_000,
    as_json: AsJson = False,
) -> None:
    """Measure how fast a lost prefecture and a lost center are made again from below while others go on reporting.

    Floor: one plain script that takes the same chunks into one register. Takes some minutes, most of them to make the
    registers.

    Exit codes: 0 all tiers hold the same afterwards, 1 they do not.

    Example: jukinet bench rebuild --residents 30000 --json
    """
    from bench.rebuild import run_rebuild

    _report(run_rebuild(residents=residents), as_json)


@app.command()
def poison(
    changes: Annotated[int, typer.Option(min=2000, help="Changes of each register, of 1,000 residents.")] = 10_000,
    batch: Annotated[int, typer.Option(min=1, help="Changes of one transaction.")] = 10,
    as_json: AsJson = False,
) -> None:
    """Measure what one change that cannot be applied costs the others: two registers, one stream, one change spoilt.

    Exit codes: 0 exactly that resident's changes were parked, 1 others too.

    Example: jukinet bench poison --json
    """
    from bench.poison import run_poison

    async def run() -> "Report":
        return run_poison(changes=changes, batch=batch)

    _report(run(), as_json)


@app.command()
def ledger(
    entries: Annotated[int, typer.Option(min=1, help="Entries of each round.")] = 30_000,
    waiting: Annotated[int, typer.Option(min=1, help="Questions that wait for their entries at once.")] = 64,
    rounds: Rounds = 3,
    as_json: AsJson = False,
) -> None:
    """Measure an entry's way into the ledger: entries a second, and how long a question waits for its own.

    Floor: as many rows of 300 bytes, as many a transaction as questions wait, by a plain script.

    Exit codes: 0 the ledger holds every entry, 1 it does not.

    Example: jukinet bench ledger --json
    """
    from bench.ledger import run_ledger

    _report(run_ledger(entries=entries, waiting=waiting, rounds=rounds), as_json)


@app.command()
def search(
    small: Annotated[int, typer.Option(min=1, help="Residents of the small register.")] = 100_000,
    large: Annotated[int, typer.Option(min=1, max=100_000_000, help="Residents of the large one.")] = 3_000_000,
    questions: Annotated[int, typer.Option(min=1, help="Questions of each kind to each register.")] = 5_000,
    as_json: AsJson = False,
) -> None:
    """Measure a look-up at the center, by four items and by number, in a large register beside a small one.

    Floor: the same look-up in the small register, in turns. Takes some minutes and about 1.2 GB of disk, to make the
    registers.

    Exit codes: 0 every question found its person, 1 not.

    Example: jukinet bench search --large 1000000 --json
    """
    from bench.search import run_search

    _report(run_search(small=small, large=large, questions=questions), as_json)


def _report(running: "Coroutine[Any, Any, Report]", as_json: bool) -> None:
    from bench.results import WorkDiffers, machine

    with failures_told():
        try:
            with asyncio.Runner(loop_factory=_exact_loop) as runner:
                report = runner.run(running)
        except WorkDiffers as differs:
            raise Failure(f"The numbers cannot be compared: {differs}.") from None
        if as_json:
            show_json(report.as_dict())
            return
        rows = [
            [
                each["measure"],
                f"{each['value']:g} {each['unit']}",
                f"{each['floor']:g} {each['unit']}",
                f"{each['ratio']:g}",
            ]
            for each in report.as_dict()["results"]
        ]
        show_table([report.name, "jukinet", "floor", "ratio"], rows)
        before, after = report.load
        show(f"{machine()}; load average {before:.1f} before, {after:.1f} after")


def _exact_loop() -> asyncio.AbstractEventLoop:
    """An event loop whose timers are exact: epoll wakes at whole milliseconds only, late by up to one."""
    return asyncio.SelectorEventLoop(selectors.SelectSelector())
