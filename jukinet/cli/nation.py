"""`jukinet nation`: a synthetic nation as change files (異動データ), by seed. Nobody in it exists."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from jukinet.cli.output import JSON_HELP, Exit, Failure, failures_told, show, show_json

app = typer.Typer(
    no_args_is_help=True,
    help="Synthetic residents and what happens to them, as change files (異動データ). The same seed, the same bytes.",
)

# A fixed day, and not today: the same command is to give the same files on every day.
_FIRST_LOAD: Final = datetime(2026, 4, 1)  # noqa: DTZ001 - a day of the register, not a moment
_DAY: Final = ["%Y-%m-%d"]


class Encoding(StrEnum):
    """Encodings that a change file may have."""

    UTF_8 = "utf-8"
    CP932 = "cp932"


Directory = Annotated[Path, typer.Argument(metavar="DIR", help="Where the files go: CODE.csv and truth.jsonl.")]
Municipalities = Annotated[
    list[str], typer.Option("--municipality", metavar="CODE", help="Six-digit code; repeat for more.")
]
Count = Annotated[int, typer.Option(min=1, help="Residents in all.")]
Seed = Annotated[int, typer.Option(help="The same seed gives the same nation.")]
On = Annotated[
    datetime,
    typer.Option(
        formats=_DAY, metavar="YYYY-MM-DD", help="Day of the first load.", show_default=f"{_FIRST_LOAD:%Y-%m-%d}"
    ),
]
EncodingOption = Annotated[Encoding, typer.Option(help="Encoding of the CSV files.")]
JapaneseHeader = Annotated[bool, typer.Option("--japanese-header", help="Write the Japanese column names.")]
AsJson = Annotated[bool, typer.Option("--json", help=JSON_HELP)]


@app.command()
def residents(
    directory: Directory,
    municipality: Municipalities,
    count: Count = 1000,
    seed: Seed = 1,
    on: On = _FIRST_LOAD,
    encoding: EncodingOption = Encoding.UTF_8,
    japanese_header: JapaneseHeader = False,
    as_json: AsJson = False,
) -> None:
    """Write the first load of municipalities: one CSV each, and the registers that must follow (truth.jsonl).

    Example: jukinet nation residents load --municipality 131016 --municipality 011002 --count 500 --seed 7
    """
    with failures_told(), _nation_errors_told():
        from nation import write_residents

        written = write_residents(
            directory,
            municipality,
            count=count,
            seed=seed,
            on=on.date(),
            encoding=encoding.value,
            japanese_header=japanese_header,
        )
        _show(written, as_json)


@app.command()
def changes(
    directory: Directory,
    municipality: Municipalities,
    start: Annotated[datetime, typer.Option("--from", formats=_DAY, metavar="YYYY-MM-DD", help="First day.")],
    end: Annotated[datetime, typer.Option("--to", formats=_DAY, metavar="YYYY-MM-DD", help="Last day.")],
    count: Count = 1000,
    seed: Seed = 1,
    on: On = _FIRST_LOAD,
    intensity: Annotated[float, typer.Option(min=0.0, help="How often things happen; 1 = as in Japan.")] = 1.0,
    outside_share: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Share of moves from and to municipalities that are not here.")
    ] = 0.02,
    every_reason: Annotated[
        bool, typer.Option("--every-reason", help="Let each life event happen at least once.")
    ] = False,
    encoding: EncodingOption = Encoding.UTF_8,
    japanese_header: JapaneseHeader = False,
    as_json: AsJson = False,
) -> None:
    """Write the changes (異動) of a period, for the residents that the same options gave `nation residents`.

    Example: jukinet nation changes april --municipality 131016 --count 500 --seed 7 --from 2026-04-02 --to 2026-04-30
    """
    with failures_told(), _nation_errors_told():
        from nation import write_changes

        written = write_changes(
            directory,
            municipality,
            count=count,
            seed=seed,
            on=on.date(),
            start=start.date(),
            end=end.date(),
            intensity=intensity,
            outside_share=outside_share,
            at_least_once=every_reason,
            encoding=encoding.value,
            japanese_header=japanese_header,
        )
        _show(written, as_json)


@contextmanager
def _nation_errors_told() -> Iterator[None]:
    from nation import NotWritableError, PeriodOrderError, UnknownMunicipalityError

    try:
        yield
    except (UnknownMunicipalityError, PeriodOrderError, NotWritableError) as error:
        raise Failure(str(error), Exit.USAGE) from None


def _show(written: list[Path], as_json: bool) -> None:
    lines = {path: path.read_bytes().count(b"\n") - 1 for path in written}
    if as_json:
        show_json({"files": [{"file": str(path), "changes": count} for path, count in lines.items()]})
        return
    for path, count in lines.items():
        show(f"{path}\t{count} changes")
