"""How many and how old: the yearly numbers of Japan that the life events follow.

Counts marked A are official numbers of 2024; those marked B have no published source and are set to a plausible size.
"""

from collections.abc import Mapping
from typing import Final

RESIDENTS: Final = 124_330_690
"""Registered residents, 2025-01-01 (A)."""

INTER_PREFECTURE_SHARE: Final = 2_523_249 / 5_207_746
"""Part of the moves between municipalities that cross a prefecture border, 2024 (A)."""

PERSONS_A_YEAR: Final[Mapping[str, float]] = {
    "birth": 687_689,  # A
    "death": 1_599_850,  # A
    "move_between": 5_207_746,  # A, persons
    "move_within": 4_500_000,  # B, persons
    "from_abroad": 735_883,  # A, persons
    "to_abroad": 371_615,  # A, persons
    "marriage": 485_092,  # A, couples
    "divorce": 185_904,  # A, couples
    "minor_correction": 300_000,  # B
    "reading_correction": 500_000,  # B
    "code_request": 20_000,  # B
    "code_ex_officio": 1_000,  # B
    "number_request": 5_000,  # B
    "number_ex_officio": 1_000,  # B
    "naturalization": 8_500,  # B
    "loss_of_nationality": 1_500,  # B
    "entry_ex_officio": 1_000,  # B
    "deletion_ex_officio": 15_000,  # B
}

# Deaths per person and year at the ages from the first number on; rounded from the shape of the life table (B). The
# number of deaths follows PERSONS_A_YEAR, this table says only who is likely to be the one.
_DEATHS_FROM_AGE = (
    (100, 0.42), (95, 0.28), (90, 0.17), (85, 0.09), (80, 0.05), (75, 0.027), (70, 0.016), (65, 0.010), (60, 0.006),
    (50, 0.003), (40, 0.0012), (1, 0.0004), (0, 0.0018),
)  # fmt: skip

# How eager people are to leave a municipality, beside those aged 20 to 29 (B).
_MOVES_FROM_AGE = ((60, 0.10), (40, 0.25), (30, 0.60), (20, 1.0), (18, 0.7), (0, 0.0))

_BIRTHS_FROM_AGE = ((45, 0.0), (40, 0.15), (35, 0.55), (25, 1.0), (20, 0.3), (0, 0.0))


def _at(table: tuple[tuple[int, float], ...], age: int) -> float:
    return next(rate for first, rate in table if age >= first)


def death_rate(age: int) -> float:
    """Relative chance to die within a year at this age, at most 0.42."""
    return _at(_DEATHS_FROM_AGE, age)


def move_rate(age: int) -> float:
    """Relative chance that a person of this age is the one who decides to move, at most 1."""
    return _at(_MOVES_FROM_AGE, age)


def birth_rate(age: int) -> float:
    """Relative chance that a married woman of this age has a child, at most 1."""
    return _at(_BIRTHS_FROM_AGE, age)


# Persons by age group of five years from 0-4 to 95 and over, in ten thousands (population estimates of 2024, rounded).
AGE_PYRAMID: Final = (399, 473, 516, 544, 623, 650, 640, 679, 757, 885, 955, 834, 750, 715, 820, 790, 590, 405, 205, 72)
