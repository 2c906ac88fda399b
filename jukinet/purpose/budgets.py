"""How much an agency and its operators may ask (照会の上限): the one table of limits, and how the directory changes it.

Rule: a limit that the directory does not name is the default, which suits an office of clerks; more needs a line that
somebody answers for. So does any batch: a law that lets a row be provided in bulk does not make an agency one that
needs it. What is over a limit is refused and on record, whoever asks and whatever is found.

Source: docs/threat-model.md, threats 15 and 16; the searches of personal curiosity, and the scraping of registers
by many small questions (OWASP API4, API6); docs/decisions/0081-a-batch-needs-a-line.md.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Final


@dataclass(frozen=True)
class Budget:
    """Limits of one agency. "Search" is a question by the four items, a verification too; days are Japan's."""

    operator_searches_minute: int = 30
    operator_searches_day: int = 300
    operator_numbers_minute: int = 120
    """Questions by individual number (個人番号), one operator's."""
    agency_searches_day: int = 1_000
    agency_subjects_day: int = 5_000
    """Different persons asked about one at a time, as they were named."""
    agency_batch_day: int = 0
    """Persons in batches (一括提供), which count for no search and no different person."""
    operator_batch_day: int | None = None
    """The same of one operator; without a line, as many as his agency's, for one machine does its monthly run."""
    row_questions_day: Mapping[str, int] = field(default_factory=dict)
    """Questions about one person under a row of the statute table, by its key; without a line, as many as the others
    allow."""


UNLIMITED: Final = 1_000_000_000
"""For development and load: more than anybody asks."""
LIMITS: Final = frozenset(each.name for each in fields(Budget))
"""Their names, which whoever reached one is told."""
_NUMBERS: Final = LIMITS - {"row_questions_day"}


def row_of(purpose: str) -> str:
    """The row of the statute table whose limit a purpose counts for: `B1-77` of `B1-77.12`."""
    return purpose.partition(".")[0]


def read_budget(entry: object, rows: frozenset[str]) -> Budget:
    """Reads the `budgets` table of one agency.

    Args:
        entry: the table; keys that it lacks have their defaults.
        rows: granted to the agency.

    Raises:
        ValueError: an unknown key, a row that is not granted, or a limit that is no number from 0 on.
    """
    if not isinstance(entry, dict):
        raise ValueError("must be a table of limits")
    if unknown := entry.keys() - _NUMBERS - {"row_questions_day"}:
        raise ValueError(f"unknown limit {', '.join(sorted(unknown))}")
    by_row = entry.get("row_questions_day", {})
    if not isinstance(by_row, dict) or not by_row.keys() <= rows:
        raise ValueError("row_questions_day must be a table of rows that are granted to the agency")
    numbers = {key: entry[key] for key in _NUMBERS & entry.keys()}
    for key, value in {**numbers, **by_row}.items():
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= UNLIMITED:
            raise ValueError(f"{key} must be a number from 0 to {UNLIMITED}")
    return Budget(**numbers, row_questions_day=by_row)


def format_budget(budget: Budget) -> list[str]:
    """The lines of a budget in the directory, tables last; none for the defaults."""
    default = asdict(Budget())
    changed = {key: value for key, value in asdict(budget).items() if value != default[key]}
    by_row = changed.pop("row_questions_day", {})
    lines = ["[agency.budgets]", *(f"{key} = {value}" for key, value in changed.items())] if changed else []
    table = ["[agency.budgets.row_questions_day]", *(f'"{row}" = {by_row[row]}' for row in sorted(by_row))]
    return [*lines, *(table if by_row else [])]
