"""The Merkle tree of the ledger: hashes, growth and proofs (RFC 9162 section 2.1).

Rules:

1. A leaf is hashed with a 0x00 in front, an inner node with a 0x01. Without that an inner node could pass as a leaf.
2. The tree over n leaves splits at the largest power of two below n, so a subtree whose size is a power of two never
   changes again once it is complete. Only complete subtrees are ever stored.
3. A tree is known by its size and its root. Nothing here reads a clock, a disk or a random number.
4. Nothing here verifies a proof: whoever doubts the writer takes `jukinet.ledger.verify`, which shares no code with it.

Theory of operation: the node (level, position) is the complete subtree over the leaves from position * 2^level up to,
but not including, (position + 1) * 2^level. The binary digits of a size n name the complete subtrees, largest first,
that stand side by side under the root: n = 6 = 4 + 2 is (2, 0) and (1, 2). They are the *frontier*: with it and a batch
of new leaves everything that the batch changes can be computed, since a hash to the left of a new leaf lies either in
the frontier or in the batch, and all to the right of it lies in the batch. The root folds the frontier from the right;
the partial folds are the *edge*, the only incomplete nodes of the tree.

Source: RFC 9162 sections 2.1.1 to 2.1.4.
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

from jukinet.ledger.errors import ProofImpossible

EMPTY_ROOT = hashlib.sha256(b"").digest()
HASH_BYTES = 32

ReadNode = Callable[[int, int], bytes]
"""Gives the hash of the complete subtree (level, position); level 0 are the leaf hashes."""


class Node(NamedTuple):
    """A complete subtree and its hash."""

    level: int
    position: int
    hash: bytes


class Frontier(NamedTuple):
    """The complete subtrees side by side under the root: `peaks[k]` is that of the k-th lowest set bit of `size`."""

    size: int
    peaks: tuple[bytes, ...]


EMPTY = Frontier(0, ())


class Growth(NamedTuple):
    """What a batch of leaves does to the tree."""

    frontier: Frontier
    root: bytes
    subtrees: list[Node]
    """Subtrees of level 1 and above that the batch completed."""
    proofs: list[list[bytes]]
    """Inclusion proof of each new leaf towards `root`, leaf side first."""


def leaf_hash(entry: bytes) -> bytes:
    """Hash of a leaf. Source: RFC 9162 section 2.1.1."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of an inner node. Source: RFC 9162 section 2.1.1."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def root_of(frontier: Frontier) -> bytes:
    """Root of the tree that has this frontier."""
    if not frontier.peaks:
        return EMPTY_ROOT
    folded = frontier.peaks[0]
    for peak in frontier.peaks[1:]:
        folded = node_hash(peak, folded)
    return folded


def append(frontier: Frontier, leaves: Sequence[bytes]) -> Growth:
    """Grows the tree by many leaves at once.

    Args:
        frontier: the tree before.
        leaves: leaf hashes of 32 bytes, in order.
    Returns: the tree after, the subtrees to store and the proofs of the new leaves.
    """
    old, new = frontier.size, frontier.size + len(leaves)
    peaks_before = _by_level(frontier)
    # Row of level k: the new complete nodes, with the old peak of that level in front where there is one, so that
    # every row begins at an even position and its nodes pair up.
    rows: list[list[bytes]] = []
    row = list(leaves)
    for level in range(new.bit_length()):
        if old >> level & 1:
            row.insert(0, peaks_before[level])
        rows.append(row)
        row = [node_hash(row[k], row[k + 1]) for k in range(0, len(row) - 1, 2)]
    subtrees = [
        Node(level, (old >> level) + k, digest)
        for level in range(1, len(rows))
        for k, digest in enumerate(rows[level][old >> level & 1 :])
    ]
    peaks = tuple(rows[level][-1] for level in range(len(rows)) if new >> level & 1)
    after = Frontier(new, peaks)
    return Growth(after, root_of(after), subtrees, _proofs(old, new, rows))


def _by_level(frontier: Frontier) -> dict[int, bytes]:
    levels = [level for level in range(frontier.size.bit_length()) if frontier.size >> level & 1]
    return dict(zip(levels, frontier.peaks, strict=True))


def _edge(size: int, rows: list[list[bytes]]) -> list[bytes | None]:
    """Per level, the fold of all complete subtrees below that level: the node at position `size >> level`, if any."""
    edge: list[bytes | None] = [None]
    for level, row in enumerate(rows):
        below = edge[level]
        if size >> level & 1:
            edge.append(row[-1] if below is None else node_hash(row[-1], below))
        else:
            edge.append(below)
    return edge


def _proofs(old: int, new: int, rows: list[list[bytes]]) -> list[list[bytes]]:
    """Proofs from the top down: a node's proof is its sibling, then its parent's proof."""
    if new == old:
        return []
    edge = _edge(new, rows)
    above: list[list[bytes]] = [[]]
    for level in range(len(rows) - 1, -1, -1):
        row, row_start = rows[level], (old >> level) & ~1
        complete = new >> level
        parents_start = old >> (level + 1)
        below = []
        for position in range(old >> level, ((new - 1) >> level) + 1):
            parent = above[(position >> 1) - parents_start]
            sibling = position ^ 1
            incomplete = edge[level]
            if sibling < complete:
                below.append([row[sibling - row_start], *parent])
            elif sibling == complete and incomplete is not None:
                below.append([incomplete, *parent])
            else:
                below.append(parent)
        above = below
    return above


def complete_subtrees(first: int, end: int) -> list[tuple[int, int]]:
    """The complete subtrees (level, position) that tile the leaves from `first` up to, not including, `end`."""
    tiles = []
    while first < end:
        level = (end - first).bit_length() - 1
        if first:
            level = min(level, (first & -first).bit_length() - 1)
        tiles.append((level, first >> level))
        first += 1 << level
    return tiles


def range_root(first: int, end: int, read: ReadNode) -> bytes:
    """Root over the leaves from `first` up to `end`, where `first` is a place at which the tree splits."""
    tiles = complete_subtrees(first, end)
    folded = read(*tiles[-1])
    for tile in reversed(tiles[:-1]):
        folded = node_hash(read(*tile), folded)
    return folded


def inclusion_proof(index: int, size: int, read: ReadNode) -> list[bytes]:
    """Proof that the leaf `index` is in the tree of `size` leaves, made from stored subtrees.

    Returns: hashes, leaf side first.
    Raises ProofImpossible unless 0 <= index < size.
    Source: RFC 9162 section 2.1.3.1.
    """
    if not 0 <= index < size:
        raise ProofImpossible(f"index {index}, size {size}.")
    proof: list[bytes] = []
    first, end = 0, size
    while end - first > 1:
        middle = first + _split(end - first)
        if index < middle:
            proof.append(range_root(middle, end, read))
            end = middle
        else:
            proof.append(range_root(first, middle, read))
            first = middle
    proof.reverse()
    return proof


def consistency_proof(old: int, new: int, read: ReadNode) -> list[bytes]:
    """Proof that the tree of `new` leaves only adds to that of `old` leaves.

    Returns: hashes, in the order in which they are used; none when the sizes are equal or `old` is 0.
    Raises ProofImpossible unless 0 <= old <= new.
    Source: RFC 9162 section 2.1.4.1.
    """
    if not 0 <= old <= new:
        raise ProofImpossible(f"old size {old}, new size {new}.")
    if old in (0, new):
        return []
    proof: list[bytes] = []
    first, end = 0, new
    while old != end:
        middle = first + _split(end - first)
        if old <= middle:
            proof.append(range_root(middle, end, read))
            end = middle
        else:
            proof.append(range_root(first, middle, read))
            first = middle
    if first:  # Otherwise the remaining subtree is the old tree itself, whose root the verifier has.
        proof.append(range_root(first, end, read))
    proof.reverse()
    return proof


def _split(size: int) -> int:
    """Largest power of two below `size`."""
    return 1 << ((size - 1).bit_length() - 1)
