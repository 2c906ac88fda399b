"""One receipt, held against a published checkpoint without the ledger in between.

A receipt carries a checkpoint that nobody but its ledger signed. The proof file has a later one that a quorum of
witnesses cosigned, and a consistency proof: the later tree begins with the receipt's. So the entry is in what the
witnesses saw.
"""

from collections.abc import Sequence
from pathlib import Path

from google.protobuf import json_format

from jukinet._pb.jukinet.ledger.v1 import ledger_pb2
from jukinet.ledger.verify.findings import Finding, Unsound
from jukinet.ledger.verify.notes import Key, cosigned_by, read_checkpoint, read_key
from jukinet.ledger.verify.quorum import quorum_of, read_witnesses
from jukinet.ledger.verify.receipts import check_receipt
from jukinet.ledger.verify.report import Report
from jukinet.ledger.verify.tree import is_consistent


def verify_receipt(
    receipt_path: Path, proof_path: Path, key_path: Path, *, witnesses: Sequence[str] = (), quorum: int | None = None
) -> Report:
    """Verifies one receipt towards a published checkpoint.

    Args:
        receipt_path: file with one Receipt, binary or JSON.
        proof_path: JSON file of `jukinet ledger prove`.
        key_path: file with the ledger's public key, `name+keyid+base64`.
        witnesses: public keys of witnesses, `name+keyid+base64`; none = cosignatures are passed over.
        quorum: how many of them must have cosigned the published checkpoint; more than half of them if None.
    Returns: the report; it never raises for what is in the files.
    """
    report = Report()
    try:
        key = read_key(key_path.read_text(encoding="utf-8"))
        keys = read_witnesses(witnesses)
        report.quorum = quorum_of(len(keys), quorum)
        file = _parse(proof_path.read_bytes())
    except (Unsound, OSError, UnicodeDecodeError) as error:
        report.findings.stopped(error)
        return report
    _check(report, receipt_path, file, key, keys)
    return report


def _check(
    report: Report, receipt: Path, file: ledger_pb2.GetConsistencyProofResponse, key: Key, keys: Sequence[Key]
) -> None:
    report.origin = key.name
    try:
        published = read_checkpoint(file.checkpoint, key)
        report.size, report.root, report.checkpoints = published.size, published.root.hex(), 1
        report.witnesses = cosigned_by(file.checkpoint, keys)
    except Unsound as error:
        report.findings.add(Finding("checkpoint", f"the published one: {error}"))
        return
    if len(report.witnesses) < report.quorum:
        count, wanted = len(report.witnesses), report.quorum
        report.findings.add(
            Finding("witness", f"the published checkpoint is cosigned by {count} witnesses, {wanted} are wanted")
        )
    try:
        checked = check_receipt(receipt, key)
    except (Unsound, OSError) as error:
        report.findings.add(Finding("receipt", str(error) if isinstance(error, Unsound) else type(error).__name__))
        return
    report.receipts = report.entries = 1
    if not is_consistent(checked.tree, published, file.proof):
        report.findings.add(Finding("receipt", "the proof does not lead from its checkpoint to the published one"))


def _parse(content: bytes) -> ledger_pb2.GetConsistencyProofResponse:
    try:
        return json_format.Parse(content, ledger_pb2.GetConsistencyProofResponse())
    except (json_format.ParseError, UnicodeDecodeError):
        raise Unsound("the proof file is not what `jukinet ledger prove` writes") from None
