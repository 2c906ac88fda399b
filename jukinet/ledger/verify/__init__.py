"""Stand-alone verifier of an exported ledger.

Rule: it shares no code with the writer. It needs the Python standard library, `cryptography` and the messages of
`ledger.proto`; no database, no network and no other module of jukinet. A mistake of the writer must not be able to hide
behind the same mistake here.

    python -m jukinet.ledger.verify LEDGER KEY [RECEIPT ...] [--witness KEY ...] [--quorum N] [--json]
"""

from jukinet.ledger.verify.check import verify_files
from jukinet.ledger.verify.findings import Finding
from jukinet.ledger.verify.one_receipt import verify_receipt
from jukinet.ledger.verify.report import Report

__all__ = ["Finding", "Report", "verify_files", "verify_receipt"]
