"""What a verification found."""

import json
from dataclasses import dataclass, field

from jukinet.ledger.verify.findings import Findings


@dataclass
class Report:
    """Result of a verification. It is sound only when there is no finding at all."""

    origin: str = ""
    size: int = 0
    root: str = ""
    entries: int = 0
    checkpoints: int = 0
    receipts: int = 0
    witnesses: list[str] = field(default_factory=list)
    """Names of the witnesses that cosigned the last checkpoint, of those that were asked for."""
    quorum: int = 0
    findings: Findings = field(default_factory=Findings)

    @property
    def first_bad_index(self) -> int | None:
        """Index of the first entry known to be bad; None when there is none or only a range is known."""
        return min(
            (f.first for f in self.findings.first_ones if f.first is not None and f.first == f.last), default=None
        )

    @property
    def bad_range(self) -> tuple[int, int] | None:
        """The narrowest run of entries known to hold a bad one."""
        known = [(f.first, f.last) for f in self.findings.first_ones if f.first is not None and f.last is not None]
        return min(known, key=lambda run: (run[1] - run[0], run[0]), default=None)

    def to_json(self) -> str:
        """The report as one JSON object."""
        return json.dumps(
            {
                "sound": self.findings.sound,
                "origin": self.origin,
                "size": self.size,
                "root": self.root,
                "entries": self.entries,
                "checkpoints": self.checkpoints,
                "receipts": self.receipts,
                "witnesses": self.witnesses,
                "quorum": self.quorum,
                "first_bad_index": self.first_bad_index,
                "bad_range": self.bad_range,
                **self.findings.to_dict(),
            },
            ensure_ascii=False,
        )

    def to_text(self) -> str:
        """The report for people, ending in a newline."""
        lines = [
            f"ledger       {self.origin or '?'}",
            f"signed size  {self.size}",
            f"signed root  {self.root or '?'}",
            f"checked      {self.entries} entries, {self.checkpoints} checkpoints, {self.receipts} receipts",
        ]
        if self.quorum:
            lines.append(f"cosigned by  {', '.join(self.witnesses) or 'nobody'} ({self.quorum} wanted)")
        lines += self.findings.lines()
        if self.first_bad_index is not None:
            lines.append(f"first bad    entry {self.first_bad_index}")
        elif self.bad_range is not None:
            lines.append(f"first bad    one of the entries {self.bad_range[0]} to {self.bad_range[1]}")
        lines.append("SOUND" if self.findings.sound else "NOT SOUND")
        return "\n".join(lines) + "\n"
