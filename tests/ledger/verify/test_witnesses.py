"""Offline, with the witnesses' keys: a quorum has to have cosigned the ledger's checkpoint, and each of it is named."""

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Engine

from jukinet._pb.jukinet.ledger.v1 import ledger_pb2
from jukinet.cli.output import Exit
from jukinet.ledger import published, store
from jukinet.ledger.cosignature import Cosigner
from jukinet.ledger.export import export, export_database
from jukinet.ledger.note import Signer, text_of
from jukinet.ledger.verify import Report, verify_files
from tests.commands import jukinet

MakeLeaf = Callable[..., bytes]
SECONDS = 1_790_000_000


def cosigner(number: int) -> Cosigner:
    return Cosigner(f"jukinet/witness-{number}", Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32))


WITNESSES = [cosigner(number) for number in (1, 2, 3)]
KEYS = [str(each.key) for each in WITNESSES]


class Case:
    """A ledger of 40 entries, whose checkpoint any witnesses may cosign."""

    def __init__(self, folder: Path, signer: Signer, engine: Engine, leaf: MakeLeaf) -> None:
        self.folder = folder
        self.engine = engine
        self.leaves = [leaf(number) for number in range(40)]
        self.notes = {}
        receipts: list[ledger_pb2.Receipt] = []
        with engine.begin() as connection:
            state = store.load(connection, signer)
            for size in (5, 15, 20):
                first = state.frontier.size
                state, receipts = store.append(connection, state, self.leaves[first : first + size], signer)
                self.notes[state.frontier.size] = state.checkpoint
        self.receipt = folder / "receipt"
        self.receipt.write_bytes(receipts[3].SerializeToString())
        (folder / "key").write_text(str(signer.verifier), encoding="utf-8")

    def cosigned(self, size: int, *witnesses: Cosigner) -> str:
        note = self.notes[size]
        return note + "".join(each.cosign(text_of(note), SECONDS) for each in witnesses)

    def write(self, checkpoint: str, *earlier: str) -> Path:
        file = io.StringIO()
        size = int(checkpoint.split("\n")[1])
        export(self.leaves[:size], checkpoint, file, earlier=earlier)
        path = self.folder / "ledger.jsonl"
        path.write_text(file.getvalue(), encoding="utf-8")
        return path

    def verify(self, checkpoint: str, *earlier: str, keys: list[str] = KEYS, quorum: int | None = None) -> Report:
        path = self.write(checkpoint, *earlier)
        return verify_files(path, self.folder / "key", [self.receipt], witnesses=keys, quorum=quorum)


@pytest.fixture
def case(tmp_path: Path, signer: Signer, sqlite: Engine, leaf: MakeLeaf) -> Case:
    return Case(tmp_path, signer, sqlite, leaf)


def checks(report: Report) -> list[str]:
    return [finding.check for finding in report.findings.first_ones]


@pytest.mark.parametrize("signed", [(0, 1), (1, 2), (0, 2), (0, 1, 2), (2, 0)])
def test_any_quorum_is_enough_and_is_named(case: Case, signed: tuple[int, ...]) -> None:
    report = case.verify(case.cosigned(40, *(WITNESSES[number] for number in signed)))
    assert (report.findings.sound, report.quorum, report.receipts) == (True, 2, 1)
    assert report.witnesses == [f"jukinet/witness-{number + 1}" for number in sorted(signed)]
    assert "cosigned by  jukinet/witness-" in report.to_text()
    assert json.loads(report.to_json())["witnesses"] == report.witnesses


@pytest.mark.parametrize("signed", [(), (0,), (0, 0), (0, 0, 0)])
def test_fewer_are_no_quorum_however_often_they_sign(case: Case, signed: tuple[int, ...]) -> None:
    report = case.verify(case.cosigned(40, *(WITNESSES[number] for number in signed)))
    assert (checks(report), report.findings.exit_code) == (["witness"], 1)
    assert f"cosigned by {len(set(signed))} witnesses, 2 are wanted" in report.findings.first_ones[0].message


def test_without_witnesses_cosignatures_are_passed_over(case: Case) -> None:
    report = case.verify(case.cosigned(40, WITNESSES[0]), keys=[])
    assert (report.findings.sound, report.quorum, report.witnesses) == (True, 0, [])
    assert "cosigned" not in report.to_text()


def test_who_is_not_asked_for_does_not_count(case: Case) -> None:
    report = case.verify(case.cosigned(40, WITNESSES[0], cosigner(7), cosigner(8)))
    assert checks(report) == ["witness"]
    assert case.verify(case.cosigned(40, WITNESSES[0], cosigner(7)), quorum=1).findings.sound


def test_a_cosignature_of_another_checkpoint_is_told(case: Case) -> None:
    stolen = case.cosigned(20, WITNESSES[0])[len(case.notes[20]) :]
    report = case.verify(case.cosigned(40, WITNESSES[1], WITNESSES[2]) + stolen)
    assert checks(report) == ["witness", "witness"]
    assert "the cosignature of jukinet/witness-1 does not verify" in report.findings.first_ones[0].message


def test_no_single_bit_of_a_cosignature_can_be_changed(case: Case) -> None:
    line = case.cosigned(40, WITNESSES[0])[len(case.notes[40]) :]
    name, encoded = line.removesuffix("\n").rsplit(" ", 1)
    raw = base64.b64decode(encoded)
    for bit in range(0, len(raw) * 8, 7):
        changed = bytearray(raw)
        changed[bit // 8] ^= 1 << bit % 8
        spoilt = f"{name} {base64.b64encode(changed).decode()}\n"
        assert not case.verify(case.notes[40] + spoilt, keys=KEYS[:1]).findings.sound


def test_an_earlier_checkpoint_with_a_quorum_says_how_far_it_was_witnessed(case: Case) -> None:
    report = case.verify(case.notes[40], case.cosigned(5, *WITNESSES), case.cosigned(20, *WITNESSES[:2]))
    assert checks(report) == ["witness"]
    assert "an earlier one over 20 entries has a quorum" in report.findings.first_ones[0].message
    spoilt = case.notes[20] + case.cosigned(5, WITNESSES[0])[len(case.notes[5]) :]
    report = case.verify(case.cosigned(40, *WITNESSES), spoilt)
    assert "the one after 20 entries: the cosignature" in report.findings.first_ones[0].message


def test_the_database_gives_published_checkpoints_with_their_cosignatures(case: Case) -> None:
    with case.engine.begin() as connection:
        for size in (5, 40):
            published.publish(connection, size, case.cosigned(size, *WITNESSES[:2]), {KEYS[0]: size, KEYS[1]: size})
    with case.engine.connect() as connection:
        file = io.StringIO()
        export_database(connection, file)
        assert published.seen_by(connection) == {KEYS[0]: 40, KEYS[1]: 40}
    path = case.folder / "exported.jsonl"
    path.write_text(file.getvalue(), encoding="utf-8")
    report = verify_files(path, case.folder / "key", witnesses=KEYS)
    assert (report.findings.sound, report.witnesses) == (True, ["jukinet/witness-1", "jukinet/witness-2"])
    assert report.checkpoints == 3


@pytest.mark.parametrize(
    ("keys", "quorum"),
    [
        (KEYS, 0),
        (KEYS, 4),
        (KEYS, -1),
        ([], 1),
        ([KEYS[0], KEYS[0]], None),
        (["nonsense"], None),
        (["jukinet/witness-1+00000000+" + "A" * 44], None),
    ],
)
def test_witnesses_that_cannot_be_a_quorum_are_unreadable_input(
    case: Case, keys: list[str], quorum: int | None
) -> None:
    assert case.verify(case.cosigned(40, *WITNESSES), keys=keys, quorum=quorum).findings.exit_code == 2


def test_the_ledgers_own_key_is_no_witness(case: Case, signer: Signer) -> None:
    assert case.verify(case.cosigned(40, *WITNESSES), keys=[str(signer.verifier)]).findings.exit_code == 2


def test_the_command_takes_witnesses_and_a_quorum(case: Case) -> None:
    path = case.write(case.cosigned(40, *WITNESSES[:2]))

    def verified(*more: str) -> Any:
        keys = [part for key in KEYS for part in ("--witness", key)]
        command = ["ledger", "verify", str(path), "--key", str(case.folder / "key"), *keys, *more]
        return jukinet(*command)

    sound = verified()
    assert (sound.exit_code, sound.stdout.splitlines()[-1]) == (Exit.OK, "SOUND")
    assert "cosigned by  jukinet/witness-1, jukinet/witness-2 (2 wanted)" in sound.stdout
    assert verified("--quorum", "3").exit_code == Exit.REFUSED
    assert verified("--quorum", "4").exit_code == Exit.USAGE
