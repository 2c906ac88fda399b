"""`jukinet ledger report`: the yearly report on provisions (提供の状況の公表, Act art. 30-16) from ledger files."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jukinet.cli.output import Exit, Failure, failures_told

if TYPE_CHECKING:
    from jukinet.ledger.yearly_page import Names
    from jukinet.ledger.yearly_report import YearlyReport


class Format(StrEnum):
    """In which form the report is printed."""

    JSON = "json"
    CSV = "csv"
    PAGE = "page"


def report(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Ledger files, one a gateway.")],
    key: Annotated[list[Path], typer.Option("--key", metavar="FILE", help="Public key of a ledger; repeat for more.")],
    year: Annotated[int, typer.Option(min=2002, max=9998, help="The year (年度) that begins in its April.")],
    form: Annotated[Format, typer.Option("--format", help="`page` is HTML in Japanese and English.")] = Format.PAGE,
    checkpoint: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Signed note up to which a ledger is read; its own last one by default."),
    ] = None,
    ended: Annotated[
        list[str] | None,
        typer.Option(metavar="ORIGIN", help="Ledger of a gateway out of service: every month is over in it."),
    ] = None,
    agencies: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Agency directory, for names beside the ids.")
    ] = None,
) -> None:
    """Print the yearly report: who was provided with how many records, by month and method; refused attempts.

    It is computed from ledgers alone, and again from the same checkpoints gives the same bytes. It goes up to the last
    month that is over in each of them: the newest entry lies after it. No number under ten is in it, but for attempts
    of private organisations.

    Exit codes: 0 printed, 1 a ledger is not what was signed, 2 a file cannot be read as what it should be.

    Example: jukinet ledger report ledger.jsonl --key mesh/ledger-gateway-1.vkey --year 2026 > report-2026.html
    """
    from jukinet.ledger.yearly_page import as_csv, as_json, as_page

    with failures_told():
        made = _made(year, files, key, checkpoint or [], ended or [])
        names = _names(agencies) if agencies else {}
        print({Format.JSON: as_json, Format.CSV: as_csv, Format.PAGE: as_page}[form](made, names), end="")


def _made(year: int, files: list[Path], keys: list[Path], checkpoints: list[Path], ended: list[str]) -> "YearlyReport":
    from jukinet.ledger.verify.findings import Unsound
    from jukinet.ledger.verify.notes import read_key
    from jukinet.ledger.yearly_report import report_year

    try:
        read = [read_key(path.read_text(encoding="utf-8")) for path in keys]
        return report_year(year, files, read, [path.read_text(encoding="utf-8") for path in checkpoints], ended)
    except Unsound as unsound:
        raise Failure(f"There is no report: {unsound}.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(f"A file cannot be read: {error}", Exit.USAGE) from None


def _names(path: Path) -> "Names":
    from jukinet.ledger.yearly_page import Name
    from jukinet.purpose.agencies import AgencyDirectoryError, load_names

    try:
        return {agency: Name(*name) for agency, name in load_names(path).items()}
    except AgencyDirectoryError as error:
        raise Failure(str(error), Exit.USAGE) from None
