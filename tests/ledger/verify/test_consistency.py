"""Who doubts the writer finds every consistency proof right that is right, and no other."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jukinet.ledger import merkle
from jukinet.ledger.verify.tree import EMPTY_TREE, SignedTree, is_consistent
from tests.ledger import proofs
from tests.ledger.test_merkle import SIZES, one_bit_changes, read, root


def tree(size: int) -> SignedTree:
    return SignedTree(size, root(size))


def judged_alike(old: SignedTree, new: SignedTree, proof: list[bytes]) -> bool:
    """The verdict of the verifier, which has to be that of the iteration of RFC 9162 section 2.1.4.2 as well."""
    verdict = is_consistent(old, new, proof)
    assert verdict == proofs.verify_consistency(
        old_size=old.size, new_size=new.size, old_root=old.root, new_root=new.root, proof=proof
    )
    return verdict


def check_pairs(pairs: list[tuple[int, int]]) -> None:
    for old, new in pairs:
        proof = merkle.consistency_proof(old, new, read)
        assert judged_alike(tree(old), tree(new), proof), (old, new)
        if old != new:
            assert not judged_alike(tree(old), tree(new), [*proof, bytes(32)])
            assert not judged_alike(tree(old), SignedTree(new, bytes(32)), proof) or old == 0
            assert not judged_alike(SignedTree(old, bytes(32)), tree(new), proof)
            assert not is_consistent(tree(new), tree(old), proof)
        if proof:
            assert not judged_alike(tree(old), tree(new), proof[:-1])


def test_every_small_pair_of_sizes_is_judged_right() -> None:
    check_pairs([(old, new) for new in range(70) for old in range(new + 1)])


def test_three_thousand_random_pairs_of_sizes_are_judged_right() -> None:
    chosen = random.Random(41)
    check_pairs([tuple(sorted(chosen.choices(range(SIZES + 1), k=2))) for _ in range(3_000)])  # type: ignore[misc]  # two


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_size_is_consistent_with_the_largest_one() -> None:
    check_pairs(
        [(old, SIZES) for old in range(SIZES + 1)] + [(SIZES // 2, new) for new in range(SIZES // 2, SIZES + 1)]
    )


def check_bits(old: int, new: int) -> None:
    parts = [root(old), root(new), *merkle.consistency_proof(old, new, read)]
    for before, after, *path in one_bit_changes(parts):
        assert not is_consistent(SignedTree(old, before), SignedTree(new, after), path), (old, new)


@pytest.mark.parametrize(("old", "new"), [(1, 2), (3, 7), (4, 7), (6, 8), (8, 13), (13, 13), (21, 40), (1023, 1100)])
def test_no_single_bit_of_a_proof_can_be_changed(old: int, new: int) -> None:
    check_bits(old, new)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_no_single_bit_of_any_of_many_proofs_can_be_changed() -> None:
    chosen = random.Random(42)
    for _ in range(150):
        old, new = sorted(chosen.choices(range(1, SIZES + 1), k=2))
        check_bits(old, new)


@given(st.data())
def test_a_proof_of_another_old_size_or_with_malformed_hashes_shows_nothing(data: st.DataObject) -> None:
    new = data.draw(st.integers(2, 200))
    old = data.draw(st.integers(1, new - 1))
    other = data.draw(st.integers(1, new).filter(lambda size: size != old))
    proof = merkle.consistency_proof(old, new, read)
    assert not is_consistent(SignedTree(other, root(old)), tree(new), proof)
    assert not is_consistent(tree(old), tree(new), [digest[:31] for digest in proof])
    assert not is_consistent(tree(old), tree(new), [])


def test_only_the_empty_tree_is_nothing() -> None:
    assert is_consistent(EMPTY_TREE, tree(5), [])
    assert not is_consistent(SignedTree(0, root(1)), tree(5), [])
    assert not is_consistent(EMPTY_TREE, SignedTree(0, root(1)), [])
