"""The tree of RFC 9162, read side only: the root over leaves as they come, and the root that a proof leads to."""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple


class SignedTree(NamedTuple):
    """Size and root of a tree that somebody signed."""

    size: int
    root: bytes


EMPTY_TREE = SignedTree(0, hashlib.sha256(b"").digest())


def hash_leaf(entry: bytes) -> bytes:
    """Hash of a leaf. Source: RFC 9162 section 2.1.1."""
    return hashlib.sha256(b"\x00" + entry).digest()


def _hash_pair(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


class GrowingTree:
    """Root over leaves that come one by one, in memory of the logarithm of their number."""

    def __init__(self) -> None:
        self.size = 0
        self._stack: list[tuple[int, bytes]] = []
        """Complete subtrees from left to right: how many leaves each one has, and its hash."""

    def add(self, leaf: bytes) -> None:
        """Adds the hash of the next leaf."""
        self._stack.append((1, leaf))
        self.size += 1
        while len(self._stack) > 1 and self._stack[-1][0] == self._stack[-2][0]:
            count, right = self._stack.pop()
            _, left = self._stack.pop()
            self._stack.append((2 * count, _hash_pair(left, right)))

    def root(self) -> bytes:
        """Root over all leaves so far."""
        if not self._stack:
            return EMPTY_TREE.root
        folded = self._stack[-1][1]
        for _, left in reversed(self._stack[:-1]):
            folded = _hash_pair(left, folded)
        return folded


def root_from_proof(leaf: bytes, index: int, size: int, proof: Sequence[bytes]) -> bytes | None:
    """The root that an inclusion proof leads to; None when it has not the length that it must have.

    Walks the definition of the proof: a tree is a left part of the largest power of two below its size, and the rest.
    Source: RFC 9162 section 2.1.3.1.
    """
    sides = []
    while size > 1:
        left_size = _left_of(size)
        in_right = index >= left_size
        sides.append(in_right)
        index, size = (index - left_size, size - left_size) if in_right else (index, left_size)
    if len(sides) != len(proof):
        return None
    root = leaf
    for in_right, sibling in zip(reversed(sides), proof, strict=True):
        root = _hash_pair(sibling, root) if in_right else _hash_pair(root, sibling)
    return root


def is_consistent(old: SignedTree, new: SignedTree, proof: Sequence[bytes]) -> bool:
    """Whether a consistency proof shows that the new tree begins with the whole old one.

    Walks down to the largest subtree of the new tree that the old one ends with, and from there up again: a part to the
    left stands in both trees, a part to the right in the new one alone.
    Source: RFC 9162 section 2.1.4.
    """
    if old.size > new.size or any(len(digest) != 32 for digest in proof):
        return False
    if old.size == new.size:
        return not proof and old == new
    if old.size == 0:
        return not proof and old == EMPTY_TREE
    rest, size, sides = old.size, new.size, []
    while rest != size:
        left_size = _left_of(size)
        sides.append(rest > left_size)
        rest, size = (rest - left_size, size - left_size) if sides[-1] else (rest, left_size)
    # Who never went right stands at the old tree itself, whose root the proof leaves out.
    path = list(proof) if any(sides) else [old.root, *proof]
    if len(path) != len(sides) + 1:
        return False
    old_root = new_root = path[0]
    for in_right, sibling in zip(reversed(sides), path[1:], strict=True):
        if in_right:
            old_root, new_root = _hash_pair(sibling, old_root), _hash_pair(sibling, new_root)
        else:
            new_root = _hash_pair(new_root, sibling)
    return (old_root, new_root) == (old.root, new.root)


def _left_of(size: int) -> int:
    """Leaves of the left part of a tree: the largest power of two below its size."""
    return 1 << ((size - 1).bit_length() - 1)
