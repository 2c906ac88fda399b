"""What a verification found."""

import json
from dataclasses import dataclass, field

from jukinet.ledger.verify.findings import EXIT_BAD, EXIT_SOUND, EXIT_UNREADABLE, MAX_FINDINGS, Finding


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
    unreadable: bool = False
    findings: list[Finding] = field(default_factory=list)
    findings_left_out: int = 0

    @property
    def sound(self) -> bool:
        """Whether every check held."""
        return not self.findings

    @property
    def first_bad_index(self) -> int | None:
        """Index of the first entry known to be bad; None when there is none or only a range is known."""
        return min((f.first for f in self.findings if f.first is not None and f.first == f.last), default=None)

    @property
    def bad_range(self) -> tuple[int, int] | None:
        """The narrowest run of entries known to hold a bad one."""
        known = [(f.first, f.last) for f in self.findings if f.first is not None and f.last is not None]
        return min(known, key=lambda run: (run[1] - run[0], run[0]), default=None)

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
                "findings": [vars(finding) for finding in self.findings],
                "findings_left_out": self.findings_left_out,
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
        lines += [f"{finding.check:<12} {finding.message}" for finding in self.findings]
        if self.findings_left_out:
            lines.append(f"             and {self.findings_left_out} more")
        if self.first_bad_index is not None:
            lines.append(f"first bad    entry {self.first_bad_index}")
        elif self.bad_range is not None:
            lines.append(f"first bad    one of the entries {self.bad_range[0]} to {self.bad_range[1]}")
        lines.append("SOUND" if self.sound else "NOT SOUND")
        return "\n".join(lines) + "\n"
