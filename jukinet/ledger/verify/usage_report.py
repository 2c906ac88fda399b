"""What the check of an answer to "who received my data?" found."""

import json
from dataclasses import dataclass, field

from jukinet.ledger.verify.findings import Findings


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
    findings: Findings = field(default_factory=Findings)

    @property
    def complete(self) -> bool:
        """Whether every ledger was counted again, and nothing was found wrong."""
        return self.findings.sound and bool(self.ledgers) and set(self.recounted) == set(self.ledgers)

    def to_json(self) -> str:
        """The report as one JSON object."""
        return json.dumps(
            {
                "sound": self.findings.sound,
                "complete": self.complete,
                "node": self.node,
                "made_at": self.made_at,
                "rows": self.rows,
                "sealed": self.sealed,
                "ledgers": self.ledgers,
                "recounted": self.recounted,
                **self.findings.to_dict(),
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
        lines += self.findings.lines()
        if left and self.findings.sound:
            lines.append(f"complete?    give the ledger file of {', '.join(left)} to count again")
        lines.append("SOUND AND COMPLETE" if self.complete else "SOUND" if self.findings.sound else "NOT SOUND")
        return "\n".join(lines) + "\n"
