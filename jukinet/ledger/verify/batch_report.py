"""What the check of the result of a signed file job found."""

import json
from dataclasses import dataclass, field

from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2 import BatchAnswer
from jukinet.ledger.verify.findings import Findings


@dataclass
class BatchReport:
    """Result of the check; it tells of no person, case or operator."""

    job: str = ""
    """Digest of the job, in hexadecimal digits."""
    agency: str = ""
    persons: int = 0
    """In the order."""
    answered: int = 0
    """Of whom the result has an answer that holds."""
    unchanged: int = 0
    """Of whom the agency holds the items already; they stand in an earlier result."""
    refused: int = 0
    """Of whom the answer is a refusal: nobody looked them up."""
    ledgers: dict[str, list[int]] = field(default_factory=dict)
    """First and last index of their entries, by origin of the ledger."""
    findings: Findings = field(default_factory=Findings)

    def add_answer(self, origin: str, answer: BatchAnswer) -> None:
        """Counts one answer that holds, with its entry in the ledger of this origin."""
        index = answer.receipt.index
        self.answered += 1
        self.unchanged += answer.unchanged
        self.refused += bool(answer.refusal)
        first, last = self.ledgers.get(origin, [index, index])
        self.ledgers[origin] = [min(first, index), max(last, index)]

    def to_json(self) -> str:
        """The report as one JSON object."""
        return json.dumps(
            {
                "sound": self.findings.sound,
                "job": self.job,
                "agency": self.agency,
                "persons": self.persons,
                "answered": self.answered,
                "unchanged": self.unchanged,
                "refused": self.refused,
                "ledgers": self.ledgers,
                **self.findings.to_dict(),
            },
            ensure_ascii=False,
        )

    def to_text(self) -> str:
        """The report for people, ending in a newline."""
        entries = [f"{origin} {first} to {last}" for origin, (first, last) in self.ledgers.items()]
        lines = [
            f"job          {self.job or '?'}",
            f"ordered by   {self.agency or '?'}",
            f"answered     {self.answered} of {self.persons} persons, {self.unchanged} of them unchanged, "
            f"{self.refused} refused",
            f"entries      {', '.join(entries) or 'none'}",
            *self.findings.lines(),
            "SOUND AND COMPLETE" if self.findings.sound else "NOT SOUND",
        ]
        return "\n".join(lines) + "\n"
