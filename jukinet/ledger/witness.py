"""What a witness (立会人) answers, decided without clock, randomness, sockets or database.

Rules, in the order in which they are applied:

1. A witness speaks of logs that it knows: a checkpoint holds by the verifier key of its origin, or it is none.
2. One line of trees. What is cosigned next begins with all of what was cosigned last, and a consistency proof shows it.
   The same tree may be cosigned again; another one of the same size, or a smaller one, never.
3. Whoever asks has to know where the witness is. If he does not, he is told the size and learns nothing else.

Without rule 2 a log could show one tree to one witness today and another tomorrow; with it, two checkpoints that
carry the cosignatures of more than half of the witnesses each are never of two different trees.

Whoever doubts the writer takes none of its code: notes, trees and proofs are read by `jukinet.ledger.verify`.

Source: c2sp.org/tlog-witness; RFC 9162 section 2.1.4.2.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet.ledger.errors import LedgerCorrupt
from jukinet.ledger.verify.findings import Unsound
from jukinet.ledger.verify.notes import Key, read_checkpoint
from jukinet.ledger.verify.tree import EMPTY_TREE, SignedTree, is_consistent
from jukinet.mesh.errors import Refused


class Known(NamedTuple):
    """The latest checkpoint of a log that a witness cosigned; an empty note when it cosigned none."""

    tree: SignedTree
    note: str


NOTHING = Known(EMPTY_TREE, "")


def key_of(keys: Mapping[str, Key], origin: str) -> Key:
    """The verifier key of an origin.

    Args:
        keys: the logs that the witness knows, by origin.
        origin: first line of a checkpoint.
    Raises:
        Refused: ORIGIN_UNKNOWN.
    """
    key = keys.get(origin)
    if key is None:
        raise Refused(errors.ERROR_REASON_ORIGIN_UNKNOWN)
    return key


def origin_of(note: str) -> str:
    """The origin that a checkpoint claims; nothing is verified."""
    return note.partition("\n")[0]


def judge(known: Known, key: Key, *, old_size: int, proof: Sequence[bytes], note: str) -> Known:
    """Decides whether a checkpoint may be cosigned.

    Args:
        known: the latest one of this log, as it is on the witness's disk.
        key: of the log.
        old_size: where the caller says that the witness is.
        proof: consistency proof from there, hashes of 32 bytes.
        note: the checkpoint.
    Returns: what the witness knows from now on; to be on its disk before anything is signed.
    Raises:
        Refused: CHECKPOINT_SIGNATURE, CHECKPOINT_CONFLICT with the witness's size, CONSISTENCY_PROOF.
    """
    try:
        tree = read_checkpoint(note, key)
    except Unsound as error:
        raise Refused(errors.ERROR_REASON_CHECKPOINT_SIGNATURE, detail=str(error)) from None
    if old_size != known.tree.size:
        raise Refused(errors.ERROR_REASON_CHECKPOINT_CONFLICT, size=known.tree.size)
    if tree.size == old_size and tree != known.tree:
        raise Refused(errors.ERROR_REASON_CHECKPOINT_CONFLICT, detail="another root", size=known.tree.size)
    if not is_consistent(known.tree, tree, proof):
        raise Refused(errors.ERROR_REASON_CONSISTENCY_PROOF)
    return Known(tree, note)


def recall(note: str | None, key: Key) -> Known:
    """What stands on the witness's disk of a log, its signature verified again; `note` is None when nothing does.

    Raises:
        LedgerCorrupt: it is not what was stored.
    """
    if note is None:
        return NOTHING
    try:
        return Known(read_checkpoint(note, key), note)
    except Unsound as error:
        raise LedgerCorrupt(f"The witness's own record: {error}.") from None
