"""The progress of a command that works a file off, line by line."""

import sys
from typing import Final

_REFUSALS_SHOWN: Final = 20
"""All of them stand in the reject file; these first ones show what kind of mistake it is."""


class LinesSettled:
    """Shows on standard error how many lines are settled, where a person looks at it, and which were refused first.

    Args:
        of: how many there are, where that is known.
    """

    def __init__(self, of: int | None = None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        text = "{task.completed:,.0f} lines settled" if of is None else "{task.completed:,.0f} of {task.total:,.0f}"
        columns = (TextColumn(text), BarColumn(), TimeElapsedColumn(), *([TimeRemainingColumn()] if of else []))
        console = Console(stderr=True)
        self._bar = Progress(*columns, console=console, disable=not sys.stderr.isatty(), transient=True)
        self._task = self._bar.add_task("", total=of)
        self._refused = 0

    def __enter__(self) -> None:
        self._bar.start()

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def settled(self, lines: int) -> None:
        """Takes the number of settled lines."""
        self._bar.update(self._task, completed=lines)

    def refused(self, line: int, column: str, reason: str) -> None:
        """Takes a refused line: its number, the column at fault or an empty text, the reason."""
        self._refused += 1
        if self._refused > _REFUSALS_SHOWN:
            return
        text = f"line {line}{f', {column}' if column else ''}: {reason}"
        # Through the bar's own console, which keeps the bar below what is printed.
        self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
