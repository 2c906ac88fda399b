"""The nation as files: one intake CSV for each municipality, and the registers that must follow (`truth.jsonl`)."""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path

from nation.nation import Nation
from nation.register import TrueRegisters
from nation.submissions import HEADERS, Submission

TRUTH = "truth.jsonl"


class NotWritableError(ValueError):
    """A line holds a character that the encoding of the file lacks; ask the nation for names of that encoding."""


def to_csv(submissions: Iterable[Submission], *, encoding: str = "utf-8", japanese_header: bool = False) -> bytes:
    """Write submissions as one intake CSV.

    Raises: NotWritableError, naming the line, where the encoding lacks a character.
    """
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(HEADERS.values() if japanese_header else HEADERS)
    lines = [text.getvalue().encode(encoding)]
    for number, submission in enumerate(submissions, start=2):
        text.seek(0)
        text.truncate()
        writer.writerow([submission.row.get(column, "") for column in HEADERS])
        try:
            lines.append(text.getvalue().encode(encoding))
        except UnicodeEncodeError:
            raise NotWritableError(f"line {number} cannot be written as {encoding}") from None
    return b"".join(lines)


def write_csv(
    directory: Path, submissions: Iterable[Submission], *, encoding: str = "utf-8", japanese_header: bool = False
) -> list[Path]:
    """Write one file for each municipality, named by its code, in the order of filing; list the files.

    Raises: NotWritableError.
    """
    by_municipality: dict[str, list[Submission]] = {}
    for submission in submissions:
        by_municipality.setdefault(submission.municipality, []).append(submission)
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    for code in sorted(by_municipality):
        path = directory / f"{code}.csv"
        path.write_bytes(to_csv(by_municipality[code], encoding=encoding, japanese_header=japanese_header))
        written.append(path)
    return written


def write_truth(path: Path, registers: TrueRegisters) -> None:
    """Write every register, one resident a line: `scope` is a six-digit code or `center`, the rest as in `Resident`."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for scope, resident in registers:
            file.write(json.dumps(resident.as_json(scope), ensure_ascii=False, separators=(",", ":")) + "\n")


def write_residents(
    directory: Path,
    codes: Sequence[str],
    *,
    count: int,
    seed: int,
    on: date,
    encoding: str = "utf-8",
    japanese_header: bool = False,
    weights: Mapping[str, float] | None = None,
) -> list[Path]:
    """Write the first load of a nation and the registers after it; list the CSV files.

    Args: as of `Nation`; `japanese_header` writes the Japanese column names.

    Raises: UnknownMunicipalityError.
    """
    nation = Nation(codes, count=count, seed=seed, on=on, encoding=encoding, weights=weights)
    written = write_csv(directory, nation.residents(), encoding=encoding, japanese_header=japanese_header)
    write_truth(directory / TRUTH, nation.registers)
    return written


def write_changes(
    directory: Path,
    codes: Sequence[str],
    *,
    count: int,
    seed: int,
    on: date,
    start: date,
    end: date,
    intensity: float = 1.0,
    outside_share: float = 0.02,
    at_least_once: bool = False,
    encoding: str = "utf-8",
    japanese_header: bool = False,
    weights: Mapping[str, float] | None = None,
) -> list[Path]:
    """Write the changes of a period and the registers after it; list the CSV files.

    The residents are those of `write_residents` with the same arguments; its files come first.

    Args: as of `Nation` and `Nation.changes`; `japanese_header` writes the Japanese column names.

    Raises: UnknownMunicipalityError, PeriodOrderError.
    """
    nation = Nation(codes, count=count, seed=seed, on=on, encoding=encoding, weights=weights)
    changes = nation.changes(start, end, intensity=intensity, outside_share=outside_share, at_least_once=at_least_once)
    written = write_csv(directory, changes, encoding=encoding, japanese_header=japanese_header)
    write_truth(directory / TRUTH, nation.registers)
    return written
