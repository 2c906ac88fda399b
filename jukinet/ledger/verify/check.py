"""The verification, from top to bottom.

1. The keys; the header's checkpoint: signature, origin, and a quorum of cosignatures where witnesses are given.
2. Each receipt on its own: signature, inclusion proof.
3. The ledger, entry by entry: index, stored leaf hash, layout, time. Entries are hashed into one growing tree.
4. At each size that anything signed names (earlier checkpoints, receipts): the tree's root is the signed one. So a
   receipt, whose checkpoint nobody but the ledger signed, is tied to the one that the witnesses cosigned.
5. Each receipt's entry is the ledger's at that index.
6. At the end: as many entries as signed, and the signed root.

What is signed bounds the damage: up to the largest size whose signed root still fits, no entry was changed.
"""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from jukinet._pb.jukinet.ledger.v1 import ledger_pb2
from jukinet.ledger.verify.findings import Finding, Unsound
from jukinet.ledger.verify.layout import read_entry
from jukinet.ledger.verify.ledger_file import CheckpointLine, EntryLine, read_header, read_lines
from jukinet.ledger.verify.notes import Key, cosigned_by, read_checkpoint, read_key
from jukinet.ledger.verify.quorum import quorum_of, read_witnesses
from jukinet.ledger.verify.receipts import CheckedReceipt, check_receipt
from jukinet.ledger.verify.report import Report
from jukinet.ledger.verify.tree import GrowingTree, SignedTree, hash_leaf

SKEW_TOLERANCE_SECONDS = 5
"""How far an entry's time may lie before that of an earlier entry: clocks are set back by small steps."""


def verify_files(
    ledger_path: Path,
    key_path: Path,
    receipts: Sequence[Path] = (),
    *,
    witnesses: Sequence[str] = (),
    quorum: int | None = None,
) -> Report:
    """Verifies an exported ledger and any number of receipts.

    Args:
        ledger_path: file of `jukinet-ledger/1`.
        key_path: file with the ledger's public key, `name+keyid+base64`.
        receipts: files with one Receipt each, binary or JSON.
        witnesses: public keys of witnesses, `name+keyid+base64`; none = cosignatures are passed over.
        quorum: how many of them must have cosigned the ledger's checkpoint; more than half of them if None.
    Returns: the report; it never raises for what is in the files.
    """
    report = Report()
    try:
        key = read_key(key_path.read_text(encoding="utf-8"))
        keys = read_witnesses(witnesses)
        report.quorum = quorum_of(len(keys), quorum)
        checked = _check_receipts(report, receipts, key)
        with ledger_path.open("rb") as file:
            _Verification(report, key, keys, checked).run(file)
    except (Unsound, OSError, UnicodeDecodeError) as error:
        report.findings.stopped(error)
    return report


def _check_receipts(report: Report, paths: Sequence[Path], key: Key) -> list[CheckedReceipt]:
    checked = []
    for path in paths:
        try:
            checked.append(check_receipt(path, key))
        except Unsound as error:
            report.findings.add(Finding("receipt", f"{path.name}: {error}"))
    return checked


class _Verification:
    """One reading of a ledger file."""

    def __init__(self, report: Report, key: Key, witnesses: list[Key], receipts: list[CheckedReceipt]) -> None:
        self._report = report
        self._key = key
        self._witnesses = witnesses
        self._tree = GrowingTree()
        self._fits_up_to = 0
        self._witnessed = 0
        self._latest_time = 0
        self._receipts_at: defaultdict[int, list[CheckedReceipt]] = defaultdict(list)
        self._receipts_of_size: defaultdict[int, list[CheckedReceipt]] = defaultdict(list)
        for receipt in receipts:
            self._receipts_at[receipt.index].append(receipt)
            self._receipts_of_size[receipt.tree.size].append(receipt)

    def run(self, file: BinaryIO) -> None:
        header = read_header(file)
        self._report.origin = header.origin
        if header.origin != self._key.name:
            self._find("header", "the header's origin is not the key's")
        try:
            signed = read_checkpoint(header.checkpoint, self._key)
        except Unsound as error:
            self._find("checkpoint", f"header: {error}")
            return
        self._report.size, self._report.root = signed.size, signed.root.hex()
        self._report.witnesses = self._cosigned("header", header.checkpoint)
        if self._read_all(file, signed.size):
            self._compare_end(signed)
        self._report.entries = self._tree.size
        self._compare_quorum()

    def _cosigned(self, whose: str, note: str) -> list[str]:
        try:
            return cosigned_by(note, self._witnesses)
        except Unsound as error:
            self._find("witness", f"{whose}: {error}")
            return []

    def _compare_quorum(self) -> None:
        count, wanted = len(self._report.witnesses), self._report.quorum
        if count < wanted:
            before = f"; an earlier one over {self._witnessed} entries has a quorum" if self._witnessed else ""
            self._find("witness", f"the last checkpoint is cosigned by {count} witnesses, {wanted} are wanted{before}")

    def _read_all(self, file: BinaryIO, signed_size: int) -> bool:
        """Reads up to the first line that breaks the tree; whether there was none."""
        try:
            for line in read_lines(file):
                if isinstance(line, CheckpointLine):
                    sound = self._take_checkpoint(line)
                else:
                    sound = self._take_entry(line, signed_size)
                if not sound:
                    return False
        except Unsound as error:
            self._find("line", f"entry {self._tree.size}: {error}", self._tree.size)
            return False
        return True

    def _take_entry(self, line: EntryLine, signed_size: int) -> bool:
        index = self._tree.size
        if line.index != index:
            self._find("index", f"entry {index}: the line says {line.index}", index)
            return False
        if index >= signed_size:
            self._find("index", f"entry {index}: the signed size is {signed_size}", index)
            return False
        leaf_hash = hash_leaf(line.leaf)
        if leaf_hash != line.stored_hash:
            self._find("leaf", f"entry {index}: it does not have the hash that was stored with it", index)
            return False
        self._check_content(index, line.leaf)
        for receipt in self._receipts_at.pop(index, []):
            self._report.receipts += 1
            if receipt.leaf != line.leaf:
                self._find("receipt", f"{receipt.name}: the ledger holds another entry {index}", index)
        self._tree.add(leaf_hash)
        return self._compare_receipt_trees()

    def _check_content(self, index: int, leaf: bytes) -> None:
        try:
            entry = read_entry(leaf)
        except Unsound as error:
            self._find("layout", f"entry {index}: {error}", index)
            return
        time = _nanoseconds(entry)
        if time < self._latest_time - SKEW_TOLERANCE_SECONDS * 1_000_000_000:
            self._find("time", f"entry {index}: its time lies before that of an earlier entry", index)
        self._latest_time = max(self._latest_time, time)

    def _take_checkpoint(self, line: CheckpointLine) -> bool:
        size = self._tree.size
        try:
            signed = read_checkpoint(line.note, self._key)
        except Unsound as error:
            self._find("checkpoint", f"the one after {size} entries: {error}")
            return True
        self._report.checkpoints += 1
        if signed.size != size:
            self._find("checkpoint", f"the one of size {signed.size} stands after {size} entries")
            return True
        if self._witnesses and len(self._cosigned(f"the one after {size} entries", line.note)) >= self._report.quorum:
            self._witnessed = size
        return self._compare_root("checkpoint", "an earlier checkpoint", signed)

    def _compare_receipt_trees(self) -> bool:
        same = [
            self._compare_root("receipt", f"{receipt.name}: its checkpoint", receipt.tree)
            for receipt in self._receipts_of_size.pop(self._tree.size, [])
        ]
        return all(same)

    def _compare_end(self, signed: SignedTree) -> None:
        size = self._tree.size
        if size < signed.size:
            message = f"the ledger ends after {size} entries, signed are {signed.size}"
            self._report.findings.add(Finding("truncated", message, size, size))
        else:
            self._report.checkpoints += 1
            self._compare_root("checkpoint", "the last checkpoint", signed)
        for receipts in self._receipts_of_size.values():
            for receipt in receipts:
                self._find("receipt", f"{receipt.name}: it was signed over {receipt.tree.size} entries, more than here")

    def _compare_root(self, check: str, whose: str, signed: SignedTree) -> bool:
        if signed.root == self._tree.root():
            self._fits_up_to = max(self._fits_up_to, signed.size)
            return True
        first, last = self._fits_up_to, signed.size - 1
        message = f"{whose} over {signed.size} entries has another root"
        self._report.findings.add(Finding(check, message, *((first, last) if first <= last else (None, None))))
        return False

    def _find(self, check: str, message: str, index: int | None = None) -> None:
        self._report.findings.add(Finding(check, message, index, index))


def _nanoseconds(entry: ledger_pb2.Entry) -> int:
    return entry.time.seconds * 1_000_000_000 + entry.time.nanos
