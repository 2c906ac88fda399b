"""What a verification found wrong, whatever it verified."""

from dataclasses import dataclass, field
from typing import Any

MAX_FINDINGS = 100

EXIT_SOUND = 0
EXIT_BAD = 1
EXIT_UNREADABLE = 2


class Unsound(Exception):
    """A signed note, a ledger line or a receipt is not what it must be; the text says why."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: which check failed, why, and for which entries (from first to last), where known."""

    check: str
    message: str
    first: int | None = None
    last: int | None = None


@dataclass
class Findings:
    """All that is wrong. What was verified is sound only when there is no finding at all."""

    first_ones: list[Finding] = field(default_factory=list)
    left_out: int = 0
    unreadable: bool = False
    """Whether a file could not be read as what it should be."""

    @property
    def sound(self) -> bool:
        """Whether every check held."""
        return not self.first_ones

    @property
    def exit_code(self) -> int:
        """0 sound, 1 not sound, 2 a file could not be read."""
        if self.unreadable:
            return EXIT_UNREADABLE
        return EXIT_SOUND if self.sound else EXIT_BAD

    def add(self, finding: Finding) -> None:
        """Keeps a finding; of very many only the first ones."""
        if len(self.first_ones) < MAX_FINDINGS:
            self.first_ones.append(finding)
        else:
            self.left_out += 1

    def stopped(self, error: Exception) -> None:
        """Keeps that a file could not be read: the text of Unsound, of any other error only the kind."""
        text = str(error) if isinstance(error, Unsound) else f"a file cannot be read: {type(error).__name__}"
        self.add(Finding("input", text))
        self.unreadable = True

    def to_dict(self) -> dict[str, Any]:
        """For the end of a report in JSON."""
        return {"findings": [vars(finding) for finding in self.first_ones], "findings_left_out": self.left_out}

    def lines(self) -> list[str]:
        """For a report for people."""
        lines = [f"{finding.check:<12} {finding.message}" for finding in self.first_ones]
        return [*lines, f"             and {self.left_out} more"] if self.left_out else lines
