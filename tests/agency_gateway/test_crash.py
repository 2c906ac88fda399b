"""A gateway that is killed at any moment, both of its processes or the one that writes alone, leaves one line of
checkpoints, and every receipt that it gave holds.

Here nothing runs but the pair of processes and its ledger, so a kill costs a second. What agencies see of it is in
`tests/journeys/test_writer_killed.py`; the kills at named places are in `tests/journeys/test_kill.py`.
"""

import base64
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import Engine

from jukinet._pb.jukinet.ledger.v1 import ledger_pb2
from jukinet.ledger import merkle, store
from jukinet.ledger.note import Signer, open_checkpoint
from jukinet.mesh.pki import create_signing_key, load_signing_key
from jukinet.store.engine import open_reader
from tests.ledger.proofs import verify_consistency, verify_inclusion


def kill_after(count: int, arguments: list[str], *, alone: bool) -> list[ledger_pb2.Receipt]:
    """Runs a pair, kills it some time after so many receipts, and gives all the receipts that it got out.

    With `alone` only the process that writes is killed; the other one has to end by itself, and to say why.
    """
    command = [sys.executable, "-m", "tests.agency_gateway.writing_pair", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as node:
        assert node.stdout is not None
        assert node.stderr is not None
        writer = int(node.stdout.readline())
        printed = [node.stdout.readline() for _ in range(count)]
        os.kill(writer if alone else node.pid, signal.SIGKILL)
        lines = [*printed, *node.stdout.readlines()]
        told = node.stderr.read()
    assert ("WriterClosed" in told) == alone, told
    whole = (line.removesuffix("\n") for line in lines if line.endswith("\n"))
    return [ledger_pb2.Receipt.FromString(base64.b64decode(line, validate=True)) for line in whole]


def check_kills(kills: int, tmp_path: Path) -> None:
    url, chosen = f"sqlite:///{tmp_path}/ledger.db", random.Random(25)
    key, _ = create_signing_key(tmp_path, "ledger")
    signer = Signer("jukinet/gateway-1", load_signing_key(key))
    engine = open_reader(url)
    receipts: list[ledger_pb2.Receipt] = []
    for number in range(kills):
        arguments = [url, signer.verifier.name, str(key)]
        given = kill_after(chosen.randint(1, 60), arguments, alone=number % 2 == 1)
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


def test_a_killed_writer_loses_no_receipt(tmp_path: Path) -> None:
    check_kills(4, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_many_killed_writers_lose_no_receipt(tmp_path: Path) -> None:
    check_kills(60, tmp_path)
