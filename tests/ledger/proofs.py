"""What an auditor does with a proof; he takes nothing from it but hashes, for index and sizes come from elsewhere."""

from collections.abc import Sequence

from jukinet.ledger.merkle import EMPTY_ROOT, node_hash
from jukinet.ledger.verify.tree import root_from_proof


def verify_inclusion(*, leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether `proof` shows that the leaf hash is at `index` in the tree with this size and root."""
    return 0 <= index < size and root_from_proof(leaf, index, size, proof) == root


def verify_consistency(
    *, old_size: int, new_size: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]
) -> bool:
    """Whether `proof` shows that the new tree begins with the whole old tree.

    Source: RFC 9162 section 2.1.4.2.
    """
    if not 0 <= old_size <= new_size:
        return False
    if old_size == new_size:
        return not proof and old_root == new_root
    if old_size == 0:
        return not proof and old_root == EMPTY_ROOT
    # An old tree that is one complete subtree is itself the first node of the path; the proof leaves it out.
    path = [old_root, *proof] if old_size & (old_size - 1) == 0 else list(proof)
    return _path_roots(old_size - 1, new_size - 1, path) == (old_root, new_root)


def _path_roots(position: int, last: int, path: list[bytes]) -> tuple[bytes, bytes] | None:
    """The old and the new root that a consistency path leads to; None when it has not the length that it must have."""
    if not path:
        return None
    while position & 1:
        position, last = position >> 1, last >> 1
    old_root = new_root = path[0]
    for sibling in path[1:]:
        if last == 0:
            return None
        if position & 1 or position == last:
            old_root = node_hash(sibling, old_root)
            new_root = node_hash(sibling, new_root)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            new_root = node_hash(new_root, sibling)
        position, last = position >> 1, last >> 1
    return (old_root, new_root) if last == 0 else None
