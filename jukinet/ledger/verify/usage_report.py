"""What the check of an answer to "who received my data?" found."""

import json
from dataclasses import dataclass, field
from datetime import datetime

from jukinet.ledger.verify.findings import Findings

CONTRADICTED = "contradicted"
"""The check that finds a ledger which showed the disclosure node what does not verify."""
EXIT_CONTRADICTED = 3


@dataclass
class UsageReport:
    """Result of the check. It is sound only when there is no finding at all."""

    node: str = ""
    made_at: str = ""
    until: datetime | None = None
    """Up to which moment the answer holds: the earliest up to which the node knew one of the ledgers, by its word."""
    parts: int = 0
    rows: int = 0
    sealed: int = 0
    """Entries of the period, of whomever, that had not been opened."""
    ledgers: list[str] = field(default_factory=list)
    """Origins of the ledgers that were searched."""
    recounted: list[str] = field(default_factory=list)
    """Origins of those that were counted again: what completeness was checked of."""
    later_entries: int = 0
    """Entries, of whomever, that the ledger files have after those that were searched."""
    later: list[str] = field(default_factory=list)
    """Those of them that are about the person, in the period: which, of what moment."""
    findings: Findings = field(default_factory=Findings)

    @property
    def complete(self) -> bool:
        """Whether every ledger was counted again, and nothing was found wrong: nothing is missing up to `until`."""
        return self.findings.sound and bool(self.ledgers) and set(self.recounted) == set(self.ledgers)

    @property
    def contradicted(self) -> bool:
        """Whether the answer holds, and the only thing wrong is what a ledger showed the node after it."""
        found = {finding.check for finding in self.findings.first_ones}
        return found == {CONTRADICTED} and not self.findings.left_out

    @property
    def exit_code(self) -> int:
        """0 sound, 1 not sound, 2 a file could not be read, 3 nothing is wrong but that a ledger is contradicted."""
        return EXIT_CONTRADICTED if self.contradicted else self.findings.exit_code

    @property
    def verdict(self) -> str:
        """The last line for people."""
        if self.contradicted:
            return "CONTRADICTED"
        if not self.findings.sound:
            return "NOT SOUND"
        return f"{'SOUND AND COMPLETE' if self.complete else 'SOUND'} UNTIL {self._until()}"

    def to_json(self) -> str:
        """The report as one JSON object."""
        return json.dumps(
            {
                "sound": self.findings.sound,
                "complete": self.complete,
                "contradicted": self.contradicted,
                "node": self.node,
                "made_at": self.made_at,
                "until": self._until(),
                "parts": self.parts,
                "rows": self.rows,
                "sealed": self.sealed,
                "ledgers": self.ledgers,
                "recounted": self.recounted,
                "later_entries": self.later_entries,
                "later": self.later,
                **self.findings.to_dict(),
            },
            ensure_ascii=False,
        )

    def to_text(self) -> str:
        """The report for people, ending in a newline."""
        left = [origin for origin in self.ledgers if origin not in self.recounted]
        lines = [
            f"answer of    {self.node or '?'}, {self.made_at or '?'}",
            f"holds until  {self._until() or '?'}",
            f"rows         {self.rows}, in {self.parts} parts",
            f"sealed       {self.sealed}, of everybody together",
            f"searched     {', '.join(self.ledgers) or 'nothing'}",
            f"recounted    {', '.join(self.recounted) or 'nothing'}",
        ]
        if self.later_entries:
            lines.append(f"after that   {self.later_entries} entries, {len(self.later)} of them about the person:")
            lines += [f"             {each}, is not in the answer" for each in self.later]
        lines += self.findings.lines()
        if left and self.findings.sound:
            lines.append(f"complete?    give the ledger file of {', '.join(left)} to count again")
        return "\n".join([*lines, self.verdict]) + "\n"

    def _until(self) -> str:
        return self.until.isoformat() if self.until else ""
