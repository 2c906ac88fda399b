"""A sound answer verifies, and a node that lies is found out: in what it says and in what it leaves out."""

import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from jukinet._pb.jukinet.disclosure.v1 import disclosure_pb2 as disclosure
from jukinet.ledger.note import VerifierKey
from jukinet.ledger.verify.usage import verify_usage
from tests.disclosure.answers import KEY, MADE_AT, Files, told

Node = Any  # the fixture's own class lives in conftest.py


async def test_a_sound_answer_verifies_and_with_the_ledger_it_is_complete(filled: Node, files: Files) -> None:
    answer = told(filled)
    report = files.verify(answer)
    assert report.findings.first_ones == []
    assert (report.rows, report.complete, report.findings.exit_code) == (8, True, 0)
    assert "SOUND AND COMPLETE" in report.to_text()
    alone = files.verify(answer, ledgers=[])
    assert alone.findings.sound
    assert not alone.complete
    assert "to count again" in alone.to_text()


async def test_every_ledger_whose_key_is_given_was_searched(filled: Node, files: Files, tmp_path: Path) -> None:
    other = tmp_path / "other.vkey"
    other.write_text(f"{VerifierKey('jukinet/gateway-2', KEY.public_key())}\n")
    answer = told(filled)
    report = files.verify(answer, ledger_keys=[files.ledger_key, other])
    assert [finding.message for finding in report.findings.first_ones] == [
        "jukinet/gateway-2, whose key was given, was not searched"
    ]
    other.write_text(f"{VerifierKey('jukinet/gateway-1', KEY.public_key())}\n")
    assert files.verify(answer, ledger_keys=[files.ledger_key, other]).exit_code == 2


def _row_left_out(usage: Any) -> None:
    usage.rows[3].CopyFrom(disclosure.UsageRow(padding=bytes(9)))


def _row_of_another(usage: Any) -> None:
    usage.tokens[1].token = b"\x01" * 32


def _row_twice(usage: Any) -> None:
    usage.rows[7].CopyFrom(usage.rows[6])


def _wrong_index(usage: Any) -> None:
    usage.rows[0].index += 1


def _short_proof(usage: Any) -> None:
    del usage.rows[0].proof[-1]


def _month_left_out(usage: Any) -> None:
    del usage.tokens[1]


def _shorter_period(usage: Any) -> None:
    usage.first_day.day = 15


def _other_checkpoint(usage: Any) -> None:
    usage.ledgers[0].checkpoint = usage.ledgers[0].checkpoint.replace("\n24\n", "\n23\n")


def _other_size(usage: Any) -> None:
    usage.ledgers[0].size -= 1


def _no_cosignature(usage: Any) -> None:
    note = usage.ledgers[0].checkpoint
    usage.ledgers[0].checkpoint = "".join(line for line in note.splitlines(keepends=True) if "witness" not in line)


def _no_padding(usage: Any) -> None:
    del usage.rows[8:]


def _nothing_searched(usage: Any) -> None:
    del usage.ledgers[:]


def _rows_kept_back(usage: Any) -> None:
    usage.total_rows += 1


def _no_moment(usage: Any) -> None:
    usage.ledgers[0].ClearField("verified_at")


def _moment_after_the_answer(usage: Any) -> None:
    usage.ledgers[0].verified_at.FromDatetime(MADE_AT + timedelta(seconds=1))


def _moment_that_there_is_not(usage: Any) -> None:
    usage.ledgers[0].verified_at.seconds = 2**62


@pytest.mark.parametrize(
    ("lie", "found"),
    [
        (_row_left_out, "complete"),
        (_row_of_another, "row"),
        (_row_twice, "row"),
        (_wrong_index, "proof"),
        (_short_proof, "proof"),
        (_month_left_out, "tokens"),
        (_shorter_period, "row"),
        (_other_checkpoint, "checkpoint"),
        (_other_size, "ledger"),
        (_no_cosignature, "witness"),
        (_no_padding, "rows"),
        (_nothing_searched, "ledger"),
        (_rows_kept_back, "parts"),
        (_no_moment, "ledger"),
        (_moment_after_the_answer, "ledger"),
        (_moment_that_there_is_not, "input"),
    ],
)
async def test_a_node_that_lies_is_found_out(filled: Node, files: Files, lie: Any, found: str) -> None:
    assert found in files.altered(told(filled), lie)


async def test_an_answer_signed_by_another_key_is_found_out(filled: Node, files: Files) -> None:
    answer = told(filled)
    answer.signature = Ed25519PrivateKey.generate().sign(b"jukinet usage v1\0" + answer.usage)
    assert [finding.check for finding in files.verify(answer).findings.first_ones] == ["signature"]


async def test_another_ledger_of_the_same_name_is_found_out(filled: Node, files: Files, leaf: Any) -> None:
    files.write_ledger([*files.leaves[:-1], leaf(91)], filled.gateway._note())
    assert {finding.check for finding in files.verify(told(filled)).findings.first_ones} == {"ledger"}


@settings(max_examples=30)
@given(st.binary(max_size=300))
def test_whatever_is_in_the_file_the_verifier_reports(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        answer, key = Path(folder) / "usage.json", Path(folder) / "key"
        answer.write_bytes(content)
        key.write_text(f"{VerifierKey('jukinet/disclosure', KEY.public_key())}\n")
        assert verify_usage(answer, key, []).findings.exit_code in (1, 2)
