"""Reading receipts and checking them on their own."""

from dataclasses import dataclass
from pathlib import Path

from google.protobuf import json_format
from google.protobuf.message import DecodeError

from jukinet._pb.jukinet.ledger.v1 import ledger_pb2
from jukinet.ledger.verify.findings import Unsound
from jukinet.ledger.verify.notes import Key, read_checkpoint
from jukinet.ledger.verify.tree import SignedTree, hash_leaf, root_from_proof

_SIZE_DIGITS = 18


@dataclass(frozen=True)
class CheckedReceipt:
    """A receipt whose own proof holds: this entry stands at this index in that signed tree."""

    name: str
    index: int
    leaf: bytes
    tree: SignedTree


def check_receipt(path: Path, key: Key) -> CheckedReceipt:
    """Reads a receipt, binary or in JSON, and checks its signature and its inclusion proof.

    Raises:
        Unsound: it is not a receipt, or it does not hold.
        OSError: the file cannot be read.
    """
    receipt = _parse(path.read_bytes())
    tree = read_checkpoint(receipt.checkpoint, key)
    require_included(receipt, tree)
    return CheckedReceipt(path.name, receipt.index, receipt.entry, tree)


def require_included(receipt: ledger_pb2.Receipt, tree: SignedTree) -> None:
    """Raises Unsound unless the receipt's proof leads to the tree of its checkpoint."""
    if receipt.index >= tree.size:
        raise Unsound("its index lies outside the tree that it names")
    if any(len(digest) != 32 for digest in receipt.proof):
        raise Unsound("its proof is malformed")
    if root_from_proof(hash_leaf(receipt.entry), receipt.index, tree.size, receipt.proof) != tree.root:
        raise Unsound("its proof does not lead to the signed root")


def receipt_size(path: Path) -> int:
    """The size of the tree that a receipt says that it is of; nothing is checked. Raises Unsound, OSError."""
    lines = _parse(path.read_bytes()).checkpoint.split("\n")
    if len(lines) < 3 or not (lines[1].isascii() and lines[1].isdecimal() and len(lines[1]) <= _SIZE_DIGITS):
        raise Unsound("its checkpoint is malformed")
    return int(lines[1])


def _parse(content: bytes) -> ledger_pb2.Receipt:
    try:
        # No binary receipt begins with a brace: that would be field 15.
        if content.lstrip().startswith(b"{"):
            return json_format.Parse(content, ledger_pb2.Receipt())
        return ledger_pb2.Receipt.FromString(content)
    except (DecodeError, json_format.ParseError, UnicodeDecodeError):
        raise Unsound("it is not a receipt") from None
