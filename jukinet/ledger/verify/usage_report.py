"""What the check of an answer to "who received my data?" found."""

import json
from dataclasses import dataclass, field

from jukinet.ledger.verify.findings import EXIT_BAD, EXIT_SOUND, EXIT_UNREADABLE, MAX_FINDINGS, Finding


@dataclass
class UsageReport:
    """Result of the check. It is sound only when there is no finding at all."""

    node: str = ""
    made_at: str = ""
    rows: int = 0
    sealed: int = 0
    """Entries of the period, of whomever, that had not been opened."""
    ledgers: list[str] = field(default_factory=list)
    """Origins of the ledgers that were searched."""
    recounted: list[str] = field(default_factory=list)
    """Origins of those that were counted again: what completeness was checked of."""
    unreadable: bool = False
    findings: list[Finding] = field(default_factory=list)
    findings_left_out: int = 0

    @property
    def sound(self) -> bool:
        """Whether every check held."""
        return not self.findings

    @property
    def complete(self) -> bool:
        """Whether every ledger was counted again, and nothing was found wrong."""
        return self.sound and bool(self.ledgers) and set(self.recounted) == set(self.ledgers)

    @property
    def exit_code(self) -> int:
        """0 sound, 1 not sound, 2 a file could not be read."""
        if self.unreadable:
            return EXIT_UNREADABLE
        return EXIT_SOUND if self.sound else EXIT_BAD

    def add(self, finding: Finding) -> None:
        """Keeps a finding; of very many only the first ones."""
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(finding)
        else:
            self.findings_left_out += 1

    def to_json(self) -> str:
        """The report as one JSON object."""
        return json.dumps(
            {
                "sound": self.sound,
                "complete": self.complete,
                "node": self.node,
                "made_at": self.made_at,
                "rows": self.rows,
                "sealed": self.sealed,
                "ledgers": self.ledgers,
                "recounted": self.recounted,
                "findings": [vars(finding) for finding in self.findings],
                "findings_left_out": self.findings_left_out,
            },
            ensure_ascii=False,
        )

    def to_text(self) -> str:
        """The report for people, ending in a newline."""
        left = [origin for origin in self.ledgers if origin not in self.recounted]
        lines = [
            f"answer of    {self.node or '?'}, {self.made_at or '?'}",
            f"rows         {self.rows}",
            f"sealed       {self.sealed}, of everybody together",
            f"searched     {', '.join(self.ledgers) or 'nothing'}",
            f"recounted    {', '.join(self.recounted) or 'nothing'}",
        ]
        lines += [f"{finding.check:<12} {finding.message}" for finding in self.findings]
        if self.findings_left_out:
            lines.append(f"             and {self.findings_left_out} more")
        if left and self.sound:
            lines.append(f"complete?    give the ledger file of {', '.join(left)} to count again")
        lines.append("SOUND AND COMPLETE" if self.complete else "SOUND" if self.sound else "NOT SOUND")
        return "\n".join(lines) + "\n"
