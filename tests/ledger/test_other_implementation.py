"""Another implementation of the C2SP formats takes our checkpoints, cosignatures and proofs, and we take its own.

It wants Python 3.12 or newer; on an older one these tests skip.
"""

import base64
import random
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from jukinet.ledger import merkle
from jukinet.ledger.cosignature import Cosigner, WitnessKey
from jukinet.ledger.note import Signer, sign_checkpoint, text_of
from jukinet.ledger.verify.notes import cosigned_by, read_checkpoint, read_key, read_witness_key
from jukinet.ledger.verify.tree import SignedTree, is_consistent
from tests.ledger.test_merkle import SIZES, leaves, read, root

other: Any = import_module("aics_tlog") if find_spec("aics_tlog") else None
pytestmark = pytest.mark.skipif(other is None, reason="aics-tlog wants Python 3.12 or newer")
SECONDS = 1_790_000_000
PRIVATE_LOG = Ed25519PrivateKey.from_private_bytes(b"\x01" * 32)
LOG = Signer("jukinet/gateway-1", PRIVATE_LOG)
PRIVATE = [Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32) for number in (2, 3, 4)]
WITNESSES = [Cosigner(f"jukinet/witness-{number}", key) for number, key in enumerate(PRIVATE, start=1)]


def judged(note: str, *, quorum: int) -> Any:
    """The other implementation's verdict on a checkpoint."""
    keys = [other.parse_vkey(str(each.key)) for each in WITNESSES]
    return other.verify_checkpoint(other.parse_note(note), other.parse_vkey(str(LOG.verifier)), keys, quorum)


@pytest.mark.parametrize("size", [0, 1, 7, 1024, SIZES])
@pytest.mark.parametrize("signed", [(), (0,), (0, 2), (0, 1, 2)])
def test_it_names_the_same_witnesses_of_our_checkpoints(size: int, signed: tuple[int, ...]) -> None:
    note = sign_checkpoint(LOG, size, root(size))
    note += "".join(WITNESSES[number].cosign(text_of(note), SECONDS + number) for number in signed)
    verdict = judged(note, quorum=2)
    assert (verdict.log_ok, verdict.size, verdict.root) == (True, size, root(size))
    assert verdict.ok == (len(signed) >= 2)
    ours = cosigned_by(note, [read_witness_key(str(each.key)) for each in WITNESSES])
    assert sorted(verdict.witnesses) == ours == [f"jukinet/witness-{number + 1}" for number in signed]


def test_it_refuses_what_we_refuse() -> None:
    note = sign_checkpoint(LOG, 7, root(7))
    line = WITNESSES[0].cosign(text_of(note), SECONDS)
    raw = base64.b64decode(line.rsplit(" ", 1)[1])
    for bit in range(4 * 8, len(raw) * 8, 5):
        changed = bytearray(raw)
        changed[bit // 8] ^= 1 << bit % 8
        spoilt = f"{line.rsplit(' ', 1)[0]} {base64.b64encode(changed).decode()}\n"
        assert not judged(note + spoilt, quorum=1).ok


def test_we_take_its_cosignatures_and_its_checkpoints() -> None:
    made = other.Checkpoint(LOG.verifier.name, 7, root(7))
    signed = other.sign_checkpoint(made, PRIVATE_LOG, LOG.verifier.name).serialise()
    assert signed == sign_checkpoint(LOG, 7, root(7))
    assert read_checkpoint(signed, read_key(str(LOG.verifier))) == (7, root(7))
    for private, witness in zip(PRIVATE, WITNESSES, strict=True):
        blob, _ = other.sign_cosignature(private, witness.key.name, SECONDS, LOG.verifier.name, 7, root(7))
        line = f"— {witness.key.name} {base64.b64encode(witness.key.key_id + blob).decode()}\n"
        assert witness.key.verify(line, text_of(signed)) == SECONDS
        assert line == witness.cosign(text_of(signed), SECONDS)
        key = other.cosignature_vkey(witness.key.name, private.public_key())
        assert WitnessKey.parse(other.format_vkey(key)).key_id == witness.key.key_id


def test_it_takes_our_proofs_and_agrees_on_spoilt_ones() -> None:
    chosen = random.Random(43)
    for _ in range(400):
        old, new = sorted(chosen.choices(range(1, SIZES + 1), k=2))
        proof = merkle.consistency_proof(old, new, read)
        assert other.verify_consistency(old, new, root(old), root(new), proof)
        index = chosen.randrange(new)
        path = merkle.inclusion_proof(index, new, read)
        assert other.verify_inclusion(leaves()[index], index, new, path, root(new))
        spoilt = [*proof[:-1], bytes(32)] if proof else [bytes(32)]
        ours = is_consistent(SignedTree(old, root(old)), SignedTree(new, root(new)), spoilt)
        assert not ours
        assert other.verify_consistency(old, new, root(old), root(new), spoilt) == ours
