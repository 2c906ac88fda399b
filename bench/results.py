"""What a benchmark found: each measure beside its floor of the same run, as text and as the JSON that stays put.

Rule: a number alone says how busy the machine was. Product and floor take turns on the same machine in the same
minute, and their ratio is what can be compared between machines and versions.
"""

import math
import platform
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import cpu_count, getloadavg
from pathlib import Path
from statistics import median
from typing import Any, Final

_CPUINFO: Final = Path("/proc/cpuinfo")


class WorkDiffers(Exception):
    """Product and floor did not do the same work, or not all of it: their numbers cannot be compared."""


@dataclass(frozen=True, slots=True)
class Result:
    """One measure: the product's value, the floor's in the same unit, and the first divided by the second."""

    measure: str
    value: float
    unit: str
    floor: float
    peer: str | None = None

    @property
    def ratio(self) -> float:
        """Share of the floor's rate, or how many times the floor's time."""
        return self.value / self.floor

    def as_dict(self) -> dict[str, Any]:
        """The result as `--json` prints it."""
        return {
            "measure": self.measure,
            "value": _three_digits(self.value),
            "unit": self.unit,
            "floor": _three_digits(self.floor),
            "peer": self.peer,
            "ratio": _three_digits(self.ratio),
        }


@dataclass(frozen=True, slots=True)
class Report:
    """One run of a benchmark. `load` is the machine's load average over one minute, before and after."""

    name: str
    results: Sequence[Result]
    load: tuple[float, float]

    def as_dict(self) -> dict[str, Any]:
        """The report as `--json` prints it: name, machine and results."""
        return {"name": self.name, "machine": machine(), "results": [result.as_dict() for result in self.results]}


def medians(name: str, unit: str, values: Sequence[float], floors: Sequence[float]) -> Result:
    """One result of several rounds: the median of the product's values and the median of the floor's."""
    return Result(name, median(values), unit, median(floors))


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest of `values` that at least `share` (0 to 1) of them do not exceed: nearest rank."""
    ordered = sorted(values)
    return ordered[max(math.ceil(share * len(ordered)), 1) - 1]


def same_counts(counts: Mapping[str, int], expected: int) -> None:
    """Makes sure that everyone did the whole work.

    Raises:
        WorkDiffers: a count is another; the text names it.
    """
    wrong = {name: count for name, count in counts.items() if count != expected}
    if wrong:
        raise WorkDiffers(f"expected {expected} each, found {wrong}")


def load_now() -> float:
    """Load average over one minute."""
    return getloadavg()[0]


def machine() -> str:
    """What the numbers depend on: processor, cores, Python, SQLite; never which machine it is."""
    return (
        f"{_processor()}, {cpu_count()} cores, {platform.system()}, "
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}"
    )


def _processor() -> str:
    lines = _CPUINFO.read_text(encoding="utf-8").splitlines() if _CPUINFO.exists() else []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.machine())


def _three_digits(value: float) -> float:
    return float(f"{value:.3g}") if value < 1000 else round(value)
