"""`python -m jukinet.ledger.verify`: exit status 0 when sound, 1 when not, 2 when a file cannot be read."""

import argparse
import sys
from pathlib import Path

from jukinet.ledger.verify import verify_files


def main() -> int:
    """Reads the command line, writes the report to standard output and returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m jukinet.ledger.verify", description="Check a ledger file offline.")
    parser.add_argument("ledger", type=Path, help="file of jukinet-ledger/1")
    parser.add_argument("key", type=Path, help="file with the ledger's public key, name+keyid+base64")
    parser.add_argument("receipts", type=Path, nargs="*", help="receipts, binary or JSON")
    parser.add_argument("--witness", action="append", default=[], metavar="KEY", help="name+keyid+base64; repeat")
    parser.add_argument("--quorum", type=int, metavar="N", help="cosignatures wanted; more than half by default")
    parser.add_argument("--json", action="store_true", help="write the report as JSON")
    asked = parser.parse_args()
    report = verify_files(asked.ledger, asked.key, asked.receipts, witnesses=asked.witness, quorum=asked.quorum)
    sys.stdout.write(report.to_json() + "\n" if asked.json else report.to_text())
    return report.findings.exit_code


if __name__ == "__main__":
    sys.exit(main())
