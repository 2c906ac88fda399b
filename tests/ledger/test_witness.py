"""A witness never cosigns two trees of one log that do not fit, whatever it is asked, in whatever order."""

from collections.abc import Sequence
from functools import cache

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet.ledger import merkle, witness
from jukinet.ledger.errors import LedgerCorrupt
from jukinet.ledger.note import Signer, sign_checkpoint
from jukinet.ledger.verify.notes import read_key
from jukinet.mesh.errors import Refused

LOG = Signer("log.example", Ed25519PrivateKey.from_private_bytes(b"\x01" * 32))
STRANGER = Signer("log.example", Ed25519PrivateKey.from_private_bytes(b"\x02" * 32))
KEY = read_key(str(LOG.verifier))
BRANCHES, LENGTH = 3, 24


class Branch:
    """A history that the log's key may sign: all branches share their first `shared` leaves, and no more."""

    def __init__(self, number: int, shared: int) -> None:
        names = [f"{number if index >= shared else 0}/{index}".encode() for index in range(LENGTH)]
        self.leaves = [merkle.leaf_hash(name) for name in names]
        nodes = merkle.append(merkle.EMPTY, self.leaves).subtrees
        self._nodes = {(0, index): leaf for index, leaf in enumerate(self.leaves)}
        self._nodes |= {(node.level, node.position): node.hash for node in nodes}
        self._roots = [merkle.append(merkle.EMPTY, self.leaves[:size]).root for size in range(LENGTH + 1)]
        self._notes = [sign_checkpoint(LOG, size, root) for size, root in enumerate(self._roots)]

    def root(self, size: int) -> bytes:
        return self._roots[size]

    def proof(self, old: int, new: int) -> list[bytes]:
        return merkle.consistency_proof(old, new, lambda level, position: self._nodes[level, position])

    def note(self, size: int) -> str:
        return self._notes[size]


@cache
def branch(number: int, shared: int = 7) -> Branch:
    return Branch(number, shared)


def judge(known: witness.Known, old: int, proof: Sequence[bytes], note: str) -> witness.Known:
    return witness.judge(known, KEY, old_size=old, proof=proof, note=note)


def at(size: int, number: int = 0) -> witness.Known:
    """What a witness knows that was shown a log of this size from the beginning."""
    return judge(witness.NOTHING, 0, [], branch(number).note(size))


def refusal(known: witness.Known, old: int, proof: Sequence[bytes], note: str) -> Refused:
    with pytest.raises(Refused) as caught:
        judge(known, old, proof, note)
    return caught.value


@pytest.mark.parametrize("size", [0, 1, 5, LENGTH])
def test_the_first_checkpoint_of_a_log_is_taken_as_it_is(size: int) -> None:
    assert at(size).tree == (size, branch(0).root(size))


def test_a_log_that_grew_is_taken_and_the_same_tree_again() -> None:
    for old in range(LENGTH + 1):
        for new in range(old, LENGTH + 1):
            known = judge(at(old), old, branch(0).proof(old, new), branch(0).note(new))
            assert known.tree.size == new


def test_whoever_does_not_know_where_the_witness_is_is_told_its_size() -> None:
    for old in (0, 3, 6, 9):
        proof = branch(0).proof(old, 9)
        refused = refusal(at(5), old, proof, branch(0).note(9))
        assert (refused.reason, refused.size) == (errors.ERROR_REASON_CHECKPOINT_CONFLICT, 5)


def test_another_tree_of_the_same_size_is_a_conflict() -> None:
    refused = refusal(at(9), 9, [], branch(1).note(9))
    assert (refused.reason, refused.size) == (errors.ERROR_REASON_CHECKPOINT_CONFLICT, 9)
    assert refusal(witness.NOTHING, 0, [], sign_checkpoint(LOG, 0, bytes(32))).size == 0


def test_a_smaller_tree_is_refused_with_every_proof() -> None:
    for proof in ([], branch(0).proof(3, 9), [bytes(32)]):
        assert refusal(at(9), 9, proof, branch(0).note(3)).reason == errors.ERROR_REASON_CONSISTENCY_PROOF


def test_another_history_cannot_be_proved() -> None:
    for proof in (branch(1).proof(9, 12), branch(0).proof(9, 12), [], [bytes(32)] * 3):
        assert refusal(at(9), 9, proof, branch(1).note(12)).reason == errors.ERROR_REASON_CONSISTENCY_PROOF


def test_what_the_log_did_not_sign_is_refused_before_anything_else() -> None:
    for note in (
        sign_checkpoint(STRANGER, 9, branch(0).root(9)),
        "",
        "log.example\n9\n",
        branch(0).note(9).replace("9", "8", 1),
    ):
        refused = refusal(at(5), 0, [], note)
        assert (refused.reason, refused.size) == (errors.ERROR_REASON_CHECKPOINT_SIGNATURE, None)


def test_a_size_that_no_database_holds_is_refused() -> None:
    refused = refusal(witness.NOTHING, 0, [], sign_checkpoint(LOG, 9_999_999_999_999_999_999, bytes(32)))
    assert refused.reason == errors.ERROR_REASON_CHECKPOINT_SIGNATURE


def test_a_log_that_the_witness_does_not_know_is_refused() -> None:
    with pytest.raises(Refused) as caught:
        witness.key_of({KEY.name: KEY}, "elsewhere.example")
    assert caught.value.reason == errors.ERROR_REASON_ORIGIN_UNKNOWN
    assert witness.key_of({KEY.name: KEY}, witness.origin_of(branch(0).note(3))) is KEY


def test_a_damaged_record_is_told_and_not_taken_for_none() -> None:
    note = branch(0).note(4)
    assert witness.recall(note, KEY).tree.size == 4
    assert witness.recall(None, KEY) == witness.NOTHING
    for damaged in ("", note[:-3], note.replace("4", "5", 1)):
        with pytest.raises(LedgerCorrupt):
            witness.recall(damaged, KEY)


@given(st.binary(max_size=200), st.integers(0, 2**63 - 1), st.lists(st.binary(min_size=32, max_size=32), max_size=3))
def test_whatever_comes_is_refused_by_a_typed_error(raw: bytes, old: int, proof: list[bytes]) -> None:
    with pytest.raises(Refused):
        judge(at(5), old, proof, raw.decode("utf-8", "replace"))


class AnyOrder(RuleBasedStateMachine):
    """A log whose key signs three histories, and a witness that is asked, crashes and is asked again."""

    def __init__(self) -> None:
        super().__init__()
        self.disk: str | None = None
        self.cosigned: list[tuple[int, bytes, Branch]] = []

    @rule(
        number=st.integers(0, BRANCHES - 1),
        size=st.integers(0, LENGTH),
        old=st.integers(0, LENGTH),
        knows=st.booleans(),
        proved_by=st.integers(0, BRANCHES - 1),
        crash=st.sampled_from(["before the commit", "after the commit", "never", "never"]),
    )
    def ask(self, number: int, size: int, old: int, knows: bool, proved_by: int, crash: str) -> None:
        known = witness.recall(self.disk, KEY)  # a restart forgets all but the disk
        old = known.tree.size if knows else old
        proof = branch(proved_by).proof(old, size) if old <= size else []
        try:
            judged = judge(known, old, proof, branch(number).note(size))
        except Refused:
            return
        if crash == "before the commit":
            return
        self.disk = judged.note
        if crash == "never":
            self.cosigned.append((judged.tree.size, judged.tree.root, branch(number)))

    @invariant()
    def all_that_was_cosigned_is_one_history(self) -> None:
        largest = max(self.cosigned, default=None, key=lambda each: each[0])
        for size, root, _ in self.cosigned:
            assert largest is not None
            assert largest[2].root(size) == root, "a cosigned tree is no part of a later one"

    @invariant()
    def the_disk_holds_the_largest(self) -> None:
        size = witness.recall(self.disk, KEY).tree.size
        assert all(size >= each[0] for each in self.cosigned)


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=40, stateful_step_count=40)
