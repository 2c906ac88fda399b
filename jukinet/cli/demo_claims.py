"""What the demo claims, and how it says so: a table for people, one JSON object for programs."""

import time
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Claim:
    """One thing that the demo shows; `detail` tells what was counted."""

    text: str
    held: bool
    detail: str = ""


@dataclass(slots=True)
class Claims:
    """The claims of one run, in the order in which they were checked."""

    console: Console
    started: float = field(default_factory=time.monotonic)
    made: list[Claim] = field(default_factory=list)

    def make(self, text: str, held: bool, detail: str = "") -> bool:
        """Notes a claim and whether it held."""
        self.made.append(Claim(text, held, detail))
        mark = "[green]✓[/]" if held else "[red]✗[/]"
        # A node's last words may hold brackets, which are not ours.
        counted = f"  [dim]{escape(detail)}[/]" if detail else ""
        self.console.print(f"  {mark} {escape(text)}{counted}", highlight=False)
        return held

    @property
    def all_held(self) -> bool:
        """Whether the run showed everything that it claims."""
        return bool(self.made) and all(claim.held for claim in self.made)

    @property
    def seconds(self) -> float:
        """How long the run has taken."""
        return time.monotonic() - self.started

    def as_json(self) -> dict[str, Any]:
        """The result in the stable form of `jukinet demo --json`."""
        claims = [{"claim": claim.text, "held": claim.held} for claim in self.made]
        return {"claims": claims, "seconds": round(self.seconds, 1)}

    def show_table(self) -> None:
        """Prints what was proved and how long it took."""
        table = Table(title=f"What was shown in {self.seconds:.1f} s", title_justify="left")
        for name in ("", "claim", "counted"):
            table.add_column(name)
        for claim in self.made:
            table.add_row(
                "[green]held[/]" if claim.held else "[red]FAILED[/]", escape(claim.text), escape(claim.detail)
            )
        self.console.print(table)
