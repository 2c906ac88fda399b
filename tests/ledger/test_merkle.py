"""The tree keeps RFC 9162: known roots and proofs, every size, every pair, against another library, bit by bit."""

import random
from collections.abc import Iterable
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jukinet.ledger import merkle
from jukinet.ledger.errors import ProofImpossible
from tests.ledger import proofs

# The leaves and roots that the reference implementations of RFC 6962 test with.
KNOWN_LEAVES = [
    bytes.fromhex(leaf)
    for leaf in ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
]
KNOWN_ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
SIZES = 1_100


@cache
def leaves(count: int = SIZES) -> list[bytes]:
    return [merkle.leaf_hash(number.to_bytes(4, "big")) for number in range(count)]


@cache
def nodes() -> dict[tuple[int, int], bytes]:
    """Every complete subtree over the test leaves, level 0 included."""
    table = {(0, position): leaf for position, leaf in enumerate(leaves())}
    table |= {(n.level, n.position): n.hash for n in merkle.append(merkle.EMPTY, leaves()).subtrees}
    return table


def read(level: int, position: int) -> bytes:
    return nodes()[level, position]


@cache
def root(size: int) -> bytes:
    return merkle.root_of(merkle.append(merkle.EMPTY, leaves()[:size]).frontier)


def defined_root(hashes: list[bytes]) -> bytes:
    """The definition of the root in RFC 9162 section 2.1.1, word for word."""
    if not hashes:
        return merkle.EMPTY_ROOT
    if len(hashes) == 1:
        return hashes[0]
    middle = 1
    while middle * 2 < len(hashes):
        middle *= 2
    return merkle.node_hash(defined_root(hashes[:middle]), defined_root(hashes[middle:]))


def test_known_leaves_give_the_known_roots() -> None:
    hashes = [merkle.leaf_hash(leaf) for leaf in KNOWN_LEAVES]
    assert [merkle.append(merkle.EMPTY, hashes[:size]).root.hex() for size in range(9)] == KNOWN_ROOTS


def test_known_leaves_give_the_known_proofs() -> None:
    hashes = [merkle.leaf_hash(leaf) for leaf in KNOWN_LEAVES]
    growth = merkle.append(merkle.EMPTY, hashes)
    known = {(0, k): leaf for k, leaf in enumerate(hashes)} | {(n.level, n.position): n.hash for n in growth.subtrees}
    assert [digest.hex() for digest in growth.proofs[0]] == [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ]
    proof = merkle.consistency_proof(6, 8, lambda level, position: known[level, position])
    assert [digest.hex() for digest in proof] == [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]


def test_every_root_is_the_defined_one() -> None:
    for size in [*range(130), 255, 256, 257, 511, 512, 513, 1023, 1024, 1025, SIZES]:
        assert root(size) == defined_root(leaves()[:size])


@pytest.mark.parametrize(
    "sizes",
    [
        pytest.param([*range(70), 127, 128, 129, 255, 256, 257, 1023, 1024, 1025], id="edges"),
        pytest.param(range(SIZES + 1), id="all", marks=pytest.mark.slow),
    ],
)
def test_every_leaf_of_every_size_has_a_proof_that_verifies(sizes: Iterable[int]) -> None:
    for size in sizes:
        growth = merkle.append(merkle.EMPTY, leaves()[:size])
        assert len(growth.proofs) == size
        for index, proof in enumerate(growth.proofs):
            assert proofs.verify_inclusion(
                leaf=leaves()[index], index=index, size=size, proof=proof, root=growth.root
            ), (index, size)


def test_proofs_from_stored_subtrees_are_those_of_the_batch() -> None:
    chosen = random.Random(24)
    for size in [*range(1, 70), *chosen.sample(range(70, SIZES + 1), 30)]:
        growth = merkle.append(merkle.EMPTY, leaves()[:size])
        for index in chosen.sample(range(size), min(size, 40)):
            assert merkle.inclusion_proof(index, size, read) == growth.proofs[index]


@given(st.lists(st.integers(0, 70), max_size=12))
def test_growing_in_batches_gives_the_tree_of_growing_at_once(batches: list[int]) -> None:
    frontier = merkle.EMPTY
    stored: dict[tuple[int, int], bytes] = {}
    for count in batches:
        first = frontier.size
        growth = merkle.append(frontier, leaves()[first : first + count])
        frontier = growth.frontier
        stored |= {(n.level, n.position): n.hash for n in growth.subtrees}
        assert growth.root == root(frontier.size)
        at_once = merkle.append(merkle.EMPTY, leaves()[: frontier.size])
        assert growth.proofs == at_once.proofs[first:]
    assert stored == {place: digest for place, digest in nodes().items() if place[0] and _ends_within(place, frontier)}


def _ends_within(place: tuple[int, int], frontier: merkle.Frontier) -> bool:
    return (place[1] + 1) << place[0] <= frontier.size


def check_consistency(pairs: int, seed: int) -> None:
    chosen = random.Random(seed)
    for _ in range(pairs):
        old, new = sorted((chosen.randint(0, SIZES), chosen.randint(0, SIZES)))
        proof = merkle.consistency_proof(old, new, read)
        known: dict[str, Any] = {"old_size": old, "new_size": new, "old_root": root(old), "new_root": root(new)}
        assert proofs.verify_consistency(**known, proof=proof), (old, new)
        if old != new:
            assert not proofs.verify_consistency(**known, proof=[*proof, bytes(32)])
            assert not proofs.verify_consistency(**{**known, "old_root": bytes(32)}, proof=proof)
            assert not proofs.verify_consistency(**{**known, "new_root": bytes(32)}, proof=proof) or old == 0
        if proof:
            assert not proofs.verify_consistency(**known, proof=proof[:-1])


def test_random_pairs_of_sizes_are_shown_consistent() -> None:
    check_consistency(300, seed=1)


@pytest.mark.slow
def test_many_random_pairs_of_sizes_are_shown_consistent() -> None:
    check_consistency(5_000, seed=2)


def test_all_small_pairs_of_sizes_are_shown_consistent() -> None:
    for new in range(40):
        for old in range(new + 1):
            proof = merkle.consistency_proof(old, new, read)
            assert proofs.verify_consistency(
                old_size=old, new_size=new, old_root=root(old), new_root=root(new), proof=proof
            )


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_another_library_gives_the_same_roots_and_proofs() -> None:
    from pymerkle import InmemoryTree, verify_consistency

    tree, chosen = InmemoryTree(algorithm="sha256"), random.Random(9)
    for size in range(1, 301):
        tree.append_entry((size - 1).to_bytes(4, "big"))
        assert tree.get_root(size) == root(size)
        index = chosen.randrange(size)
        # The other library's paths hold the leaf too, and keep an order of their own.
        path = set(tree.prove_inclusion(index + 1, size).path)
        assert {leaves()[index], *merkle.inclusion_proof(index, size, read)} == path
        old = chosen.randint(1, size)
        verify_consistency(root(old), root(size), tree.prove_consistency(old, size))


@pytest.mark.parametrize("size", [1, 2, 7, 8, 13, 33])
def test_no_single_bit_of_an_inclusion_proof_can_be_changed(size: int) -> None:
    for index in range(size):
        proof = merkle.inclusion_proof(index, size, read)
        parts = [leaves()[index], root(size), *proof]
        for changed in one_bit_changes(parts):
            leaf, claimed, *path = changed
            assert not proofs.verify_inclusion(leaf=leaf, index=index, size=size, proof=path, root=claimed)


@pytest.mark.parametrize(("old", "new"), [(1, 2), (3, 7), (4, 7), (6, 8), (8, 13), (13, 13), (21, 40)])
def test_no_single_bit_of_a_consistency_proof_can_be_changed(old: int, new: int) -> None:
    parts = [root(old), root(new), *merkle.consistency_proof(old, new, read)]
    for changed in one_bit_changes(parts):
        before, after, *path = changed
        assert not proofs.verify_consistency(old_size=old, new_size=new, old_root=before, new_root=after, proof=path)


def one_bit_changes(parts: list[bytes]) -> list[list[bytes]]:
    changes = []
    for number, part in enumerate(parts):
        for bit in range(len(part) * 8):
            flipped = bytearray(part)
            flipped[bit // 8] ^= 1 << bit % 8
            changes.append([*parts[:number], bytes(flipped), *parts[number + 1 :]])
    return changes


@given(st.integers(1, 200), st.data())
def test_a_proof_holds_for_its_own_index_and_size_alone(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    proof = merkle.inclusion_proof(index, size, read)
    other = data.draw(st.integers(-2, size + 2).filter(lambda number: number != index))
    leaf, claimed = leaves()[index], root(size)
    assert not proofs.verify_inclusion(leaf=leaf, index=other, size=size, proof=proof, root=claimed)
    assert not proofs.verify_inclusion(leaf=leaf, index=index, size=size, proof=[*proof, bytes(32)], root=claimed)
    if proof:
        assert not proofs.verify_inclusion(leaf=leaf, index=index, size=size, proof=proof[:-1], root=claimed)
        assert not proofs.verify_inclusion(leaf=leaf, index=index, size=size, proof=[b"", *proof[1:]], root=claimed)


def test_the_empty_tree_is_consistent_with_every_tree_but_only_by_its_own_root() -> None:
    claims: dict[str, Any] = {"old_size": 0, "new_size": 5, "new_root": root(5)}
    assert proofs.verify_consistency(**claims, old_root=merkle.EMPTY_ROOT, proof=[])
    assert not proofs.verify_consistency(**claims, old_root=root(1), proof=[])
    assert not proofs.verify_consistency(**claims, old_root=merkle.EMPTY_ROOT, proof=[root(1)])


def test_a_longer_tree_needs_a_proof() -> None:
    assert not proofs.verify_consistency(old_size=3, new_size=5, old_root=root(3), new_root=root(5), proof=[])
    assert not proofs.verify_consistency(old_size=4, new_size=5, old_root=root(4), new_root=root(5), proof=[])
    assert not proofs.verify_consistency(old_size=5, new_size=3, old_root=root(5), new_root=root(3), proof=[])


@pytest.mark.parametrize(("index", "size"), [(0, 0), (5, 5), (-1, 5)])
def test_no_proof_is_made_for_a_leaf_outside_the_tree(index: int, size: int) -> None:
    with pytest.raises(ProofImpossible):
        merkle.inclusion_proof(index, size, read)


def test_no_proof_is_made_from_a_larger_to_a_smaller_tree() -> None:
    with pytest.raises(ProofImpossible):
        merkle.consistency_proof(6, 5, read)


def test_an_inner_node_cannot_pass_as_a_leaf() -> None:
    left, right = leaves()[:2]
    assert merkle.leaf_hash(left + right) != merkle.node_hash(left, right)
