"""One receipt is tied to what the witnesses cosigned, offline and without the ledger; nothing else passes."""

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf import json_format
from sqlalchemy import Engine

from jukinet._pb.jukinet.ledger.v1 import ledger_pb2
from jukinet.cli.output import Exit
from jukinet.ledger import store
from jukinet.ledger.cosignature import Cosigner
from jukinet.ledger.note import Signer, text_of
from jukinet.ledger.verify import Report, verify_receipt
from tests.commands import jukinet

MakeLeaf = Callable[..., bytes]
WITNESSES = [
    Cosigner(f"jukinet/witness-{number}", Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32))
    for number in (1, 2, 3)
]
KEYS = [str(each.key) for each in WITNESSES]


class Case:
    """A receipt of a small tree, and a proof file towards a larger one that two witnesses cosigned."""

    def __init__(self, folder: Path, signer: Signer, engine: Engine, leaf: MakeLeaf) -> None:
        self.folder = folder
        with engine.begin() as connection:
            state, receipts = store.append(
                connection, store.load(connection, signer), [leaf(k) for k in range(7)], signer
            )
            state, others = store.append(connection, state, [leaf(k) for k in range(7, 20)], signer)
            proof = store.consistency_proof(connection, 7, 20)
        self.receipt, self.other = receipts[4], others[4]
        note = state.checkpoint
        cosigned = note + "".join(each.cosign(text_of(note), 1_790_000_000) for each in WITNESSES[:2])
        self.file = ledger_pb2.GetConsistencyProofResponse(checkpoint=cosigned, proof=proof)
        (folder / "key").write_text(str(signer.verifier), encoding="utf-8")

    def verify(
        self,
        *,
        receipt: ledger_pb2.Receipt | None = None,
        file: ledger_pb2.GetConsistencyProofResponse | None = None,
        keys: list[str] = KEYS,
        quorum: int | None = None,
    ) -> Report:
        (self.folder / "receipt").write_bytes((receipt or self.receipt).SerializeToString())
        (self.folder / "proof").write_text(json_format.MessageToJson(file or self.file), encoding="utf-8")
        paths = [self.folder / name for name in ("receipt", "proof", "key")]
        return verify_receipt(*paths, witnesses=keys, quorum=quorum)


@pytest.fixture
def case(tmp_path: Path, signer: Signer, sqlite: Engine, leaf: MakeLeaf) -> Case:
    return Case(tmp_path, signer, sqlite, leaf)


def checks(report: Report) -> list[str]:
    return [finding.check for finding in report.findings.first_ones]


def test_a_receipt_is_sound_under_a_later_checkpoint_that_a_quorum_cosigned(case: Case) -> None:
    report = case.verify()
    assert (report.findings.sound, report.receipts, report.size) == (True, 1, 20)
    assert report.witnesses == ["jukinet/witness-1", "jukinet/witness-2"]
    assert case.verify(keys=[]).findings.sound


def test_too_few_witnesses_are_told(case: Case) -> None:
    assert checks(case.verify(quorum=3)) == ["witness"]
    assert checks(case.verify(keys=KEYS[2:])) == ["witness"]


def test_no_single_bit_of_the_proof_can_be_changed(case: Case) -> None:
    for number, digest in enumerate(case.file.proof):
        for bit in range(256):
            changed = bytearray(digest)
            changed[bit // 8] ^= 1 << bit % 8
            file = ledger_pb2.GetConsistencyProofResponse(checkpoint=case.file.checkpoint, proof=case.file.proof)
            file.proof[number] = bytes(changed)
            assert checks(case.verify(file=file)) == ["receipt"]


def test_a_proof_for_another_receipt_shows_nothing(case: Case) -> None:
    assert checks(case.verify(receipt=case.other)) == ["receipt"], "its tree is the published one, which needs no proof"
    empty = ledger_pb2.GetConsistencyProofResponse(checkpoint=case.file.checkpoint)
    assert case.verify(receipt=case.other, file=empty).findings.sound
    assert checks(case.verify(file=empty)) == ["receipt"]


def test_a_receipt_or_checkpoint_that_does_not_hold_is_told(case: Case) -> None:
    forged = ledger_pb2.Receipt()
    forged.CopyFrom(case.receipt)
    forged.index = 5
    assert checks(case.verify(receipt=forged)) == ["receipt"]
    spoilt = ledger_pb2.GetConsistencyProofResponse(checkpoint=case.file.checkpoint.replace("20", "21", 1))
    assert checks(case.verify(file=spoilt)) == ["checkpoint"]


@pytest.mark.parametrize("content", [b"", b"{", b'{"checkpoint": 1}', b"\xff"])
def test_a_file_that_is_no_proof_is_unreadable(case: Case, content: bytes) -> None:
    case.verify()
    (case.folder / "proof").write_bytes(content)
    paths = [case.folder / name for name in ("receipt", "proof", "key")]
    assert verify_receipt(*paths).findings.exit_code == 2
    assert verify_receipt(paths[0], case.folder / "absent", paths[2]).findings.exit_code == 2


def test_the_command_says_so_by_its_exit_code(case: Case) -> None:
    case.verify()
    options = [part for key in KEYS for part in ("--witness", key)]
    command = ["ledger", "verify-receipt", str(case.folder / "receipt"), "--proof", str(case.folder / "proof")]

    def run(*more: str) -> Any:
        return jukinet(*command, "--key", str(case.folder / "key"), *more)

    assert run(*options).exit_code == Exit.OK
    assert run(*options, "--quorum", "3").exit_code == Exit.REFUSED
    assert run(*options, "--quorum", "9").exit_code == Exit.USAGE
    assert base64.b64encode(case.file.proof[0]).decode() in (case.folder / "proof").read_text()
