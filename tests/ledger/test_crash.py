"""A writer that is killed at any moment leaves one line of checkpoints, and every receipt that it gave holds."""

import base64
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine

from jukinet._pb.jukinet.ledger.v1 import ledger_pb2
from jukinet.ledger import merkle, schema, store
from jukinet.ledger.note import Signer, open_checkpoint
from tests.ledger.proofs import verify_consistency, verify_inclusion

# Appends for ever and prints a batch's last receipt when the batch is committed.
WRITER = """
import base64, sys
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import create_engine
from jukinet.ledger import store
from jukinet.ledger.note import Signer
signer = Signer(sys.argv[2], Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
leaves = [base64.b64decode(line) for line in open(sys.argv[3])]
engine = create_engine(f"sqlite:///{sys.argv[1]}")
with engine.begin() as connection:
    state = store.load(connection, signer)
while True:
    with engine.begin() as connection:
        state, receipts = store.append(connection, state, leaves, signer)
    print(base64.b64encode(receipts[-1].SerializeToString()).decode(), flush=True)
"""


def kill_after(lines: int, arguments: list[str]) -> list[ledger_pb2.Receipt]:
    """Runs the writer, kills it some time after so many receipts, and gives all the receipts that it got out."""
    command = [sys.executable, "-c", WRITER, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        printed = [writer.stdout.readline() for _ in range(lines)]
        writer.kill()
        printed += writer.stdout.readlines()
    return [
        ledger_pb2.Receipt.FromString(base64.b64decode(line, validate=True))
        for line in (line.removesuffix("\n") for line in printed if line.endswith("\n"))
    ]


def check_kills(kills: int, tmp_path: Path, signer: Signer, leaves: list[bytes]) -> None:
    database, batch, chosen = tmp_path / "ledger.db", tmp_path / "leaves", random.Random(25)
    batch.write_text("".join(base64.b64encode(leaf).decode() + "\n" for leaf in leaves), encoding="utf-8")
    engine = create_engine(f"sqlite:///{database}")
    with engine.begin() as connection:
        schema.create(connection)
    receipts: list[ledger_pb2.Receipt] = []
    for _ in range(kills):
        given = kill_after(chosen.randint(1, 30), [str(database), signer.verifier.name, str(batch)])
        assert_nothing_was_lost(engine, signer, given)
        receipts += given
    assert_nothing_was_lost(engine, signer, receipts)
    engine.dispose()


def assert_nothing_was_lost(engine: Engine, signer: Signer, receipts: list[ledger_pb2.Receipt]) -> None:
    with engine.begin() as connection:
        state = store.load(connection, signer)
        size, root = state.frontier.size, merkle.root_of(state.frontier)
        for receipt in receipts:
            signed = open_checkpoint(receipt.checkpoint, signer.verifier)
            leaf = merkle.leaf_hash(receipt.entry)
            proof = store.consistency_proof(connection, signed.size, size)
            assert verify_inclusion(
                leaf=leaf, index=receipt.index, size=signed.size, proof=receipt.proof, root=signed.root
            )
            assert verify_consistency(
                old_size=signed.size, new_size=size, old_root=signed.root, new_root=root, proof=proof
            )


def test_a_killed_writer_loses_no_receipt(tmp_path: Path, signer: Signer, leaf: Callable[..., bytes]) -> None:
    check_kills(2, tmp_path, signer, [leaf(k) for k in range(7)])


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_many_killed_writers_lose_no_receipt(tmp_path: Path, signer: Signer, leaf: Callable[..., bytes]) -> None:
    check_kills(60, tmp_path, signer, [leaf(k) for k in range(7)])
