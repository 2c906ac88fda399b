"""Names of foreign residents (外国人住民): Latin letters as on the residence card, with a reading in katakana.

Some go by an alias (通称) as well. The lists are in `foreign_names.csv`.
"""

import csv
from functools import cache
from pathlib import Path
from random import Random
from typing import Final

from nation.names import SPACE, Spelling, Weighted

# ISO 3166 codes with the part of all foreign residents, in the order of the largest groups, and the part of these who
# use an alias. Round numbers, not statistics.
_ORIGINS: Final = {
    "CN": (0.27, 0.10),
    "VN": (0.22, 0.0),
    "KR": (0.14, 0.70),
    "PH": (0.11, 0.05),
    "BR": (0.10, 0.15),
    "NP": (0.10, 0.0),
    "US": (0.06, 0.0),
}
_BY_SHARE = Weighted(list(_ORIGINS), [share for share, _ in _ORIGINS.values()])


@cache
def _names() -> dict[tuple[str, str], list[Spelling]]:
    """List names by origin and part: surname, male, female."""
    found: dict[tuple[str, str], list[Spelling]] = {}
    with Path(__file__).with_suffix(".csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            spelling = Spelling(row["latin"], row["katakana"].replace(" ", SPACE))
            found.setdefault((row["origin"], row["part"]), []).append(spelling)
    return found


def draw_origin(rng: Random) -> str:
    """Draw where a household comes from, as an ISO 3166 code."""
    return _BY_SHARE.draw(rng)


def draw_surname(rng: Random, origin: str) -> Spelling:
    """Draw a surname of this origin."""
    return rng.choice(_names()[origin, "surname"])


def draw_given(rng: Random, origin: str, *, male: bool) -> Spelling:
    """Draw given names of this origin."""
    return rng.choice(_names()[origin, "male" if male else "female"])


def alias_share(origin: str) -> float:
    """Tell what part of the people of this origin use an alias."""
    return _ORIGINS[origin][1]
