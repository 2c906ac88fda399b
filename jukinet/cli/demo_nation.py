"""The small nation of the demo: five real municipalities of two prefectures, synthetic residents, one month of life."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from jukinet.mesh.clock import today_in_japan
from nation import Nation, Submission, TrueResident, write_csv

RESIDENTS: Final = 20_000
INTENSITY: Final = 8.0
"""Life events are this many times as frequent as in Japan, so that a small nation shows every kind in a month."""

WEIGHTS: Final[Mapping[str, float]] = {
    "131016": 67,  # Chiyoda, Tokyo
    "131041": 350,  # Shinjuku, Tokyo
    "133086": 5,  # Okutama, Tokyo
    "142018": 380,  # Yokosuka, Kanagawa
    "143821": 11,  # Hakone, Kanagawa
}
"""Municipality codes and rough sizes in thousands of residents."""
LATE: Final = "143821"
"""The municipality that joins when the others already run."""
ASKED: Final = "131041"
"""The municipality whose resident the agencies ask about."""
KILLED: Final = "prefecture-130001"
"""The node that is killed in the middle of the month."""


@dataclass(frozen=True)
class DemoNation:
    """Change files of the demo, and the truth that the registers must reach."""

    nation: Nation
    residents: Mapping[str, Path]
    first_half: Mapping[str, Path]
    second_half: Mapping[str, Path]
    last: Path
    changes: int
    moves_between_prefectures: int

    def someone(self) -> TrueResident:
        """A resident whose record was never changed: a person to ask about."""
        register = self.nation.registers.of("center")
        return next(
            row
            for _, row in sorted(register.items())
            if row.status == "ACTIVE"
            and row.version == 1
            and row.holder == ASKED
            and "alias" not in row.record
            and "-00" not in row.record["birth_date"]
            and "individual_number" in row.record
        )


def make_demo_nation(folder: Path, count: int = RESIDENTS) -> DemoNation:
    """Writes the change files into `folder`: the same nation each time, dated up to today."""
    today = today_in_japan()
    start = today - timedelta(days=31)
    nation = Nation(list(WEIGHTS), count=count, seed=20261124, on=start, weights=WEIGHTS)
    residents = _write(folder, "residents", nation.residents())
    changes = nation.changes(start + timedelta(days=1), today, intensity=INTENSITY, at_least_once=True)
    middle = start + timedelta(days=16)
    last = max(index for index, change in enumerate(changes) if change.municipality == ASKED)
    later = [change for index, change in enumerate(changes) if change.filed > middle and index != last]
    return DemoNation(
        nation=nation,
        residents=residents,
        first_half=_write(folder, "first-half", [change for change in changes if change.filed <= middle]),
        second_half=_write(folder, "second-half", later),
        last=_write(folder, "last", [changes[last]])[ASKED],
        changes=len(changes),
        moves_between_prefectures=sum(_crosses(change) for change in changes),
    )


def _write(folder: Path, name: str, submissions: Iterable[Submission]) -> dict[str, Path]:
    return {path.stem: path for path in write_csv(folder / name, submissions)}


def _crosses(change: Submission) -> bool:
    previous = change.row.get("previous_municipality", "")
    return bool(previous) and previous[:2] != change.municipality[:2]
